"""Bursts from videos to the ranking: what changes and moves, the classifier that uses them, refusals."""

from pathlib import Path

import av
import cv2
import numpy as np
import pyarrow.dataset as ds
import pytest

from framewatch.cli.main import main
from framewatch.io.images import resize
from framewatch.models.feature_maps import change, make_maps_fn
from framewatch.models.resolve import resolve_network, resolve_spec
from framewatch.tables import saved_model
from framewatch.video.decoder import Decoding
from framewatch.video.motion import MOTION_FIELDS, burst_motion

WIDTH, HEIGHT, SECONDS, RATE = 192, 144, 12, 10
# In each video, a block moves in these seconds, to and fro; in the others it stands.
MOVES = range(4, 8)
BURST = ["sampling.burst=4", "sampling.burst_step_s=0.2"]


def film(path: Path, seed: int) -> None:
    """A block on noise; another ground in each video, and another place in each second."""
    random = np.random.default_rng(seed)
    ground = cv2.resize(random.integers(0, 256, (9, 12, 3), np.uint8), (WIDTH, HEIGHT))
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.bit_rate = 4_000_000
        for second in range(SECONDS):
            x, y = random.integers(10, WIDTH - 60), random.integers(10, HEIGHT - 40)
            for number in range(RATE):
                image = ground.copy()
                left = x + (12 * (number % 4 // 2) if second in MOVES else 0)
                image[y : y + 30, left : left + 40] = (220, 40, 40)
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("moving")
    for number in range(8):
        film(root / "videos" / f"camera{number}.avi", seed=number)
    lines = ["video,start_s,end_s,label"]
    for number in range(6):
        for begin, end, label in ((0, 4, 0), (4, 8, "moving"), (8, 12, 0)):
            lines.append(f"camera{number}.avi,{begin},{end},{label}")
    (root / "labels.csv").write_text("\n".join(lines))
    return root


@pytest.fixture(scope="module")
def settings(spark, videos: Path, model_file: Path) -> list[str]:
    return [
        f"videos.train={videos}/videos", f"labels.train={videos}/labels.csv",
        f"featurizer.model={model_file}", "featurizer.layer=late",
        "featurizer.precision=float32", "catalog.enabled=false", "ranking.show=0",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def output(settings: list[str], videos: Path) -> Path:
    path = videos / "out"
    command = ["run", "--debug", *settings, *BURST, "classifier.features=auto", f"output={path}"]
    assert main(command) == 0
    return path


def features(output: Path) -> list[dict]:
    rows = ds.dataset(output / "features", partitioning="hive").to_table().to_pylist()
    return sorted(rows, key=lambda row: (row["video"], row["frame_index"]))


def test_change_and_motion_are_those_of_the_decoded_bursts(
    output: Path, videos: Path, model_file: Path
) -> None:
    network = resolve_network(str(model_file), None, pooling="avg", layer="late")
    spec = resolve_spec(network, "area", precision="float32")
    maps_fn = make_maps_fn(spec)
    rows = [row for row in features(output) if row["video"].endswith("camera3.avi")]
    frames = list(Decoding(str(videos / "videos" / "camera3.avi"), 1, burst=4, burst_step_s=0.2).samples())
    assert len(rows) == len(frames) == SECONDS
    for row, frame in zip(rows, frames, strict=True):
        pictures = [frame.image, *(image for _, image in frame.followers)]
        assert len(pictures) == 4
        of_stills, maps = maps_fn.run(np.stack([resize(p, maps_fn.input_size) for p in pictures]))
        np.testing.assert_allclose(row["features"], of_stills[0], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(row["change"], change(maps), rtol=1e-2, atol=1e-3)
        times_s = [frame.timestamp_s, *(time_s for time_s, _ in frame.followers)]
        np.testing.assert_allclose(row["motion"], burst_motion(pictures, times_s), rtol=1e-3, atol=1e-5)


def test_what_moves_is_ranked_first_though_stills_do_not_show_it(output: Path, capsys) -> None:
    saved = saved_model.require_model(f"{output}/model")
    used = saved.notes["blocks"]
    assert set(used["weights"]) & {"change", "motion"}
    by_blocks = {tuple(row["blocks"]): row["roc_auc"] for row in used["compared"]}
    assert by_blocks["motion",] > 0.9 > by_blocks["still",]
    assert saved.notes["cross_validation"]["roc_auc"] > 0.9
    assert "## Blocks of features" in (output / "model" / "model_card.md").read_text()
    ranked = ds.dataset(output / "predictions").to_table().sort_by("rank").to_pylist()
    unseen = [row for row in ranked if row["video"].endswith(("camera6.avi", "camera7.avi"))]
    assert {int(row["timestamp_s"]) for row in unseen[:6]} <= set(MOVES)
    # The only kind of event takes the same numbers.
    (kind,) = saved.notes["kinds"]["kinds"]
    assert kind["kind"] == "moving" and kind["roc_auc"] > 0.9
    assert set(ds.dataset(output / "incidents").to_table()["kind"].to_pylist()) == {"moving"}
    # The review page learns from the same numbers.
    length = sum(used["lengths"].values())
    for table in (output / "candidates", Path(saved.labelled_path)):
        assert {len(row) for row in ds.dataset(table).to_table()["features"].to_pylist()} == {length}


def test_weak_labels_find_what_moves(output: Path, settings, videos: Path, tmp_path: Path) -> None:
    """The frames around points are resolved with all blocks side by side."""
    lines = ["video,second,label"]
    for number in range(6):
        lines += [f"camera{number}.avi,{second},{label}" for second, label in ((1, 0), (5.5, 1), (10, 0))]
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    changed = [f"labels.train={tmp_path}/labels.csv", f"classifier.path={tmp_path}/model"]
    assert main(["train", *settings, *changed, f"output={output}", "classifier.features=auto"]) == 0
    saved = saved_model.require_model(f"{tmp_path}/model")
    assert set(saved.notes["blocks"]["weights"]) & {"change", "motion"}
    assert saved.notes["cross_validation"]["roc_auc"] > 0.9
    assert saved.notes["cross_validation"]["frames"] == 18
    rows = ds.dataset(saved.labelled_path).to_table().to_pylist()
    assert {len(row["features"]) for row in rows} == {sum(saved.notes["blocks"]["lengths"].values())}


def test_the_same_frames_without_bursts_are_the_same(output: Path, settings, videos: Path, capsys) -> None:
    path = videos / "stills"
    assert main(["ingest", "--debug", *settings, f"output={path}"]) == 0
    stills = features(path)
    assert all(row["change"] is None and row["motion"] is None for row in stills)
    for row, other in zip(stills, features(output), strict=True):
        assert row["timestamp_s"] == other["timestamp_s"]
        np.testing.assert_allclose(row["features"], other["features"], rtol=1e-3, atol=1e-4)
    capsys.readouterr()
    refusals = {
        ("rank", f"classifier.path={output}/model"): "uses bursts of 4 pictures every 0.2 s",
        ("train", "classifier.features=motion"): "needs bursts, and the frames in",
        ("ingest", *BURST): "one table holds one sampling",
    }
    refusals["run", f"classifier.path={output}/model", "labels.train=null"] = "every 0.2 s, and those in"
    for (verb, *more), message in refusals.items():
        assert main([verb, *settings, f"output={path}", *more]) == 2
        assert message in capsys.readouterr().err
    assert main(["train", *settings, f"output={path}", "classifier.features=auto"]) == 0
    assert saved_model.require_model(f"{path}/model").notes["blocks"] is None


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            ["sampling.burst=9", "sampling.burst_step_s=0.2"],
            "a burst of 1.6 s must end before the next sample",
        ),
        (["sampling.burst=3", "sampling.mode=keyframes"], "decodes no pictures between keyframes"),
        (["sampling.burst=0"], "give 2 to 100 pictures, or 1 for none"),
        (["sampling.burst=3", "frames.keep=full"], "bursts are decoded and featurized in one pass"),
        (["classifier.features=still,flow"], "give some of still, change, motion"),
        (["classifier.features=still,still"], "give some of still, change, motion"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, tmp_path: Path, capsys, wanted, message: str) -> None:
    assert main(["run", *settings, *wanted, f"output={tmp_path}/out"]) == 2
    assert message in capsys.readouterr().err


def described(pictures: list[np.ndarray], step_s: float = 0.2) -> dict[str, float]:
    times_s = [number * step_s for number in range(len(pictures))]
    return dict(zip(MOTION_FIELDS, burst_motion(pictures, times_s).tolist(), strict=True))


def pattern(shift: int, *, block: int | None = None) -> np.ndarray:
    """A picture of 320 x 240, shifted to the right; and a block of a quarter of its width and height."""
    random = np.random.default_rng(5)
    ground = cv2.resize(
        random.integers(0, 256, (30, 60, 3), np.uint8), (640, 240), interpolation=cv2.INTER_CUBIC
    )
    image = ground[:, 160 - shift : 480 - shift].copy()
    if block is not None:
        texture = cv2.resize(random.integers(0, 256, (12, 16, 3), np.uint8), (80, 60))
        image[90:150, 60 + block : 140 + block] = texture
    return image


def test_motion_of_the_camera_is_taken_off() -> None:
    found = described([pattern(0), pattern(8), pattern(16)])
    assert found["camera_speed"] == pytest.approx(8 / 320 / 0.2, rel=0.1)
    assert found["speed_p90"] < 0.02
    assert found["moving"] < 0.05


def test_motion_of_a_block_has_its_speed_area_and_direction() -> None:
    found = described([pattern(0, block=0), pattern(0, block=8), pattern(0, block=16)])
    assert found["camera_speed"] < 0.01
    assert found["blob_1"] == pytest.approx(1 / 16, rel=0.5)
    assert found["blobs"] == 1
    assert found["speed_p99"] == pytest.approx(8 / 320 / 0.2, rel=0.3)
    assert found["direction_1"] > 0.6
    still = described([pattern(0, block=0)] * 3)
    assert still["speed_max"] < 0.01 and still["difference_mean"] == 0
