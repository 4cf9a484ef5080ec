"""Outputs to review, and the page of one."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from outputs import brightness, make_output

from framewatch.review.loop import LoopSettings
from framewatch.review.serve import ServeSettings, open_server


@pytest.fixture(scope="session")
def clocks(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three 20 s videos, MPEG-2 and AVI, as browsers play none of them."""
    import av

    directory = tmp_path_factory.mktemp("clocks")
    paths = [directory / name for name in ("Hall <b>1.mpg", "Yard.avi", 'a\'b "c" é.mpg')]
    for path in paths:
        codec = "mjpeg" if path.suffix == ".avi" else "mpeg2video"
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=10 if path.suffix == ".avi" else 25)
            stream.width, stream.height = 160, 120
            stream.pix_fmt = "yuvj420p" if path.suffix == ".avi" else "yuv420p"
            fps = int(stream.codec_context.framerate)
            for number in range(20 * fps):
                image = np.full((120, 160, 3), brightness(number / fps), np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode(None))
    return paths


@pytest.fixture
def output(tmp_path: Path, clocks: list[Path]) -> Path:
    """The output of `make_output`."""
    return make_output(tmp_path / "out", clocks)


@pytest.fixture
def server(output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of the page of `output`, served by a thread."""
    monkeypatch.setenv("FRAMEWATCH_HOME", str(tmp_path / "home"))
    settings = ServeSettings(port=0, reviewer="ann")
    opened = open_server(str(output), settings=settings, loop=LoopSettings())
    thread = threading.Thread(target=opened.run, daemon=True)
    thread.start()
    yield opened.address
    opened.stop()
    thread.join(5)
