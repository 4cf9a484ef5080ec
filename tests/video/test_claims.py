"""What the container says is a claim: streams, rates, lengths and losses, as recorders write them."""

import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numbered import Extractor, copied, drawn, encode, h264, moved

from framewatch.video.decoder import Decoding

EVERY_SECOND = {k: 25 * k for k in range(20)}


@pytest.fixture(scope="module")
def extract() -> Iterator[Extractor]:
    extractor = Extractor()
    yield extractor
    extractor.decoder.end()


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 s at 25 frames a second."""
    return h264(tmp_path_factory.mktemp("recording") / "whole.mp4", 500)


@pytest.fixture(scope="module")
def transport(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 10 s of a recording, as a transport stream."""
    return h264(tmp_path_factory.mktemp("transport") / "a.ts", 250)


def continued(path: Path, *, codec: str = "libx264", offset_s: float = 10, **muxer: str) -> Path:
    """10 s more on the clock of `transport`."""
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {"preset": "ultrafast", "bf": "0"}
    whole = encode(path.with_suffix(".mkv"), codec, options, Fraction(25), num_frames=250, first=250)
    return copied(whole, path, lambda _, packet: moved(packet, offset_s), options=muxer)


def joined(path: Path, *parts: Path) -> Path:
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


# Streams


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
@pytest.mark.parametrize("default", ["picture", "video"])
def test_a_picture_beside_the_recording_is_not_the_video(
    recording: Path, tmp_path: Path, extract: Extractor, name: str, default: str
) -> None:
    path = tmp_path / name
    with av.open(str(recording)) as container, av.open(str(path), "w") as output:
        picture = output.add_stream("mjpeg", rate=25)
        picture.width, picture.height, picture.pix_fmt = 320, 240, "yuvj420p"
        source = container.streams.video[0]
        video = output.add_stream_from_template(source)
        flags = av.stream.Disposition
        picture.disposition = flags.default if default == "picture" else flags(0)
        video.disposition = flags.default if default == "video" else flags(0)
        image = cv2.resize(drawn(999), (320, 240))
        output.mux(picture.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        output.mux(picture.encode(None))
        for packet in container.demux(source):
            if packet.size:
                packet.stream = video
                output.mux(packet)
    read = extract(path)
    assert (read.status, read.numbers, read.row["codec"]) == ("ok", EVERY_SECOND, "h264")
    assert read.warning.startswith("1 other video stream(s) not read: video stream 0 (mjpeg 320x240")


def test_of_two_streams_of_a_camera_the_larger_is_read(tmp_path: Path, extract: Extractor) -> None:
    path = tmp_path / "dual.ts"
    with av.open(str(path), "w") as output:
        streams = [output.add_stream("libx264", rate=25, options={"bf": "0"}) for _ in range(2)]
        for stream, scale in zip(streams, (1, 2), strict=True):
            stream.width, stream.height, stream.pix_fmt = 160 * scale, 64 * scale, "yuv420p"
        for number in range(100):
            for stream, scale in zip(streams, (1, 2), strict=True):
                image = cv2.resize(drawn(number), (160 * scale, 64 * scale), interpolation=cv2.INTER_NEAREST)
                output.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        for stream in streams:
            output.mux(stream.encode(None))
    read = extract(path)
    assert (read.status, read.sizes, read.numbers) == ("ok", {(320, 128)}, {k: 25 * k for k in range(4)})
    assert "video stream 0 (h264 160x64, id 0x100)" in read.warning


@pytest.mark.parametrize("offset_s", [10, 0])
@pytest.mark.parametrize("muxer", [{}, {"mpegts_pmt_start_pid": "4352", "mpegts_service_id": "7"}])
def test_a_recording_that_goes_on_in_another_stream_is_partial(
    transport: Path, tmp_path: Path, extract: Extractor, muxer: dict[str, str], offset_s: float
) -> None:
    """Another PID of the same program, and another program, whose streams FFmpeg finds late."""
    second = continued(tmp_path / "b.ts", offset_s=offset_s, mpegts_start_pid="512", **muxer)
    path = joined(tmp_path / "a.ts", transport, second)
    read = extract(path)
    assert read.numbers == {k: 25 * k for k in range(10)}
    assert read.status == "partial"
    assert "video stream 1 (h264" in read.error and "0x200" in read.error


def test_sound_that_goes_on_behind_the_pictures_is_reported(
    recording: Path, tmp_path: Path, extract: Extractor
) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(recording)) as container, av.open(str(path), "w") as output:
        source = container.streams.video[0]
        video, sound = output.add_stream_from_template(source), output.add_stream("mp2", rate=16000)
        packets = [packet for packet in container.demux(source) if packet.size]
        for number in range(30 * 25):
            if number < len(packets):
                packets[number].stream = video
                output.mux(packets[number])
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 640), np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts = 16000, 640 * number
            output.mux(sound.encode(frame))
        output.mux(sound.encode(None))
    read = extract(path)
    assert (read.status, read.numbers) == ("partial", EVERY_SECOND)
    assert "audio stream 1 (mp2" in read.error and "continues for 9." in read.error


