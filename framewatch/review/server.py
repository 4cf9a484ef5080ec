"""`framewatch review`: the page on this machine, until it is stopped."""

import contextlib
import getpass
import logging
import re
import secrets
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import waitress
from flask import Flask
from waitress import wasyncore

from framewatch.config.outputs import ClassesConfig, IndexConfig
from framewatch.errors import InputError
from framewatch.feedback.desk import Desk
from framewatch.feedback.loop import LoopSettings
from framewatch.io.images import MAX_PIXELS
from framewatch.models.weights import cache_directory
from framewatch.review.app import Page, create_app
from framewatch.review.authentication import is_loopback
from framewatch.review.class_runner import ClassFinder
from framewatch.review.clip_cache import ClipCache
from framewatch.review.similar_moments import SimilarFinder
from framewatch.review.similar_routes import MOST_UPLOAD_BYTES
from framewatch.search.milvus_client import Place, default_place

_THREADS = 8
_MOST_HEADER_BYTES = 16 << 10
_TOKEN = re.compile(r"[\w-]{16,200}", re.ASCII)


@dataclass(frozen=True)
class ServeSettings:
    """Where the page is, and for whom.

    Attributes:
        host: the address to listen on.
        port: 0 for any that is free.
        token: asked of everybody, once; made where none is given.
        public_url: where people reach the page through a proxy, such as `https://review.example.com`.
        reviewer: the name that the page proposes; by default the user's.
        lead_s: seconds to play before a moment's peak.
        cache_mb: most of the disk that clips may take.
        model: of pictures and texts as prompts, the network's file where the features do not tell.
        weights: its weights, likewise.
        gap_s: seconds without a matching frame that a clip of a class may span.
        index: tells where the output's index is; below the output without it.
        index_gap_s: seconds between neighbouring moments that are one hit.
        max_pixels: uploaded pictures of more pixels are refused.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    token: str | None = None
    public_url: str | None = None
    reviewer: str | None = None
    lead_s: float = 3.0
    cache_mb: int = 2000
    model: str = "InceptionV3"
    weights: str = "imagenet"
    gap_s: float = ClassesConfig.gap_s
    index: Callable[[], Place] | None = None
    index_gap_s: float = IndexConfig.gap_s
    max_pixels: int = MAX_PIXELS


@dataclass(frozen=True)
class Server:
    """A page that listens."""

    waitress: Any
    app: Flask
    address: str
    desk: Desk

    def run(self) -> None:
        """Serves until it is interrupted, or stopped."""
        self.waitress.run()

    def stop(self) -> None:
        """Ends `run` from another thread, where it has not ended by itself."""
        sockets = getattr(self.waitress, "_map", None) or self.waitress.map
        # In the thread that serves: closing a socket under its `select` would be an error there.
        with contextlib.suppress(OSError):
            self.waitress.trigger.pull_trigger(lambda: wasyncore.close_all(sockets))


def open_server(output: str, *, settings: ServeSettings, loop: LoopSettings) -> Server:
    """Opens the page of an output.

    Raises:
        InputError: frames have not been ranked there, the address is taken, or the token is too short.
    """
    token = secrets.token_urlsafe(16) if settings.token is None else settings.token
    if not _TOKEN.fullmatch(token):
        raise InputError(
            "the token is not valid: give 16 to 200 letters, digits, - and _, or none and one is made"
        )
    desk = Desk(output, loop)
    clips = ClipCache(cache_directory() / "clips", most_bytes=settings.cache_mb << 20)
    finder = ClassFinder(desk.results, settings.model, settings.weights, settings.gap_s)
    place = settings.index or (lambda: default_place(output, None, "framewatch"))
    similar = SimilarFinder(
        output, place, settings.model, settings.weights, settings.index_gap_s, settings.max_pixels
    )
    page = Page(desk, clips, finder, similar, lead_s=settings.lead_s, reviewer=settings.reviewer or _user())
    logging.getLogger("waitress").setLevel(logging.ERROR)
    only_loopback = is_loopback(settings.host)
    app = create_app(page, token=token, public_url=settings.public_url, only_loopback=only_loopback)
    try:
        # waitress reads the whole body before the application can refuse the request.
        server = waitress.create_server(
            app,
            host=settings.host,
            port=settings.port,
            threads=_THREADS,
            max_request_header_size=_MOST_HEADER_BYTES,
            max_request_body_size=2 * MOST_UPLOAD_BYTES,
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{settings.host}:{settings.port} cannot be listened on ({reason}): give another with --port"
        ) from error
    reached = socket.gethostname() if settings.host in ("0.0.0.0", "::") else settings.host
    host = f"[{reached}]" if ":" in reached else reached
    several = getattr(server, "effective_listen", None)  # `localhost` may be two addresses
    port = several[0][1] if several else server.effective_port
    base = (settings.public_url or f"http://{host}:{port}").rstrip("/")
    return Server(server, app, f"{base}/?token={token}", desk)


def serve(
    output: str, *, settings: ServeSettings, loop: LoopSettings, on_message: Callable[[str], None]
) -> None:
    """Serves the page of an output until it is interrupted.

    Raises:
        InputError: frames have not been ranked there, or the address is taken.
    """
    pa.set_memory_pool(pa.system_memory_pool())  # which gives back what tables took while they were read
    server = open_server(output, settings=settings, loop=loop)
    num = server.desk.moments.num_incidents
    on_message(f"review: {num} incidents and {len(server.desk.moments) - num} single frames of {output}")
    if server.desk.results.stale:
        on_message(f"review: {server.desk.results.stale}")
    if note := server.desk.log.file_summary:
        on_message(f"review: verdicts {note}")
    on_message(f"review: open {server.address} (Ctrl-C to stop; verdicts are kept in {output}/verdicts)")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a service manager's Ctrl-C
    server.run()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "reviewer"
