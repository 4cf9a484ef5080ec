"""Encodes frames to video files with PyAV."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from framewatch.io import atomic
from framewatch.samples.camera import FPS, HEIGHT, WIDTH

# Container, codec and options for each file extension, like an old and a new recorder.
_FORMATS: dict[str, tuple[str, str, dict[str, str]]] = {
    ".mpg": ("mpeg", "mpeg2video", {"qmin": "3", "qmax": "10", "g": "15"}),
    ".mp4": ("mp4", "libx264", {"preset": "veryfast", "crf": "23", "g": "50"}),
}


def write_video(frames: Iterable[np.ndarray], path: Path) -> None:
    """Encode frames at FPS; the file appears at `path` only when it is complete.

    Args:
        frames: uint8 BGR, shape (HEIGHT, WIDTH, 3).
        path: its extension chooses the format: .mpg is MPEG-2, .mp4 is H.264.
    """
    container_format, codec, options = _FORMATS[path.suffix]
    with atomic.replacing(path) as part, av.open(str(part), "w", format=container_format) as container:
        stream: Any = container.add_stream(codec, rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.bit_rate = 1_000_000
        # Clips are encoded in parallel processes, so one thread per clip is fastest.
        stream.thread_count = 1
        for frame in frames:
            planes = cv2.cvtColor(frame, cv2.COLOR_BGR2YUV_I420)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        container.mux(stream.encode())
