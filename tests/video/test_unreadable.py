"""What the storage does not give is told from what is wrong with a video: a real HTTP server that fails."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from framewatch.video.extraction import handle_request

PART = {"first": 0, "stop": None, "fps": 1.0, "jpeg_quality": 90, "max_side": 0, "tolerance_s": 0.0,
        "decode_all": False}  # fmt: skip


class Server(ThreadingHTTPServer):
    """Serves ranges of one file; from some byte on it answers with an error.

    Attributes:
        data: of the file.
        fails_from: the first byte that is not given.
        status: of the answer to who asks for it.
    """

    data = b""
    fails_from = 1 << 40
    status = 503


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_HEAD(self) -> None:
        self._answer(b"", 200, len(self.server.data))

    def do_GET(self) -> None:
        wanted = self.headers["Range"] or f"bytes=0-{len(self.server.data) - 1}"
        first, last = (int(n) for n in wanted.removeprefix("bytes=").split("-", 1))
        if last >= self.server.fails_from:
            self._answer(b"", self.server.status, 0)
        else:
            part = self.server.data[first : last + 1]
            self._answer(part, 206, len(part), f"bytes {first}-{last}/{len(self.server.data)}")

    def _answer(self, data: bytes, status: int, length: int, content_range: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(length))
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), _Handler) as opened:
        threading.Thread(target=opened.serve_forever, daemon=True).start()
        yield opened
        opened.shutdown()


@pytest.mark.parametrize("status", [403, 404, 503])
def test_a_server_that_fails_in_mid_file(server: Server, make_video, tmp_path: Path, status: int) -> None:
    path = make_video(tmp_path / "long.mkv", seconds=240, fps=2, codec="rawvideo", size=(320, 240))
    server.data, server.status = path.read_bytes(), status
    url = f"http://127.0.0.1:{server.server_port}/long.mkv"
    *frames, (end, _) = handle_request({"task": "extract", "source": url, **PART})
    assert (len(frames), end["outcome"].get("unreadable"), end["outcome"]["failure"]) == (240, None, None)
    server.fails_from = len(server.data) // 2
    *frames, (end, _) = handle_request({"task": "extract", "source": url, **PART})
    assert 50 < len(frames) < 240 and end["outcome"]["unreadable"], end
    server.fails_from = 0
    [(end, _)] = handle_request({"task": "extract", "source": url, **PART})
    assert end["outcome"]["unreadable"], end


@pytest.mark.parametrize("data", [b"", b"no video\n" * 100], ids=["empty", "text"])
def test_what_is_no_video_is_no_matter_of_the_storage(server: Server, tmp_path: Path, data: bytes) -> None:
    server.data = data
    (tmp_path / "a.mkv").write_bytes(data)
    for source in (str(tmp_path / "a.mkv"), f"http://127.0.0.1:{server.server_port}/a.mkv"):
        [(end, _)] = handle_request({"task": "extract", "source": source, **PART})
        assert end["outcome"]["failure"] and end["outcome"]["unreadable"] is False
