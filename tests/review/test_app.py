"""The page's requests over real HTTP: what they answer, and whom."""

import csv
import http.client
import io
import json
import os
import re
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
import pytest
from outputs import brightness, make_output, served, set_file
from page_client import Client

from framewatch.cli.main import main
from framewatch.feedback import Verdict, VerdictLog
from framewatch.feedback.loop import LoopSettings
from framewatch.review.server import ServeSettings, open_server
from framewatch.tables.results import Results


@pytest.fixture
def replaced(output: Path) -> Path:
    """The output with an answer to each incident; the file of the first has been replaced since."""
    log = VerdictLog(str(output))
    incidents = Results(str(output)).read("incidents", ["video", "start_s", "end_s", "rank"]).sort_by("rank")
    rows = [(row["video"], row["start_s"], row["end_s"]) for row in incidents.to_pylist()]
    for row in rows:
        log.append(Verdict(*row, "suspicious", "ann"))
    set_file(output, rows[0][0], 1, 1)
    return output


def test_answers_to_a_replaced_file_are_left_out_and_counted(replaced: Path, client: Client) -> None:
    status, text, headers = client.open("labels.csv")
    assert status == 200 and headers["Framewatch-Set-Aside"] == "1"
    assert len(text.splitlines()) == 1 + 2
    found = client.get("api/status")
    assert (found["verdicts"], found["set_aside"]) == (2, 1)
    assert found["note"].startswith("set aside: 1 verdict on 1 video whose ")
    assert client.get("api/moments/0")["state"] == "unseen"


@pytest.fixture
def client(server: str) -> Client:
    return Client(server)


def test_the_queue_comes_in_pages(client: Client) -> None:
    first = client.get("api/queue?order=rank")
    assert (first["total"], len(first["items"])) == (56, 56)
    top = first["items"][0]
    assert (top["kind"], top["start_s"], top["end_s"], top["peak_s"]) == ("incident", 5, 8, 6)
    assert (top["name"], top["prob2"], top["state"]) == ("Hall <b>1.mpg", 0.97, "unseen")
    rest = client.get("api/queue?order=rank&offset=50")["items"]
    assert [item["id"] for item in rest] == list(range(50, 56))
    assert client.get("api/queue?offset=999")["items"] == []
    suggested = client.get("api/queue")["items"]
    assert {item["reason"] for item in suggested} == {"top", "uncertain", "random"}


def test_kinds_of_events_are_shown_where_there_are_some(
    client: Client, clocks: list[Path], tmp_path: Path
) -> None:
    assert 'name="kind"' not in client.page
    assert client.get("api/moments/0")["event"] is None
    output = make_output(tmp_path / "kinds", clocks, ["fight", "fall <b>", "fight"])
    server = open_server(str(output), settings=ServeSettings(port=0, reviewer="ann"), loop=LoopSettings())
    threading.Thread(target=server.run, daemon=True).start()
    try:
        client = Client(server.address)
        options = re.findall('<option value="(f[^"]+)">', client.page)
        assert options == ["fall &lt;b&gt;", "fight"]
        found = client.get("api/queue?kind=fall%20%3Cb%3E")
        assert [(item["id"], item["event"]) for item in found["items"]] == [(1, "fall <b>")]
        assert client.get("api/moments/0")["event"] == "fight"
    finally:
        server.stop()


def test_clips_play_the_moment_and_come_in_ranges(client: Client, tmp_path: Path) -> None:
    """Browsers play neither MPEG-2 nor AVI, and seek by asking for ranges."""
    for moment, name in ((0, "Hall <b>1.mpg"), (1, "Yard.avi")):
        its = client.get(f"api/moments/{moment}")
        assert its["name"] == name
        status, whole, headers = client.open(its["clip"]["url"])
        assert (status, headers["Content-Type"], headers["Accept-Ranges"]) == (200, "video/mp4", "bytes")
        status, part, headers = client.open(its["clip"]["url"], Range="bytes=100-199")
        assert (status, part) == (206, whole[100:200])
        assert headers["Content-Range"] == f"bytes 100-199/{len(whole)}"
        (tmp_path / "clip.mp4").write_bytes(whole)
        with av.open(str(tmp_path / "clip.mp4")) as container:
            assert container.streams.video[0].codec_context.name == "h264"
            for frame in container.decode(video=0):
                second = its["clip"]["start_s"] + frame.time
                level = frame.to_ndarray(format="rgb24").mean()
                assert min(abs(level - brightness(second + d)) for d in (-0.03, 0, 0.03)) < 6


