"""Decodes in a child process, so that a decoder crash or hang affects one video and not the Spark worker.

The child is `python -m framewatch.video.process`, see `framewatch.io.child`. FFmpeg's error messages go to
its stderr, and the last line shows why a video failed.
"""

import re
from collections.abc import Iterator
from typing import Any

from framewatch.errors import VideoError
from framewatch.io.child import Answer, Child, ChildError, ChildTimeoutError, answer_requests

# FFmpeg's messages contain memory addresses, which differ between runs.
_ADDRESS = re.compile(r" @ 0x[0-9a-f]+")


class DecoderProcess:
    """A child process that decodes one video after another, and is restarted after a crash."""

    def __init__(self) -> None:
        self._child = Child("framewatch.video.process")

    def run(self, request: dict[str, Any], *, timeout_s: float) -> Iterator[Answer]:
        """Sends one request and yields the answers as they come; the last one has `outcome`.

        Raises:
            VideoError: the child crashed, or was killed after `timeout_s`.
        """
        try:
            yield from self._child.run(request, timeout_s=timeout_s)
        except ChildTimeoutError as error:
            raise VideoError(f"decoding {error}: set extract.timeout_s higher") from None
        except ChildError as error:
            raise VideoError(f"the decoder {error}") from None

    def last_error(self) -> str | None:
        """Returns FFmpeg's last error message about the last video; None without any."""
        lines = self._child.stderr_lines()
        messages = [line for line in lines if not line.startswith("Last message repeated")]
        return _ADDRESS.sub("", messages[-1]) if messages else None

    @property
    def pid(self) -> int | None:
        """Process id of the child; None if it is not running."""
        return self._child.pid

    def end(self) -> None:
        """Kills the child."""
        self._child.end()


def _main() -> None:
    from framewatch.video.container import log_errors_to_stderr
    from framewatch.video.extraction import handle_request

    log_errors_to_stderr()
    answer_requests(handle_request)


if __name__ == "__main__":
    _main()
