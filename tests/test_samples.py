"""The sample clips: what the script promises, and what is in the files."""

import hashlib
import itertools
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from framewatch import samples
from framewatch.errors import InputError
from framewatch.samples import (
    DEFAULT_SEED,
    Clip,
    LabelRange,
    draw_samples,
    frames,
    labels_csv,
    script,
)
from framewatch.samples.camera import FPS, HEIGHT, WIDTH, Camera
from framewatch.samples.poses import GESTURES
from framewatch.samples.script import SHORTEST_LABEL_S, Bag, Stay, Step
from framewatch.samples.script import Path as Way
from framewatch.samples.skeleton import JOINTS, skeleton

LABELS = Path(__file__).parents[1] / "data" / "labels"
SEEDS = (DEFAULT_SEED, 1, 2, 3)


def short(clip: Clip, duration_s: float) -> Clip:
    """The beginning of a clip, without its labels."""
    return replace(clip, duration_s=duration_s, suspicious=(), unclear=())


def named(stem: str, seed: int = DEFAULT_SEED) -> Clip:
    return next(clip for clip in script(seed) if Path(clip.file_name).stem == stem)


def digest(clip: Clip, count: int = 8) -> str:
    pictures = itertools.islice(frames(clip), count)
    return hashlib.sha256(b"".join(picture.tobytes() for picture in pictures)).hexdigest()


def read_all(video: cv2.VideoCapture) -> list[np.ndarray]:
    pictures = []
    while (answer := video.read())[0]:
        pictures.append(answer[1])
    return pictures


@pytest.fixture
def two_clips(monkeypatch: pytest.MonkeyPatch) -> list[Clip]:
    """A set of one clip of each format, cut to a few seconds, in place of the whole set."""
    pair = [short(named("Walk1"), 2.0), short(replace(named("Meet4"), split="test"), 3.0)]
    monkeypatch.setattr("framewatch.samples.write.script", lambda seed: tuple(pair))
    return pair


@pytest.mark.parametrize("seed", SEEDS)
def test_the_labels_cover_each_clip_once(seed):
    for clip in script(seed):
        rows = clip.labels
        assert rows[0].start_s == 0 and rows[-1].end_s <= clip.duration_s
        for before, after in itertools.pairwise(rows):
            assert 0 <= after.start_s - before.end_s <= 1.0 + 1e-9
        assert clip.duration_s - rows[-1].end_s <= 1.0 + SHORTEST_LABEL_S
        assert [(row.start_s, row.end_s) for row in rows if row.label == 1] == list(clip.suspicious)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_set_keeps_its_promises(seed):
    clips = script(seed)
    stems = [Path(clip.file_name).stem for clip in clips]
    assert len(set(stems)) == len(stems)
    assert sum(clip.duration_s for clip in clips) <= 640
    assert all(20 <= clip.duration_s <= 60 for clip in clips)
    for split, fewest in (("train", 8), ("test", 6)):
        own = [clip for clip in clips if clip.split == split]
        assert len(own) >= fewest
        for shady in (True, False):
            assert {Path(clip.file_name).suffix for clip in own if bool(clip.suspicious) == shady} == {
                ".mpg",
                ".mp4",
            }
        seconds = sum(end_s - start_s for clip in own for start_s, end_s in clip.suspicious)
        assert 0.2 <= seconds / sum(clip.duration_s for clip in own) <= 0.35


def test_suspicious_clips_begin_normally():
    assert all(clip.labels[0].label == 0 and clip.labels[0].end_s >= 4 for clip in script(DEFAULT_SEED))


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_committed_labels_are_those_of_the_script(split):
    assert (LABELS / f"samples_{split}.csv").read_text() == labels_csv(script(DEFAULT_SEED), split)


def test_the_same_seed_draws_the_same_pictures():
    clip = named("Fight1")
    assert digest(clip) == digest(named("Fight1"))
    assert digest(clip) != digest(named("Fight1", seed=DEFAULT_SEED + 1))


def test_pictures_are_frames_of_cctv():
    pictures = list(frames(short(named("Walk2"), 1.0)))
    assert len(pictures) == FPS
    assert all(picture.shape == (HEIGHT, WIDTH, 3) and picture.dtype == np.uint8 for picture in pictures)
    # Noise and people move, the room does not.
    change = np.abs(pictures[0].astype(int) - pictures[-1]).mean()
    assert 0.5 < change < 12


def test_a_collapsed_person_lies_on_the_floor():
    t = np.array([0.0, 5.0])
    lying = skeleton(GESTURES["lie"](t, t / 10, 1.0), 1.75)
    standing = skeleton(GESTURES["stand"](t, t / 10, 1.0), 1.75)
    assert lying.shape == (2, len(JOINTS), 3)
    assert lying[..., 2].max() < 0.6 < 1.6 < standing[..., 2].max()


