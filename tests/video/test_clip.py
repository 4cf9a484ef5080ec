"""Clips of real files, decoded again: every picture at its time, whatever the source is."""

import itertools
import os
import signal
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import fsspec
import numpy as np
import pytest
from numbered import GOP, encode, h264, read_number
from test_golden import shifted
from test_picture import assert_like, corners, write

from framewatch.errors import InputError, VideoError
from framewatch.video.clip_writer import ClipSettings, cut_clip, cut_clip_in_child
from framewatch.video.decoder import Decoding
from framewatch.video.stream import Stream

# file name, encoder, its options, frames a second
KINDS = [
    ("mpeg2.mpg", "mpeg2video", {"bf": "2"}, Fraction(25)),
    ("mpeg2.ts", "mpeg2video", {"bf": "2"}, Fraction(30000, 1001)),
    ("mjpeg.avi", "mjpeg", {}, Fraction(10)),
    ("mpeg4.avi", "mpeg4", {}, Fraction(10)),
    ("h264.mp4", "libx264", {"bf": "3"}, Fraction(30000, 1001)),
    ("open.mkv", "libx264", {"bf": "3", "x264-params": "open-gop=1"}, Fraction(25)),
    ("hevc.mkv", "libx265", {}, Fraction(15)),
    ("interlaced.ts", "libx264", {"x264-params": "interlaced=1:bframes=2", "bf": "2"}, Fraction(25)),
    ("b-frames.avi", "mpeg4", {"bf": "2"}, Fraction(10)),
    ("one-keyframe.mp4", "libx264", {"g": "9999", "bf": "2"}, Fraction(25)),
]
SECONDS = 6


@dataclass(frozen=True)
class Played:
    """A clip as a player sees it: its frames, and for how many seconds it lasts."""

    times_s: list[float]
    images: list[np.ndarray]
    keyframes_s: list[float]
    duration_s: float

    @property
    def numbers(self) -> list[int]:
        return [read_number(image) for image in self.images]


def play(path: Path) -> Played:
    """Decodes a clip, having checked that a browser can play and seek it."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        codec = stream.codec_context
        assert (codec.name, codec.pix_fmt, codec.profile) == ("h264", "yuv420p", "High")
        assert (codec.width % 2, codec.height % 2, stream.start_time) == (0, 0, 0)
        duration_s = float(stream.duration * stream.time_base)
        frames = list(container.decode(stream))
    data = path.read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")
    times_s = [float(frame.time) for frame in frames]
    keyframes_s = [frame.time for frame in frames if frame.key_frame]
    assert times_s[0] == keyframes_s[0] == 0
    for time_s, next_s in itertools.pairwise([*keyframes_s, duration_s]):
        within = [t for t in times_s if time_s < t < next_s]
        assert next_s - time_s < 1.0001 or not within  # farther apart only where there is no frame
    images = [frame.to_ndarray(format="bgr24") for frame in frames]
    return Played(times_s, images, keyframes_s, duration_s)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One file of each kind, whose pictures show their own numbers."""
    root = tmp_path_factory.mktemp("videos")
    return {
        name: encode(root / name, codec, options, rate, num_frames=int(SECONDS * rate))
        for name, codec, options, rate in KINDS
    }


@pytest.mark.parametrize(("start_s", "end_s"), [(0, 1.5), (2.21, 4), (4.5, 60)])
@pytest.mark.parametrize(("name", "rate"), [(name, rate) for name, _, _, rate in KINDS])
def test_every_picture_is_shown_at_its_time(
    videos, tmp_path: Path, name: str, rate: Fraction, start_s: float, end_s: float
) -> None:
    target = tmp_path / "clip.mp4"
    begin_s = cut_clip(str(videos[name]), target, start_s=start_s, end_s=end_s)
    clip = play(target)
    assert begin_s == start_s
    for time_s, number in zip(clip.times_s, clip.numbers, strict=True):
        if time_s > 0:
            assert begin_s + time_s == pytest.approx(number / rate, abs=2e-3)
    first = float(clip.numbers[0] / rate)
    assert begin_s - float(1 / rate) < first <= begin_s + 1e-3
    assert len(clip.times_s) == pytest.approx((min(end_s, SECONDS) - start_s) * rate, abs=1)
    assert clip.duration_s == pytest.approx(min(end_s, SECONDS) - start_s, abs=float(1 / rate))
    if end_s < SECONDS:
        assert clip.duration_s == pytest.approx(end_s - start_s, abs=1e-4)


