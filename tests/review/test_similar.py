"""Similar moments on the page, asked by HTTP; test_browser.py has a reviewer in a browser."""

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from page_client import Client

from framewatch.cli.main import main
from framewatch.feedback import VerdictLog
from framewatch.review import similar_moments
from framewatch.review.similar_moments import SimilarFinder
from framewatch.search.milvus_client import Place, default_place
from framewatch.search.moment_store import open_store

pytest.importorskip("pymilvus", reason="pymilvus is missing: pip install 'framewatch[search]'")

Ask = Callable[..., Any]


@pytest.fixture
def indexed(output: Path, capsys: pytest.CaptureFixture) -> Path:
    assert main(["index", str(output)]) == 0
    capsys.readouterr()
    return output


@pytest.fixture
def ask(server: str) -> Ask:
    """Asks the page below `similar/`."""
    client = Client(server)
    return lambda path, body=None: client.ask(f"similar/{path}", body)


def test_a_moment_and_a_second_are_looked_for_shown_and_played(indexed: Path, ask: Ask) -> None:
    found = ask("search", {"moment": 0, "limit": 4})
    origins = pq.read_table(indexed / "incidents")["peak_origin"].to_pylist()
    assert found["like"] in origins and len(found["hits"]) == 4
    first = found["hits"][0]
    assert first["origin"] == found["like"] and first["score"] > 0.999
    assert first["clip"]["start_s"] <= first["peak_s"] < first["clip"]["end_s"]
    picture = ask(f"{found['id']}/0.jpg")
    assert cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR) is not None
    assert ask(f"{found['id']}/0.mp4")[4:8] == b"ftyp"
    by_second = ask("search", {"video": 1, "second": 7.4, "limit": 2})
    assert by_second["like"].endswith("frame0007.jpg")
    assert by_second["hits"][0]["peak_s"] == 7.0
    one_each = ask("search", {"moment": 0, "by_video": True})["hits"]
    assert len({hit["video"] for hit in one_each}) == len(one_each) == 3


def test_a_verdict_on_a_hit_counts_and_a_rejected_one_sinks(indexed: Path, ask: Ask) -> None:
    found = ask("search", {"video": 0, "second": 5, "limit": 5})
    last = found["hits"][-1]
    said = ask(f"{found['id']}/{last['number']}/verdict", {"answer": "not", "reviewer": "ann"})
    assert said["verdict"]["reason"] == "similar" and said["verdict"]["reviewer"] == "ann"
    (kept,) = VerdictLog(str(indexed)).verdicts()
    assert (kept.video, kept.start_s, kept.end_s) == (last["video"], last["start_s"], last["end_s"])
    again = ask("search", {"video": 0, "second": 5, "limit": 1000})["hits"]
    assert [hit["rejected"] for hit in again] == sorted(hit["rejected"] for hit in again)
    assert again[-1]["rejected"]
    said = ask(f"{found['id']}/0/verdict", {"answer": "maybe", "reviewer": "ann"})
    assert "answer=maybe is not valid" in said


def test_hot_questions_are_kept_until_the_index_changes(indexed: Path, monkeypatch) -> None:
    searches: list[int] = []
    real = similar_moments.find_moments
    monkeypatch.setattr(
        similar_moments, "find_moments", lambda *args, **its: searches.append(1) or real(*args, **its)
    )
    place = default_place(str(indexed), None, "framewatch")
    finder = SimilarFinder(str(indexed), lambda: place)
    origin = pq.read_table(indexed / "incidents")["peak_origin"][0].as_py()
    first = finder.search({"origin": origin})
    assert finder.search({"origin": origin}) is first and len(searches) == 1
    assert finder.search({"origin": origin, "limit": 3}) is not first
    finder.close()
    assert main(["index", str(indexed), "--rebuild"]) == 0
    assert finder.search({"origin": origin}) is not first and len(searches) == 3
    finder.close()
    with open_store(place, wait_s=0.0) as store:  # nobody holds it
        assert store.count() > 0


PNG = cv2.imencode(".png", np.full((40, 60, 3), 128, np.uint8))[1].tobytes()