def test_clips_asked_for_last_are_never_refused(client: Client) -> None:
    """A fast reviewer leaves clips behind that are still being created; the one on the screen comes first."""

    def status(end: int) -> int:
        return client.open(f"clips/0/0.000-{end}.000.mp4")[0]

    with ThreadPoolExecutor(15) as threads:
        asked = []
        for end in range(5, 20):
            asked.append(threads.submit(status, end))
            time.sleep(0.05)
        answers = [one.result() for one in asked]
    assert answers[:2] == answers[-2:] == [200, 200]
    assert set(answers) <= {200, 503}


def test_pictures_of_moments(client: Client) -> None:
    import cv2

    for moment in (0, 1, 2, 40):
        its = client.get(f"api/moments/{moment}")
        for path in (f"thumbnails/{moment}.jpg", f"posters/{moment}.jpg"):
            status, data, headers = client.open(path)
            assert (status, headers["Content-Type"]) == (200, "image/jpeg")
            picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            assert abs(picture.mean() - brightness(its["peak_s"])) < 4


def test_timelines(client: Client) -> None:
    its = client.get("api/timelines/0")
    assert its["times_s"] == list(range(20)) and max(its["prob2"]) == 0.97
    assert its["incidents"] == [{"id": 0, "start_s": 5.0, "end_s": 8.0}]
    client.judge(0, "suspicious")
    assert client.get("api/timelines/0")["verdicts"] == [
        {"start_s": 5.0, "end_s": 8.0, "state": "suspicious"}
    ]


def test_a_verdict_on_an_incident_or_on_one_frame(client: Client) -> None:
    status, said = client.judge(0, "suspicious", reason="top")
    assert status == 200
    kept = said["verdict"]
    assert (kept["start_s"], kept["end_s"], kept["answer"], kept["reviewer"]) == (5, 8, "suspicious", "ann")
    assert (kept["reason"], kept["model"], kept["prob2"]) == ("top", "abc123abc123", 0.97)
    assert said["moment"]["state"] == "suspicious" and said["status"]["counts"]["suspicious"] == 1
    _, said = client.judge(1, "not", second=12.9)
    assert (said["verdict"]["start_s"], said["verdict"]["end_s"]) == (12, 13)
    assert said["moment"]["state"] == "unseen"
    assert said["moment"]["said"] == [{"start_s": 12, "end_s": 13, "state": "not", "answers": {"ann": "not"}}]
    status, said = client.judge(1, "not", second=100)
    assert (status, said["error"]) == (400, "no frame was ranked at second 100: choose another second")


def test_two_reviewers_disagreement_undo_and_export(client: Client, output: Path) -> None:
    client.judge(0, "suspicious", "ann")
    _, said = client.judge(0, "not", "bob")
    assert said["moment"]["state"] == "disagreement"
    assert said["moment"]["said"][0]["answers"] == {"ann": "suspicious", "bob": "not"}
    assert [item["id"] for item in client.get("api/queue?shown=disagreement")["items"]] == [0]
    client.judge(1, "not", "ann")
    client.judge(2, "suspicious", "bob")
    uris = [client.get(f"api/moments/{moment}")["uri"] for moment in range(3)]

    def exported() -> list[dict]:
        status, text, headers = client.open("labels.csv")
        assert status == 200 and "attachment" in headers["Content-Disposition"]
        return list(csv.DictReader(io.StringIO(text.decode())))

    yard = {"video": uris[1], "start_s": "12.0", "end_s": "14.0", "label": "0"}
    third = {"video": uris[2], "start_s": "5.0", "end_s": "7.0", "label": "1"}
    assert exported() == sorted([yard, third], key=lambda row: row["video"])
    _, said = client.post("api/undo", {"reviewer": "ann"})
    assert said["undone"]["video"] == uris[1]
    assert exported() == [third]
    assert client.post("api/undo", {"reviewer": "nobody"})[1]["undone"] is None


