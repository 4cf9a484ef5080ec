"""Similarities, backgrounds, scores and calibration, against what they mean."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from framewatch.prompts.prepare import whiten
from framewatch.prompts.request import Prompt, PromptClass, Request
from framewatch.prompts.scoring import ClassColumns, ScoringPlan, calibrate, probability, scores
from framewatch.prompts.similarity import Background, Project, backgrounds, iterate_runs, total


def batch_of(videos: list[str], times_s: list[float], features: list[list[float] | None]) -> pa.RecordBatch:
    lists = pa.array(features, pa.list_(pa.float64()))
    columns = [pa.array(videos), pa.array(times_s), lists]
    return pa.RecordBatch.from_arrays(columns, names=["video", "timestamp_s", "features"])


def test_a_run_is_a_stretch_of_one_video() -> None:
    rng = np.random.default_rng(0)
    features, columns = rng.random((6, 4)), rng.random((4, 3), np.float32)
    lists = [None if number == 3 else row.tolist() for number, row in enumerate(features)]
    batch = batch_of(["a", "a", "b", "b", "b", "a"], [0, 1, 0, 1, 2, 2], lists)
    runs = [run for it in Project(columns)([batch]) for run in iterate_runs(it)]
    assert [(video, times_s.tolist()) for video, times_s, _ in runs] == [
        ("a", [0, 1]), ("b", [0, 1, 2]), ("a", [2])
    ]  # fmt: skip
    got = np.concatenate([similarities for _, _, similarities in runs])
    wanted = features / np.linalg.norm(features, axis=1, keepdims=True) @ columns
    wanted[3] = np.nan
    assert np.allclose(got, wanted, atol=1e-6, equal_nan=True)


def test_a_batch_without_any_features() -> None:
    batch = batch_of(["a", "a"], [0, 1], [None, None])
    ((_, _, similarities),) = [
        run for it in Project(np.ones((4, 2), np.float32))([batch]) for run in iterate_runs(it)
    ]
    assert np.isnan(similarities).all() and similarities.shape == (2, 2)
    assert list(total(Project(np.ones((4, 2), np.float32))([batch]))) == []


def test_the_background_is_of_a_camera_however_its_frames_are_split() -> None:
    rng = np.random.default_rng(1)
    columns = rng.random((4, 3), np.float32)
    parts, of_camera = [], {"north": [], "south": []}
    for number, camera in enumerate(["north", "south", "north"]):
        features = rng.random((5, 4))
        batch = batch_of([f"{camera}/{number}.mp4"] * 5, list(range(5)), features.tolist())
        parts.append(list(total(Project(columns)([batch]))))
        of_camera[camera].append(features / np.linalg.norm(features, axis=1, keepdims=True) @ columns)
    found = backgrounds(row for part in parts for batch in part for row in batch.to_pylist())
    for camera, similarities in of_camera.items():
        all_ = np.concatenate(similarities)
        assert np.allclose(found[camera].mean, all_.mean(axis=0), atol=1e-6)
        assert np.allclose(found[camera].deviation, all_.std(axis=0), atol=1e-5)


def test_whitening_is_the_discriminant_of_one_example() -> None:
    """As solved with the whole covariance, shrunk towards a ball, scaled to the background's deviation."""
    rng = np.random.default_rng(2)
    background, example = rng.random((30, 8)), rng.random((1, 8))
    unit = background / np.linalg.norm(background, axis=1, keepdims=True)
    mean = unit.mean(axis=0)
    centred = unit - mean
    gram = centred @ centred.T
    ridge = 10 * np.trace(gram) / 30
    direction = np.linalg.solve(
        centred.T @ centred + ridge * np.eye(8), example[0] / np.linalg.norm(example) - mean
    )
    wanted = direction / (centred @ direction).std()
    assert np.allclose(whiten(example, background)[0], wanted, rtol=1e-4, atol=1e-4)
    assert np.allclose(whiten(example, background[:1])[0], example[0] / np.linalg.norm(example), atol=1e-6)