@pytest.mark.parametrize("name", [name for name, *_ in KINDS])
def test_a_clip_from_a_sample_begins_with_its_picture(videos, tmp_path: Path, name: str) -> None:
    target = tmp_path / "clip.mp4"
    for sample in list(Decoding(str(videos[name]), fps=0.7).samples())[1:4]:
        start_s = sample.timestamp_s
        assert cut_clip(str(videos[name]), target, start_s=start_s, end_s=start_s + 0.5) == start_s
        assert_like(play(target).images[0], sample.image)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mpg", "mpeg2video"), ("a.avi", "mjpeg"), ("a.mp4", "libx264"), ("a.mkv", "ffv1")]
)
def test_pictures_brighten_as_in_the_source(tmp_path: Path, make_video, name: str, codec: str) -> None:
    pix_fmt = {"mjpeg": "yuvj420p"}.get(codec)
    if pix_fmt:
        gray = np.full((64, 96, 3), 90, np.uint8)
        source = write(tmp_path / name, gray, codec, pix_fmt)
        shades = [90.0] * 10
    else:
        source = make_video(tmp_path / name, seconds=3, codec=codec)
        shades = [90.0 + number for number in range(30)]
    cut_clip(str(source), tmp_path / "clip.mp4", start_s=0.5, end_s=0.95)
    clip = play(tmp_path / "clip.mp4")
    assert clip.times_s == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert [image.mean() for image in clip.images] == pytest.approx(shades[5:10], abs=3)


# Dense at first, then a frame every 0.7 s, then a gap of ten seconds, and one more second of frames.
VARIABLE = (
    [n / 30 for n in range(90)] + [3 + 0.7 * n for n in range(10)] + [20.25 + n / 20 for n in range(20)]
)


@pytest.fixture(scope="module")
def variable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("variable") / "vfr.mkv"
    rate, num_frames = Fraction(30), len(VARIABLE)
    return encode(path, "libx264", {"bf": "2"}, rate, num_frames=num_frames, times=VARIABLE)


@pytest.mark.parametrize(
    ("start_s", "end_s"), [(1, 4), (2.5, 9.5), (5, 6), (8, 19), (14, 16), (15, 20.6), (20.9, 21.1)]
)
def test_rates_that_vary_stay(variable: Path, tmp_path: Path, start_s: float, end_s: float) -> None:
    """What is shown at the start may have begun seconds before."""
    begin_s = cut_clip(str(variable), tmp_path / "clip.mp4", start_s=start_s, end_s=end_s)
    clip = play(tmp_path / "clip.mp4")
    at_start = max(n for n, time_s in enumerate(VARIABLE) if time_s <= start_s + 1e-3)
    shown = [n for n, time_s in enumerate(VARIABLE) if n >= at_start and time_s < end_s - 1e-3]
    assert begin_s == start_s
    assert clip.numbers == shown
    assert clip.times_s == pytest.approx([max(0, VARIABLE[n] - start_s) for n in shown], abs=2e-3)
    assert clip.duration_s == pytest.approx(end_s - start_s, abs=1e-4)