def test_a_change_of_codec_costs_what_follows(transport: Path, tmp_path: Path, extract: Extractor) -> None:
    path = joined(tmp_path / "a.ts", transport, continued(tmp_path / "b.ts", codec="libx265"))
    whole, parts = extract(path), extract(path, bounds=(5, 10, 15))
    for read in (whole, parts):
        assert read.numbers == {k: 25 * k for k in range(10)}
        assert read.status == "partial"
        assert "10.0 s decoded" in read.error and "the last 10.0 s are missing" in read.error


# Rates and lengths


def motion_only(bursts: list[tuple[float, int]], rate: int) -> list[float]:
    """Times of frames: bursts of so many frames, each from a second on."""
    return [begin + number / rate for begin, count in bursts for number in range(count)]


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
@pytest.mark.parametrize(("rate", "gop"), [(10, 50), (25, 12), (5, 999)])
def test_a_recorder_that_waits_for_motion(
    tmp_path: Path, extract: Extractor, name: str, rate: int, gop: int
) -> None:
    """The average rate is of no use: half of its frame is half a second."""
    times = motion_only([(0, 10 * rate), (1210, 4 * rate), (3000.6, 2 * rate)], rate)
    options = {"preset": "ultrafast", "bf": "0"}
    path = encode(
        tmp_path / name, "libx264", options, Fraction(rate), num_frames=len(times), times=times, gop=gop
    )
    read = extract(path)
    assert (read.status, read.warning) == ("ok", "")
    expected = {k: next(t for t in times if t >= k) for k in [*range(10), *range(1210, 1214), 3001, 3002]}
    assert read.times_s == pytest.approx({3000: 3000.6, **expected}, abs=2e-3)
    assert read.numbers == {k: times.index(expected.get(k, 3000.6)) for k in read.times_s}
    assert read.row["fps"] == pytest.approx(rate, rel=0.1)
    assert extract(path, bounds=(3, 9, 1211, 3001)).numbers == read.numbers


def test_a_frame_that_lasts_an_hour_moves_no_other(
    recording: Path, tmp_path: Path, extract: Extractor
) -> None:
    def lasting(number: int, packet: Any) -> None:
        moved(packet, 3600 if number == 499 else 0)

    read = extract(copied(recording, tmp_path / "a.mp4", lasting))
    assert read.status == "ok"
    assert {k: n for k, n in read.numbers.items() if k < 20} == EVERY_SECOND


RAW = [
    ("a.h264", "libx264", {"bf": "0"}, 15),
    ("a.264", "libx264", {"bf": "2"}, Fraction(25, 2)),
    ("a.h265", "libx265", {}, 15),
    ("a.265", "libx265", {"x265-params": "bframes=3"}, 30),
    ("fields.h264", "libx264", {"x264-params": "interlaced=1"}, 25),  # told as 50 fields a second
    ("a.m2v", "mpeg2video", {}, 30),
    ("a.m4v", "mpeg4", {}, 12),
]


@pytest.mark.parametrize(("name", "codec", "options", "rate"), RAW, ids=[kind[0] for kind in RAW])
def test_raw_streams_have_the_rate_that_they_tell(
    tmp_path: Path, extract: Extractor, name: str, codec: str, options: dict[str, str], rate: Fraction
) -> None:
    formats = {"libx264": "h264", "libx265": "hevc", "mpeg2video": "mpeg2video", "mpeg4": "m4v"}
    num_frames, raw = int(10 * rate), formats[codec]
    path = encode(
        tmp_path / name, codec, options, Fraction(rate), num_frames=num_frames, container_format=raw
    )
    read = extract(path)
    assert (read.status, read.warning) == ("ok", "")
    assert read.row["fps"] == pytest.approx(float(rate))
    assert [read.numbers[k] for k in range(10)] == pytest.approx([k * rate for k in range(10)], abs=0.51)


