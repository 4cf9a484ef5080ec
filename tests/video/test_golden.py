"""Frame numbers drawn into the pictures of many codecs and containers, read back from the samples."""

import functools
import itertools
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numbered import encode, read_number

from framewatch.video.decoder import DecodedFrame, Decoding
from framewatch.video.extraction import handle_request
from framewatch.video.keyframes import LEAST_SHARE, KeyframeDecoding
from framewatch.video.sampling import sample

# file name, encoder, its options, frames a second
KINDS = [
    ("mpeg1.mpg", "mpeg1video", {}, Fraction(25)),
    ("mpeg2.mpg", "mpeg2video", {"bf": "2"}, Fraction(25)),
    ("mpeg2.ts", "mpeg2video", {"bf": "2"}, Fraction(30000, 1001)),
    ("mpeg4.avi", "mpeg4", {}, Fraction(10)),
    ("mjpeg.avi", "mjpeg", {}, Fraction(10)),
    ("h264.mp4", "libx264", {"bf": "3"}, Fraction(30000, 1001)),
    ("h264.mkv", "libx264", {"bf": "3", "x264-params": "open-gop=1"}, Fraction(25)),
    ("h264.ts", "libx264", {"bf": "2"}, Fraction(25)),
    ("hevc.mp4", "libx265", {}, Fraction(25)),
    ("hevc.mkv", "libx265", {}, Fraction(15)),
    ("vp9.webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}, Fraction(25)),
]


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One file of each kind, about 20 s."""
    root = tmp_path_factory.mktemp("golden")
    return {
        name: encode(root / name, codec, options, rate, num_frames=int(20 * rate))
        for name, codec, options, rate in KINDS
    }


def samples(path: Path, fps: float = 1, **kwargs) -> list[DecodedFrame]:
    return list(Decoding(str(path), fps, **kwargs).samples())


def plan(path: Path) -> dict:
    return next(handle_request({"task": "plan", "source": str(path), "chunk_s": 1}))[0]["outcome"]


@pytest.mark.parametrize("fps", [0.3, 1, 4.7])
@pytest.mark.parametrize(("name", "rate"), [(name, rate) for name, _, _, rate in KINDS])
def test_every_sample_shows_the_frame_of_its_time(golden, name: str, rate: Fraction, fps: float) -> None:
    frames = samples(golden[name], fps)
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert len(frames) == pytest.approx(20 * fps, abs=1)
    for frame in frames:
        number = read_number(frame.image)
        assert frame.timestamp_s == pytest.approx(float(number / rate), abs=2e-3)
        early_s = frame.index / fps - frame.timestamp_s
        assert early_s <= float(1 / rate) / 2 + 2e-3  # to half a frame
        assert early_s > -float(1 / rate) - 2e-3  # and no frame before it would have done


@functools.lru_cache(maxsize=1)  # the tests of one file come one after the other
def decoded_by_ffmpeg(path: Path) -> tuple[list[float], list[np.ndarray]]:
    """All frames of a file, with their times from the first, decoded one after the other."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    times = [float((frame.pts - frames[0].pts) * frame.time_base) for frame in frames]
    return times, [frame.to_ndarray(format="bgr24") for frame in frames]


# Streams that a decoder may not enter anywhere, or only with care.
HARD = [
    ("intra-refresh.mkv", "libx264", {"x264-params": "intra-refresh=1:keyint=20", "bf": "0"}, Fraction(25)),
    ("open-hevc.mkv", "libx265", {"x265-params": "open-gop=1:bframes=4"}, Fraction(25)),
    ("open-mpeg2.ts", "mpeg2video", {"bf": "2", "flags": "-cgop"}, Fraction(25)),
    ("b-frames.avi", "mpeg4", {"bf": "2"}, Fraction(10)),
    ("one-keyframe.mp4", "libx264", {"g": "9999", "bf": "2"}, Fraction(25)),
    ("interlaced.ts", "libx264", {"x264-params": "interlaced=1:bframes=2", "bf": "2"}, Fraction(25)),
    ("fields.ts", "mpeg2video", {"flags": "+ildct+ilme", "bf": "2"}, Fraction(25)),
    ("av1.mkv", "libsvtav1", {"preset": "12"}, Fraction(25)),
    (
        "vp8.webm",
        "libvpx",
        {"deadline": "realtime", "auto-alt-ref": "1", "lag-in-frames": "10"},
        Fraction(25),
    ),
]


NOT_SPLIT = {"b-frames.avi", "one-keyframe.mp4"}


@pytest.fixture(scope="module")
def hard(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One file of each hard kind, about 12 s."""
    root = tmp_path_factory.mktemp("hard")
    return {
        name: encode(root / name, codec, options, rate, num_frames=int(12 * rate))
        for name, codec, options, rate in HARD
        if codec in av.codecs_available
    }


@pytest.mark.parametrize("name", [kind[0] for kind in [*KINDS, *HARD]])
@pytest.mark.parametrize("fps", [0.3, 1, 4.7, 30])
def test_skipping_changes_no_pixel(golden, hard, name: str, fps: float) -> None:
    """Against all frames decoded, of which the sampling's arithmetic picks."""
    if name not in {**golden, **hard}:
        pytest.skip(f"PyAV has no encoder for {name}")
    path = {**golden, **hard}[name]
    times, images = decoded_by_ffmpeg(path)
    decoding = Decoding(str(path), fps)
    expected = list(sample(times, fps=fps, frame_duration_s=decoding.info.frame_duration_s))
    got = list(decoding.samples())
    assert [(frame.index, frame.timestamp_s) for frame in got] == [(k, times[n]) for k, n in expected]
    if "interlaced" not in name and "fields" not in name:  # their combs are smoothed
        for frame, (_, number) in zip(got, expected, strict=True):
            np.testing.assert_array_equal(frame.image, images[number])
    assert decoding.duration_s == pytest.approx(times[-1] + decoding.info.frame_duration_s, abs=1e-3)
    assert decoding.num_damaged == 0


def test_avi_gives_frames_out_of_order_the_wrong_times(tmp_path: Path) -> None:
    """AVI knows no presentation times: they are made up in the order in which frames come out."""
    path = encode(tmp_path / "h264.avi", "libx264", {"bf": "2"}, Fraction(25), num_frames=300)
    frames = samples(path)
    assert [frame.index for frame in frames] == list(range(12))
    assert [read_number(frame.image) for frame in frames] == pytest.approx([25 * k for k in range(12)], abs=2)
    assert not plan(path)["splittable"]


@pytest.mark.parametrize("fps", [1, 4.7])
@pytest.mark.parametrize("name", [kind[0] for kind in [*KINDS, *HARD]])
def test_parts_equal_the_whole(golden, hard, name: str, fps: float) -> None:
    golden = {**golden, **hard}
    if name not in golden:
        pytest.skip(f"PyAV has no encoder for {name}")
    whole = samples(golden[name], fps)
    bounds = [0, 1, len(whole) // 3, len(whole) // 2, len(whole) - 1, None]
    parts = [
        frame
        for first, stop in itertools.pairwise(bounds)
        for frame in samples(golden[name], fps, first=first, stop=stop)
    ]
    assert plan(golden[name])["splittable"] == (name not in NOT_SPLIT)
    assert [(f.index, f.timestamp_s) for f in parts] == [(f.index, f.timestamp_s) for f in whole]
    for part, frame in zip(parts, whole, strict=True):
        np.testing.assert_array_equal(part.image, frame.image)


@pytest.mark.parametrize("name", [kind[0] for kind in [*KINDS, *HARD]])
def test_a_burst_is_the_frames_after_its_sample(golden, hard, name: str) -> None:
    """Against all frames decoded, of which the first at or after each time is taken; in parts as in one."""
    if name not in {**golden, **hard}:
        pytest.skip(f"PyAV has no encoder for {name}")
    path, step_s = {**golden, **hard}[name], 0.24
    times, images = decoded_by_ffmpeg(path)
    frame_s = Decoding(str(path), 1).info.frame_duration_s
    whole = samples(path, burst=4, burst_step_s=step_s)
    alone = samples(path)
    assert [(f.index, f.timestamp_s) for f in whole] == [(f.index, f.timestamp_s) for f in alone]
    for frame, still in zip(whole, alone, strict=True):
        np.testing.assert_array_equal(frame.image, still.image)
        due = [frame.timestamp_s + number * step_s - frame_s / 2 - 1e-6 for number in (1, 2, 3)]
        expected = [next((time for time in times if time >= at), None) for at in due]
        assert [time for time, _ in frame.followers] == [time for time in expected if time is not None]
        if "interlaced" not in name and "fields" not in name:  # their combs are smoothed
            for time_s, image in frame.followers:
                np.testing.assert_array_equal(image, images[times.index(time_s)])
    bounds = [0, 1, len(whole) // 2, None]
    parts = [
        frame
        for first, stop in itertools.pairwise(bounds)
        for frame in samples(path, first=first, stop=stop, burst=4, burst_step_s=step_s)
    ]
    assert [[time for time, _ in f.followers] for f in parts] == [[t for t, _ in f.followers] for f in whole]


def test_a_burst_ends_with_the_next_sample_or_the_video(tmp_path: Path) -> None:
    path = encode(tmp_path / "slow.mp4", "libx264", {}, Fraction(2), num_frames=5)
    found = samples(path, burst=5, burst_step_s=0.2)
    assert [[time for time, _ in frame.followers] for frame in found] == [[0.5], [1.5], []]


def test_frames_that_share_a_time_are_not_split(tmp_path: Path) -> None:
    """In a program stream, several tiny frames share a time, and the next depends on all before."""
    path = encode(
        tmp_path / "a.mpg", "mpeg2video", {"bf": "2"}, Fraction(25), num_frames=500, bit_rate=30_000
    )
    assert not plan(path)["splittable"]


def test_clocks_that_start_anew_go_on(tmp_path: Path) -> None:
    """Two recordings put end to end with `cat`, as DVRs do."""
    for name in ("a.mpg", "a.ts"):
        encode(tmp_path / name, "mpeg2video", {}, Fraction(25), num_frames=150)
        twice = tmp_path / f"twice-{name}"
        twice.write_bytes((tmp_path / name).read_bytes() * 2)
        frames = samples(twice)
        assert [frame.index for frame in frames] == list(range(12)), name
        assert [read_number(frame.image) for frame in frames] == [25 * (k % 6) for k in range(12)], name
        assert not plan(twice)["splittable"]


def shifted(source: Path, target: Path, shift_s: float) -> Path:
    """The packets of a file with other times; the muxer cuts off what is shown before 0 by an edit list."""
    with av.open(str(source)) as container, av.open(str(target), "w") as output:
        stream = container.streams.video[0]
        out = output.add_stream_from_template(stream)
        for packet in container.demux(stream):
            if packet.dts is not None:
                ticks = round(shift_s / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts + ticks, packet.dts + ticks, out
                output.mux(packet)
    return target


@pytest.mark.parametrize("name", ["h264.mp4", "hevc.mp4"])
def test_edit_lists(golden, tmp_path: Path, name: str) -> None:
    """What an edit list cuts off is not shown, though others refer to it: time begins behind it."""
    path = shifted(golden[name], tmp_path / name, -2.52)
    rate = dict((kind[0], kind[3]) for kind in KINDS)[name]
    with av.open(str(path)) as container:
        assert any(packet.is_discard for packet in container.demux(video=0))
    for fps in (1, 4.7):
        decoding = Decoding(str(path), fps)
        frames = list(decoding.samples())
        assert decoding.info.expected_s == pytest.approx(decoding.duration_s, abs=0.2)
        keyframes = list(KeyframeDecoding(str(path), fps, tolerance_s=0.3).samples())
        assert [frame.index for frame in keyframes] == [frame.index for frame in frames]
        for frame in keyframes:
            number = read_number(frame.image) - read_number(frames[0].image)
            assert number == pytest.approx(frame.timestamp_s * rate, abs=0.05)
        cut = read_number(frames[0].image)
        assert cut == pytest.approx(2.52 * rate, abs=1)
        assert frames[0].timestamp_s == 0
        assert [frame.index for frame in frames] == list(range(len(frames)))
        assert len(frames) == pytest.approx((20 - 2.52) * fps, abs=1)
        for frame in frames:
            assert read_number(frame.image) - cut == pytest.approx(frame.timestamp_s * rate, abs=0.05)
        parts = [
            (frame.index, frame.timestamp_s)
            for first, stop in [(0, 5), (5, None)]
            for frame in samples(path, fps, first=first, stop=stop)
        ]
        assert parts == [(frame.index, frame.timestamp_s) for frame in frames]


@pytest.mark.parametrize("name", ["hevc.mp4", "vp9.webm", "mpeg2.ts", "mpeg1.mpg"])
def test_start_times_that_are_not_zero(golden, tmp_path: Path, name: str) -> None:
    path = shifted(golden[name], tmp_path / name, 33.4)
    with av.open(str(path)) as container:
        assert container.start_time > 30_000_000
    moved, kept = samples(path), samples(golden[name])
    assert [frame.index for frame in moved] == [frame.index for frame in kept]
    for one, other in zip(moved, kept, strict=True):
        assert one.timestamp_s == pytest.approx(other.timestamp_s, abs=2e-3)
        np.testing.assert_array_equal(one.image, other.image)


@pytest.mark.parametrize("name", ["mpeg2.ts", "h264.ts"])
def test_recordings_that_begin_between_keyframes(golden, tmp_path: Path, name: str) -> None:
    """A recorder's file cut anywhere: time begins with the first frame that can be decoded."""
    rate = dict((kind[0], kind[3]) for kind in KINDS)[name]
    data = golden[name].read_bytes()
    path = tmp_path / name
    path.write_bytes(data[len(data) // 8 // 188 * 188 :])
    frames = samples(path)
    begin = read_number(frames[0].image)
    assert begin > 0
    assert [frame.index for frame in frames] == list(range(len(frames)))
    for frame in frames:
        assert read_number(frame.image) - begin == pytest.approx(frame.timestamp_s * rate, abs=0.05)
    assert len(list(samples(path, 30))) == pytest.approx(20 * rate - begin, abs=1)  # all were read


@pytest.mark.parametrize("off_s", [3, 200])
def test_a_damaged_time_moves_nothing_else(golden, tmp_path: Path, off_s: int) -> None:
    path = tmp_path / "flipped.mkv"
    with av.open(str(golden["h264.mp4"])) as container, av.open(str(path), "w") as output:
        stream = container.streams.video[0]
        out = output.add_stream_from_template(stream)
        for number, packet in enumerate(packet for packet in container.demux(stream) if packet.size):
            packet.pts += round(off_s / packet.time_base) if number == 250 else 0
            packet.stream = out
            output.mux(packet)
    decoding = Decoding(str(path), 1)
    frames = list(decoding.samples())
    assert [frame.index for frame in frames] == list(range(20))
    rate = dict((kind[0], kind[3]) for kind in KINDS)["h264.mp4"]
    for frame in frames:
        assert read_number(frame.image) == pytest.approx(frame.timestamp_s * rate, abs=1)
    assert decoding.duration_s == pytest.approx(20, abs=0.2)
    assert decoding.num_damaged >= 1


@pytest.mark.parametrize("decode_all", [False, True])
@pytest.mark.parametrize("name", ["mpeg4.avi", "h264.mp4", "mpeg2.ts"])
def test_parts_of_damaged_videos_equal_the_whole(golden, tmp_path: Path, name: str, decode_all: bool) -> None:
    data = bytearray(golden[name].read_bytes())
    places = np.random.default_rng(3).integers(len(data) // 20, len(data) * 19 // 20, 25)
    for place in places:
        data[place] ^= 0xFF
    path = tmp_path / name
    path.write_bytes(data)

    def read(**part) -> tuple[list[tuple], int]:
        decoding = Decoding(str(path), 1, decode_all=decode_all, **part)
        frames = [(f.index, f.timestamp_s, f.image.tobytes()) for f in decoding.samples()]
        return frames, decoding.num_damaged

    whole, num_damaged = read()
    parts = [read(first=first, stop=stop) for first, stop in [(0, 4), (4, 9), (9, 13), (13, None)]]
    assert [frame for frames, _ in parts for frame in frames] == whole
    assert sum(damaged for _, damaged in parts) == num_damaged > 0


def test_time_does_not_run_away_where_frames_are_lost(tmp_path: Path) -> None:
    """Keyframes lost again and again: the frames behind them come out in no order."""
    whole = encode(tmp_path / "whole.mp4", "libx264", {"bf": "3"}, Fraction(25), num_frames=1000)
    path = tmp_path / "lossy.mkv"
    with av.open(str(whole)) as container, av.open(str(path), "w") as output:
        stream = container.streams.video[0]
        out = output.add_stream_from_template(stream)
        for number, packet in enumerate(packet for packet in container.demux(stream) if packet.size):
            if number % 36:
                packet.stream = out
                output.mux(packet)
    decoding = Decoding(str(path), 1)
    assert [frame.index for frame in decoding.samples()] == pytest.approx(list(range(40)), abs=1)
    assert decoding.duration_s == pytest.approx(40, abs=1)


def test_irregular_times(tmp_path: Path) -> None:
    """A variable rate: dense at first, then a frame every 0.7 s, then a gap."""
    times = [n / 30 for n in range(90)] + [3 + 0.7 * n for n in range(10)] + [20.25, 20.5, 21.05]
    path = encode(
        tmp_path / "vfr.mkv", "libx264", {"bf": "2"}, Fraction(30), num_frames=len(times), times=times
    )
    for fps in (0.25, 1, 3):
        taken = {}
        for frame in samples(path, fps):
            number = read_number(frame.image)
            assert frame.timestamp_s == pytest.approx(times[number], abs=2e-3)
            taken[frame.index] = number
        assert len(set(taken.values())) == len(taken)
        for k in range(int(21 * fps)):
            due = next(n for n, time_s in enumerate(times) if time_s >= k / fps - 1 / 60)
            assert due in taken.values()


def keyframe_times(path: Path) -> list[float]:
    """When the keyframes are shown, from the first, by decoding everything."""
    with av.open(str(path)) as container:
        shown = [(frame.time, frame.key_frame) for frame in container.decode(video=0)]
    return [time_s - shown[0][0] for time_s, is_key in shown if is_key]


@pytest.mark.parametrize("tolerance_s", [0.05, 0.25, 0.5])
@pytest.mark.parametrize("name", [kind[0] for kind in KINDS])
def test_keyframes_are_taken_where_they_are_near(golden, name: str, tolerance_s: float) -> None:
    exact = {frame.index: frame for frame in samples(golden[name])}
    times = keyframe_times(golden[name])
    nearest = {k: min(times, key=lambda time_s: abs(time_s - k)) for k in exact}
    near = {k: time_s for k, time_s in nearest.items() if abs(time_s - k) <= tolerance_s}
    enough = len(near) >= LEAST_SHARE * len(exact)
    rate = dict((kind[0], kind[3]) for kind in KINDS)[name]

    def by_keyframes(**part) -> list[DecodedFrame]:
        return list(KeyframeDecoding(str(golden[name]), 1, tolerance_s=tolerance_s, **part).samples())

    whole = by_keyframes()
    assert [frame.index for frame in whole] == sorted(exact)
    for frame in whole:
        wanted_s = near[frame.index] if enough and frame.index in near else exact[frame.index].timestamp_s
        assert frame.timestamp_s == pytest.approx(wanted_s, abs=2e-3)
        assert read_number(frame.image) == pytest.approx(float(wanted_s * rate), abs=0.1)
    parts = [
        part
        for first, stop in [(0, 3), (3, 4), (4, 12), (12, None)]
        for part in by_keyframes(first=first, stop=stop)
    ]
    assert [(f.index, f.timestamp_s) for f in parts] == [(f.index, f.timestamp_s) for f in whole]


def test_keyframes_too_sparse_for_most_samples_are_left(golden) -> None:
    exact = samples(golden["h264.mp4"], 10)
    sparse = list(KeyframeDecoding(str(golden["h264.mp4"]), 10, tolerance_s=0.02).samples())
    assert [(f.index, f.timestamp_s) for f in sparse] == [(f.index, f.timestamp_s) for f in exact]
