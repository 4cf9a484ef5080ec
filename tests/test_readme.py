"""Every command of the README and of the pages in docs/, in order and in a new shell, on the demo's output.

Blocks marked `bash` are run. Commands that cannot be run here, such as those for a cluster, are marked `sh`.
"""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT, SHARED
from page_client import Client

from framewatch.feedback import Verdict, VerdictLog

pytestmark = pytest.mark.system

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", DOCS / "index.md", *sorted({*DOCS.rglob("*.md")} - {DOCS / "index.md"})]
BLOCK = re.compile(r"^```bash\n(.*?)```", flags=re.DOTALL | re.MULTILINE)
# In the order of the pages, each once.
COMMANDS = list(
    dict.fromkeys(block.strip() for page in PAGES for block in BLOCK.findall(page.read_text("utf-8")))
)


def clean(out: Path) -> dict[str, str]:
    """The environment of a new shell: a home, and a PATH without `.venv/bin`."""
    home = out / "home"
    if not home.exists():
        (home / ".cache").mkdir(parents=True)
        (home / ".cache" / "framewatch").symlink_to(os.environ["FRAMEWATCH_HOME"])
        if (Path.home() / ".config").is_dir():
            (home / ".config").symlink_to(Path.home() / ".config")  # pip's registry
    return {"HOME": str(home), "PATH": "/usr/bin:/bin"}


def run_command(command: str, out: Path) -> subprocess.CompletedProcess:
    """Runs a command as it stands in a new shell, with its results under `out`."""
    assert (ROOT / ".venv" / "bin" / "python").exists(), "the commands need .venv: run `make test`"
    here = re.sub(r"\bout/", f"{out}/", command).replace(
        "make demo", f"make demo OUT={out} DEMO={out}/demo.yaml"
    )
    here = here.replace("--config conf/demo.yaml", f"--config {out}/demo.yaml")
    # All of it is installed; installing framewatch anew would take it from under other tests for a moment.
    here = here.replace("pip install --quiet", "pip install --dry-run --quiet")
    env = clean(out)
    if "pip install" in command:  # a registry may be named by the environment
        env |= {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", here],
        cwd=ROOT,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def demo(
    tmp_path_factory: pytest.TempPathFactory, nsfwjs_weights: str, drawn_samples: Path
) -> tuple[Path, str]:
    """`make demo` in a directory of its own: (directory, what it printed)."""
    out = tmp_path_factory.mktemp("readme")
    shutil.copytree(drawn_samples, out / "samples")  # it draws none where they are
    configuration = (ROOT / "conf" / "demo.yaml").read_text()
    configuration = configuration.replace("out/", f"{out}/")
    # What `quantize` and `train` take their time for.
    configuration = configuration.replace("featurizer:\n", "featurizer:\n  calibration_frames: 24\n")
    assert "calibration_frames" in configuration
    configuration += "evaluation:\n  folds: 2\n"
    (out / "demo.yaml").write_text(configuration)
    done = run_command("make demo", out)
    assert done.returncode == 0, done.stdout[-3000:]
    return out, done.stdout


def test_the_demo_finds_the_suspicious_frames(demo: tuple[Path, str]) -> None:
    _, printed = demo
    line = re.search(r"^rank: \d+ frames, .*", printed, re.MULTILINE).group()  # not one of progress
    average_precision = float(re.search(r"test labels: AP (\d\.\d+)", line).group(1))
    assert average_precision >= 0.7
    assert "precision@3 1.00" in line
    assert "a random order gives AP and precision of about" in line
    assert re.search(r"InceptionV3, weights \w+ \(SHA-256 [0-9a-f]{64}\)", printed)
    assert len(re.findall(r"│ +\d+ │ \w+\.mp[g4] +│ +\d+\.\d │ +\d\.\d+ │", printed)) == 10
    assert "tables:" in printed and "SQL:" in printed
    report = re.search(r"^report: (\S+/report/index.html)$", printed, re.MULTILINE).group(1)
    assert Path(report).stat().st_size > 100_000
    # As the pages have them, and they are tried below.
    assert re.search(r"^review: \.venv/bin/framewatch review \S+/demo$", printed, re.MULTILINE)
    duckdb, spark_sql = re.findall(r"^SQL: (.*)$", printed, re.MULTILINE)
    assert re.fullmatch(r"\.venv/bin/framewatch sql \S+/demo", spark_sql)
    opened = run_command(duckdb, demo[0])
    assert opened.returncode == 0 and "top_incidents" in opened.stdout, opened.stdout
    assert "Traceback" not in printed and " WARN " not in printed


@pytest.mark.parametrize("command", [command for command in COMMANDS if not command.startswith("make")])
def test_command(demo: tuple[Path, str], command: str) -> None:
    out, _ = demo
    if "framewatch review" in command:
        review(command, out)
        return
    if "--with-verdicts" in command:
        video = next((out / "samples" / "test").glob("Fight*"))
        said = {"start_s": 0, "end_s": 2, "answer": "not", "reviewer": "ann"}
        VerdictLog(str(out / "demo")).append(Verdict(video=f"file:{video}", **said))
    if "caviar/" in command:
        if not (SHARED / "caviar").is_dir():
            pytest.skip("the CAVIAR clips are not beside the project (../shared/caviar)")
        command = re.sub(r"(?<![/\w])caviar/", f"{SHARED}/caviar/", command) + " evaluation.folds=2"
    done = run_command(command, out)
    assert done.returncode == 0, done.stdout[-3000:]
    if "framewatch submit" in command:
        assert "predicted suspicious (above 0.3)" in done.stdout and len(top(done.stdout)) == 3
    if "prediction = 1" in command:  # the two queries, in spark-sql and in DuckDB
        assert re.search(r"images/(Collapse|Fight|LeftBag)5frame00\d\d\.jpg", done.stdout)
    if "output=out/caviar" in command:
        assert "227 labels, 227 labelled frames (42 suspicious), 82 frames without a label" in done.stdout
        assert "82 labels, 82 labelled frames (16 suspicious), 0 frames without a label" in done.stdout


def top(printed: str) -> list[str]:
    return [line for line in printed.splitlines() if line.startswith("│")]


def review(command: str, out: Path) -> None:
    """Starts the page as the README does, looks at it, and stops it."""
    here = re.sub(r"\bout/", f"{out}/", command)
    process = subprocess.Popen(
        ["bash", "-c", f"exec {here} --port 0"], cwd=ROOT, stdout=subprocess.PIPE, text=True,
        env=clean(out),
    )  # fmt: skip
    try:
        address = next(found.group() for line in process.stdout if (found := re.search(r"http://\S+", line)))
        client = Client(address)
        queue = client.get("api/queue")
        assert queue["total"] > 0 and queue["items"][0]["kind"] == "incident"
        _, clip, headers = client.open(client.get("api/moments/0")["clip"]["url"])
        assert headers["Content-Type"] == "video/mp4" and len(clip) > 10_000
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_make_commands_are_what_ci_and_this_file_run() -> None:
    makes = {command for command in COMMANDS if command.startswith("make")}
    assert makes == {"make demo", "make test"}
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_the_pages_keep_their_commands() -> None:
    """A block that turns from `bash` to `sh` is no longer run: each verb of the demo's kind is there."""
    verbs = ("run", "review", "train", "report", "sql", "timeline", "classify", "ask", "index", "search")
    verbs += ("submit", "quantize")
    assert [verb for verb in verbs if not any(f"bin/framewatch {verb} " in it for it in COMMANDS)] == []
    assert sum("duckdb" in command for command in COMMANDS) == 1