def test_where_no_rate_is_told_it_is_assumed_and_reported(tmp_path: Path, extract: Extractor) -> None:
    options = {"x265-params": "vui-timing-info=0"}
    whole = encode(tmp_path / "a.mkv", "libx265", options, Fraction(15), num_frames=100)
    raw = extract(copied(whole, tmp_path / "a.h265", format="hevc"))
    jpegs = encode(tmp_path / "a.mjpg", "mjpeg", {}, Fraction(10), num_frames=100)
    assert (raw.status, raw.numbers) == ("ok", {k: 25 * k for k in range(4)})
    assert raw.warning == "the file has no timestamps: 25 frames per second are assumed"
    assert extract(jpegs).warning == raw.warning


def test_multipart_jpeg_is_read_to_its_end(tmp_path: Path, extract: Extractor) -> None:
    """As curl keeps a camera's stream."""
    with open(tmp_path / "a.mjpg", "wb") as file:
        for number in range(200):
            jpeg = cv2.imencode(".jpg", drawn(number))[1].tobytes()
            header = f"--camera\r\nContent-type: image/jpeg\r\nContent-length: {len(jpeg)}\r\n\r\n"
            file.write(header.encode() + jpeg + b"\r\n")
    read = extract(tmp_path / "a.mjpg")
    assert (read.status, read.row["duration_s"]) == ("ok", pytest.approx(8.0))
    assert read.numbers == {k: 25 * k for k in range(8)}
    assert "25 frames per second are assumed" in read.warning


def shifted(source: Path, target: Path, shift_s: float, **settings: Any) -> Path:
    return copied(source, target, lambda _, packet: moved(packet, shift_s), **settings)


FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}


@pytest.mark.parametrize("name", ["a.mkv", "a.webm", "a.ts", "a.mpg", "a.mp4", "fragments.mp4", "a.flv"])
def test_clocks_that_begin_at_hours(recording: Path, tmp_path: Path, extract: Extractor, name: str) -> None:
    source = recording
    if name in ("a.webm", "a.mpg"):
        codec = "libvpx" if name == "a.webm" else "mpeg2video"
        source = encode(tmp_path / "source.mkv", codec, {}, Fraction(25), num_frames=500)
    path = shifted(source, tmp_path / name, 10800)
    if name == "fragments.mp4":
        path = with_later_fragments(copied(source, path, options=FRAGMENTS), 10800)
    read = extract(path)
    assert (read.status, read.numbers) == ("ok", EVERY_SECOND)
    assert read.row["duration_s"] == pytest.approx(20, abs=0.1)
    # Cut off, what is missing is a part of 20 s.
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10 | 1])
    cut = extract(path)
    if name != "a.mp4":  # its index was at the end
        assert cut.status == "partial"
        assert 9 < cut.row["duration_s"] < 15
        assert "10800" not in cut.error and "10790" not in cut.error


def with_later_fragments(path: Path, shift_s: int) -> Path:
    """A live camera's fragmented MP4: its clock (tfdt) goes on from file to file."""
    data = bytearray(path.read_bytes())
    at = data.index(b"mdhd") + 4
    (scale,) = struct.unpack_from(">I", data, at + (12 if data[at] == 0 else 20))
    at = -1
    while (at := data.find(b"tfdt", at + 1)) >= 0:
        assert data[at + 4] == 1
        (time,) = struct.unpack_from(">Q", data, at + 8)
        struct.pack_into(">Q", data, at + 8, time + shift_s * scale)
    path.write_bytes(data)
    return path


def test_a_planned_length_is_not_believed_of_a_whole_file(tmp_path: Path, extract: Extractor) -> None:
    """An AVI without an index, whose header has the frames that the recorder planned."""
    path = encode(tmp_path / "a.avi", "mjpeg", {}, Fraction(10), num_frames=100)
    data = bytearray(path.read_bytes())
    data[44] &= ~0x10  # has an index
    struct.pack_into("<I", data, data.index(b"avih") + 8 + 16, 36000)
    struct.pack_into("<I", data, data.index(b"strh") + 8 + 32, 36000)
    del data[data.index(b"idx1") :]
    struct.pack_into("<I", data, 4, len(data) - 8)
    path.write_bytes(data)
    read = extract(path)
    assert (read.status, read.numbers) == ("ok", {k: 10 * k for k in range(10)})
    assert "duration of 3600.0 s is ignored" in read.warning
    path.write_bytes(data[: len(data) * 3 // 4])
    assert "s are missing" in extract(path).error


@pytest.mark.parametrize("name", ["a.ts", "a.mpg"])
def test_files_without_a_length_that_end_in_the_middle(tmp_path: Path, extract: Extractor, name: str) -> None:
    path = encode(tmp_path / name, "mpeg2video", {}, Fraction(25), num_frames=250)
    assert extract(path).status == "ok"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 + 5])
    read = extract(path)
    assert read.status == "partial"
    assert "ends in the middle of a packet" in read.error