@pytest.mark.parametrize("name", ["slow.avi", "slow.mp4"])
def test_a_frame_every_five_seconds(tmp_path: Path, name: str) -> None:
    codec = "mpeg4" if name.endswith("avi") else "libx264"
    source = encode(tmp_path / name, codec, {}, Fraction(1, 5), num_frames=8)
    for start_s, end_s, numbers in [(11, 14, [2]), (13, 26, [2, 3, 4, 5]), (36, 99, [7])]:
        assert cut_clip(str(source), tmp_path / "clip.mp4", start_s=start_s, end_s=end_s) == start_s
        clip = play(tmp_path / "clip.mp4")
        assert clip.numbers == numbers
        assert clip.times_s == [0, *(5 * n - start_s for n in numbers[1:])]
        assert clip.duration_s == pytest.approx(min(end_s, 40) - start_s, abs=1e-3)


@pytest.mark.parametrize("name", ["mpeg2.ts", "h264.mp4"])
def test_start_times_that_are_not_zero(videos, tmp_path: Path, name: str) -> None:
    moved = shifted(videos[name], tmp_path / name, 33.4)
    clips = []
    for source in (videos[name], moved):
        assert cut_clip(str(source), tmp_path / "clip.mp4", start_s=3.1, end_s=4.7) == 3.1
        clips.append(play(tmp_path / "clip.mp4"))
    assert clips[0].numbers == clips[1].numbers
    assert clips[0].times_s == pytest.approx(clips[1].times_s, abs=2e-3)


def test_time_begins_behind_what_an_edit_list_cuts_off(videos, tmp_path: Path) -> None:
    source = shifted(videos["h264.mp4"], tmp_path / "edited.mp4", -2.52)
    cut = read_number(next(iter(list(Decoding(str(source), 1).samples()))).image)
    assert cut > 70
    cut_clip(str(source), tmp_path / "clip.mp4", start_s=1, end_s=3)
    clip = play(tmp_path / "clip.mp4")
    rate = 30000 / 1001
    assert [number - cut for number in clip.numbers[1:]] == pytest.approx(
        [(1 + time_s) * rate for time_s in clip.times_s[1:]], abs=0.1
    )


def test_rotation_is_applied(tmp_path: Path) -> None:
    image = corners(96, 160)
    source = write(tmp_path / "turned.mp4", image, rotation=90)
    cut_clip(str(source), tmp_path / "clip.mp4", start_s=0, end_s=1)
    shown = play(tmp_path / "clip.mp4").images[0]
    assert_like(shown, np.rot90(image, k=1))
    assert np.abs(shown[100:150, 8:40].astype(float) - np.rot90(image)[100:150, 8:40]).mean() < 12  # blue


