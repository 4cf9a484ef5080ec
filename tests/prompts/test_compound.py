"""Questions about several things, as SQL that DuckDB and Spark answer alike."""

from typing import Any

import duckdb
import pytest
from pyspark.sql import SparkSession

from framewatch.errors import InputError
from framewatch.prompts.compound_query import compound_sql, sql_string

CLIPS = [
    ("a", "left bag", "p", 10.0, 20.0, 90.0),
    ("a", "left bag", "q", 10.0, 13.0, 80.0),
    ("a", "left bag", "q", 12.0, 18.0, 80.0),
    ("a", "walking", "w", 25.0, 30.0, 80.0),
    ("a", "walking", "w", 70.0, 75.0, 80.0),
    ("b", "left bag", "p", 5.0, 9.0, 90.0),
    ("b", "walking", "w", 6.0, 8.0, 80.0),
    ("c", "left bag", "p", 0.0, 4.0, 90.0),
    ("c", "it's \\ odd", "p", 3.0, 6.0, 90.0),
]
INCIDENTS = [("a", 12.0, 14.0), ("c", 50.0, 60.0)]
PREDICTIONS = [("a", 10.0, 1.0), ("a", 11.0, 0.0), ("a", 29.5, 1.0), ("a", 30.0, 0.0), ("b", 6.0, 1.0)]
ANSWERS = {
    "'left bag' then walking within 30 s": [("a", 10, 30), ("b", 5, 9)],
    "'left bag' then walking within 4.5s": [("b", 5, 9)],
    "\"left bag\" and walking": [("b", 6, 8)],
    "'left bag' and not walking": [("a", 10, 20), ("c", 0, 4)],
    "'left bag' and incident": [("a", 12, 14)],
    "'left bag' and not incident": [("b", 5, 9), ("c", 0, 4)],
    "label and walking": [("a", 29.5, 30), ("b", 6, 7)],
    "'left bag' and not walking and incidents": [("a", 12, 14)],
    "'it's": None,
}  # fmt: skip


@pytest.fixture(scope="module")
def engines(spark: SparkSession) -> list[Any]:
    connection = duckdb.connect()
    tables = {
        "class_clips": (
            "video string, class string, prompt string, start_s double, end_s double, score double",
            CLIPS,
        ),
        "incidents": ("video string, start_s double, end_s double", INCIDENTS),
        "predictions": ("video string, timestamp_s double, prediction double", PREDICTIONS),
    }
    for name, (schema, rows) in tables.items():
        connection.execute(f"create table {name} ({schema})")
        connection.executemany(f"insert into {name} values ({', '.join('?' * len(rows[0]))})", rows)
        spark.createDataFrame(rows, schema).createOrReplaceTempView(name)
    yield [
        lambda sql: connection.execute(sql).fetchall(),
        lambda sql: [tuple(row) for row in spark.sql(sql).collect()],
    ]
    for name in tables:
        spark.catalog.dropTempView(name)


@pytest.mark.parametrize("question", [question for question, rows in ANSWERS.items() if rows])
def test_both_engines_answer(engines: list[Any], question: str) -> None:
    for run in engines:
        assert run(compound_sql(question)) == ANSWERS[question]


def test_any_name_is_safe(engines: list[Any]) -> None:
    for run in engines:
        for name in ("it's \\ odd", "'; drop table incidents; --", "a''b", "\\"):
            assert run(f"select {sql_string(name)}") == [(name,)]
        assert run(compound_sql('"it\'s \\ odd"')) == [("c", 3, 6)]


@pytest.mark.parametrize(
    ("question", "told"),
    [
        ("", "the question is empty"),
        ("walking then", "a name is missing before the end"),
        ("walking then running", "lacks its `within 30 s`"),
        ("walking then running within ten s", "lacks its `within 30 s`"),
        ("walking and not", "a name is missing before the end"),
        ("walking or running", "'or' is not expected"),
        ("left bag", "'bag' is not expected"),
        ("'left bag", "a quote is not closed"),
        ("and walking", "a name is missing before and"),
    ],
)
def test_a_bad_question_is_told_in_one_line(question: str, told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        compound_sql(question)
    assert "\n" not in str(caught.value)
