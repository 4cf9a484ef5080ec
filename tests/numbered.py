"""Videos whose frames show their own numbers, and what framewatch reads of them."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from framewatch.errors import VideoError
from framewatch.video.outcome import combined
from framewatch.video.process import DecoderProcess

BITS = 10
SIDE = 16  # a block a bit: whole blocks of every codec
GOP = 12


@functools.cache
def drawn(number: int) -> np.ndarray:
    """A picture of `number` in black and white blocks, one a bit, with noise that makes frames large."""
    bits = [(number >> bit) & 1 for bit in range(BITS)]
    row = np.repeat(np.array(bits, np.uint8) * 160 + 28, SIDE)
    noise = np.random.default_rng(number).integers(0, 60, (4 * SIDE, BITS * SIDE), dtype=np.uint8)
    return np.repeat((np.tile(row, (4 * SIDE, 1)) + noise)[..., None], 3, axis=2)


def read_number(image: np.ndarray) -> int:
    """The number that a picture shows."""
    blocks = image.mean(axis=(0, 2)).reshape(BITS, -1).mean(axis=1)
    return sum(1 << bit for bit, level in enumerate(blocks) if level > 128)


def _without_scene_cuts(codec: str, options: dict[str, str]) -> dict[str, str]:
    """Every picture is a new scene to an encoder, which would make them all keyframes."""
    if codec in ("libx264", "libx265"):
        name = codec.removeprefix("lib") + "-params"
        quiet = ["log-level=none"] if codec == "libx265" else []
        params = ":".join([*quiet, "scenecut=0", *([options[name]] if name in options else [])])
        return {**options, name: params}
    return {"sc_threshold": "1000000000", **options} if codec.startswith("mpeg") else options


def encode(
    path: Path,
    codec: str,
    options: dict[str, str],
    rate: Fraction,
    *,
    num_frames: int,
    first: int = 0,
    bit_rate: int = 1_500_000,
    gop: int = GOP,
    container_format: str | None = None,
    times: list[float] | None = None,
    **codec_settings: Any,
) -> Path:
    """Writes pictures of the numbers from `first` on; `times` gives irregular ones, in seconds."""
    with av.open(str(path), "w", format=container_format) as container:
        stream = container.add_stream(codec, rate=rate, options=_without_scene_cuts(codec, options))
        stream.width, stream.height = BITS * SIDE, 4 * SIDE
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.gop_size = gop
        stream.codec_context.bit_rate = bit_rate
        for name, value in codec_settings.items():
            setattr(stream.codec_context, name, value)
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(drawn(first + number), format="bgr24")
            if times is not None:
                frame.time_base = Fraction(1, 1000)
                frame.pts = round(times[number] * 1000)
                stream.codec_context.time_base = Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def h264(path: Path, num_frames: int, *, rate: int = 25, b_frames: int = 0, **settings: Any) -> Path:
    """H.264, as most recorders write it."""
    options = {"preset": "ultrafast", "bf": str(b_frames)}
    return encode(path, "libx264", options, Fraction(rate), num_frames=num_frames, **settings)


def copied(source: Path, target: Path, change: Any = lambda number, packet: True, **settings: Any) -> Path:
    """The packets of a file in another; `change` may change each, and is False for those left out."""
    with av.open(str(source)) as container, av.open(str(target), "w", **settings) as output:
        stream = container.streams.video[0]
        out = output.add_stream_from_template(stream)
        for number, packet in enumerate(packet for packet in container.demux(stream) if packet.size):
            if change(number, packet) is not False:
                packet.stream = out
                output.mux(packet)
    return target


def moved(packet: Any, seconds: float) -> None:
    """Shows a packet's frame later."""
    ticks = round(seconds / packet.time_base)
    packet.pts += ticks
    packet.dts = None if packet.dts is None else packet.dts + ticks


@dataclass(frozen=True)
class Extracted:
    """What the worker's decoding process makes of a video.

    Attributes:
        row: of the ledger, as far as the process tells it.
        numbers: that the samples show, by their indexes.
        times_s: of the samples, by their indexes.
        sizes: of the pictures, (width, height).
    """

    row: dict[str, Any]
    numbers: dict[int, int]
    times_s: dict[int, float]
    sizes: set[tuple[int, int]]

    @property
    def status(self) -> str:
        return self.row["status"]

    @property
    def error(self) -> str:
        return self.row["error"] or ""

    @property
    def warning(self) -> str:
        return self.row.get("warning") or ""


_OF_A_PART = (
    *("failure", "num_damaged", "duration_s", "expected_s", "tolerance_s", "is_whole", "gap_s", "goes_on_in"),
    *("warning", "fps", "width", "height", "codec"),
)


class Extractor:
    """Extracts videos in one decoding process, whole or in parts."""

    def __init__(self) -> None:
        self.decoder = DecoderProcess()

    def __call__(
        self, path: Path, *, fps: float = 1, bounds: tuple[int, ...] = (), **request: Any
    ) -> Extracted:
        """Reads a video; `bounds` are the samples at which it is taken apart."""
        numbers: dict[int, int] = {}
        times_s: dict[int, float] = {}
        sizes: set[tuple[int, int]] = set()
        outcomes = []
        for first, stop in zip([0, *bounds], [*bounds, None], strict=True):
            outcome, num_frames = {"failure": "no outcome"}, 0
            for header, jpeg in self._answers(path, fps=fps, first=first, stop=stop, **request):
                if "outcome" in header:
                    outcome = header["outcome"]
                    continue
                image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
                num_frames += 1
                assert header["index"] not in numbers
                numbers[header["index"]] = read_number(cv2.resize(image, (BITS * SIDE, 4 * SIDE)))
                times_s[header["index"]] = header["timestamp_s"]
                sizes.add((image.shape[1], image.shape[0]))
            part = {**dict.fromkeys(_OF_A_PART), "complaint": self.decoder.last_error(), **outcome}
            outcomes.append({**part, "num_frames": num_frames})
        return Extracted(combined(outcomes), numbers, times_s, sizes)

    def _answers(self, path: Path, **request: Any) -> Iterator[tuple[dict[str, Any], bytes]]:
        whole = {"jpeg_quality": 95, "max_side": 0, "tolerance_s": 0, "decode_all": False, **request}
        try:
            yield from self.decoder.run({"task": "extract", "source": str(path), **whole}, timeout_s=300)
        except VideoError as error:
            yield {"outcome": {"failure": str(error)}}, b""
