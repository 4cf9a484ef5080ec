"""Similarities, backgrounds, scores and calibration, against what they mean."""

import numpy as np
import pyarrow as pa
import pytest
from arrow_run import origin_of, write_batch
from hypothesis import given
from hypothesis import strategies as st

from framewatch.models.encoder import Encoder
from framewatch.models.similarity import Similarity
from framewatch.prompts.class_finder import Find, joined
from framewatch.prompts.frame_runs import Background, Project, backgrounds, iterate_runs, total
from framewatch.prompts.prepare import prepare
from framewatch.prompts.request import Prompt, PromptClass, Request
from framewatch.prompts.scoring import ClassColumns, ScoringPlan, calibrate, probability, scores
from framewatch.tables.feature_files import FeatureFiles


def batch_of(videos: list[str], times_s: list[float], features: list[list[float] | None]) -> pa.RecordBatch:
    lists = pa.array(features, pa.list_(pa.float64()))
    columns = [pa.array(videos), pa.array(times_s), lists]
    return pa.RecordBatch.from_arrays(columns, names=["video", "timestamp_s", "features"])


def project_of(columns: np.ndarray) -> Project:
    """Plain cosines with the columns, as for texts."""
    return Project(columns, np.empty((0, 0), np.float32), Similarity.plain(0))


def test_a_run_is_a_stretch_of_one_video() -> None:
    rng = np.random.default_rng(0)
    features, columns = rng.random((6, 4)), rng.random((4, 3), np.float32)
    lists = [None if number == 3 else row.tolist() for number, row in enumerate(features)]
    batch = batch_of(["a", "a", "b", "b", "b", "a"], [0, 1, 0, 1, 2, 2], lists)
    runs = [run for it in project_of(columns)([batch]) for run in iterate_runs(it)]
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
        run for it in project_of(np.ones((4, 2), np.float32))([batch]) for run in iterate_runs(it)
    ]
    assert np.isnan(similarities).all() and similarities.shape == (2, 2)
    assert list(total(project_of(np.ones((4, 2), np.float32))([batch]))) == []


def test_the_background_is_of_a_camera_however_its_frames_are_split() -> None:
    rng = np.random.default_rng(1)
    columns = rng.random((4, 3), np.float32)
    parts, of_camera = [], {"north": [], "south": []}
    for number, camera in enumerate(["north", "south", "north"]):
        features = rng.random((5, 4))
        batch = batch_of([f"{camera}/{number}.mp4"] * 5, list(range(5)), features.tolist())
        parts.append(list(total(project_of(columns)([batch]))))
        of_camera[camera].append(features / np.linalg.norm(features, axis=1, keepdims=True) @ columns)
    found = backgrounds(row for part in parts for batch in part for row in batch.to_pylist())
    for camera, similarities in of_camera.items():
        all_ = np.concatenate(similarities)
        assert np.allclose(found[camera].mean, all_.mean(axis=0), atol=1e-6)
        assert np.allclose(found[camera].deviation, all_.std(axis=0), atol=1e-5)


def test_texts_and_pictures_have_their_own_vectors() -> None:
    rng = np.random.default_rng(4)
    features, texts = rng.random((40, 6)), rng.random((6, 2), np.float32)
    similarity = Similarity.fit(features, np.repeat("a", 40), centre="footage")
    pictures = similarity.vectors(features[:3]).T
    batch = batch_of(["a"] * 40, list(range(40)), features.tolist())
    ((_, _, found),) = [
        run for it in Project(texts, pictures, similarity)([batch]) for run in iterate_runs(it)
    ]
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    assert np.allclose(found[:, :2], unit @ texts, atol=1e-5)
    assert np.allclose(found[[0, 1, 2], [2, 3, 4]], 1, atol=1e-5), "1 is the same picture"
    assert found[:, 2:].max() < 1 + 1e-5


