"""Secrets and names in what is printed, logged and written: hidden, and harmless to a terminal."""

import io
import json
import sys
from pathlib import Path

import pytest

from framewatch.cli.main import main
from framewatch.config import load_config
from framewatch.io import logs, terminal
from framewatch.io.redact import HIDDEN, redact, redact_options
from framewatch.io.text import printable

SECRET = "s3cr3t"
AZURE_KEY = f"{SECRET}{'A' * 80}=="
SHAPES = {
    "user of a URL": f"http://ann:{SECRET}@host:1/x",
    "user with a slash in the password": f"s3a://AKIAABCDEFGHIJKLMNOP:ab/{SECRET}+x@bucket/v",
    "user of an address": f"Fail connecting to server on ann:{SECRET}@127.0.0.1:9, is it there",
    "user that passes for a bucket": f'Invalid bucket name "AKIAABCDEFGHIJKLMNOP:{SECRET}"',
    "user of a store's URL": f"abfss://videos:{SECRET}@name.dfs.core.windows.net/v",
    "SAS of Azure": f"https://name.blob.core.windows.net/c/v.mp4?sv=2024&se=2030&sig={SECRET}%3D",
    "bare SAS": f"sv=2024&se=2030&sp=r&sig={SECRET}%3D",
    "signed URL of S3": f"https://b.s3.amazonaws.com/v.mp4?X-Amz-Credential=A&X-Amz-Signature={SECRET}",
    "query of a store's URL": f"s3a://bucket/v.mp4?X-Amz-Signature={SECRET}",
    "encoded query": f"redirect=https%3A%2F%2Fhost%2Fx%3Fsig%3D{SECRET}",
    "unnamed query": f"https://hooks.example.org/services?{SECRET}",
    "URL of Spark Connect": f"sc://host:15002/;token={SECRET};x-key={SECRET}",
    "JDBC": f"jdbc:sqlserver://host;user=a;password={SECRET}",
    "JDBC with a query": f"jdbc:postgresql://host/db?user=a&password={SECRET}",
    "name=value": f"token={SECRET}",
    "name: value": f"PASSWORD: {SECRET}",
    "environment": f"AWS_SECRET_ACCESS_KEY={SECRET}",
    "JSON": f'{{"password": "{SECRET} {SECRET}", "a": 1}}',
    "JSON inside JSON": f'"{{\\"token\\": \\"{SECRET}\\"}}"',
    "XML of Hadoop": f"<name>fs.s3a.secret.key</name><value>{SECRET}</value>",
    "Java option": f"-Djavax.net.ssl.trustStorePassword={SECRET}",
    "key of Azure": f"fs.azure.account.key.name.dfs.core.windows.net={AZURE_KEY}",
    "key of Azure by its shape": f"the account's key {AZURE_KEY} was refused",
    "connection string": f"DefaultEndpointsProtocol=https;AccountName=x;AccountKey={SECRET}==;Suffix=y",
    "key of Google": f'{{"private_key": "-----BEGIN PRIVATE KEY-----\\n{SECRET}-----END PRIVATE KEY-----"}}',
    "private key": f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----",
    "private key cut off": f"-----BEGIN OPENSSH PRIVATE KEY-----\n{SECRET}",
    "bearer": f"Authorization: Bearer {SECRET}",
    "basic": f"authorization: Basic {SECRET}==",
    "bearer in prose": f"sent with bearer {SECRET}{SECRET}",
    "web token": f"eyJhbGciOi.{SECRET}eyJz.{SECRET}",
    "token of Databricks": "dapi" + "0123456789abcdef" * 2,
    "setting of Spark": f"spark.hadoop.fs.s3a.anything={SECRET}",
    "pair of Spark": f"(spark.hadoop.anything,{SECRET})",
    "error of ours": f"spark.conf[spark.hadoop.fs.azure.account.key.x]={{'a': '{SECRET}'}} is wrong",
}


@pytest.mark.parametrize("text", SHAPES.values(), ids=SHAPES)
def test_no_shape_of_secret_is_left(text: str) -> None:
    hidden = redact(f"cannot open {text} now")
    assert SECRET not in hidden and "0123456789abcdef" not in hidden
    assert hidden.startswith("cannot open ")
    assert redact(hidden) == hidden
    assert SECRET not in json.dumps(redact({"a": [{"b": text}], "c": (text,)}))


