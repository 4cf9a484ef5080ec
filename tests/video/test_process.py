"""The decoding process: real children, killed, hung and fed with what is no video."""

import os
import signal
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from framewatch.errors import VideoError
from framewatch.video.process import DecoderProcess

SAMPLING = {
    "fps": 5,
    "first": 0,
    "stop": None,
    "jpeg_quality": 90,
    "max_side": 0,
    "tolerance_s": 0,
    "decode_all": False,
}


@pytest.fixture(scope="module")
def decoder():
    process = DecoderProcess()
    yield process
    process.end()


@pytest.fixture(scope="module")
def video(tmp_path_factory, make_video) -> Path:
    return make_video(tmp_path_factory.mktemp("video") / "a b.mp4", seconds=6, fps=25, codec="libx264")


def extract(video: Path, **changes) -> dict:
    return {"task": "extract", "source": str(video), **SAMPLING, **changes}


def test_frames_come_as_jpeg_and_the_outcome_last(decoder, video: Path) -> None:
    answers = list(decoder.run(extract(video), timeout_s=60))
    assert [header.get("index") for header, _ in answers] == [*range(30), None]
    image = cv2.imdecode(np.frombuffer(answers[3][1], np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (64, 96, 3)
    outcome = answers[-1][0]["outcome"]
    assert (outcome["failure"], outcome["num_frames"], outcome["codec"]) == (None, 30, "h264")


def test_larger_frames_are_scaled_down(decoder, video: Path) -> None:
    header, _ = next(iter(list(decoder.run(extract(video, max_side=48), timeout_s=60))))
    assert (header["width"], header["height"]) == (48, 32)


def test_a_crash_is_told_and_the_next_video_is_read(decoder, video: Path) -> None:
    answers = decoder.run(extract(video), timeout_s=60)
    next(answers)
    os.kill(decoder.pid, signal.SIGSEGV)
    with pytest.raises(VideoError, match=r"the decoder crashed \(signal SIGSEGV\)"):
        list(answers)
    assert len(list(decoder.run(extract(video), timeout_s=60))) == 31


def test_a_hang_is_ended(decoder, video: Path) -> None:
    list(decoder.run(extract(video), timeout_s=60))
    os.kill(decoder.pid, signal.SIGSTOP)
    with pytest.raises(VideoError, match=r"did not end within 0\.5 s: set extract\.timeout_s higher"):
        list(decoder.run(extract(video), timeout_s=0.5))
    assert len(list(decoder.run(extract(video), timeout_s=60))) == 31


def test_answers_that_nobody_reads_do_not_reach_the_next_request(decoder, video: Path) -> None:
    answers = decoder.run(extract(video), timeout_s=60)
    next(answers)
    answers.close()
    assert len(list(decoder.run(extract(video, stop=2), timeout_s=60))) == 3


def test_ffmpeg_s_complaint_is_kept_and_not_shown(decoder, tmp_path: Path, make_video, capfd) -> None:
    path = make_video(tmp_path / "cut.mp4", seconds=20, codec="libx264")
    os.truncate(path, path.stat().st_size // 2)  # without the index at its end
    [(header, _)] = list(decoder.run(extract(path), timeout_s=60))
    assert header["outcome"]["failure"].startswith("not a video that FFmpeg can read")
    assert decoder.last_error() == "[mov,mp4,m4a,3gp,3g2,mj2] moov atom not found"
    assert capfd.readouterr().err == ""


def peak_memory_mb(pid: int) -> float:
    """The most that a process has held in memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads the peak memory from /proc")
def test_memory_does_not_grow_with_the_video(decoder, tmp_path: Path, make_video) -> None:
    """An hour of 1080p, against a minute of it."""
    minute = make_video(tmp_path / "minute.mp4", seconds=60, fps=4, codec="libx264", size=(1920, 1080))
    hour = repeated(minute, tmp_path / "hour.mp4", times=60, period_s=60)
    peaks = []
    for path in (minute, hour):
        answers = list(decoder.run({**extract(path), "fps": 0.05}, timeout_s=300))
        assert answers[-1][0]["outcome"]["failure"] is None
        peaks.append(peak_memory_mb(decoder.pid))
    assert answers[-1][0]["outcome"]["duration_s"] == pytest.approx(3600, abs=1)
    assert len(answers) == 181
    assert peaks[1] < 500
    assert peaks[1] - peaks[0] < 50


def repeated(source: Path, target: Path, *, times: int, period_s: int) -> Path:
    """A file's packets again and again, on one clock."""
    with av.open(str(target), "w") as output:
        with av.open(str(source)) as container:
            out = output.add_stream_from_template(container.streams.video[0])
        for number in range(times):
            with av.open(str(source)) as container:
                stream = container.streams.video[0]
                for packet in container.demux(stream):
                    if packet.size:
                        ticks = round(number * period_s / packet.time_base)
                        packet.pts, packet.dts, packet.stream = packet.pts + ticks, packet.dts + ticks, out
                        output.mux(packet)
    return target