def test_pixels_become_square(tmp_path: Path) -> None:
    source = write(tmp_path / "wide.mp4", corners(96, 160), sample_aspect_ratio=Fraction(3, 2))
    cut_clip(str(source), tmp_path / "clip.mp4", start_s=0, end_s=1)
    with av.open(str(tmp_path / "clip.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (240, 96)
        assert stream.sample_aspect_ratio in (None, 0, 1)


@pytest.mark.parametrize(("height", "width"), [(97, 161), (50, 63), (1, 9)])
def test_odd_sizes_grow_by_a_line(tmp_path: Path, height: int, width: int) -> None:
    image = corners(max(height, 2), width)[:height]
    source = write(tmp_path / "odd.mkv", image, "ffv1", "yuv444p")
    cut_clip(str(source), tmp_path / "clip.mp4", start_s=0, end_s=1, settings=ClipSettings(crf=5))
    shown = play(tmp_path / "clip.mp4").images[0]
    assert shown.shape == (height + height % 2, width + width % 2, 3)
    assert_like(np.ascontiguousarray(shown[:height, :width]), image, least=0.95)


def test_large_pictures_are_scaled_down_and_fast_ones_thinned_out(tmp_path: Path, make_video) -> None:
    source = make_video(tmp_path / "a.mkv", seconds=2, fps=60, codec="ffv1", size=(321, 200))
    settings = ClipSettings(max_side=101, max_fps=20, crf=18)
    cut_clip(str(source), tmp_path / "clip.mp4", start_s=0.5, end_s=1.5, settings=settings)
    clip = play(tmp_path / "clip.mp4")
    assert clip.images[0].shape == (62, 100, 3)
    assert clip.times_s == pytest.approx([n / 20 for n in range(20)], abs=2e-3)
    shades = [90 + (30 + 3 * n) % 60 for n in range(20)]
    assert [image.mean() for image in clip.images] == pytest.approx(shades, abs=3)
    assert clip.duration_s == pytest.approx(1, abs=1e-4)


def test_a_video_whose_size_changes(tmp_path: Path, make_video) -> None:
    """Recordings put end to end, as DVRs do. FFmpeg loses a frame where the size changes."""
    small = make_video(tmp_path / "small.ts", seconds=2, fps=25)
    large = make_video(tmp_path / "large.ts", seconds=2, fps=25, size=(192, 96))
    (tmp_path / "both.ts").write_bytes(small.read_bytes() + large.read_bytes())
    cut_clip(str(tmp_path / "both.ts"), tmp_path / "clip.mp4", start_s=1, end_s=3)
    clip = play(tmp_path / "clip.mp4")
    assert {image.shape for image in clip.images} == {(64, 96, 3)}
    shades = [*range(90 + 25, 90 + 49), *range(90, 90 + 26)]
    assert [image.mean() for image in clip.images] == pytest.approx(shades, abs=4)


def test_damage_is_passed_over(videos, tmp_path: Path) -> None:
    data = bytearray(videos["mpeg2.ts"].read_bytes())
    for place in np.random.default_rng(3).integers(len(data) // 20, len(data) * 19 // 20, 25):
        data[place] ^= 0xFF
    (tmp_path / "damaged.ts").write_bytes(data)
    for start_s in range(1, 5):
        begin_s = cut_clip(
            str(tmp_path / "damaged.ts"), tmp_path / "clip.mp4", start_s=start_s, end_s=start_s + 2
        )
        clip = play(tmp_path / "clip.mp4")
        assert begin_s == pytest.approx(start_s, abs=0.5)
        assert len(clip.times_s) > 30
        assert begin_s + clip.duration_s == pytest.approx(min(start_s + 2, SECONDS), abs=0.1)


@pytest.mark.parametrize("name", ["long.mp4", "long.ts"])
def test_the_beginning_of_a_long_video_is_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """It is sought past, or read through where the container has no index."""
    source = encode(tmp_path / name, "libx264", {"bf": "2"}, Fraction(25), num_frames=300)
    decoded = []
    frames_of = Stream.frames

    def counted(self, packets, **kwargs):
        for frame in frames_of(self, packets, **kwargs):
            decoded.append(frame.pts)
            yield frame

    monkeypatch.setattr(Stream, "frames", counted)
    cut_clip(str(source), tmp_path / "clip.mp4", start_s=10.5, end_s=12)
    assert play(tmp_path / "clip.mp4").numbers == list(range(262, 300))
    assert 38 <= len(decoded) <= 38 + 2 * GOP


def test_sources_are_read_as_the_tables_name_them(videos, tmp_path: Path) -> None:
    fsspec.filesystem("memory").pipe("/cameras/a.mp4", videos["h264.mp4"].read_bytes())
    uris = ["memory://cameras/a.mp4", f"file:{videos['h264.mp4']}", f"file://{videos['h264.mp4']}"]
    for uri in uris:
        cut_clip(uri, tmp_path / "clip.mp4", start_s=2, end_s=3)
        assert play(tmp_path / "clip.mp4").numbers[1] == 60


@pytest.mark.parametrize(
    ("start_s", "end_s", "error", "reason"),
    [
        (-1, 2, InputError, r"start_s=-1: give seconds from the video's start, 0 to"),
        (float("nan"), 2, InputError, "start_s=nan"),
        (1e30, 2e30, InputError, "start_s=1e"),
        (2, 2, InputError, r"end_s=2: the range is empty; give more than start_s=2"),
        (3, 2, InputError, "end_s=2"),
        (3, float("inf"), InputError, "end_s=inf"),
        (3, float("nan"), InputError, "end_s=nan"),
        (6.01, 9, VideoError, r"start_s=6.01: the video ends at (5\.9|6\.0)\d+ s; start before that"),
        (900, 910, VideoError, "the video ends at"),
        (9e7, 9.1e7, VideoError, "the video ends at"),
    ],
)
def test_ranges_that_cannot_be_cut(
    videos, tmp_path: Path, start_s: float, end_s: float, error: type, reason: str
) -> None:
    target = tmp_path / "clip.mp4"
    target.write_bytes(b"of before")
    for name in ("h264.mp4", "mpeg2.mpg"):
        with pytest.raises(error, match=reason):
            cut_clip(str(videos[name]), target, start_s=start_s, end_s=end_s)
    assert target.read_bytes() == b"of before"
    assert os.listdir(tmp_path) == ["clip.mp4"]


def test_files_that_others_may_read(videos, tmp_path: Path) -> None:
    cut_clip(str(videos["h264.mp4"]), tmp_path / "clip.mp4", start_s=1, end_s=2)
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "clip.mp4").stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.write_bytes(b""), "empty"),
        (lambda path: path.write_text("no video at all\n" * 100), "not a video"),
        (lambda path: os.mkfifo(path), "not a regular file"),
        (lambda path: None, "No such file"),
    ],
)
def test_what_is_no_video_says_why(tmp_path: Path, make, reason: str) -> None:
    make(tmp_path / "x.mp4")
    with pytest.raises(VideoError, match=reason):
        cut_clip(str(tmp_path / "x.mp4"), tmp_path / "clip.mp4", start_s=0, end_s=1)
    assert not (tmp_path / "clip.mp4").exists()