def test_every_few_verdicts_the_queue_is_new(client: Client) -> None:
    version = client.get("api/status")["version"]
    for moment, answer in ((0, "suspicious"), (1, "not"), (2, "suspicious"), (30, "not")):
        client.judge(moment, answer)
    for _ in range(100):
        status = client.get("api/status")
        if status["version"] > version:
            break
    assert status["learned"] == 4
    assert not {0, 1, 2, 30} & {item["id"] for item in client.get("api/queue")["items"]}


def test_a_new_ranking_is_taken_in(client: Client, output: Path) -> None:
    """`framewatch rank` ran again meanwhile: who still looks at the old queue is told to reload."""
    about = json.loads((output / "ranking.json").read_text())
    (output / "ranking.json").write_text(json.dumps({**about, "model": "def456def456"}))
    old = client.ranking
    client.ranking = client.get("api/status")["ranking"]
    assert client.ranking != old
    assert client.judge(0, "not")[1]["verdict"]["model"] == "def456def456"
    client.ranking = old
    status, said = client.judge(0, "not")
    assert status == 409 and "reload the page" in said["error"]


def test_killed_after_any_verdict_none_is_lost(output: Path, tmp_path: Path) -> None:
    given = []
    for kill_after in (1, 2, 3):
        with served(output, home=tmp_path / "home") as (address, process):
            client = Client(address)
            known = client.get("api/queue?shown=reviewed&order=rank")["items"]
            assert sorted(item["id"] for item in known) == sorted(given)
            for _ in range(kill_after):
                moment = len(given)
                assert client.judge(moment, "not")[0] == 200
                given.append(moment)
            os.kill(process.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    "path",
    [
        "static/../app.py", "static/%2e%2e/app.py", "static/..%2fapp.py", "clips/../../ranking.json",
        "clips/0/..%2f..%2franking.json", "clips/0/0-1.mp4/../../../etc/passwd", "clips/9/0.000-5.000.mp4",
        "thumbnails/-1.jpg", "thumbnails/..%2f0.jpg", "thumbnails/999.jpg", "api/moments/999",
        "api/timelines/9", "api/moments/0x1", "clips/file:%2f%2fetc%2fpasswd/0.000-1.000.mp4",
    ],
)  # fmt: skip
def test_paths_lead_nowhere_else(client: Client, path: str) -> None:
    status, body = client.raw("/" + path)
    assert status in (404, 308), body
    assert b"root:" not in body and b"import" not in body and b"threshold" not in body


@pytest.mark.parametrize(
    "path", ["clips/0/5.000-5.000.mp4", "clips/0/0.000-500.000.mp4", "clips/0/90.000-95.000.mp4"]
)
def test_ranges_that_are_no_clip(client: Client, path: str) -> None:
    status, body, _ = client.open(path)
    assert (status == 400 and "give" in json.loads(body)["error"]) or "end" in json.loads(body)["error"]


def test_a_video_that_is_gone_costs_its_clip_only(client: Client, clocks: list[Path], output: Path) -> None:
    hidden = clocks[1].with_suffix(".away")
    clocks[1].rename(hidden)
    try:
        status, body, _ = client.open(client.get("api/moments/1")["clip"]["url"])
    finally:
        hidden.rename(clocks[1])
    assert status == 400 and "No such file" in json.loads(body)["error"]
    assert client.open(client.get("api/moments/0")["clip"]["url"])[0] == 200


