"""Incidents on real Spark, against a plain loop over seconds."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from framewatch.errors import SchemaError
from framewatch.ranking.incidents import find_incidents
from framewatch.tables.schema import INCIDENTS

COLUMNS = "origin string, video string, timestamp_s double, prob2 double"


def frames(video: str, probabilities: list[float], period_s: float = 1.0) -> list[tuple]:
    return [(f"{video}{k:04d}", video, k * period_s, p) for k, p in enumerate(probabilities)]


def found(spark, rows: list[tuple], **options) -> list[dict]:
    df = spark.createDataFrame(rows, COLUMNS)
    table = find_incidents(df, **options)
    assert table.schema.names == INCIDENTS.names
    return [row.asDict() for row in table.orderBy("rank").collect()]


def test_neighbours_become_one_and_ranks_go_by_the_peak(spark) -> None:
    rows = frames("a", [0.1, 0.6, 0.7, 0.1, 0.1, 0.6, 0.1, 0.1, 0.1, 0.1, 0.9]) + frames("b", [0.7, 0.7, 0.2])
    incidents = found(spark, rows)
    assert [
        (i["rank"], i["video"], i["start_s"], i["end_s"], i["peak_s"], i["peak_origin"], i["num_frames"])
        for i in incidents
    ] == [
        (1, "a", 10.0, 11.0, 10.0, "a0010", 1),
        (2, "a", 1.0, 6.0, 2.0, "a0002", 3),
        (3, "b", 0.0, 2.0, 0.0, "b0000", 2),  # the earliest of equal peaks
    ]


def test_parameters(spark) -> None:
    rows = frames("a", [0.6, 0.1, 0.1, 0.6, 0.6, 0.1, 0.1, 0.1, 0.6])

    def spans(**options) -> list[tuple[float, float]]:
        return sorted((i["start_s"], i["end_s"]) for i in found(spark, rows, **options))

    assert spans(gap_s=0) == [(0, 1), (3, 5), (8, 9)]
    assert spans(gap_s=2) == [(0, 5), (8, 9)]
    assert spans(gap_s=3) == [(0, 9)]
    assert spans(gap_s=0, min_length_s=2) == [(3, 5)]
    assert spans(threshold=0.6) == []
    assert spans(threshold=0.05, gap_s=0) == [(0, 9)]
    assert spans(gap_s=0, smoothing_s=2, threshold=0.4) == [(3, 5)]


def by_hand(seconds: list[float], gap: int, least: int) -> list[tuple[float, float]]:
    """Goes through the seconds one by one."""
    spans: list[list[int]] = []
    for second, probability in enumerate(seconds):
        if probability <= 0.5:
            continue
        if spans and second - spans[-1][1] <= gap:
            spans[-1][1] = second + 1
        else:
            spans.append([second, second + 1])
    return [(start, end) for start, end in spans if end - start >= least]


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.lists(st.sampled_from([0.2, 0.5, 0.8]), max_size=40), min_size=1, max_size=20),
    st.integers(0, 4),
    st.integers(0, 4),
)
def test_any_probabilities_as_by_hand(spark, videos: list[list[float]], gap: int, least: int) -> None:
    rows = [row for number, values in enumerate(videos) for row in frames(f"v{number:02d}", values)]
    got: dict[str, list] = {}
    for i in found(spark, rows, gap_s=gap, min_length_s=least):
        got.setdefault(i["video"], []).append((i["start_s"], i["end_s"]))
    for number, values in enumerate(videos):
        assert sorted(got.get(f"v{number:02d}", [])) == by_hand(values, gap, least)


def test_predictions_are_asked_for(spark) -> None:
    with pytest.raises(SchemaError, match=r"predictions lacks the column\(s\) prob2"):
        find_incidents(spark.createDataFrame([], COLUMNS).drop("prob2"))
