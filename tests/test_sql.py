"""The views and docs/how-to/sql.md, in Spark and in DuckDB, on small tables with known answers."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from conftest import FAST_OPTIONS, ROOT
from pyspark.ml.linalg import Vectors
from pyspark.sql import SparkSession

from framewatch.spark.session import write_sql_settings
from framewatch.tables import catalog
from framewatch.tables.schema import FEATURES, FRAMES, INCIDENTS, PREDICTIONS
from framewatch.tables.spark_tables import Tables

PAGE = (ROOT / "docs" / "how-to" / "sql.md").read_text(encoding="utf-8")
TABLES_PAGE = (ROOT / "docs" / "reference" / "tables.md").read_text(encoding="utf-8")
QUERIES = re.findall(r"```sql\n(.*?);\n```", PAGE, flags=re.DOTALL)
DATABASE = "sql_review"
VIEWS = ["top_frames", "top_incidents", "video_summary", "failed_videos"]

FIGHT = "file:/data/test/Fight5.mpg"
SAME_NAME = "file:/data/south/Fight5.mpg"
CHANGED = "file:/data/south/o'clock é 1.mp4"
CALM = "file:/data/north/calm.mp4"
CUT = "file:/data/north/cut.mpg"
UNRANKED = "file:/data/train/Walk1.mpg"
BROKEN = "file:/data/north/broken.mp4"
NOW_EMPTY = "file:/data/north/a b.mpg"

MODIFIED_AT = datetime(2024, 5, 6, 7, 8, 9)
MODIFIED_MS = round(MODIFIED_AT.replace(tzinfo=UTC).timestamp() * 1000)
# Rows of the ledger: (video, status, error, duration_s), batch by batch.
LEDGER = [
    [
        (FIGHT, "ok", None, 10.0),
        (SAME_NAME, "partial", "1.5 s decoded: the last 8.5 s are missing", 1.5),
        (CHANGED, "failed", "the file is empty", None),
        (CALM, "ok", None, 10001.0),
        (UNRANKED, "ok", None, 5.0),
        (BROKEN, "failed", "no video stream: the file contains only audio or data", None),
        (NOW_EMPTY, "ok", None, 9.0),
    ],
    [
        (CHANGED, "ok", None, 40000.0),
        (CUT, "partial", "3.0 s decoded: the last 12.0 s are missing", 3.0),
        (NOW_EMPTY, "failed", "the file is empty", None),
    ],
]
# Probabilities by second. The frame 10000 comes before 9999 in the order of names, and so of ranks.
PROBABILITIES = {
    FIGHT: {0: 0.1, 1: 0.6, 2: 0.9, 3: 0.9, 4: 0.2, 5: 0.7, 6: 0.8, 7: 0.35, 8: 0.1, 9: 0.45},
    SAME_NAME: {0: 0.65, 1: 0.65},
    CHANGED: {0: 0.05, 59.999: 0.3, 3725.4: 1.0, 36000: 0.51},
    CALM: {9999: 0.4, 10000: 0.4},
    CUT: {0: 0.2, 1: 0.2, 2: 0.2},
}
# Their incidents at threshold 0.5 and gap_s 2: (video, start_s, end_s, peak_s, peak_prob2, num_frames).
FOUND = [
    (CHANGED, 3725.4, 3726.4, 3725.4, 1.0, 1),
    (FIGHT, 1.0, 7.000000000000001, 2.0, 0.9, 5),  # as sums of fractions end: past the frame at 7
    (SAME_NAME, 0.0, 2.0, 0.0, 0.65, 2),
    (CHANGED, 36000.0, 36001.0, 36000.0, 0.51, 1),
]

# The kind of event of their frames and incidents.
KINDS = {CHANGED: "fall", FIGHT: "fight", SAME_NAME: "fight"}

Query = Callable[[str], list[tuple]]


def origin(video: str, second: float) -> str:
    return f"/out/images/{video.removeprefix('file:/data/')}frame{int(second):04d}.jpg"


def ranked(probabilities: dict[str, dict[float, float]]) -> list[tuple]:
    """Rows of `predictions`."""
    frames = [(p, video, s) for video, seconds in probabilities.items() for s, p in seconds.items()]
    frames.sort(key=lambda frame: (-frame[0], origin(frame[1], frame[2])))
    return [
        (origin(v, s), v, int(s), float(s), Vectors.dense(1 - p, p), p, float(p > 0.5), rank, KINDS.get(v))
        for rank, (p, v, s) in enumerate(frames, start=1)
    ]


def write_all(tables: Tables) -> None:
    """The tables of the constants above."""
    make = tables.spark.createDataFrame
    for batch, ledger in enumerate(LEDGER):
        videos = [
            dict(zip(("video", "status", "error", "duration_s"), row, strict=True))
            | {"num_frames": int(row[3] or 0), "size_bytes": 1000, "modified_ms": MODIFIED_MS}
            for row in ledger
        ]
        tables.write_ledger(videos, batch)
    one = (origin(FIGHT, 0), FIGHT, 0, 0.0)
    tables.write_batch(make([(*one, 96, 64, bytearray(b"jpeg"), 0)], FRAMES), "frames", 0)
    tables.write_batch(make([(*one, [1.0, 2.0], None, None, None, 0)], FEATURES), "features", 0)
    tables.replace(make(ranked(PROBABILITIES), PREDICTIONS).coalesce(1), "predictions")
    incidents = [
        (video, start_s, end_s, peak_s, origin(video, peak_s), peak_prob2, num_frames, rank, KINDS[video])
        for rank, (video, start_s, end_s, peak_s, peak_prob2, num_frames) in enumerate(FOUND, start=1)
    ]
    tables.replace(make(incidents, INCIDENTS).coalesce(1), "incidents")


@pytest.fixture(scope="module")
def output(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's tables in a directory whose name needs care."""
    path = tmp_path_factory.mktemp("sql") / "status=x" / "batch=7" / "o'clock é"
    write_all(Tables(spark, str(path)))
    return path