def test_verdicts_need_the_page(client: Client, output: Path) -> None:
    body = {"moment": 0, "answer": "not", "reviewer": "ann", "ranking": client.ranking}
    assert client.post("api/verdicts", body, X_CSRF_Token="")[0] == 403
    assert client.post("api/verdicts", body, X_CSRF_Token="guess")[0] == 403
    assert client.post("api/verdicts", body, Sec_Fetch_Site="cross-site")[0] == 403
    assert client.post("api/undo", {"reviewer": "ann"}, X_CSRF_Token="guess")[0] == 403
    assert client.open("api/verdicts")[0] == 405
    assert not (output / "verdicts").exists()
    assert client.post("api/verdicts", body, Sec_Fetch_Site="same-origin")[0] == 200


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        ({"answer": "maybe"}, 400, "choose one of suspicious, not, unsure"),
        ({"reviewer": ""}, 400, "give a name"),
        ({"reviewer": "x" * 41}, 400, "give a name"),
        ({"reviewer": "a\nb"}, 400, "give a name"),
        ({"moment": "0"}, 400, "give the id of a moment"),
        ({"moment": True}, 400, "give the id of a moment"),
        ({"moment": -1}, 400, "give the id of a moment"),
        ({"moment": 999}, 404, "there is no moment 999"),
        ({"second": "x"}, 400, "give a number"),
        ({"second": -5}, 400, "no frame was ranked"),
        ({"ranking": "older"}, 409, "reload the page"),
    ],
)
def test_verdicts_that_are_none(client: Client, output: Path, change: dict, status: int, says: str) -> None:
    body = {"moment": 0, "answer": "not", "reviewer": "ann", "ranking": client.ranking, **change}
    got, said = client.post("api/verdicts", body)
    assert got == status and says in said["error"]
    assert not (output / "verdicts").exists()


@pytest.mark.parametrize("query", ["order=x", "shown=x", "from_s=x", "min_prob=nan", "max_prob=inf"])
def test_filters_that_are_none(client: Client, query: str) -> None:
    status, body, _ = client.open(f"api/queue?{query}")
    assert status == 400 and f"{query} is not valid" in json.loads(body)["error"]


def test_fields_that_are_none_or_given_twice(client: Client) -> None:
    for query, says in (
        ("order=rank&order=time", "order is given 2 times"), ("order=rank&path=x", "unknown field 'path'"),
        ("offset=-1", "offset=-1 is not valid"), (f"offset={'9' * 5000}", "offset=999"),
    ):  # fmt: skip
        status, body, _ = client.open(f"api/queue?{query}")
        assert status == 400 and says in json.loads(body)["error"]
    assert client.open("api/status?order=rank")[0] == 400
    status, said = client.judge(0, "not", more=1)
    assert status == 400 and said["error"].startswith("unknown field 'more': give answer, reviewer, moment")


def test_bodies_that_are_none(client: Client) -> None:
    for data in (
        b"", b"[]", b"{", b"\xff", b"[" * 30_000, b'{"a":' * 9000 + b"1" + b"}" * 9000, b'{"moment": NaN}',
        b'{"moment": 0, "moment": 1}', b'{"reviewer": "\\ud800"}',
    ):  # fmt: skip
        headers = {"X_CSRF_Token": client.csrf, "Content_Type": "application/json"}
        status, body, _ = client.open("api/verdicts", data, **headers)
        assert status == 400 and "is not a JSON object" in json.loads(body)["error"]
    status, _, _ = client.open("api/verdicts", b"x" * 100_000, X_CSRF_Token=client.csrf)
    assert status in (400, 413)


def test_names_from_outside_are_escaped(client: Client) -> None:
    assert "Hall &lt;b&gt;1.mpg" in client.page and "Hall <b>1.mpg" not in client.page
    assert "a&#39;b &#34;c&#34; é.mpg" in client.page


def test_headers_keep_the_page_to_itself(client: Client) -> None:
    for path in ("", "api/status", "static/page.js", "thumbnails/0.jpg", "nowhere"):
        _, _, headers = client.open(path)
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "public" not in (headers["Cache-Control"] or "")
    assert "<script>" not in client.page and " style=" not in client.page and "onclick" not in client.page