@pytest.mark.parametrize("cut", [cut_clip, cut_clip_in_child])
def test_a_target_that_cannot_be_written(videos, tmp_path: Path, cut) -> None:
    with pytest.raises(InputError, match=r"clip.mp4 cannot be written \(No such file or directory\): give"):
        cut(str(videos["h264.mp4"]), tmp_path / "none" / "clip.mp4", start_s=0, end_s=1)
    (tmp_path / "clip.mp4").mkdir()
    with pytest.raises(InputError, match=r"clip.mp4 cannot be written \(Is a directory\)"):
        cut(str(videos["h264.mp4"]), tmp_path / "clip.mp4", start_s=0, end_s=1)
    assert os.listdir(tmp_path) == ["clip.mp4"]


@pytest.mark.parametrize(
    "wrong", [{"max_side": 1}, {"max_side": -2}, {"max_fps": 0}, {"crf": 0}, {"crf": 52}]
)
def test_settings_check_themselves(wrong: dict) -> None:
    with pytest.raises(InputError, match=f"{next(iter(wrong))}={next(iter(wrong.values()))}: give"):
        ClipSettings(**wrong)


def test_apart_gives_the_same_clip(videos, tmp_path: Path, capfd) -> None:
    source = tmp_path / "a b#1%20é.mp4"
    source.write_bytes(videos["h264.mp4"].read_bytes())
    target = tmp_path / "clip é.mp4"
    settings = ClipSettings(max_side=80, max_fps=10)
    here = cut_clip(str(source), tmp_path / "here.mp4", start_s=2.21, end_s=4, settings=settings)
    apart = cut_clip_in_child(str(source), target, start_s=2.21, end_s=4, settings=settings)
    assert here == apart == 2.21
    one, other = play(tmp_path / "here.mp4"), play(target)
    assert one.times_s == other.times_s
    # x264's rate control looks at its threads' progress: under load, a bit comes out otherwise.
    assert np.abs(np.stack(one.images).astype(int) - np.stack(other.images)).mean() < 1
    assert capfd.readouterr() == ("", "")
    assert sorted(os.listdir(tmp_path)) == sorted([source.name, target.name, "here.mp4"])