def test_avi_without_pictures_for_a_while(tmp_path: Path, extract: Extractor) -> None:
    """Where the camera delivers no frame, the recorder writes an empty chunk."""
    path = encode(tmp_path / "a.avi", "mjpeg", {}, Fraction(10), num_frames=200)
    path.write_bytes(without_chunks(path.read_bytes(), range(80, 120)))
    read = extract(path)
    assert read.numbers == {k: 10 * k for k in range(20) if not 8 <= k < 12}
    assert read.row["duration_s"] == pytest.approx(20)


def without_chunks(data: bytes, empty: range) -> bytes:
    """An AVI some of whose chunks are empty; its index is left out."""
    begin = data.index(b"movi") + 4
    chunks, at, number = bytearray(), begin, 0
    while data[at : at + 4] == b"00dc":
        size = struct.unpack_from("<I", data, at + 4)[0]
        end = at + 8 + size + size % 2
        chunks += b"00dc\0\0\0\0" if number in empty else data[at:end]
        at, number = end, number + 1
    head = bytearray(data[:begin])
    struct.pack_into("<I", head, begin - 8, len(chunks) + 4)
    struct.pack_into("<I", head, 4, len(head) + len(chunks) - 8)
    return bytes(head + chunks)


# Less than a frame a second


@pytest.mark.parametrize("spacing_s", [1.6, 2.4, 10.0])
def test_time_lapse_recordings_put_end_to_end(tmp_path: Path, extract: Extractor, spacing_s: float) -> None:
    times = [round(spacing_s * number, 3) for number in range(40)]
    options = {"preset": "ultrafast", "bf": "0"}
    rate = Fraction(spacing_s).limit_denominator(10)
    whole = encode(tmp_path / "a.mkv", "libx264", options, 1 / rate, num_frames=40, times=times, gop=5)
    read = extract(whole)
    assert (read.status, list(read.numbers.values())) == ("ok", list(range(40)))
    assert list(read.times_s.values()) == pytest.approx(times, abs=2e-3)
    once = copied(whole, tmp_path / "a.ts")
    twice = extract(joined(tmp_path / "b.ts", once, once))
    assert twice.status == "ok"
    assert list(twice.numbers.values()) == [*range(40), *range(40)]
    second_s = list(twice.times_s.values())[40:]
    assert second_s[0] == pytest.approx(times[-1] + spacing_s, abs=spacing_s)
    assert [time_s - second_s[0] for time_s in second_s] == pytest.approx(times, abs=2e-3)


def test_a_time_that_is_written_twice_costs_one_frame_at_most(tmp_path: Path, extract: Extractor) -> None:
    times = [1.6 * number for number in range(30)] + [48 + 2.4 * number for number in range(30)]
    options = {"preset": "ultrafast", "bf": "0"}
    whole = encode(tmp_path / "a.mkv", "libx264", options, Fraction(1), num_frames=60, times=times, gop=5)

    def doubled(number: int, packet: Any) -> None:
        if number == 45:
            packet.pts = packet.dts = packet.pts - 2400

    read = extract(copied(whole, tmp_path / "b.mkv", doubled))
    assert read.status == "ok"
    shown = [number for number in range(60) if number != 45]
    assert [n for n in read.numbers.values() if n != 45] == shown
    assert [read.times_s[k] for k, n in read.numbers.items() if n != 45] == pytest.approx(
        [times[n] for n in shown], abs=2e-3
    )


# Packets in, frames out


@pytest.mark.parametrize(
    "aspect", [Fraction(*ratio) for ratio in [(255, 1), (1, 255), (60, 1), (1, 60), (3, 1)]], ids=str
)
@pytest.mark.parametrize("name", ["a.ts", "a.mp4", "a.mkv"])
def test_aspects_that_no_pixel_has(tmp_path: Path, extract: Extractor, name: str, aspect: Fraction) -> None:
    """Where a picture would be less than a pixel high, FFmpeg decodes keyframes only, without a word."""
    x264 = f"sar={aspect.numerator}/{aspect.denominator}"
    options = {"bf": "0", "x264-params": x264}
    path = encode(tmp_path / name, "libx264", options, Fraction(25), num_frames=75, gop=50)
    read = extract(path)
    assert (read.status, read.numbers) == ("ok", {k: 25 * k for k in range(3)})
    ratio = f"{aspect.numerator}:{aspect.denominator}"
    if aspect == 3:
        assert (read.sizes, read.warning) == ({(480, 64)}, "")
    else:
        assert read.sizes == {(160, 64)}
        assert f"the impossible pixel aspect ratio {ratio} is ignored" in read.warning