def test_limbs_keep_their_length():
    t = np.linspace(0, 3, 40)
    for gesture in GESTURES.values():
        body = skeleton(gesture(t, t / 3, 0.7), 1.75)
        thigh = body[:, JOINTS.index("knee_l")] - body[:, JOINTS.index("hip_l")]
        assert np.linalg.norm(thigh, axis=1) == pytest.approx(0.43)


def test_the_camera_sees_what_it_projects():
    camera = Camera()
    pixels, scale = camera.project(np.array([(0.0, 5.0, 0.0), (0.0, 9.0, 0.0), (1.0, 5.0, 0.0)]))
    assert pixels[0, 0] == WIDTH / 2 and 0 < pixels[1, 1] < pixels[0, 1] < HEIGHT
    assert pixels[2, 0] - pixels[0, 0] == pytest.approx(scale[0])
    row, column = int(pixels[0, 1]), WIDTH // 2
    x, y, z = camera.rays(1)[row, column]
    assert camera.height_m / -z * y == pytest.approx(5.0, abs=0.05)
    assert abs(x) < 0.01


def test_draws_videos_that_opencv_reads(tmp_path, two_clips):
    seen = []
    clips = draw_samples(
        tmp_path, workers=1, on_clip=lambda clip, done, total: seen.append((clip.file_name, done, total))
    )
    assert clips == two_clips
    assert seen == [(clip.file_name, number, 2) for number, clip in enumerate(clips, start=1)]
    for clip, codecs in zip(clips, (("mpg1", "mpg2", "mpeg"), ("h264", "avc1")), strict=True):
        video = cv2.VideoCapture(str(tmp_path / clip.split / clip.file_name))
        fourcc = int(video.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode().lower()
        assert fourcc in codecs
        assert video.get(cv2.CAP_PROP_FPS) == FPS
        decoded = read_all(video)
        assert len(decoded) == clip.duration_s * FPS
        drawn = next(iter(frames(clip)))
        assert decoded[0].shape == (HEIGHT, WIDTH, 3)
        assert np.abs(decoded[0].astype(int) - drawn).mean() < 6
        assert (tmp_path / f"labels_{clip.split}.csv").read_text() == labels_csv(clips, clip.split)


def test_draws_nothing_twice(tmp_path, two_clips):
    draw_samples(tmp_path, workers=1)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert not [path for path in before if path.name.startswith(".")]
    seen = []
    assert draw_samples(tmp_path, workers=1, on_clip=lambda *args: seen.append(args)) == two_clips
    assert not seen
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_draws_again_what_is_damaged_or_of_another_seed(tmp_path, two_clips):
    draw_samples(tmp_path, workers=1)
    video = tmp_path / "train" / two_clips[0].file_name
    whole = video.stat().st_size
    video.write_bytes(b"cut")
    draw_samples(tmp_path, workers=1)
    assert video.stat().st_size == whole
    draw_samples(tmp_path, seed=DEFAULT_SEED + 1, workers=1)
    assert json.loads((tmp_path / "samples.json").read_text())["seed"] == DEFAULT_SEED + 1


def test_processes_draw_the_same_files(tmp_path, two_clips):
    draw_samples(tmp_path / "one", workers=1)
    draw_samples(tmp_path / "two", workers=2)
    for clip in two_clips:
        one, two = (tmp_path / name / clip.split / clip.file_name for name in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()


def test_says_what_is_wrong_with_the_directory(tmp_path, two_clips):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"cannot write samples to .*file"):
        draw_samples(tmp_path / "file", workers=1)
    with pytest.raises(InputError, match="workers must be at least 1, got 0"):
        draw_samples(tmp_path, workers=0)


def test_values_check_themselves():
    clip = named("Walk1")
    with pytest.raises(ValueError, match=r"must end in \.mpg or \.mp4"):
        replace(clip, file_name="Walk1.avi")
    with pytest.raises(ValueError, match="overlaps or leaves"):
        replace(clip, suspicious=((3.0, 9.0), (8.0, 12.0)))
    with pytest.raises(ValueError, match="overlaps or leaves"):
        replace(clip, suspicious=((3.0, clip.duration_s + 1),))
    with pytest.raises(ValueError, match="gesture must be"):
        Step("fly", 0, 1, (0, 0), (0, 0))
    with pytest.raises(ValueError, match="must begin with an actor"):
        Bag((0, 0, 0), (Stay(0, 1, actor=None),))
    with pytest.raises(ValueError, match="0 or 1"):
        LabelRange("Walk1.mpg", 0, 1, 2)
    with pytest.raises(ValueError, match="without a gap"):
        replace(clip.actors[0], steps=(clip.actors[0].steps[0], clip.actors[0].steps[0]))


def test_a_way_writes_steps_without_gaps():
    way = Way((0, 5)).walk((2.5, 5), speed=1.25).do("talk", 3).until(9, "stand")
    assert [(step.gesture, step.start_s, step.end_s) for step in way.steps()] == [
        ("walk", 0, 2.0),
        ("talk", 2.0, 5.0),
        ("stand", 5.0, 9.0),
    ]
    assert all(name in dir(samples) for name in samples.__all__)
