"""`framewatch search` on a real collection of Milvus Lite, against the same search in NumPy."""

import json
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from arrow_run import origin_of, write_batch, write_labelled, write_ranking

from framewatch.cli.main import main
from framewatch.feedback import Verdict, VerdictLog
from framewatch.search.indexer import WriteVideos, about_of, fit, plan
from framewatch.search.milvus_client import Place, default_place
from framewatch.search.moment_store import Store, create_store, open_store
from framewatch.search.query import MomentFilter
from framewatch.search.searcher import Wanted, find_moments
from framewatch.search.source import read_indexed_videos
from framewatch.tables.feature_files import FeatureFiles

pytest.importorskip("pymilvus", reason="pymilvus is missing: pip install 'framewatch[search]'")

LENGTH, FRAMES = 64, 120
VIDEOS = [f"file:/cctv/{camera}/2026-03-01_{hour:02d}-59-00 {camera}.mp4"
          for camera in ("hall", "yard") for hour in range(3, 24, 4)]  # fmt: skip


def told_from_scenes(vectors: np.ndarray) -> np.ndarray:
    """What an index compares, from (frames of all videos, LENGTH) of length 1, frame by frame."""
    means = vectors.reshape(len(VIDEOS), FRAMES, LENGTH).mean(axis=1)
    left = np.array([it - means[np.linalg.norm(means - it, axis=1).argmin()] / 2 for it in vectors])
    left -= left.mean(axis=0)
    covariance = left.T @ left / len(left)
    variances, directions = np.linalg.eigh(covariance)
    ridge = 0.01 * np.trace(covariance)
    left = left @ (directions * np.sqrt(ridge / (variances + ridge))) @ directions.T
    constant = 0.3 * np.sqrt((left**2).sum(axis=1).mean())
    left = np.concatenate([left, np.full((len(left), 1), constant)], axis=1)
    return left / np.linalg.norm(left, axis=1, keepdims=True)