LOSSY = [
    ("libx264", {"bf": "0", "preset": "ultrafast"}),
    ("libx264", {"bf": "2", "preset": "ultrafast"}),
    ("libx264", {"bf": "0", "x264-params": "intra-refresh=1:keyint=50"}),
    ("libx265", {}),
]


@pytest.mark.parametrize("lost", [range(130, 150), range(130, 143)])
@pytest.mark.parametrize("name", ["lost.mkv", "lost.mp4", "lost.ts"])
@pytest.mark.parametrize(("codec", "options"), LOSSY)
def test_lost_packets_are_damage(
    tmp_path: Path, extract: Extractor, codec: str, options: dict[str, str], name: str, lost: range
) -> None:
    """RTSP over UDP, copied to disk: decoders go on with pictures that are half right."""
    whole = encode(tmp_path / "a.mkv", codec, options, Fraction(25), num_frames=300, gop=250)
    assert extract(copied(whole, tmp_path / f"kept-{name}")).status == "ok"
    read = extract(copied(whole, tmp_path / name, lambda number, packet: number not in lost))
    assert read.status == "partial"
    assert "damaged frame(s)" in read.error
    assert [read.numbers[k] for k in range(5)] == [25 * k for k in range(5)]


def test_gaps_between_keyframes_are_no_damage(tmp_path: Path, extract: Extractor) -> None:
    """A recorder that waits for motion leaves whole groups out."""
    whole = h264(tmp_path / "a.mkv", 300, gop=25)
    read = extract(copied(whole, tmp_path / "b.mkv", lambda number, packet: not 100 <= number < 200))
    assert (read.status, read.warning) == ("ok", "")
    assert read.numbers == {k: 25 * k for k in range(12) if not 4 <= k < 8}


# As players show it


def test_pictures_are_turned_and_mirrored_as_the_matrix_has_it(tmp_path: Path, extract: Extractor) -> None:
    """All eight: a step to the right leads to (a, b) in the picture shown, a step down to (c, d)."""
    path = h264(tmp_path / "a.mp4", 25)
    data = path.read_bytes()
    at = data.index(b"tkhd") + 4 + 40
    assert struct.unpack_from(">i", data, at) == (0x10000,)
    [plain] = list(Decoding(str(path), 1).samples())
    marked = plain.image
    height, width = marked.shape[:2]
    turned = [(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)]
    mirrored = [(-1, 0, 0, 1), (1, 0, 0, -1), (0, 1, 1, 0), (0, -1, -1, 0)]
    for a, b, c, d in [*turned, *mirrored]:
        matrix = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
        path.write_bytes(data[:at] + matrix + data[at + 36 :])
        [shown] = list(Decoding(str(path), 1).samples())
        # Each pixel, counted from the middle, goes where the matrix leads it.
        y, x = np.mgrid[0:height, 0:width]
        right, down = 2 * x - (width - 1), 2 * y - (height - 1)
        to_x, to_y = a * right + c * down, b * right + d * down
        expected = np.zeros((*((height, width) if a else (width, height)), 3), np.uint8)
        expected[(to_y + expected.shape[0] - 1) // 2, (to_x + expected.shape[1] - 1) // 2] = marked
        np.testing.assert_array_equal(shown.image, expected, err_msg=str((a, b, c, d)))


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", ["bt709", "smpte170m"])
def test_colours_are_those_of_the_matrix_and_range_that_are_told(
    tmp_path: Path, full_range: bool, matrix: str
) -> None:
    colour = (40, 60, 200)  # blue, green, red
    image = np.full((64, 160, 3), colour, np.uint8)
    spaces = av.video.reformatter.Colorspace
    space = spaces.ITU709 if matrix == "bt709" else spaces.SMPTE170M
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        options = {"qp": "1", "colorspace": matrix, "color_range": "pc" if full_range else "tv"}
        stream = container.add_stream("libx264", rate=5, options=options)
        stream.width, stream.height, stream.pix_fmt = 160, 64, "yuv444p"
        for _ in range(5):
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame = frame.reformat(
                format="yuv444p", dst_colorspace=space, dst_color_range=2 if full_range else 1
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    [shown] = list(Decoding(str(path), 1).samples())
    assert shown.image.reshape(-1, 3).mean(axis=0) == pytest.approx(colour, abs=4)
