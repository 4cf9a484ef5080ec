"""Every field of every request of the page, given paths and addresses: nothing outside the output is opened.

The server runs in a process of its own under an audit hook (tests/audit), which reports each file and socket
that Python opens, there and in child processes. What libraries open below Python is seen by the canary: a
directory that the kernel watches, and a port that listens.
"""

import ast
import ctypes
import json
import os
import re
import select
import socket
import struct
import sys
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from flask import Flask
from outputs import served
from page_client import Client

from framewatch.cli.main import main
from framewatch.feedback.loop import LoopSettings
from framewatch.review.fields import Fields, fields_of
from framewatch.review.server import ServeSettings, open_server

pytest.importorskip("pymilvus", reason="pymilvus is missing: pip install 'framewatch[search]'")

SECRET = b"canary-4711"


@dataclass
class Example:
    """A request that is answered with 200; `NAME` in a path is an answer's name."""

    path: dict[str, str] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    json: dict[str, Any] = field(default_factory=dict)


CLASSES = {
    "threshold": 60,
    "include_clips": True,
    "classes": [{"name": "x", "prompts": [{"example": "ORIGIN"}]}],
}
JUDGE = {"answer": "not", "reviewer": "ann"}
TIMES = {"begin": "0.000", "end": "1.000"}
# One for each route, with all of its fields.
EXAMPLES = {
    "static": Example({"filename": "page.js"}),
    "index": Example(), "status": Example(), "labels": Example(), "classes.page": Example(),
    "queue": Example(query={
        "order": "rank", "shown": "all", "video": "", "kind": "", "from_s": "0", "to_s": "9",
        "min_prob": "0", "max_prob": "1", "offset": "0",
    }),
    "one": Example({"moment": "0"}),
    "thumbnail": Example({"moment": "0"}), "poster": Example({"moment": "0"}),
    "timeline": Example({"video": "0"}), "clip": Example({"video": "0", **TIMES}),
    "judge": Example(json={**JUDGE, "moment": 0, "second": 5, "reason": "top", "ranking": "RANKING"}),
    "undo": Example(json={"reviewer": "ann"}),
    "classes.run": Example(json={"request": CLASSES, "min_duration_ratio": 0}),
    "classes.videos": Example({"name": "NAME"}, {"offset": "0"}),
    "classes.more": Example({"name": "NAME", "video": "0"}, {"class": "x", "offset": "0"}),
    "classes.timeline": Example({"name": "NAME", "video": "0"}),
    "classes.as_json": Example({"name": "NAME"}), "classes.as_csv": Example({"name": "NAME"}),
    "classes.play": Example({"name": "NAME", "video": "0", **TIMES}),
    "classes.frames": Example({"video": "0"}), "classes.picture": Example({"video": "0", "place": "0"}),
    "similar.index": Example(query={"moment": "0", "video": "0", "second": "5", "origin": "x"}),
    "similar.search": Example(json={
        "video": 0, "second": 5, "scope": "frame", "min_probability": 0, "by_video": False, "limit": 3,
        "moment": None, "origin": None, "picture": None,
    }),
    "similar.upload": Example(),
    "similar.picture": Example({"name": "NAME", "number": "0"}),
    "similar.clip": Example({"name": "NAME", "number": "0"}),
    "similar.judge": Example({"name": "NAME", "number": "0"}, json=JUDGE),
}  # fmt: skip
# Where any text is an answer of its own: compared with names, or kept as one. All other fields refuse it.
FREE = {
    ("queue", "video"), ("queue", "kind"), ("judge", "reviewer"), ("undo", "reviewer"),
    ("classes.more", "class"),
    ("similar.index", "origin"), ("similar.judge", "reviewer"), ("classes.run", "request.classes.name"),
    ("classes.run", "request.classes.not"),
}  # fmt: skip
# Fields of a class request, and where a hostile value goes.
NESTED = {
    "request.threshold": lambda it: {**CLASSES, "threshold": it},
    "request.include_clips": lambda it: {**CLASSES, "include_clips": it},
    "request.classes": lambda it: {"classes": it},
    "request.classes.name": lambda it: _class(name=it),
    "request.classes.prompts": lambda it: _class(prompts=[it]),
    "request.classes.prompts.text": lambda it: _class(prompts=[{"text": it}]),
    "request.classes.prompts.example": lambda it: _class(prompts=[{"example": it}]),
    "request.classes.prompts.image": lambda it: _class(prompts=[{"example": "ORIGIN"}, {"image": it}]),
    "request.classes.not": lambda it: _class(**{"not": [it]}),
    "request.classes.labels": lambda it: _class(labels=it),
}