@dataclass(frozen=True)
class Made:
    """An indexed output, and all frames of it as arrays, in any order."""

    output: Path
    videos: np.ndarray
    seconds: np.ndarray
    vectors: np.ndarray
    prob2: np.ndarray
    labels: np.ndarray

    def best(self, vector: np.ndarray, mask: np.ndarray, limit: int = 10) -> list[tuple[str, float]]:
        """(origin, score) of the nearest, by comparing with all."""
        scores = np.where(mask, self.vectors @ vector, -np.inf)
        order = np.argsort(-scores)[:limit]
        return [(origin_of(self.videos[n], int(self.seconds[n])), scores[n]) for n in order if mask[n]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Videos that drift, as scenes do: neighbours in time are alike, and videos of a camera are."""
    output = tmp_path_factory.mktemp("search") / "out"
    rng = np.random.default_rng(3)
    base = {camera: rng.random(LENGTH) for camera in ("hall", "yard")}
    rows = {}
    for video in VIDEOS:
        drift = np.cumsum(rng.normal(size=(FRAMES, LENGTH)) * 0.05, axis=0)
        rows[video] = np.abs(base["hall" if "hall" in video else "yard"] + drift)
    write_batch(output, 0, rows)
    keys = [(video, second) for video in VIDEOS for second in range(FRAMES)]
    prob2 = rng.random(len(keys)).round(3)
    write_ranking(output, dict(zip(keys, prob2.tolist(), strict=True)))
    labels = np.where(rng.random(len(keys)) < 0.5, np.nan, (prob2 > 0.6).astype(float))
    known = {key: float(label) for key, label in zip(keys, labels, strict=True) if not np.isnan(label)}
    write_labelled(output, known)
    assert main(["index", str(output), "index.sketch_length=24"]) == 0
    vectors = np.concatenate([rows[video] for video in VIDEOS]).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    videos, seconds = (np.array(it) for it in zip(*keys, strict=True))
    return Made(output, videos, seconds.astype(float), told_from_scenes(vectors), prob2, labels)


@pytest.fixture
def store(made: Made):
    with open_store(default_place(str(made.output), None, "framewatch")) as opened:
        yield opened


def filters(made: Made) -> list[tuple[MomentFilter, np.ndarray]]:
    clock = np.array([int(video.split("_")[1][:2]) * 3600 + 59 * 60 for video in made.videos]) + made.seconds
    clock %= 86_400
    hall = np.array(["hall" in video for video in made.videos])
    return [
        (MomentFilter(), np.ones(len(hall), bool)),
        (MomentFilter(cameras=("file:/cctv/hall",)), hall),
        (MomentFilter(videos=(VIDEOS[2], VIDEOS[9])), np.isin(made.videos, [VIDEOS[2], VIDEOS[9]])),
        (MomentFilter(min_probability=0.3, max_probability=0.8), (made.prob2 >= 0.3) & (made.prob2 <= 0.8)),
        (MomentFilter(label=1, cameras=("file:/cctv/yard",)), (made.labels == 1) & ~hall),
        (MomentFilter(between_s=(23 * 3600 + 3600 - 30, 7 * 3600)), (clock >= 86_370) | (clock < 25_200)),
        (MomentFilter(between_s=(43_200, 72_030)), (clock >= 43_200) & (clock < 72_030)),
    ]


def test_the_exact_search_is_numpy_s(made: Made, store: Store) -> None:
    rng = np.random.default_rng(5)
    cases = filters(made)
    compared = 0
    for number in range(200):
        vector = made.vectors[rng.integers(len(made.vectors))] + rng.normal(size=made.vectors.shape[1]) * 0.02
        vector = (vector / np.linalg.norm(vector)).astype(np.float32)
        wanted, mask = cases[number % len(cases)]
        hits = find_moments(store, vector, Wanted(filter=wanted, gap_s=None, exact=True))
        expected = made.best(vector, mask)
        assert [hit.origin for hit in hits] == [origin for origin, _ in expected]
        np.testing.assert_allclose([hit.score for hit in hits], [score for _, score in expected], atol=1e-5)
        compared += len(hits)
    assert compared > 1900


def test_groups_are_numpy_s_too(made: Made, store: Store) -> None:
    rng = np.random.default_rng(6)
    for number in range(40):
        vector = made.vectors[rng.integers(len(made.vectors))]
        wanted, mask = filters(made)[number % 2]
        hits = find_moments(store, vector, Wanted(limit=8, filter=wanted, by_video=True, exact=True))
        scores = np.where(mask, made.vectors @ vector, -np.inf)
        best = sorted(((scores[made.videos == video].max(), video) for video in VIDEOS), reverse=True)
        expected = [video for score, video in best if np.isfinite(score)][:8]
        assert [hit.video for hit in hits] == expected
        assert len(hits) == (8 if number % 2 == 0 else 6)


def test_sketches_find_what_comparing_with_all_does(made: Made, store: Store, monkeypatch) -> None:
    monkeypatch.setattr("framewatch.search.moment_store._FEW_NUMBERS", 0)
    assert store.about.sketch_length == 24
    found = 0
    for number in range(0, len(made.vectors), 29):
        wanted, mask = filters(made)[number % 7]
        hits = find_moments(store, made.vectors[number], Wanted(filter=wanted, gap_s=None))
        expected = made.best(made.vectors[number], mask)
        assert len(hits) == len(expected)
        found += len({hit.origin for hit in hits} & {origin for origin, _ in expected})
        for hit in hits:  # by whole vectors
            place = np.flatnonzero((made.videos == hit.video) & (made.seconds == hit.start_s))[0]
            assert hit.score == pytest.approx(made.vectors[place] @ made.vectors[number], abs=1e-5)
    assert found / (10 * len(range(0, len(made.vectors), 29))) > 0.95


def test_many_hits_need_several_rounds_and_are_the_same(made: Made, store: Store) -> None:
    vector = made.vectors[500]
    all_at_once = find_moments(store, vector, Wanted(limit=200, gap_s=None, exact=True))
    assert [hit.origin for hit in all_at_once] == [it for it, _ in made.best(vector, made.prob2 >= 0, 200)]
    merged = find_moments(store, vector, Wanted(limit=100, gap_s=0.0))
    ranges = [(hit.video, hit.start_s, hit.end_s) for hit in merged]
    for number, (video, start_s, end_s) in enumerate(ranges):
        for other in ranges[:number]:
            assert other[0] != video or other[2] <= start_s or other[1] >= end_s


def test_what_was_rejected_sinks(made: Made, store: Store) -> None:
    vector = made.vectors[0]
    first = find_moments(store, vector, Wanted(limit=5, gap_s=None))[0]
    assert first.origin == origin_of(VIDEOS[0], 0) and first.score > 0.999
    log = VerdictLog(str(made.output))
    log.append(Verdict(first.video, first.start_s, first.end_s, "not", "ann"))
    try:
        assert first.origin not in {
            hit.origin for hit in find_moments(store, vector, Wanted(limit=5, gap_s=None))
        }
        everything = find_moments(
            store, vector, Wanted(limit=1000, gap_s=None, filter=MomentFilter(videos=(VIDEOS[0],)))
        )
        assert len(everything) == FRAMES
        assert everything[-1].origin == first.origin and everything[-1].rejected
        grouped = find_moments(store, vector, Wanted(limit=3, by_video=True))
        assert first.origin not in {hit.origin for hit in grouped} and not any(it.rejected for it in grouped)
    finally:
        log.undo("ann")


def run(made: Made, *options: str) -> list[dict]:
    assert main(["search", str(made.output), "--json", *options]) == 0
    return []


def test_the_command_line(made: Made, capsys, tmp_path: Path) -> None:
    frame = origin_of(VIDEOS[1], 40)
    run(made, "--frame", frame.removeprefix("images/"), "--save", "like_40", "--limit", "4")
    printed = capsys.readouterr()
    hits = json.loads(printed.out)["data"]
    assert (hits[0]["origin"], hits[0]["rank"]) == (frame, 1) and hits[0]["score"] >= 0.999
    assert hits[0]["start_s"] <= 40 < hits[0]["end_s"] and hits[0]["peak_s"] == 40
    saved = pq.read_table(made.output / "searches" / "like_40.parquet").to_pylist()
    assert [row["origin"] for row in saved] == [hit["origin"] for hit in hits]
    assert f"parquet.`{made.output}/searches/like_40.parquet`" in printed.err
    name = VIDEOS[1].rpartition("/")[2]
    run(made, "--clip", f"{name}@10-16", "--scope", "clip", "--each")
    hits = json.loads(capsys.readouterr().out)["data"]
    assert hits[0]["scope"] == "clip" and {hit["scope"] for hit in hits} == {"clip"}
    assert hits[0]["video"] == VIDEOS[1] and abs(hits[0]["start_s"] - 10) <= 3
    run(
        made, "--frame", frame, "--frame", f"{origin_of(VIDEOS[7], 3)}*-1", "--camera", "yard", "--limit", "3"
    )
    assert {"yard" in hit["video"] for hit in json.loads(capsys.readouterr().out)["data"]} == {True}
    assert main(["search", str(made.output), "--frame", frame, "--limit", "2"]) == 0
    told = capsys.readouterr().out
    assert "score" in told and "0:40" in told and "1.000" in told


def test_within_one_video(made: Made, capsys, tmp_path: Path) -> None:
    frame = origin_of(VIDEOS[1], 40)
    curve = ["--frame", frame, "--in", VIDEOS[1]]
    run(made, *curve, "--plot", f"{tmp_path}/curve.png")
    found = json.loads(capsys.readouterr().out)
    assert found["video"] == VIDEOS[1] and len(found["seconds"]) == FRAMES
    expected = made.vectors[made.videos == VIDEOS[1]] @ made.vectors[made.videos == VIDEOS[1]][40]
    np.testing.assert_allclose([it["score"] for it in found["seconds"]], expected, atol=1e-5)
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert main(["search", str(made.output), *curve]) == 0
    assert "most similar at 0:40 (1.000)" in capsys.readouterr().out


BAD = [
    ([], "nothing is looked for: give --frame, --image, --clip or --text"),
    (["--frame", "no.jpg"], "example 'no.jpg' is no frame with features"),
    (["--frame", "a.jpg*-1"], "nothing is looked for"),
    (["--text", "a bag"], "text prompt 'a bag' needs CLIP features"),
    (["--clip", "hall.mp4"], "clip 'hall.mp4' is not valid"),
    (["--image", "no.jpg"], "image 'no.jpg' cannot be read|the features were computed with"),
    (["--video", "nowhere"], "no video 'nowhere' is in the ledger"),
    (["--camera", "nowhere"], "no camera 'nowhere' is in the ledger: its videos lie in file:/cctv/hall"),
    (["--between", "10"], "--between 10 is not valid: give two times"),
    (["--between", "10:00-x"], "'x' is no time of day"),
    (["--min-probability", "2"], "min_probability=2 is not valid"),
    (["--limit", "0"], "limit=0 is not valid: give 1 to 1000"),
    (["--plot", "a.png"], "--plot shows one video: give it, --in VIDEO"),
    (["--save", "../x"], "--save ../x is not valid"),
]


@pytest.mark.parametrize(("options", "told"), BAD, ids=[" ".join(its) for its, _ in BAD])
def test_bad_input_is_one_line(made: Made, options: list[str], told: str, capsys) -> None:
    import re

    looked_for = ["--frame", origin_of(VIDEOS[0], 0)]
    needs = options and options[0] not in ("--frame", "--text", "--clip", "--image")
    assert main(["search", str(made.output), *options, *(looked_for if needs else [])]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1 and re.search(told, said)


def test_two_searches_while_it_is_indexed(tmp_path: Path) -> None:
    """Threads search what is there while more comes in: no error, and at the end all of it is found."""
    output = tmp_path / "out"
    rng = np.random.default_rng(8)
    videos = {f"file:/hall/{n}.mp4": rng.random((30, LENGTH)) for n in range(20)}
    write_batch(output, 0, videos)
    features = FeatureFiles.of(str(output))
    settings = {"clip_s": 6.0, "still_cosine": 0.99, "exact": False, "scenes": 8, "sketch_length": 16}
    about = about_of(features, **settings, output=str(output))
    sample = np.concatenate(list(videos.values())).astype(np.float32)
    errors: list[BaseException] = []
    counts: list[int] = []
    with create_store(
        Place(f"{tmp_path}/moments.db"), about, fit=lambda: fit(features, about, num_videos=20)
    ) as store:
        vector = store.fitted.vectors(sample[:1])[0]
        done = threading.Event()

        def look() -> None:
            try:
                while not done.is_set():
                    hits = find_moments(store, vector, Wanted(limit=50, gap_s=None))
                    assert [hit.score for hit in hits] == sorted((h.score for h in hits), reverse=True)
                    counts.append(len(hits))
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=look) for _ in range(2)]
        for thread in threads:
            thread.start()
        todo = plan(store, read_indexed_videos(str(output), features, settings=about.settings))
        written = list(WriteVideos(str(output), features, 1.0, todo.begun)(store, todo.write))
        done.set()
        for thread in threads:
            thread.join()
        assert errors == [] and len(counts) > 2
        assert [it.error for it in written] == [None] * 20
        assert find_moments(store, vector, Wanted(limit=1))[0].origin == origin_of("file:/hall/0.mp4", 0)
        assert store.count() == sum(it.moments for it in written) == 20 * (30 + 9)
