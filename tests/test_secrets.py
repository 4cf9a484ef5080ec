"""Secrets of a dozen shapes, given to verbs that work and to verbs that fail: no output has one."""

import http.server
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pyarrow.parquet as pq
import pytest
from conftest import ROOT
from spark_run import SECONDS, labelled, make, usual

from framewatch.cli.main import main
from framewatch.io import logs
from framewatch.io.redact import HIDDEN

PART = "s3cr3t"
PEM = f"-----BEGIN PRIVATE KEY-----\\n{PART}\\n-----END PRIVATE KEY-----\\n"
CONF = {
    "spark.hadoop.fs.azure.account.key.name.dfs.core.windows.net": f"{PART}{'A' * 80}==",
    "spark.hadoop.fs.azure.sas.fixed.token.name": f"sv=2024&sp=r&sig={PART}%3D",
    "spark.hadoop.fs.s3a.secret.key": f"{PART}/abc+def",
    "spark.hadoop.fs.s3a.session.token": f"{PART}//////token",
    "spark.hadoop.fs.gs.auth.service.account.private.key": PEM,
    "spark.hadoop.google.json": f'{{"private_key": "{PEM}"}}',
    "spark.driver.extraJavaOptions": f"-Djavax.net.ssl.keyStorePassword={PART}",
    "spark.sql.catalog.other.credential": f"client:{PART}",
    "spark.any.header": f"Authorization: Bearer {PART}",
}
SIGNED = f"X-Amz-Credential=A&X-Amz-Signature={PART}&sig={PART}"


