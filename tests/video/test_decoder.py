"""Real files through the decoder: times, damage, and what is no video."""

import os
from pathlib import Path

import pytest

from framewatch.errors import VideoError
from framewatch.video.decoder import Decoding


@pytest.mark.parametrize(
    ("name", "codec", "fps"),
    [("a.mpg", "mpeg2video", 25), ("a.mp4", "libx264", 25), ("a.avi", "mpeg4", 10), ("a.mkv", "libx264", 30)],
)
def test_one_frame_a_second_at_its_true_time(
    tmp_path: Path, make_video, name: str, codec: str, fps: int
) -> None:
    decoding = Decoding(str(make_video(tmp_path / name, seconds=4, fps=fps, codec=codec)), fps=1)
    frames = list(decoding.samples())
    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    assert [frame.timestamp_s for frame in frames] == pytest.approx([0, 1, 2, 3], abs=0.5 / fps)
    # The pictures brighten with every frame, modulo 60: second k is frame k * fps.
    for k, frame in enumerate(frames):
        assert frame.image.shape == (64, 96, 3)
        assert frame.image.mean() == pytest.approx(90 + (k * fps) % 60, abs=6)
    assert decoding.duration_s == pytest.approx(4, abs=1.5 / fps)
    assert decoding.num_damaged == 0


def test_shorter_than_a_second_gives_one_frame(tmp_path: Path, make_video) -> None:
    frames = list(
        Decoding(str(make_video(tmp_path / "short.mp4", seconds=0.3, codec="libx264")), fps=1).samples()
    )
    assert [(frame.index, frame.timestamp_s) for frame in frames] == [(0, 0.0)]


def test_more_than_one_frame_a_second(tmp_path: Path, make_video) -> None:
    frames = list(Decoding(str(make_video(tmp_path / "a.mp4", seconds=2, codec="libx264")), fps=5).samples())
    assert [frame.timestamp_s for frame in frames] == pytest.approx([k / 5 for k in range(10)], abs=1e-3)


def test_damage_is_passed_over_and_told(tmp_path: Path, make_video) -> None:
    path = make_video(tmp_path / "damaged.mpg", seconds=20, fps=25, size=(192, 128))
    data = bytearray(path.read_bytes())
    for position in range(4000, len(data) - 4000, 700):
        data[position] ^= 0xFF
    path.write_bytes(data)
    decoding = Decoding(str(path), fps=1)
    frames = list(decoding.samples())
    assert len(frames) >= 15
    assert decoding.duration_s > 15
    assert decoding.num_damaged > 0


def test_truncated_file_tells_what_is_missing(tmp_path: Path, make_video) -> None:
    path = make_video(tmp_path / "cut.avi", seconds=20, fps=10, codec="mpeg4", size=(192, 128))
    os.truncate(path, path.stat().st_size * 6 // 10)
    decoding = Decoding(str(path), fps=1)
    frames = list(decoding.samples())
    assert 3 <= len(frames) < 20
    assert decoding.info.duration_s - decoding.duration_s > 1


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.write_bytes(b""), "empty"),
        (lambda path: path.write_text("no video at all\n" * 100), "not a video"),
        (lambda path: path.mkdir(), "directory"),
        (lambda path: None, "No such file"),
    ],
)
def test_what_is_no_video_says_why(tmp_path: Path, make, reason: str) -> None:
    path = tmp_path / "x.mp4"
    make(path)
    with pytest.raises(VideoError, match=reason):
        list(Decoding(str(path), fps=1).samples())


def test_a_file_that_is_cut_while_it_is_read(tmp_path: Path, make_video) -> None:
    path = make_video(tmp_path / "a.mkv", seconds=60, fps=2, codec="rawvideo", size=(320, 240))
    decoding = Decoding(str(path), fps=1)
    samples = decoding.samples()
    first = next(samples)
    os.truncate(path, path.stat().st_size // 2)
    rest = list(samples)
    assert first.index == 0
    assert 0 < len(rest) < 58
    assert decoding.info.duration_s - decoding.duration_s > 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_without_permission_says_so(tmp_path: Path, make_video) -> None:
    path = make_video(tmp_path / "a.mp4", codec="libx264")
    path.chmod(0)
    with pytest.raises(VideoError, match="the file cannot be read: Permission denied"):
        Decoding(str(path), fps=1)