def plan_of(*prompts: Prompt, negatives: int = 0) -> tuple[ScoringPlan, ClassColumns]:
    """A class whose examples have one more column, of all of them together, as the last."""
    its = PromptClass("c", prompts, tuple(Prompt("text", f"other {n}") for n in range(negatives)))
    has_examples = any(prompt.kind == "example" for prompt in prompts)
    num_columns = len(prompts) + negatives
    columns = ClassColumns(
        its,
        tuple(range(len(prompts))),
        tuple(range(len(prompts), num_columns)),
        num_columns if has_examples else None,
    )
    return ScoringPlan(Request((its,)), project_of(np.zeros((1, 1), np.float32)), (columns,)), columns


def test_a_class_of_texts_has_the_softmax_of_their_mean() -> None:
    plan, its = plan_of(Prompt("text", "fall"), Prompt("text", "lying"), negatives=2)
    cosines = np.array([[0.30, 0.29, 0.28, 0.20], [0.10, 0.20, 0.25, 0.21], [np.nan] * 4], np.float32)
    exponents = np.exp(100 * (cosines - cosines.max(axis=1, keepdims=True)).astype(float))
    of_class = exponents[:, :2].sum(axis=1) / exponents.sum(axis=1)
    found = scores(plan.log_odds(cosines, None, its), None)
    assert np.allclose(found, 100 * of_class, rtol=1e-4, equal_nan=True)
    assert not plan.needs_background
    assert plan.prompt_log_odds(cosines, None, its)[:2].argmax(axis=1).tolist() == [0, 1]
    single, alone = plan_of(Prompt("text", "fall"), negatives=1)
    assert scores(single.log_odds(np.array([[0.3, 0.3]]), None, alone), None) == pytest.approx(50)
    many, same = plan_of(*(Prompt("text", f"fall {n}") for n in range(30)), negatives=1)
    assert scores(many.log_odds(np.full((1, 31), 0.3), None, same), None) == pytest.approx(50)


def test_examples_are_set_against_their_camera() -> None:
    plan, its = plan_of(Prompt("example", "a.jpg"), Prompt("example", "b.jpg"))
    assert plan.needs_background
    usual = Background(np.array([0.0, 0, 2]), np.array([1.0, 1, 0.5]))
    similarities = np.array([[0, 1, 2.0], [1, 0, 2.75], [0, 0, 4.0], [np.nan] * 3])
    found = scores(plan.log_odds(similarities, usual, its), None)
    assert found[1] == pytest.approx(50)
    assert found[0] < 10 and found[2] > 90 and np.isnan(found[3])
    assert plan.prompt_log_odds(similarities, usual, its)[:2].argmax(axis=1).tolist() == [1, 0]
    elsewhere = Background(np.array([0.0, 0, 4]), np.array([1.0, 1, 0.5]))
    assert scores(plan.log_odds(similarities, elsewhere, its), None)[2] < 10


@pytest.mark.parametrize("num_prompts", [1, 3, 10, 30, 100])
@pytest.mark.parametrize("length", [64, 512])
def test_noise_has_no_class_however_many_prompts(tmp_path, num_prompts: int, length: int) -> None:
    rng = np.random.default_rng(num_prompts)
    videos = {f"file:/cam{n % 2}/{n}.mp4": np.abs(rng.normal(size=(300, length))) for n in range(8)}
    examples = {"file:/other/0.mp4": np.abs(rng.normal(size=(100, length)))}
    write_batch(tmp_path, 0, videos | examples)
    prompts = tuple(Prompt("example", origin_of("file:/other/0.mp4", n)) for n in range(num_prompts))
    features = FeatureFiles.of(str(tmp_path))
    plan = prepare(Request((PromptClass("c", prompts),)), features, Encoder({}, model="", weights=""))
    batches = [it for path in features.paths for it in features.read(path, ["timestamp_s", "features"])]
    runs = list(plan.project(batches))
    usual = backgrounds(row for it in total(runs) for row in it.to_pylist())
    find = Find(plan, usual, {}, gap_s=2.0, period_s=1.0)
    ratios = dict.fromkeys(videos, 0.0)
    parts: dict[str, list] = {}
    for run in runs:
        for video, times_s, similarities in iterate_runs(run):
            parts.setdefault(video, []).append((times_s, similarities))
    for video in videos:
        for found in find.classes(joined(video, parts[video], 300.0)):
            ratios[video] = found.duration_ratio
    assert np.mean(list(ratios.values())) <= 0.03


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
