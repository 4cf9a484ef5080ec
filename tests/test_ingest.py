"""The stage `ingest`: frames, features and the ledger in one pass, through the command line."""

import os
import threading
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import contents
from pyspark.sql import SparkSession

from framewatch.cli.main import main
from framewatch.io.images import decode_image, resize
from framewatch.models.engines import make_predict_fn
from framewatch.models.resolve import resolve_network, resolve_spec
from framewatch.pipeline import video_batches
from framewatch.tables.frame_pictures import Pictures
from framewatch.tables.results import Results
from framewatch.tables.spark_tables import Tables
from framewatch.video.decoder import Decoding

SIZE = (640, 480)


def write_noise(path: Path, seconds: int, seed: int) -> None:
    """A video of smooth random pictures, other ones each second, whose features differ."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg2video", rate=10)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.codec_context.bit_rate = 4_000_000
        for _ in range(seconds):
            image = cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), SIZE, interpolation=cv2.INTER_CUBIC)
            for _ in range(10):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos of 3 and 5 s, and a file that is none."""
    directory = tmp_path_factory.mktemp("videos")
    write_noise(directory / "a.mpg", 3, seed=1)
    write_noise(directory / "b.mpg", 5, seed=2)
    (directory / "c.mpg").write_text("not a video")
    return directory