def test_other_names_of_this_machine_are_turned_away(client: Client) -> None:
    """DNS rebinding: a name of an attacker's that leads to 127.0.0.1."""
    assert client.open("api/status", Host="evil.example")[0] == 403
    assert client.open("api/status", Host="localhost:1234")[0] == 200
    assert client.open("api/status", Host="127.0.0.1.evil.example")[0] == 403


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_every_address_needs_the_token_that_was_printed(output: Path, tmp_path: Path, host: str) -> None:
    with served(output, "--host", host, home=tmp_path / "home") as (address, _):
        base, _, token = re.sub(r"//[^:/]+:", "//127.0.0.1:", address).partition("?token=")
        assert len(token) > 16
        stranger = urllib.request.build_opener()
        for path in (
            "",
            "api/status",
            "labels.csv",
            "static/page.js",
            "?token=guess",
            "?token=guess&token=" + token,
        ):
            with pytest.raises(urllib.error.HTTPError) as caught:
                stranger.open(base + path, timeout=20)
            assert caught.value.code == 403
            caught.value.close()
        client = Client(f"{base}?token={token}")
        assert client.judge(0, "not")[0] == 200
        assert client.open(f"similar/?token={token}&moment=0")[2]["Cache-Control"] is None


TOKEN = "0123456789abcdef"


def test_a_token_from_the_environment_or_a_file_and_in_no_list_of_processes(
    output: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text(TOKEN + "\n")
    monkeypatch.setenv("FRAMEWATCH_REVIEW_TOKEN", TOKEN[::-1])
    for options, token in (((), TOKEN[::-1]), (("--token-file", f"{tmp_path}/token"), TOKEN)):
        with served(output, *options, home=tmp_path / "home") as (address, process):
            assert address.endswith(f"?token={token}")
            assert token.encode() not in Path(f"/proc/{process.pid}/cmdline").read_bytes()
            assert Client(address).get("api/status")["verdicts"] == 0
    for options, says in (
        (["--token", "secret-secret-secret"], "set FRAMEWATCH_REVIEW_TOKEN, or give --token-file FILE"),
        (["--token-file", f"{tmp_path}/nowhere"], "cannot be read (No such file or directory)"),
        (["--token-file", os.devnull], "the token is not valid: give 16 to 200 letters"),
    ):
        assert main(["review", str(output), *options]) == 2
        error = capsys.readouterr().err
        assert says in error and "secret-" not in error and error.count("\n") == 1


def test_behind_a_proxy_the_cookie_is_for_https_only(output: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ("review.public_url=https://review.example.com", "--port", str(port))
    with served(output, *options, home=tmp_path / "home") as (address, _):
        assert address.startswith("https://review.example.com/?token=")
        for host, status, secure in (("review.example.com", 302, True), ("evil.example", 403, None)):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            connection.request("GET", "/?" + address.partition("?")[2], headers={"Host": host})
            answer = connection.getresponse()
            cookie = answer.headers["Set-Cookie"]
            connection.close()
            assert answer.status == status and (cookie is None or ("; Secure" in cookie) is secure)


def test_two_pages_on_one_machine_keep_their_cookies_apart(output: Path, tmp_path: Path) -> None:
    """Browsers send the cookies of a host to all of its ports."""
    with (
        served(output, home=tmp_path / "1") as (first, _),
        served(output, home=tmp_path / "2") as (second, _),
    ):
        client = Client(first)
        client.open(second)
        assert client.open("api/status")[0] == 200


def test_it_ends_quietly_and_errors_are_one_line(output: Path, tmp_path: Path, capsys) -> None:
    with served(output, home=tmp_path / "home") as (address, process):
        port = re.search(r":(\d+)/", address).group(1)
        assert main(["review", str(output), "--port", port]) == 2
        assert "choose another port with --port" in capsys.readouterr().err
        process.send_signal(signal.SIGTERM)  # a background job may not hear Ctrl-C
        rest = process.stdout.read()
        assert process.wait(20) == 0 and "Traceback" not in rest
    assert main(["review", str(tmp_path)]) == 2
    assert "run `framewatch rank`" in capsys.readouterr().err
