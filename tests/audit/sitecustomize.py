"""Python imports this first where it is on PYTHONPATH: a line of JSON for each file and socket opened.

The lines go to the file that FRAMEWATCH_TEST_AUDIT names, from child processes as well.
"""

import json
import os
import sys

_EVENTS = {
    "open", "os.listdir", "os.scandir", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.chmod",
    "os.truncate", "os.system", "os.exec", "os.posix_spawn", "subprocess.Popen",
    "urllib.Request", "ftplib.connect",
    "socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname",
}  # fmt: skip
_log = os.open(os.environ["FRAMEWATCH_TEST_AUDIT"], os.O_WRONLY | os.O_APPEND)


def _audit(event: str, arguments: tuple) -> None:
    if event in _EVENTS:
        shown = [os.fsdecode(it) if isinstance(it, bytes) else it for it in arguments]
        os.write(_log, (json.dumps([event, shown], default=repr) + "\n").encode())


sys.addaudithook(_audit)