@pytest.fixture(scope="module")
def in_spark(spark: SparkSession, output: Path) -> Iterator[Query]:
    """Registers the tables and queries them through `spark.sql`."""
    catalog.register(Tables(spark, str(output)), database=DATABASE)
    yield lambda sql: [tuple(row) for row in spark.sql(sql).collect()]
    spark.sql("use default")
    spark.sql(f"drop database {DATABASE} cascade")


@pytest.fixture(scope="module")
def in_duckdb(spark: SparkSession, output: Path) -> Query:
    """Runs the script and queries the views in DuckDB."""
    return duckdb_query(catalog.write_duckdb(Tables(spark, str(output))))


def duckdb_query(script: str) -> Query:
    connection = duckdb.connect()
    connection.sql(Path(script).read_text(encoding="utf-8"))
    return lambda sql: connection.sql(sql).fetchall()


@pytest.fixture(params=["spark", "duckdb"])
def query(request: pytest.FixtureRequest) -> Query:
    """The same tables in both engines."""
    if request.param == "duckdb":
        return request.getfixturevalue("in_duckdb")
    asked = request.getfixturevalue("in_spark")
    asked(f"use {DATABASE}")
    return asked


def close_to(rows: list[tuple]) -> list[Any]:
    """Rows to compare with others, numbers by a tolerance."""
    return [
        tuple(pytest.approx(v, rel=1e-9, abs=1e-9) if isinstance(v, float) else v for v in row)
        for row in rows
    ]


def test_top_frames(query: Query) -> None:
    columns = "rank, video, name, frame_index, timestamp_s, clock, prob2, prediction, origin, incident, kind"
    rows = query(f"select {columns} from top_frames order by rank")
    assert rows == query("select * from top_frames order by rank")
    assert len(rows) == 21
    assert rows[0] == (
        1, CHANGED, "o'clock é 1.mp4", 3725, 3725.4, "1:02:05", 1.0, 1.0, origin(CHANGED, 3725.4), 1, "fall"
    )  # fmt: skip
    told = {(row[1], row[3]): (row[5], row[7], row[9]) for row in rows}
    assert told[CHANGED, 0] == ("0:00:00", 0.0, None)
    assert told[CHANGED, 59] == ("0:00:59", 0.0, None)
    assert told[CHANGED, 36000] == ("10:00:00", 1.0, 4)
    # The second 4 is not suspicious, and lies in the incident; the second 7 is its end, which does not.
    assert [told[FIGHT, second][2] for second in range(10)] == [None, *[2] * 6, None, None, None]
    assert [told[SAME_NAME, second] for second in range(2)] == [("0:00:00", 1.0, 3), ("0:00:01", 1.0, 3)]


def test_top_incidents(query: Query) -> None:
    rows = query("select * from top_incidents order by rank")
    assert rows == close_to(
        [
            (1, CHANGED, "o'clock é 1.mp4", 3725.4, 3726.4, 1.0, "1:02:05", "1:02:06", "1:02:05", 3725.4, 1.0,
             1, origin(CHANGED, 3725), "fall"),
            (2, FIGHT, "Fight5.mpg", 1.0, 7.0, 6.0, "0:00:01", "0:00:07", "0:00:02", 2.0, 0.9, 5,
             origin(FIGHT, 2), "fight"),
            (3, SAME_NAME, "Fight5.mpg", 0.0, 2.0, 2.0, "0:00:00", "0:00:02", "0:00:00", 0.0, 0.65, 2,
             origin(SAME_NAME, 0), "fight"),
            (4, CHANGED, "o'clock é 1.mp4", 36000.0, 36001.0, 1.0, "10:00:00", "10:00:01", "10:00:00",
             36000.0, 0.51, 1, origin(CHANGED, 36000), "fall"),
        ]
    )  # fmt: skip