@pytest.fixture(scope="module")
def settings(videos: Path, model_file: Path) -> list[str]:
    return [
        f"videos.train={videos}", f"featurizer.model={model_file}", "featurizer.layer=late",
        "featurizer.precision=float32", "extract.max_failed_share=0.5", "extract.chunk_s=2",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def outputs(spark: SparkSession, settings: list[str], tmp_path_factory) -> dict[str, Path]:
    """Outputs by what they keep: of one pass, and `full` of two stages."""
    directory = tmp_path_factory.mktemp("outputs")
    for keep in ("thumbnails", "none"):
        command = [*settings, f"output={directory}/{keep}"]
        command += [] if keep == "thumbnails" else [f"frames.keep={keep}"]
        assert main(["ingest", "--debug", *command]) == 0
    for stage in ("extract", "featurize"):
        assert main([stage, "--debug", *settings, f"output={directory}/full"]) == 0
    return {keep: directory / keep for keep in ("thumbnails", "none", "full")}


def features_of(spark: SparkSession, output: Path) -> dict[tuple[str, int], np.ndarray]:
    rows = Tables(spark, str(output)).current("features").collect()
    assert all(row["error"] is None for row in rows)
    return {
        (row["video"].rpartition("/")[2], row["frame_index"]): np.array(row["features"], np.float32)
        for row in rows
    }


def cosines(one: dict, other: dict) -> list[float]:
    assert one.keys() == other.keys() and one
    return [
        float(one[key] @ other[key] / np.linalg.norm(one[key]) / np.linalg.norm(other[key])) for key in one
    ]


def test_features_are_those_of_the_decoded_pictures(spark, outputs, videos: Path, model_file: Path) -> None:
    network = resolve_network(str(model_file), None, pooling="avg", layer="late")
    predict_fn = make_predict_fn(resolve_spec(network, "area", precision="float32"))
    wanted = {
        (name, frame.index): predict_fn.run(resize(frame.image, predict_fn.input_size)[None])[0]
        for name in ("a.mpg", "b.mpg")
        for frame in Decoding(str(videos / name), fps=1.0, first=0, stop=None).samples()
    }
    found = features_of(spark, outputs["thumbnails"])
    assert len(found) == 8
    assert min(cosines(found, wanted)) > 0.9999
    assert min(cosines(features_of(spark, outputs["none"]), wanted)) > 0.9999
    # JPEG of quality 95 comes between in two stages.
    assert min(cosines(features_of(spark, outputs["full"]), wanted)) > 0.999


def test_the_tables_hold_what_two_stages_write_but_for_the_pictures(spark, outputs) -> None:
    rows = {
        keep: [
            {**row.asDict(), "origin": row["origin"].removeprefix(str(output))}
            for row in Tables(spark, str(output)).current("frames").orderBy("origin").collect()
        ]
        for keep, output in outputs.items()
    }
    pictures = {keep: [row.pop("content") for row in of_kind] for keep, of_kind in rows.items()}
    assert rows["thumbnails"] == rows["none"] == rows["full"]
    assert {(row["width"], row["height"]) for row in rows["full"]} == {SIZE}
    assert {decode_image(bytes(picture)).shape for picture in pictures["thumbnails"]} == {(240, 320, 3)}
    assert set(pictures["none"]) == {None}
    ledgers = [contents(spark, output)["videos"] for output in outputs.values()]
    assert ledgers[0] == ledgers[1] == ledgers[2]


@pytest.mark.parametrize(
    ("keep", "verb", "message"),
    [
        ("thumbnails", "featurize", "frames.keep=thumbnails, and featurize needs full pictures"),
        ("none", "quantize", "have frames.keep=none, and quantize needs full pictures"),
        ("thumbnails", "extract", "have frames.keep=thumbnails, and this run keeps full"),
        ("full", "ingest", "`ingest` keeps no full pictures; run `framewatch extract` and"),
        ("thumbnails", "ingest frames.keep=none", "have frames.keep=thumbnails, and this run keeps none"),
        ("full", "ingest frames.keep=none", "have frames.keep=full, and this run keeps none: one"),
        ("none", "ingest frames.write_images=true", "frames.keep=full in"),
        ("none", "ingest frames.keep=none frames.write_images=true", "write_images=true needs frames.keep"),
    ],
)  # fmt: skip
def test_one_table_holds_one_kind(outputs, settings, capsys, keep: str, verb: str, message: str) -> None:
    assert main([*verb.split(), *settings, f"output={outputs[keep]}"]) == 2
    assert message in capsys.readouterr().err


def test_nothing_is_read_twice_and_the_table_decides_what_is_kept(spark, outputs, settings, capsys) -> None:
    before = contents(spark, outputs["none"])
    assert main(["ingest", *settings, f"output={outputs['none']}"]) == 0
    printed = capsys.readouterr().out
    assert "ingest: nothing new: the ledger has all 3 videos (2 ok, 0 partial, 1 failed)" in printed
    assert contents(spark, outputs["none"]) == before


def test_pictures_that_are_not_kept_are_cut_from_the_video(outputs) -> None:
    results = Results.__new__(Results)  # nothing is ranked
    results.output = str(outputs["none"])
    pictures = Pictures(results)
    for path in (outputs["full"] / "frames").glob("batch=*/*.parquet"):
        for row in pq.read_table(path, partitioning=None).to_pylist():
            origin = row["origin"].replace(str(outputs["full"]), str(outputs["none"]))
            assert pictures.get(origin) == row["content"]
    assert cv2.imdecode(np.frombuffer(pictures.thumbnail(origin, 96), np.uint8), 1).shape == (72, 96, 3)


def test_a_retry_that_gives_fewer_frames_keeps_frames_and_features(
    spark, settings, tmp_path: Path, capsys
) -> None:
    video = tmp_path / "videos" / "a.mpg"
    write_noise(video, 8, seed=1)
    os.truncate(video, video.stat().st_size * 6 // 10)
    os.utime(video, (1e9, 1e9))
    command = [*settings, f"videos.train={tmp_path}/videos", f"output={tmp_path}/out"]
    assert main(["ingest", *command]) == 0
    before = contents(spark, tmp_path / "out", batches=False)
    whole, size = video.read_bytes(), video.stat().st_size
    video.write_bytes(whole[: size // 2] + bytes(size - size // 2))
    os.utime(video, (1e9, 1e9))
    capsys.readouterr()
    assert main(["ingest", *command, "extract.mode=retry"]) == 0
    assert "1 gave fewer frames than before, which are kept" in capsys.readouterr().out
    after = contents(spark, tmp_path / "out", batches=False)
    assert (after["frames"], after["features"]) == (before["frames"], before["features"])


def test_a_batch_that_hangs_keeps_only_itself_waiting(spark, settings, tmp_path: Path, monkeypatch) -> None:
    """Batch 0 ends when batch 2 is in the ledger, so it would wait for ever if batches were barriers."""
    stage_batch, committed = video_batches._stage_batch, threading.Event()
    write_ledger = Tables.write_ledger

    def stage(run, name, reading, batch, tag):
        if batch.number == 0:
            assert committed.wait(240), "the other batches wait for this one"
        return stage_batch(run, name, reading, batch, tag)

    def write(self, rows, batch):
        write_ledger(self, rows, batch)
        if batch == 2:
            committed.set()

    monkeypatch.setattr(video_batches, "_stage_batch", stage)
    monkeypatch.setattr(Tables, "write_ledger", write)
    command = [*settings, f"output={tmp_path}/out", "extract.videos_per_batch=1"]
    assert main(["ingest", "--debug", *command]) == 0
    rows = Tables(spark, f"{tmp_path}/out").ledger().orderBy("video").collect()
    assert [(row["batch"], row["status"]) for row in rows] == [(0, "ok"), (1, "ok"), (2, "failed")]


def test_pictures_that_are_too_large_get_no_features(spark, settings, tmp_path: Path, capsys) -> None:
    command = [*settings, f"output={tmp_path}/out", "images.max_pixels=1000"]
    assert main(["ingest", *command]) == 0
    assert "; 8 frames have no features (8 too large)" in capsys.readouterr().out
    assert Tables(spark, f"{tmp_path}/out").current("features").where("features is null").count() == 8
