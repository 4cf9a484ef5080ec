"""Damaged files: nothing crashes or hangs, and none that lost a sample is `ok`. From a seed; without Spark.

Draws short videos in several containers, damages copies of them (bits flipped; cut off; blocks swapped,
repeated, removed or zeroed), and reads each as a worker does. A file of which a sample is missing, or whose
samples run on another clock than the undamaged file's, has to be `partial` or `failed`.

Prints a table of counts and each file that breaks the rule, which `--only NUMBER` makes again.
"""

import argparse
import collections
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from framewatch.errors import VideoError
from framewatch.video.outcome import combined
from framewatch.video.process import DecoderProcess

SECONDS, BITS, SIDE = 20, 10, 16
# file name, encoder, its options, frames a second
KINDS = [
    ("h264.mp4", "libx264", {"preset": "veryfast", "bf": "2"}, 25),
    ("h264.mkv", "libx264", {"preset": "veryfast", "bf": "2"}, 25),
    ("h264.ts", "libx264", {"preset": "veryfast", "bf": "0"}, 25),
    ("mpeg2.mpg", "mpeg2video", {"bf": "2", "sc_threshold": "1000000000"}, 25),
    ("mpeg4.avi", "mpeg4", {"sc_threshold": "1000000000"}, 10),
    ("vp9.webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}, 15),
    ("hevc.mp4", "libx265", {"preset": "ultrafast", "x265-params": "log-level=none"}, 15),
    ("mjpeg.avi", "mjpeg", {}, 10),
]
TIMEOUT_S = 60
_PART = {"fps": 1, "first": 0, "stop": None, "jpeg_quality": 90, "max_side": 0, "tolerance_s": 0}

_OF_A_PART = (
    *("num_damaged", "duration_s", "expected_s", "tolerance_s", "is_whole", "gap_s", "goes_on_in"),
    *("warning", "fps", "width", "height", "codec"),
)

Damage = Callable[[bytearray, np.random.Generator], None]


def flipped(data: bytearray, random: np.random.Generator) -> None:
    """Single bits, most often a few."""
    for place in random.integers(0, len(data), int(2 ** random.uniform(0, 7))):
        data[place] ^= 1 << int(random.integers(8))


def cut(data: bytearray, random: np.random.Generator) -> None:
    """The end is missing."""
    del data[int(random.integers(1, len(data))) :]


def swapped(data: bytearray, random: np.random.Generator) -> None:
    """Two blocks, as of a disk."""
    size, (one, other) = _blocks(data, random)
    data[one : one + size], data[other : other + size] = data[other : other + size], data[one : one + size]


def repeated(data: bytearray, random: np.random.Generator) -> None:
    """A block lies in the place of another."""
    size, (one, other) = _blocks(data, random)
    data[one : one + size] = data[other : other + size]


def removed(data: bytearray, random: np.random.Generator) -> None:
    """A block is missing, and what follows moves up."""
    size, (one, _) = _blocks(data, random)
    del data[one : one + size]


def zeroed(data: bytearray, random: np.random.Generator) -> None:
    """A block that was never written."""
    size, (one, _) = _blocks(data, random)
    data[one : one + size] = bytes(size)


DAMAGES: list[Damage] = [flipped, cut, swapped, repeated, removed, zeroed]


def _blocks(data: bytearray, random: np.random.Generator) -> tuple[int, list[int]]:
    """The size of a block, and the places of two different ones."""
    size = int(random.choice([512, 4096, 16384]))
    size = min(size, len(data) // 4)
    one, other = random.choice(len(data) // size, 2, replace=False)
    return size, [int(one) * size, int(other) * size]


def drawn(number: int) -> np.ndarray:
    """A picture of `number` in black and white blocks, one a bit, with noise that makes frames large."""
    row = np.repeat([(number >> bit & 1) * 160 + 28 for bit in range(BITS)], SIDE)
    noise = np.random.default_rng(number).integers(0, 60, (4 * SIDE, BITS * SIDE))
    return np.repeat((row + noise).astype(np.uint8)[..., None], 3, axis=2)


def encode(path: Path, codec: str, options: dict[str, str], rate: int) -> None:
    """Writes one video of numbered pictures."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(rate), options=options)
        stream.width, stream.height = BITS * SIDE, 4 * SIDE
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.gop_size = 2 * rate
        stream.codec_context.bit_rate = 400_000
        for number in range(SECONDS * rate):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(drawn(number), format="bgr24")))
        container.mux(stream.encode(None))


@dataclass(frozen=True)
class Read:
    """How a file was read.

    Attributes:
        status, error: as in the ledger.
        times_s: of the samples, by their number.
    """

    status: str
    error: str
    times_s: dict[int, float]


def read(decoder: DecoderProcess, path: Path) -> Read:
    """Reads a whole file in the decoding process."""
    times_s: dict[int, float] = {}
    request = {"task": "extract", "source": str(path), **_PART, "decode_all": False}
    try:
        for header, _ in decoder.run(request, timeout_s=TIMEOUT_S):
            if "outcome" in header:
                outcome: dict[str, Any] = header["outcome"]
            else:
                times_s[header["index"]] = header["timestamp_s"]
    except VideoError as error:
        outcome = {"failure": str(error)}
    part = {
        **dict.fromkeys(_OF_A_PART),
        "complaint": decoder.last_error(),
        **outcome,
        "num_frames": len(times_s),
    }
    row = combined([part])
    return Read(row["status"], row["error"] or "", times_s)


def fault_of(damaged: Read, whole: Read) -> str | None:
    """What is wrong with how a damaged file was read."""
    if "crashed" in damaged.error:
        return "crash"
    if "did not end" in damaged.error:
        return "hang"
    if damaged.status != "ok":
        return None
    lost = sorted(set(whole.times_s) - set(damaged.times_s))
    return f"ok, without samples {lost}" if lost else None


def main() -> int:
    """Runs the benchmark; 1 if a file breaks the rule."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="the number of one damaged file, to look into")
    parser.add_argument("--keep", type=Path, help="where to leave the damaged file of --only")
    arguments = parser.parse_args()
    decoder, counts, faults = DecoderProcess(), collections.Counter(), []
    with tempfile.TemporaryDirectory() as name:
        originals = {}
        for kind, *encoding in KINDS:
            path = Path(name) / kind
            encode(path, *encoding)
            originals[kind] = path.read_bytes(), read(decoder, path)
            if (status := originals[kind][1]).status != "ok":
                raise SystemExit(f"{kind}, undamaged: {status.status}, {status.error}")
        numbers = range(arguments.files) if arguments.only is None else [arguments.only]
        started = time.monotonic()
        for number in numbers:
            random = np.random.default_rng([arguments.seed, number])
            kind, damage = KINDS[number % len(KINDS)][0], DAMAGES[number // len(KINDS) % len(DAMAGES)]
            data, whole = originals[kind]
            spoiled = bytearray(data)
            damage(spoiled, random)
            path = (arguments.keep or Path(name)) / f"{number}-{damage.__name__}-{kind}"
            path.write_bytes(spoiled)
            damaged = read(decoder, path)
            counts[damage.__name__, damaged.status] += 1
            fault = fault_of(damaged, whole)
            if fault:
                faults.append(f"{path.name}: {fault}")
            if arguments.only is not None:
                print(damaged)
            if not arguments.keep:
                path.unlink()
    decoder.end()
    for damage in DAMAGES:
        row = {status: counts[damage.__name__, status] for status in ("ok", "partial", "failed")}
        print(f"{damage.__name__:10}", *(f"{count:4} {status}" for status, count in row.items()))
    print(f"{len(numbers)} files in {time.monotonic() - started:.0f} s, seed {arguments.seed}")
    print(*faults, f"{len(faults)} file(s) break the rule", sep="\n")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