@pytest.mark.parametrize(
    "text",
    [
        "abfss://videos@name.dfs.core.windows.net/a.mp4 is empty: give another",
        "no video matches 's3a://bucket/cam?/day=3/*.mp4': check the path",
        "file:///videos/what?.mp4",
        "http://127.0.0.1:8765/a@b",
        "--clip C:Fight5@12-18, ann@host:80",
        "spark.sql.shuffle.partitions=4, spark.driver.memory=2g, spark.remote=sc://host:1 cannot be reached",
        f"weights: nsfwjs, SHA-256 {'0a1b2c3d' * 8}, /home/ann/.cache/framewatch/weights/a.h5",
        "design=3, signal: 5, compass=2, tokenizer: missing, review.token_file=/run/secrets/page",
        "page token 'abc' does not belong to these results; start over",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


def test_what_follows_a_secret_stays() -> None:
    assert redact("(https://h/x?a=1): give another") == f"(https://h/x?{HIDDEN}): give another"
    assert redact('{"token": "x", "next": "y"}') == f'{{"token": "{HIDDEN}", "next": "y"}}'
    assert redact({"token": "x", "pages": 3, "tokens": 5}) == {"token": HIDDEN, "pages": 3, "tokens": 5}


def test_long_text_takes_no_time() -> None:
    for part in ("a", "a.", "x@", "://", "token", "?", "=", "AB/"):
        redact(part * 20_000)


def test_settings_are_hidden_unless_they_are_harmless() -> None:
    settings = {"spark.driver.memory": "2g", "spark.sql.shuffle.partitions": "4", "spark.my.thing": "x"}
    assert redact_options(settings) == {**settings, "spark.my.thing": HIDDEN}
    overrides = [
        f"spark.conf.spark.hadoop.fs.azure.account.key.name={SECRET}",
        "watch.source=cloudFiles",
        f"watch.options.a={SECRET}",
    ]
    overrides += [f"tracking.uri=https://ann:{SECRET}@host/x", f"videos.test=https://host/v.mp4?{SECRET}"]
    config = load_config(None, overrides)
    assert SECRET not in json.dumps(config.shown())
    assert config.shown()["spark"]["conf"] == {"spark.hadoop.fs.azure.account.key.name": HIDDEN}
    assert config.spark.conf["spark.hadoop.fs.azure.account.key.name"] == SECRET


def test_control_characters_are_escaped() -> None:
    assert printable("a\x1b[31mb\nc\x9b1m\u202ed\udcff") == r"a\x1b[31mb\nc\x9b1m\u202ed\udcff"
    assert printable("a\n\tb", keep="\n\t") == "a\n\tb"
    assert printable("hällo 視頻 🎥") == "hällo 視頻 🎥"


NAME = "[b]x[/b] [/nothing] :cat: \x1b[31mred\nnext \udce9.mp4"
SHOWN = r"[b]x[/b] [/nothing] :cat: \x1b[31mred\nnext \udce9.mp4"


def test_names_print_as_they_are(capfd, monkeypatch: pytest.MonkeyPatch) -> None:
    for console in (terminal.console, terminal.stderr):
        monkeypatch.setattr(console, "width", 200)
    terminal.print_line(NAME)
    terminal.print_aside(NAME)
    terminal.show_table((NAME, "video"), [(NAME, NAME)], title=NAME)
    monkeypatch.setattr(terminal, "_LINE_EVERY_S", 0.0)
    with terminal.counted_progress(NAME, NAME) as show:
        show(1, 2)
    out, err = capfd.readouterr()
    assert out.count(SHOWN) == 5 and err.count(SHOWN) == 3
    assert "\x1b[31m" not in out + err and "🐱" not in out + err


def test_a_bar_of_progress_shows_names_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal.Console(file=io.StringIO(), force_terminal=True, width=300, markup=False, emoji=False)
    monkeypatch.setattr(terminal, "stderr", screen)
    with terminal.counted_progress(NAME, NAME) as show:
        show(1, 2)
    drawn = screen.file.getvalue()
    assert SHOWN in drawn and "🐱" not in drawn


def test_a_record_of_the_log_is_one_line(tmp_path: Path, capsys) -> None:
    logs.set_up("info", file=str(tmp_path / "f.log"))
    logs.get("test").info("about %s", NAME, extra={"video": NAME})
    logs.set_up()
    assert (tmp_path / "f.log").read_text().count("\n") == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("debug", [[], ["--debug"]])
def test_errors_of_verbs_hide_secrets_and_escape_names(debug: list[str], tmp_path: Path, capsys) -> None:
    url = f"https://host/x?sig={SECRET}"
    assert main(["timeline", f"\x1b[31m[/b]{url}", f"output={tmp_path}/no\n[/b]", *debug]) == 2
    assert main(["classify", str(tmp_path), "--classes", url, *debug]) == 2
    with pytest.raises(SystemExit):
        main(["index", str(tmp_path), f"--tokenn={SECRET}", *debug])
    printed = capsys.readouterr()
    assert SECRET not in printed.err + printed.out and "\x1b[31m" not in printed.err + printed.out
    assert ("Traceback" in printed.err) == bool(debug)
    assert HIDDEN in printed.err


def test_what_is_printed_whole_is_logged_without_secrets(tmp_path: Path, capsys) -> None:
    logs.set_up(file=str(tmp_path / "f.log"))
    terminal.print_line(f"open http://127.0.0.1/?token={SECRET}", whole=True)
    logs.set_up()
    assert SECRET in capsys.readouterr().out and SECRET not in (tmp_path / "f.log").read_text()


@pytest.mark.skipif(sys.platform == "win32", reason="bytes in names are POSIX")
def test_bytes_that_are_no_utf8_can_be_printed(capfd) -> None:
    terminal.print_line(b"caf\xe9.mp4".decode("utf-8", "surrogateescape"))
    assert capfd.readouterr().out == "caf\\udce9.mp4\n"