def test_video_summary(query: Query) -> None:
    rows = query("select * from video_summary order by video")
    nothing = (0, 0, 0, None, None, 0.0)
    assert rows == close_to(
        [
            (NOW_EMPTY, "a b.mpg", "failed", None, *nothing, None, None, None, None),
            (BROKEN, "broken.mp4", "failed", None, *nothing, None, None, None, None),
            (CALM, "calm.mp4", "ok", 10001.0, 2, *nothing[1:], 0.0, 9999.0, "2:46:39", 0.4),
            (CUT, "cut.mpg", "partial", 3.0, 3, *nothing[1:], 0.0, 0.0, "0:00:00", 0.2),
            (SAME_NAME, "Fight5.mpg", "partial", 1.5, 2, 2, 1, 0.0, "0:00:00", 2.0, 1.0, 0.0, "0:00:00",
             0.65),
            (CHANGED, "o'clock é 1.mp4", "ok", 40000.0, 4, 2, 2, 3725.4, "1:02:05", 2.0, 2 / 40000, 3725.4,
             "1:02:05", 1.0),
            (FIGHT, "Fight5.mpg", "ok", 10.0, 10, 5, 1, 1.0, "0:00:01", 6.0, 0.6, 2.0, "0:00:02", 0.9),
            (UNRANKED, "Walk1.mpg", "ok", 5.0, *nothing, 0.0, None, None, None),
        ]
    )  # fmt: skip


def test_failed_videos(query: Query) -> None:
    assert query("select * from failed_videos") == [
        (NOW_EMPTY, "a b.mpg", "failed", "the file is empty", None, 0, 1000, MODIFIED_AT),
        (BROKEN, "broken.mp4", "failed", LEDGER[0][5][2], None, 0, 1000, MODIFIED_AT),
        (CUT, "cut.mpg", "partial", LEDGER[1][1][2], 3.0, 3, 1000, MODIFIED_AT),
        (SAME_NAME, "Fight5.mpg", "partial", LEDGER[0][1][2], 1.5, 1, 1000, MODIFIED_AT),
    ]


def test_all_tables_are_there_with_their_batches(query: Query) -> None:
    assert query("select batch, count(*) from videos group by batch order by batch") == [(0, 7), (1, 3)]
    assert query("select video, status from videos where batch = 1 and video like '%a b%'") == [
        (NOW_EMPTY, "failed")
    ]
    assert query("select width, batch from frames") == [(96, 0)]
    assert query("select timestamp_s, batch from features") == [(0.0, 0)]


@pytest.mark.parametrize("name", [None, "spark_catalog"])
def test_registered_again_from_anywhere(
    spark: SparkSession, output: Path, tmp_path: Path, name: str | None
) -> None:
    """A later run writes the files anew; the current database is another one."""
    tables = Tables(spark, str(tmp_path / "out"))
    schema = f"{name}.again" if name else "again"
    shutil.copytree(output / "videos", tmp_path / "out" / "videos")
    try:
        assert catalog.register(tables, database="again", catalog=name) == [
            f"{schema}.{table}" for table in ("videos", "failed_videos")
        ]
        shutil.copytree(output, tmp_path / "out", dirs_exist_ok=True)
        wide = [] if name else ["features", "frames"]
        assert catalog.register(tables, database="again", catalog=name) == [
            f"{schema}.{table}" for table in ["predictions", "incidents", "videos", *wide, *VIEWS]
        ]
        spark.sql("use default")
        assert spark.sql("select * from again.top_frames").count() == 21
        tables.replace(spark.createDataFrame(ranked({FIGHT: {3: 0.7}}), PREDICTIONS), "predictions")
        catalog.register(tables, database="again", catalog=name)
        spark.sql("use default")
        assert spark.sql("select clock, incident from again.top_frames").collect() == [("0:00:03", 2)]
        assert spark.sql("select video from again.video_summary where frames_ranked > 0").collect() == [
            (FIGHT,)
        ]
    finally:
        spark.sql("use default")
        spark.sql("drop database if exists again cascade")


def test_rankings_of_older_versions_have_views_without_kinds(
    spark: SparkSession, output: Path, tmp_path: Path
) -> None:
    shutil.copytree(output, tmp_path / "out")
    tables = Tables(spark, str(tmp_path / "out"))
    for table in ("predictions", "incidents"):
        tables.replace(Tables(spark, str(output)).read(table).drop("kind"), table)
        assert tables.read(table).where("kind is not null").count() == 0
    query = duckdb_query(catalog.write_duckdb(tables))
    assert query("select kind, count(*) from top_incidents group by kind") == [(None, 4)]
    try:
        catalog.register(tables, database="older")
        spark.sql("use default")
        assert spark.sql("select distinct kind from older.top_frames").collect() == [(None,)]
    finally:
        spark.sql("use default")
        spark.sql("drop database if exists older cascade")