def _class(**fields: Any) -> dict[str, Any]:
    return {"classes": [{**CLASSES["classes"][0], **fields}]}


@pytest.fixture
def app(output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    monkeypatch.setenv("FRAMEWATCH_HOME", str(tmp_path / "home"))
    server = open_server(str(output), settings=ServeSettings(port=0, reviewer="ann"), loop=LoopSettings())
    yield server.app
    server.stop()


def routes(app: Flask) -> dict[str, tuple[str, str, set[str], Fields]]:
    """By endpoint: method, rule, names in the path, and declared fields."""
    found: dict[str, tuple[str, str, set[str], Fields]] = {}
    for rule in app.url_map.iter_rules():
        (method,) = rule.methods - {"HEAD", "OPTIONS"}
        assert rule.endpoint not in found
        found[rule.endpoint] = method, rule.rule, set(rule.arguments), fields_of(app, rule.endpoint)
    return found


def test_every_field_of_every_route_is_tried_and_documented(app: Flask) -> None:
    declared = routes(app)
    assert declared.keys() == EXAMPLES.keys(), (
        "a new route needs an example here, and a line in docs/reference/requests.md"
    )
    expected = set()
    for endpoint, (method, rule, names, its) in declared.items():
        example = EXAMPLES[endpoint]
        assert (names, its.query.keys(), its.json.keys()) == (
            example.path.keys(), example.query.keys(), example.json.keys()
        ), f"a new field of {endpoint} needs a value here"  # fmt: skip
        shown = f"{method} {re.sub('<[a-z]+:', '<', rule)}"
        fields = names | its.query.keys() | its.json.keys()
        if endpoint == "classes.run":
            fields |= NESTED.keys() - {"request.classes"}
        if its.upload_bytes:
            fields = {"the body"}
        expected |= {(shown, name) for name in fields or {""}}
    assert documented() == expected


def documented() -> set[tuple[str, str]]:
    """Requests and fields of the table in docs/reference/requests.md."""
    found, request = set(), ""
    page = (ROOT / "docs" / "reference" / "requests.md").read_text(encoding="utf-8")
    for line in page.splitlines():
        if line.startswith("| ") and "---" not in line and not line.startswith("| request"):
            first, names = (cell.strip() for cell in line.split("|")[1:3])
            request = first.strip("`") or request
            found |= {(request, name.strip(" `")) for name in names.split(",")}
    return found


def test_fields_of_a_class_request_are_those_of_its_schema() -> None:
    def names(schema: Any, path: str) -> Iterator[str]:
        for key in ("items", "oneOf", "anyOf"):
            for it in (
                schema[key] if isinstance(schema.get(key), list) else [schema[key]] if key in schema else []
            ):
                yield from names(resolved(it), path)
        for name, its in schema.get("properties", {}).items():
            yield f"{path}.{name}"
            yield from names(resolved(its), f"{path}.{name}")

    def resolved(schema: Any) -> Any:
        return whole["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema

    whole = json.loads((ROOT / "docs" / "reference" / "classes.schema.json").read_text())
    assert set(names(whole, "request")) == NESTED.keys()


def test_only_one_module_reads_requests() -> None:
    """A field that is not declared cannot be read."""
    for path in (ROOT / "framewatch" / "review").glob("*.py"):
        flask = [it for it in ast.walk(ast.parse(path.read_text())) if getattr(it, "module", "") == "flask"]
        names = {alias.name for it in flask for alias in it.names}
        assert path.name in ("fields.py", "authentication.py") or "request" not in names, path


@dataclass
class Canary:
    """A directory and a port that nobody has a reason to open."""

    directory: Path
    listener: socket.socket
    inotify: int

    @property
    def port(self) -> int:
        return self.listener.getsockname()[1]

    def touched(self) -> list[str]:
        """What was opened since."""
        found = []
        while select.select([self.inotify], [], [], 0)[0]:
            data = os.read(self.inotify, 1 << 16)
            while data:
                length = struct.unpack_from("iIII", data)[3]
                found.append(data[16 : 16 + length].rstrip(b"\0").decode() or "the directory")
                data = data[16 + length :]
        while select.select([self.listener], [], [], 0)[0]:
            self.listener.accept()[0].close()
            found.append("the port")
        return found


@pytest.fixture
def canary(tmp_path: Path, clocks: list[Path]) -> Iterator[Canary]:
    if sys.platform != "linux":
        pytest.skip("inotify is Linux's")
    directory = tmp_path / "canary"
    directory.mkdir()
    for name in ("a.png", "a.csv", "a.mp4", "a.jsonl"):
        (directory / name).write_bytes(SECRET)
    libc = ctypes.CDLL(None, use_errno=True)
    inotify = libc.inotify_init1(os.O_NONBLOCK)
    for path in (directory, clocks[0].parent):
        assert libc.inotify_add_watch(inotify, os.fsencode(path), 0x20) >= 0  # IN_OPEN
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield Canary(directory, listener, inotify)
    os.close(inotify)


def hostile(canary: Canary) -> list[str]:
    file, address = f"{canary.directory}/a.png", f"127.0.0.1:{canary.port}"
    return [
        file, f"file://{file}", f"file:{file}", f"../../..{file}", f"..{file}", f"{file}\0.jpg",
        f"local:{file}", f"simplecache::file://{file}", f"zip://x::file://{file}", f"{canary.directory}/*",
        f"{canary.directory}/a.csv", f"{canary.directory}/a.mp4", "/etc/passwd",
        "../../../../../../etc/passwd", "..", ".", "/", "~/.ssh/id_rsa",
        "/dev/zero", "/proc/self/environ", "\0", "..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd",
        f"http://{address}/x", f"ftp://{address}/x", f"//{address}/x", f"\\\\{address}\\share\\x", "s3://bucket/x",
        f"http://[::ffff:127.0.0.1]:{canary.port}/", "verdicts", "|id", "$(id)", "data:text/plain,x",
    ]  # fmt: skip


# Contents that make a library that decodes them open another file.
BODIES = [
    b'<svg xmlns="http://www.w3.org/2000/svg" xmlns:x="http://www.w3.org/1999/xlink"><image x:href="FILE"/>'
    b"</svg>",
    b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "FILE">]><svg>&b;</svg>',
    b"ffconcat version 1.0\nfile 'FILE'\n", b"#EXTM3U\n#EXTINF:1,\nFILE\n", b"%!PS\n(FILE) (r) file\n",
    b"push graphic-context\nfill 'url(FILE)'\n", b"FILE", b"", b"\0" * 100, b"GIF89a", b"RIFF\0\0\0\0WEBP",
]  # fmt: skip


class Walk:
    """Sends requests, and collects what is wrong with the answers."""

    def __init__(self, client: Client, declared: dict[str, tuple[str, str, set[str], Fields]]) -> None:
        self.client, self.declared = client, declared
        self.wrong: list[str] = []
        self.count = 0
        frames = client.get("classes/frames/0")["frames"]
        self.origin = frames[5]["origin"]
        status, answer = client.post(
            "classes/run", self.filled({"request": CLASSES, "min_duration_ratio": 0})
        )
        assert status == 200, answer
        status, similar = client.post("similar/search", {"moment": 0})
        assert status == 200, similar
        self.names = {"classes": answer["id"], "similar": similar["id"]}

    def filled(self, value: Any) -> Any:
        text = json.dumps(value).replace('"ORIGIN"', json.dumps(self.origin))
        return json.loads(text.replace('"RANKING"', json.dumps(self.client.ranking)))

    def send(
        self, endpoint: str, *, path: dict[str, str] | None = None, query: dict[str, str] | None = None,
        body: Any = None, raw: bool = False, headers: dict[str, str] | None = None,
    ) -> tuple[int, bytes]:  # fmt: skip
        method, rule, _, _ = self.declared[endpoint]
        example = EXAMPLES[endpoint]
        values = {**example.path, **(path or {})}
        quote = str if raw else lambda it: urllib.parse.quote(it, safe="")
        target = re.sub(r"<(?:\w+:)?(\w+)>", lambda it: quote(values[it[1]]), rule)
        target = target.replace("NAME", self.names.get(endpoint.partition(".")[0], ""))
        arguments = {**example.query, **(query or {})}
        target += f"?{urllib.parse.urlencode(arguments)}" if arguments else ""
        data = None
        if method == "POST":
            sent = self.filled({**example.json, **(body or {})}) if not isinstance(body, bytes) else body
            data = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
        self.count += 1
        names = {"Content-Type": "application/json", **(headers or {})}
        return self.client.raw(target, method=method, body=data, **names)

    def expect_refused(self, endpoint: str, what: str, value: Any, **how: Any) -> None:
        status, answer = self.send(endpoint, **how)
        about = f"{endpoint} {what}={value!r}: {status} {answer[:200]!r}"
        if SECRET in answer or b"root:" in answer:
            self.wrong.append(f"shows a file: {about}")
        if status >= 500 or status < 200 or (status == 200 and (endpoint, what) not in FREE):
            self.wrong.append(f"not refused: {about}")
        if status >= 400 and b"\n" in json.loads(answer)["error"].encode():
            self.wrong.append(f"not one line: {about}")


def outside(log: Path, allowed: list[str]) -> list[str]:
    """Files and sockets that were opened, but for those of the output and of Python itself."""
    found = []
    for line in log.read_text().splitlines():
        event, arguments = json.loads(line)
        if event == "open" or event.startswith("os."):
            path = arguments[0]
            if not isinstance(path, str) or os.path.abspath(path).startswith(tuple(allowed)):
                continue  # numbers are of files that are open
        found.append(f"{event} {arguments}")
    return found


def test_no_field_opens_a_file_or_a_connection(
    output: Path,
    tmp_path: Path,
    app: Flask,
    clocks: list[Path],
    canary: Canary,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert main(["index", str(output)]) == 0
    log, home = tmp_path / "audit", tmp_path / "home"
    log.touch()
    monkeypatch.setenv("FRAMEWATCH_TEST_AUDIT", str(log))
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'tests' / 'audit'}{os.pathsep}{ROOT}")
    allowed = [str(output), str(home), sys.prefix, sys.base_prefix, str(ROOT), "/dev/null", "/proc/self/"]
    with served(output, home=home) as (address, _):
        walk = Walk(Client(address), routes(app))
        # What is legitimate is answered, and the clip's video is seen to be opened, below Python too.
        for endpoint in EXAMPLES.keys() - {"similar.upload"}:
            status, answer = walk.send(endpoint)
            assert status == 200, (endpoint, answer)
        assert set(canary.touched()) & {path.name for path in clocks}
        assert any(str(output / "frames") in line for line in log.read_text().splitlines())
        log.write_text("")
        attack(walk, canary)
        assert walk.count > 1000
        assert walk.wrong == []
        assert canary.touched() == []
        assert outside(log, allowed) == []


def attack(walk: Walk, canary: Canary) -> None:
    """One hostile value at a time in one field of one route; the others stay valid."""
    texts = hostile(canary)
    for endpoint, example in EXAMPLES.items():
        for name in example.path:
            for text in texts:
                walk.expect_refused(endpoint, name, text, path={name: text})
                if re.fullmatch(r"[!-~]+", text):
                    walk.expect_refused(endpoint, name, text, path={name: text}, raw=True)
        for name in example.query:
            for text in texts:
                walk.expect_refused(endpoint, name, text, query={name: text})
        for name in example.json:
            for value in [
                *texts,
                [texts[0]],
                {"image": texts[0]},
                {"path": texts[0]},
                -1,
                1e308,
                10**400,
                True,
            ]:
                alone = {"video": None, "second": None} if name in ("moment", "origin", "picture") else {}
                if not (value is True and name == "by_video"):
                    walk.expect_refused(endpoint, name, value, body={**alone, name: value})
        walk.expect_refused(endpoint, "path", texts[0], query={"path": texts[0]})
        if example.json:
            walk.expect_refused(endpoint, "image", texts[0], body={"image": texts[0]})
    for name, request in NESTED.items():
        for value in [*texts, [texts[0]], {"image": texts[0]}]:
            walk.expect_refused("classes.run", name, value, body={"request": request(value)})
    for body in BODIES:
        data = body.replace(b"FILE", texts[0].encode())
        walk.expect_refused("similar.upload", "body", data, body=data)
        walk.expect_refused("judge", "body", data, body=data)
