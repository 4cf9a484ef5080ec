"""The log: of all verbs alike, with stage and video, in a file that rotates, and without secrets."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from arrow_run import origin_of, write_batch

from framewatch.cli.main import main
from framewatch.errors import ConfigError
from framewatch.io import logs


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    logs.set_up()


def records(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_stage_of_spark_logs_each_video_and_what_it_told(spark, make_video, tmp_path: Path, capsys) -> None:
    make_video(tmp_path / "videos" / "a.mp4", seconds=2, codec="libx264")
    (tmp_path / "videos" / "bad.mpg").write_text("no video")
    common = [f"videos.train={tmp_path}/videos", f"output={tmp_path}/out", "extract.max_failed_share=1"]
    log = tmp_path / "logs" / "framewatch.log"
    assert main(["extract", *common, f"logging.file={log}", "logging.json=true"]) == 0
    of_video = {Path(it["video"]).name: it for it in records(log) if it["video"] != "-"}
    assert of_video["a.mp4"]["message"] == "ok, 2 frames" and of_video["a.mp4"]["level"] == "info"
    assert of_video["bad.mpg"]["message"].startswith("failed, 0 frames: ")
    assert of_video["bad.mpg"]["level"] == "warning"
    assert {it["stage"] for it in records(log)} == {"extract"}
    assert any("extract: 2 videos (1 ok, 0 partial, 1 failed)" in it["message"] for it in records(log))
    assert "bad.mpg" not in capsys.readouterr().err


def test_stderr_has_what_is_asked_for_and_not_what_is_printed(tmp_path: Path, capsys) -> None:
    pytest.importorskip("pymilvus", reason="pymilvus is missing: pip install 'framewatch[search]'")
    write_batch(tmp_path / "out", 0, {"file:/a/b.mp4": [[1.0, 2.0]]})
    assert main(["index", str(tmp_path / "out"), "--log-level", "info"]) == 0
    printed = capsys.readouterr()
    assert "index: 1 videos written" in printed.out and "index: 1 videos" not in printed.err
    assert "INFO index file:/a/b.mp4: indexed, 1 moments" in printed.err


def test_an_error_is_in_the_file_with_its_trace_and_once_on_stderr(tmp_path: Path, capsys) -> None:
    write_batch(tmp_path / "out", 0, {"file:/a/b.mp4": [[1.0, 2.0]]})
    log = tmp_path / "f.log"
    command = ["search", str(tmp_path / "out"), "--frame", origin_of("file:/a/b.mp4", 0)]
    assert main([*command, f"logging.file={log}", "logging.json=true"]) == 2
    assert capsys.readouterr().err.count("there is no index") == 1
    (record,) = [it for it in records(log) if it["level"] == "error"]
    assert record["stage"] == "search" and "InputError" in record["trace"]


SECRETS = [
    "http://ann:s3cr3t@host:1/x", "token=s3cr3t", "PASSWORD: s3cr3t", '{"password": "s3cr3t"}',
    "AWS_SECRET_ACCESS_KEY=s3cr3t", "spark.hadoop.fs.s3a.access.key=s3cr3t", "mysql://u:s3cr3t@h/db?a=1",
]  # fmt: skip


@pytest.mark.parametrize("text", SECRETS)
@pytest.mark.parametrize("as_json", [False, True])
def test_no_secrets(text: str, as_json: bool, tmp_path: Path) -> None:
    logs.set_up(file=f"{tmp_path}/f.log", as_json=as_json)
    try:
        raise ValueError(f"cannot reach {text}")
    except ValueError:
        logs.get("test").error("while %s", text, exc_info=True)
    written = (tmp_path / "f.log").read_text()
    assert "s3cr3t" not in written and "while" in written and "cannot reach" in written


def test_a_large_file_is_put_aside(tmp_path: Path) -> None:
    logs.set_up(file=f"{tmp_path}/f.log", max_mb=0.001, keep=2)
    for number in range(200):
        logs.get("test").info("line %d", number)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.log", "f.log.1", "f.log.2"]
    assert all(path.stat().st_size <= 1100 for path in tmp_path.iterdir())
    assert "line 199" in (tmp_path / "f.log").read_text()


def test_set_up_again_nothing_is_logged_twice(tmp_path: Path, capsys) -> None:
    for _ in range(3):
        logs.set_up("info", file=f"{tmp_path}/f.log")
    with logs.stage("rank"):
        logs.get("test").info("once", extra={"video": "a.mp4"})
    assert (tmp_path / "f.log").read_text().count("once") == 1
    assert "INFO rank a.mp4: once" in capsys.readouterr().err
    assert logging.getLogger("framewatch").propagate is False


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path, capsys) -> None:
    (tmp_path / "f").write_text("")
    with pytest.raises(ConfigError, match=r"logging\.file=.* cannot be written"):
        logs.set_up(file=f"{tmp_path}/f/g.log")
    assert main(["timeline", "Walk1", f"logging.file={tmp_path}/f/g.log"]) == 2
    said = capsys.readouterr().err
    assert "cannot be written" in said and said.count("\n") == 1