def test_apart_tells_the_child_s_reason(tmp_path: Path, capfd) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(VideoError, match=r"^not a regular file$"):
        cut_clip_in_child(str(tmp_path / "pipe.mp4"), tmp_path / "clip.mp4", start_s=0, end_s=1)
    with pytest.raises(InputError, match="end_s=1: the range is empty"):
        cut_clip_in_child(str(tmp_path / "pipe.mp4"), tmp_path / "clip.mp4", start_s=1, end_s=1)
    (tmp_path / "cut.mp4").write_bytes(b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + b"\0\0\x10\0mdat" + bytes(500))
    with pytest.raises(VideoError, match=r"^not a video that FFmpeg can read: [^\n]+$"):
        cut_clip_in_child(str(tmp_path / "cut.mp4"), tmp_path / "clip.mp4", start_s=0, end_s=1)
    assert capfd.readouterr() == ("", "")
    assert sorted(os.listdir(tmp_path)) == ["cut.mp4", "pipe.mp4"]


@pytest.mark.parametrize(
    ("number", "timeout_s", "reason"),
    [
        (signal.SIGSEGV, 60, r"the decoder crashed \(signal SIGSEGV\)"),
        (signal.SIGKILL, 60, r"the decoder crashed \(signal SIGKILL\)"),
        (signal.SIGSTOP, 0.3, r"did not end within 0\.3 s: choose a shorter range, or set timeout_s higher"),
        (0, 0.01, r"writing the clip did not end within 0\.01 s"),
    ],
)
def test_a_child_that_crashes_or_hangs(
    videos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, timeout_s: float, reason: str
) -> None:
    children = []

    class Signalled(subprocess.Popen):
        def __init__(self, *args, **kwargs) -> None:
            super().__init__(*args, **kwargs)
            children.append(self)
            os.kill(self.pid, number)

    monkeypatch.setattr(subprocess, "Popen", Signalled)
    with pytest.raises(VideoError, match=reason):
        cut_clip_in_child(
            str(videos["h264.mp4"]), tmp_path / "clip.mp4", start_s=0, end_s=2, timeout_s=timeout_s
        )
    assert len(children) == 1 and children[0].poll() is not None
    assert os.listdir(tmp_path) == []


def test_a_child_that_cannot_start_says_why(videos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "av.py").write_text("raise ImportError('no PyAV on this machine')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(VideoError, match=r"crashed \(exit code 1: ImportError: no PyAV on this machine\)"):
        cut_clip_in_child(str(videos["h264.mp4"]), tmp_path / "clip.mp4", start_s=0, end_s=2)


def test_clips_are_of_the_stream_and_on_the_clock_of_the_samples(tmp_path: Path) -> None:
    """A picture beside the recording, and a recorder that waits for motion."""
    times = [n / 10 for n in range(50)] + [1200 + n / 10 for n in range(50)]
    video = h264(tmp_path / "video.mkv", 100, rate=10, times=times)
    path = tmp_path / "motion.mp4"
    with av.open(str(video)) as container, av.open(str(path), "w") as output:
        picture = output.add_stream("mjpeg", rate=10)
        picture.width, picture.height, picture.pix_fmt = 96, 64, "yuvj420p"
        stream = output.add_stream_from_template(container.streams.video[0])
        output.mux(picture.encode(av.VideoFrame.from_ndarray(corners(64, 96), format="bgr24")))
        output.mux(picture.encode(None))
        for packet in container.demux(video=0):
            if packet.size:
                packet.stream = stream
                output.mux(packet)
    samples = {frame.index: read_number(frame.image) for frame in Decoding(str(path), 1).samples()}
    assert samples == {**{k: 10 * k for k in range(5)}, **{1200 + k: 50 + 10 * k for k in range(5)}}
    for start_s in (2, 1202):
        assert cut_clip(str(path), tmp_path / "clip.mp4", start_s=start_s, end_s=start_s + 2) == start_s
        with av.open(str(tmp_path / "clip.mp4")) as clip:
            numbers = [read_number(frame.to_ndarray(format="bgr24")) for frame in clip.decode(video=0)]
        assert numbers == list(range(samples[start_s], samples[start_s] + 20))