def test_the_duckdb_script_reads_what_is_there_now(spark: SparkSession, output: Path, tmp_path: Path) -> None:
    tables = Tables(spark, str(tmp_path / "out"))
    shutil.copytree(output / "videos", tmp_path / "out" / "videos")
    assert duckdb_query(catalog.write_duckdb(tables))("select count(*) from failed_videos") == [(4,)]
    shutil.copytree(output, tmp_path / "out", dirs_exist_ok=True)
    query = duckdb_query(catalog.write_duckdb(tables))
    tables.replace(spark.createDataFrame(ranked({FIGHT: {3: 0.7}}), PREDICTIONS), "predictions")
    shutil.rmtree(tmp_path / "out" / "videos" / "batch=1")
    assert query("select clock, incident from top_frames") == [("0:00:03", 2)]
    assert query("select count(*) from failed_videos") == [(3,)]


def test_the_duckdb_script_takes_any_directory(
    spark: SparkSession, output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = tmp_path / "video=a" / "[1]*? o'clock;\n--é"
    shutil.copytree(output, odd)
    monkeypatch.chdir(tmp_path)
    script = catalog.write_duckdb(Tables(spark, str(odd.relative_to(tmp_path))))
    query = duckdb_query(str(Path(script).resolve()))
    monkeypatch.chdir("/")
    assert query("select count(*), min(video), max(batch) from videos") == [(10, NOW_EMPTY, 1)]
    assert query("select rank from top_frames where incident = 1") == [(1,)]


def test_the_duckdb_script_of_a_remote_output() -> None:
    script = catalog.duckdb_script("s3a://bucket/o'ut", ["predictions", "videos"])
    assert "read_parquet('s3://bucket/o''ut/predictions/*.parquet', " in script
    assert "read_parquet('s3://bucket/o''ut/videos/batch=*/*.parquet', " in script
    assert re.findall(r"view (\w+)", script) == ["predictions", "videos", "failed_videos"]


def test_the_page_names_every_column(in_duckdb: Query) -> None:
    page = TABLES_PAGE.split("\n## Views\n")[1]
    sections = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^##|\Z)", page, flags=re.DOTALL | re.MULTILINE))
    assert list(sections) == VIEWS
    for view, section in sections.items():
        cells = re.findall(r"^\| (`.*?) \|", section, flags=re.MULTILINE)
        told = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]
        assert sorted(told) == sorted(row[0] for row in in_duckdb(f"describe {view}")), view


def test_queries_of_the_page(spark: SparkSession, output: Path, in_duckdb: Query, tmp_path: Path) -> None:
    """Each in one `spark-sql`, as a reviewer opens it, and in DuckDB."""
    assert len(QUERIES) == PAGE.count("```sql") >= 12
    names = catalog.write_spark_sql(Tables(spark, str(output)), database=DATABASE)
    assert names == [
        f"{DATABASE}.{name}" for name in ["predictions", "incidents", "videos", "features", "frames", *VIEWS]
    ]
    write_sql_settings(str(output / "spark-sql.conf"), str(tmp_path / "catalog"))
    script = []
    for number, sql in enumerate(QUERIES):
        script += [f"select '=== {number}'", sql]
    (tmp_path / "queries.sql").write_text(";\n".join(script), encoding="utf-8")
    opened = re.search(r"^framewatch (sql) out/demo", PAGE, flags=re.MULTILINE).group(1)
    options = ["--master=local[1]", "--conf=spark.sql.shuffle.partitions=1"]
    done = subprocess.run(
        [sys.executable, "-m", "framewatch.cli", opened, str(output), *options, "-f", "queries.sql"],
        env={**os.environ, "JAVA_TOOL_OPTIONS": FAST_OPTIONS},
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    printed = re.split(r"^=== \d+\n", done.stdout, flags=re.MULTILINE)[1:]
    assert len(printed) == len(QUERIES)
    for sql, text in zip(QUERIES, printed, strict=True):
        expected = in_duckdb(sql)
        assert expected, f"nothing to compare: {sql}"
        lines = [line.split("\t") for line in text.splitlines()]
        assert "order by" in sql or len(lines) == 1, sql
        assert [read(line, row) for line, row in zip(lines, expected, strict=True)] == close_to(expected), sql


def read(cells: list[str], like: tuple) -> tuple:
    """A line that spark-sql printed, with the types that DuckDB gave."""
    return tuple(
        None if cell == "NULL" else float(cell) if isinstance(value, float) else type(value)(cell)
        for cell, value in zip(cells, like, strict=True)
    )