def plan_of(*prompts: Prompt, negatives: int = 0) -> tuple[ScoringPlan, ClassColumns]:
    its = PromptClass("c", prompts, tuple(Prompt("text", f"other {n}") for n in range(negatives)))
    columns = ClassColumns(
        its, tuple(range(len(prompts))), tuple(range(len(prompts), len(prompts) + negatives))
    )
    return ScoringPlan(
        Request((its,)), np.zeros((1, len(prompts) + negatives), np.float32), (columns,)
    ), columns


def test_the_best_text_has_the_softmax_probability_of_its_class() -> None:
    plan, its = plan_of(Prompt("text", "fall"), Prompt("text", "lying"), negatives=2)
    cosines = np.array([[0.30, 0.29, 0.28, 0.20], [0.10, 0.20, 0.25, 0.21]], np.float32)
    exponents = np.exp(100 * (cosines - cosines.max(axis=1, keepdims=True)).astype(float))
    of_class = exponents[:, :2].sum(axis=1) / exponents.sum(axis=1)
    found = scores(plan.log_odds(cosines, None, its), None)
    assert np.allclose(found.max(axis=1), 100 * of_class, rtol=1e-4)
    assert not plan.needs_background
    assert found[0].argmax() == 0 and found[1].argmax() == 1
    single, alone = plan_of(Prompt("text", "fall"), negatives=1)
    assert scores(single.log_odds(np.array([[0.3, 0.3]]), None, alone), None) == pytest.approx(50)


def test_an_example_is_set_against_its_camera() -> None:
    plan, its = plan_of(Prompt("example", "a.jpg"), Prompt("text", "x"), negatives=1)
    assert plan.needs_background
    usual = Background(np.array([2.0, 0, 0]), np.array([0.5, 1, 1]))
    similarities = np.array([[2.0, 0, 0], [2.75, 0, 0], [4.0, 0, 0], [np.nan] * 3])
    found = scores(plan.log_odds(similarities, usual, its), None)
    assert found[1, 0] == pytest.approx(50)
    assert found[0, 0] < 10 and found[2, 0] > 90
    assert np.isnan(found[3]).all()
    elsewhere = Background(np.array([4.0, 0, 0]), np.array([0.5, 1, 1]))
    assert scores(plan.log_odds(similarities, elsewhere, its), None)[2, 0] < 10


def test_labels_make_probabilities() -> None:
    rng = np.random.default_rng(3)
    odds = rng.normal(0, 3, 4000)
    truth = (rng.random(4000) < probability(0.5 * odds - 1)).astype(float)
    found = calibrate(odds, truth)
    assert found.slope == pytest.approx(0.5, abs=0.05) and found.offset == pytest.approx(-1, abs=0.15)
    given = scores(odds, found)
    for low in range(0, 100, 25):
        inside = (given >= low) & (given < low + 25)
        assert truth[inside].mean() * 100 == pytest.approx(given[inside].mean(), abs=5)


def test_a_few_labels_set_the_threshold_between_them() -> None:
    found = calibrate([-3, -1, 0.5, 4, 5, np.nan], [0, 0, 0, 1, 1, 1])
    assert found.num_labels == 5
    given = scores(np.array([-3, -1, 0.5, 4, 5]), found)
    assert (given >= found.threshold).tolist() == [False, False, False, True, True]
    assert given[2] < found.threshold < given[3]
    assert calibrate([1, 2], [1, 1]) is None and calibrate([], []) is None


@given(st.lists(st.tuples(st.floats(-1e3, 1e3), st.integers(0, 1)), min_size=2, max_size=40))
def test_calibration_keeps_the_order_whatever_the_labels(rows: list[tuple[float, int]]) -> None:
    odds, labels = zip(*rows, strict=True)
    found = calibrate(odds, labels)
    assert (found is None) == (len(set(labels)) < 2)
    if found:
        given = scores(np.sort(odds), found)
        assert (np.diff(given) >= 0).all() and given.min() >= 0 and given.max() <= 100
        assert 0 <= found.threshold <= 100