def test_an_uploaded_picture_is_looked_for_and_not_kept(spark, model_file: Path, tmp_path: Path) -> None:
    """A frame's own JPEG comes first, through the network that made the features."""
    from framewatch import DeepImageFeaturizer

    output = tmp_path / "out"
    rng = np.random.default_rng(4)
    pictures = [cv2.resize(rng.integers(0, 255, (6, 8, 3), np.uint8), (64, 48)) for _ in range(9)]
    jpegs = [cv2.imencode(".jpg", it)[1].tobytes() for it in pictures]
    featurizer = DeepImageFeaturizer(
        inputCol="content", outputCol="features", modelName=str(model_file), layer="late", precision="float32"
    )
    df = featurizer.transform(
        spark.createDataFrame([(n, bytearray(it)) for n, it in enumerate(jpegs)], "n int, content binary")
    )
    vectors = [row["features"].toArray().tolist() for row in df.orderBy("n").collect()]
    from arrow_run import origin_of, write_batch

    video = "file:/hall/a.mp4"
    write_batch(output, 0, {video: vectors}, df.schema["features"].metadata["framewatch"])
    assert main(["index", str(output)]) == 0
    place = default_place(str(output), None, "framewatch")
    finder = SimilarFinder(str(output), lambda: place, model=str(model_file))
    before = {path: path.stat().st_size for path in output.rglob("*") if path.is_file()}
    name = finder.encode_picture(jpegs[5])
    hits = finder.search({"picture": name, "limit": 9}).hits
    assert hits[0].peak_s == 5.0 and hits[0].score >= 0.999
    finder.close()
    assert before.keys() == {path for path in output.rglob("*") if path.is_file()}
    (tmp_path / "own.jpg").write_bytes(jpegs[2])
    common = [str(output), "--image", f"{tmp_path}/own.jpg", "--each", "--save", "own"]
    assert main(["search", *common, f"featurizer.model={model_file}", "featurizer.layer=late"]) == 0
    saved = pq.read_table(output / "searches" / "own.parquet").to_pylist()
    assert saved[0]["origin"] == origin_of(video, 2) and saved[0]["score"] >= 0.999


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        ("search", {}, "the search is empty: give a frame or a picture"),
        ("search", {"origin": "nope.jpg"}, "example 'nope.jpg' is no frame"),
        ("search", {"moment": -1}, "moment=-1 is not valid"),
        ("search", {"video": 99, "second": 1}, "there is no video 99"),
        ("search", {"origin": "x", "limit": "many"}, "limit=many is not valid"),
        ("search", {"origin": "x", "min_probability": 3}, "min_probability=3 is not valid"),
        ("search", {"picture": "gone"}, "the picture has expired"),
        ("picture", b"no picture", "not a picture: use a JPEG"),
        ("picture", b"x" * (9 << 20), "The data value transmitted exceeds the capacity limit."),
        ("nothere/0/verdict", {"answer": "not", "reviewer": "a"}, "the results have expired"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(indexed: Path, ask: Ask, path: str, body: Any, told: str) -> None:
    said = ask(path, body)
    assert told in said and "\n" not in said


def test_a_picture_bomb_is_refused_with_413(server: str) -> None:
    """Its header is enough: nothing of it is decoded."""
    size = struct.pack(">IIBBBBB", 60_000, 60_000, 16, 6, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + size
    bomb += struct.pack(">I", zlib.crc32(b"IHDR" + size))
    client = Client(server)
    status, body, _ = client.open("similar/picture", bomb, X_CSRF_Token=client.csrf)
    said = json.loads(body)["error"]
    assert status == 413 and "60000 x 60000 pixels" in said and "\n" not in said


def test_without_an_index_it_says_how_to_make_one(ask: Ask) -> None:
    assert "run `framewatch index` first" in ask("search", {"moment": 0})


def test_a_page_on_another_place(tmp_path: Path) -> None:
    finder = SimilarFinder(str(tmp_path), lambda: Place("http://127.0.0.1:9"))
    with pytest.raises(Exception, match="there is no table"):
        finder.search({"origin": "x"})