@pytest.fixture
def signed_labels(tmp_path: Path) -> Iterator[str]:
    """The address of a label file that wants a signature, and a user."""
    file = labelled(tmp_path / "labels.csv", ["A", "B"]).read_bytes()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path.startswith("/labels.csv?") and PART in self.path else 404)
            self.send_header("Content-Length", str(len(file)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(file)

        do_HEAD = do_GET

        def log_message(self, *args) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/labels.csv?{SIGNED}"
    server.shutdown()
    server.server_close()


def texts_of(directory: Path) -> Iterator[tuple[str, str]]:
    """All that lies below a directory, as text: tables decoded, archives opened, the rest byte by byte."""
    for path in sorted(directory.rglob("*")):
        if not path.is_file():
            continue
        yield str(path), path.name
        data = path.read_bytes()
        yield str(path), data.decode("latin-1")
        if path.suffix == ".parquet":
            table = pq.read_table(path, partitioning=None)
            yield str(path), str(table.to_pylist()) + str(table.schema.metadata)
        elif zipfile.is_zipfile(io.BytesIO(data)):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                for name in archive.namelist():
                    yield f"{path}/{name}", archive.read(name).decode("latin-1")


def leaks(texts: Iterator[tuple[str, str]]) -> list[str]:
    forms = (PART, quote(PART), PART.encode().hex())
    return [f"{where}: {text[max(0, text.find(PART) - 80):][:200]}" for where, text in texts
            if any(form in text for form in forms)]  # fmt: skip


def test_nothing_that_a_run_writes_or_prints_has_a_secret(
    spark, signed_labels: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    mlflow = pytest.importorskip("mlflow", reason="MLflow is missing: pip install 'framewatch[tracking]'")
    kept = tmp_path / "kept"
    output = kept / "out"
    output.mkdir(parents=True)
    monkeypatch.chdir(kept)  # MLflow keeps its files there
    monkeypatch.setenv("FRAMEWATCH_MILVUS_TOKEN", PART)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", PART)
    make(spark, output, {n: [usual(s, seed) for s in range(SECONDS)] for seed, n in enumerate("AB")})
    common = [f"output={output}", "catalog.enabled=false", "evaluation.folds=2", "ranking.show=3"]
    common += [f"spark.conf.{key}={json.dumps(value)}" for key, value in CONF.items()]
    common += [
        "watch.source=cloudFiles",
        f"watch.options.cloudFiles.connectionString={json.dumps(f'AccountKey={PART}==;x=y')}",
    ]
    common += [f"logging.file={kept}/text.log", "logging.level=debug"]
    tracked = ["tracking.enabled=true", f"tracking.uri=sqlite:///{kept}/mlflow.db"]
    at = signed_labels.replace("http://", f"http://ann:{PART}@")
    image, host = f"https://127.0.0.1:9/a.jpg?{SIGNED}", "127.0.0.1:9"
    classes = tmp_path / "classes.json"
    classes.write_text(json.dumps({"classes": [{"name": "c", "prompts": [{"image": image}]}]}))

    as_json = [*common[:-2], f"logging.file={kept}/lines.json", "logging.json=true"]
    works = [
        ["train", *common, *tracked, f"labels.train={signed_labels}"],
        ["rank", *as_json, *tracked, f"labels.test={signed_labels}"],
        ["explore", str(output), *common[1:], "explore.clusters=2"],
        ["report", str(output)],
        ["timeline", "A", *common],
    ]
    fails = [
        ["train", *common, f"labels.train={at.replace('/labels', '/nothing')}x"],
        ["train", *common, f"labels.train=https://{host}/labels.csv?{SIGNED}"],
        ["rank", *as_json, f"videos.test=https://{host}/v.mp4?{SIGNED}"],
        ["rank", *common, "tracking.enabled=true", f"tracking.uri=http://ann:{PART}@{host}/"],
        ["rank", *common, f"classifier.path=s3a://AKIAABCDEFGHIJKLMNOP:{PART}/x@bucket/model"],
        ["rank", *common, f"spark.conf.spark.hadoop.fs.s3a.secret.key={{a: {PART}}}"],
        ["rank", *common, f"spark.hadoop.fs.s3a.secret.key={PART}"],
        ["rank", *common, f"--token={PART}"],
        ["classify", str(output), "--classes", str(classes), *common[1:]],
        ["ask", str(output), "--image", image, *common[1:]],
        ["index", str(output), f"index.uri=http://ann:{PART}@{host}", *common[1:]],
        ["search", str(output), "--image", image, *common[1:]],
    ]
    for command in works:
        assert main(command) == 0, (command, capfd.readouterr().err)
    for command in fails:
        for debug in ([], ["--debug"]):
            try:
                code = main([*command, *debug])
            except SystemExit as error:  # of argparse
                code = error.code
            assert code != 0, command
    printed = capfd.readouterr()
    logs.set_up()
    mlflow.set_tracking_uri(None)

    assert leaks(iter([("stdout", printed.out), ("stderr", printed.err)])) == []
    found = dict(texts_of(kept))
    assert leaks(texts_of(kept)) == []
    # That the places were read in which secrets used to be.
    for name in ("mlflow.db", "text.log", "lines.json", "model_card.md", "metrics.json"):
        assert any(HIDDEN in text for where, text in found.items() if where.endswith(name)), name
    manifests = [text for where, text in found.items() if "/runs/" in where]
    assert len(manifests) >= 3 and all(HIDDEN in text for text in manifests)
    assert "Traceback" in printed.err and f"labels.csv?{HIDDEN}" in printed.out + printed.err


def test_sparks_own_log_hides_secrets(spark) -> None:
    """The layout of the console, which `--debug` fills, given what Spark and Hadoop log."""
    lines = (ROOT / "framewatch" / "spark" / "log4j2.properties").read_text().splitlines()
    pattern = next(line.split(" = ", 1)[1] for line in lines if "layout.pattern = " in line)
    pattern = pattern.replace("\\\\", "\\").replace("${sys:framewatch.log.trace:-none}", "full")
    log4j = spark._jvm.org.apache.logging.log4j
    layout = log4j.core.layout.PatternLayout.newBuilder().withPattern(pattern).build()

    def logged(text: str) -> str:
        event = log4j.core.impl.Log4jLogEvent.newBuilder().setMessage(log4j.message.SimpleMessage(text))
        error = spark._jvm.java.lang.IllegalStateException(text)
        return layout.toSerializable(event.setLoggerName("a.B").setThrown(error).build())

    shapes = [f"at https://ann:{PART}@host/x?{SIGNED} now", f"fs.s3a.secret.key={PART}, a=1"]
    for text in (*shapes, *(f"({key},{value})" for key, value in CONF.items())):
        assert PART not in logged(text), text
    plain = logged("abfss://videos@name.dfs.core.windows.net/x {} is read")
    assert "B: abfss://videos@name.dfs.core.windows.net/x {} is read" in plain
