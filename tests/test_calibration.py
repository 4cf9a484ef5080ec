"""Calibrated probabilities: closer to shares, in the order of the scores, and fitted without the own fold."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from framewatch.ranking import calibration, left_out
from framewatch.ranking.calibration import Calibration
from framewatch.ranking.cross_validation import fold_of_each


def sigmoid(log_odds: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-log_odds))


def footage(
    frames: int, *, extreme: float, shift: float = 0.0, groups: int = 20, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities, labels and groups. The true log-odds times `extreme` are the classifier's."""
    random = np.random.default_rng(seed)
    log_odds = random.normal(-1, 1.5, frames)
    labels = (random.random(frames) < sigmoid(log_odds)).astype(float)
    return sigmoid(extreme * log_odds + shift), labels, random.integers(groups, size=frames)


@pytest.mark.parametrize("kind", ["platt", "isotonic"])
@pytest.mark.parametrize(("extreme", "shift"), [(4.0, 0.0), (0.3, 0.0), (1.0, 2.0)])
def test_probabilities_come_closer_to_shares_and_keep_their_order(
    kind: str, extreme: float, shift: float
) -> None:
    """Of overconfident, timid and shifted classifiers, on frames that no map was fitted on."""
    found = calibration.fit(*footage(3000, extreme=extreme, shift=shift), kind)
    prob2, labels, _ = footage(3000, extreme=extreme, shift=shift, seed=1)
    calibrated = found.probabilities(prob2)
    before, after = (brier_score_loss(labels, values) for values in (prob2, calibrated))
    ideal = brier_score_loss(labels, sigmoid((calibration.log_odds_of(prob2) - shift) / extreme))
    assert before - after > 0.8 * (before - ideal) > 0.005
    assert np.array_equal(np.argsort(prob2, kind="stable"), np.argsort(calibrated, kind="stable"))


def test_platt_scaling_is_a_logistic_regression_on_smoothed_targets() -> None:
    prob2, labels, groups = footage(300, extreme=2.0, groups=1)
    found = calibration.fit(prob2, labels, groups, "platt")
    ones, zeros = labels.sum(), (1 - labels).sum()
    targets = np.where(labels > 0, (ones + 1) / (ones + 2), 1 / (zeros + 2))
    scores = np.tile(calibration.log_odds_of(prob2)[:, None], (2, 1))
    weights = np.append(targets, 1 - targets)  # a share of each frame in both classes
    expected = LogisticRegression(C=np.inf, tol=1e-8).fit(scores, np.repeat([1, 0], 300), weights)
    assert found.notes() == {
        "kind": "platt",
        "slope": pytest.approx(expected.coef_[0, 0], abs=1e-4),
        "intercept": pytest.approx(expected.intercept_[0], abs=1e-4),
    }


def test_isotonic_regression_follows_that_of_scikit_learn() -> None:
    prob2, labels, groups = footage(20_000, extreme=3.0, groups=1)
    found = calibration.fit(prob2, labels, groups, "isotonic")
    expected = IsotonicRegression().fit(prob2, labels).predict(prob2)
    middle = (prob2 > np.quantile(prob2, 0.02)) & (prob2 < np.quantile(prob2, 0.98))
    assert np.abs(found.probabilities(prob2) - expected)[middle].mean() < 0.02
    assert 10 < len(found.log_odds) <= 50


ROWS = st.lists(
    st.tuples(st.floats(0, 1), st.booleans(), st.integers(0, 3)), min_size=2, max_size=120
).filter(lambda rows: len({label for _, label, _ in rows}) == 2)


@given(ROWS, st.sampled_from(["platt", "isotonic"]))
def test_the_map_rises_everywhere(rows: list[tuple[float, bool, int]], kind: str) -> None:
    prob2, labels, groups = (np.array(column) for column in zip(*rows, strict=True))
    found = calibration.fit(prob2, labels.astype(float), groups, kind)
    if found is None:
        return
    assert found.slope > 0 and (np.diff(found.log_odds) > 0).all() and (np.diff(found.calibrated) > 0).all()
    grid = sigmoid(np.linspace(-15, 15, 2001))
    calibrated = found.probabilities(grid)
    assert (np.diff(calibrated) >= 0).all()
    # Where numbers are dense enough to tell probabilities apart, no two are equal.
    assert (np.diff(calibrated)[calibrated[1:] < 0.999] > 0).all()


@pytest.mark.parametrize("kind", ["platt", "isotonic"])
def test_a_fold_has_no_part_in_its_own_map(kind: str) -> None:
    prob2, labels, groups = footage(1500, extreme=3.0)
    folds = groups % 4
    clean = calibration.nested(prob2, labels, groups, folds, kind)
    poisoned = np.where(folds == 2, 1 - labels, labels)
    found = calibration.nested(prob2, poisoned, groups, folds, kind)
    changed = found != clean
    assert not changed[folds == 2].any(), "its own labels do not matter"
    assert changed[folds != 2].mean() > 0.99
    whole = calibration.fit(prob2, labels, groups, kind).probabilities(prob2)
    assert not np.array_equal(whole, clean)


def test_a_ranking_worse_than_chance_is_not_reversed(caplog: pytest.LogCaptureFixture) -> None:
    prob2, labels, groups = footage(400, extreme=-1.0)
    for kind in ("platt", "isotonic"):
        assert calibration.fit(prob2, labels, groups, kind) is None
    assert calibration.fit(np.full(400, 0.5), labels, groups, "platt") is None
    _, notes = left_out.evaluate(table(prob2, labels, groups), wanted="auto", recall=0.9, **MEASURES)
    assert notes["kind"] == "none" and notes["warning"]
    assert Calibration.of_notes(notes) is None


def test_a_long_recording_does_not_decide_alone() -> None:
    """A recording of half of all frames has few suspicious ones; the others have many."""
    random = np.random.default_rng(0)
    groups = np.append(np.zeros(1000, int), 1 + np.arange(1000) % 10)
    prob2 = random.random(2000)
    share = np.where(groups == 0, 0.1, 0.7) * (0.5 + prob2)
    labels = (random.random(2000) < share).astype(float)
    found, alike = (
        calibration.fit(prob2, labels, its, "platt").probabilities(np.array([0.5]))[0]
        for its in (groups, np.arange(2000))
    )
    assert alike == pytest.approx(0.4, abs=0.05)
    assert found == pytest.approx(0.6, abs=0.05)


@pytest.mark.parametrize(
    ("frames", "groups", "kind"),
    [(999, 20, "platt"), (1000, 9, "platt"), (1000, 10, "isotonic")],
)
def test_auto_needs_frames_and_groups_for_isotonic_regression(frames: int, groups: int, kind: str) -> None:
    labels = np.ones(frames)
    assert calibration.choose_kind("auto", labels, np.arange(frames) % groups) == kind
    assert calibration.choose_kind("none", labels, np.arange(frames) % groups) == "none"


@pytest.mark.parametrize("kind", ["platt", "isotonic"])
def test_notes_hold_the_map(kind: str) -> None:
    prob2, labels, groups = footage(1200, extreme=3.0)
    found = calibration.fit(prob2, labels, groups, kind)
    read = Calibration.of_notes({**found.notes(), "frames": 1200})
    assert read == found and read.identity == found.identity
    other = calibration.fit(prob2[1:], labels[1:], groups[1:], kind)
    assert other.identity != found.identity
    assert Calibration.of_notes(None) is None, "as older versions have it"


MEASURES = {"folds": 4, "precision_at": [3], "budgets_minutes": [0.5], "period_s": 1.0, "gap_s": 2.0}


def table(prob2: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> pa.Table:
    """Left-out frames as `train` keeps them."""
    numbers = np.arange(len(prob2))
    return pa.table(
        {
            "origin": [f"{number:06d}" for number in numbers], "video": [f"v{group}" for group in groups],
            "group": [f"g{group}" for group in groups], "timestamp_s": numbers.astype(float),
            "label": labels, "prob2": prob2,
        }
    )  # fmt: skip


def test_probabilities_are_measured_on_folds_that_did_not_fit_the_map() -> None:
    prob2, labels, groups = footage(1500, extreme=4.0)
    rows = table(prob2, labels, groups)
    metrics, notes = left_out.evaluate(rows, wanted="platt", recall=0.9, **MEASURES)
    own, none = left_out.evaluate(rows, wanted="none", recall=0.9, **MEASURES)
    assert none == {"kind": "none", "reason": "as classifier.calibration=none"}
    fold = fold_of_each(labels, [f"g{group}" for group in groups], folds=4)
    nested = calibration.nested(prob2, labels, groups, fold, "platt")
    assert metrics["brier_score"] == pytest.approx(brier_score_loss(labels, nested))
    assert metrics["brier_score"] < own["brier_score"] - 0.02
    assert metrics["expected_calibration_error"] < 0.5 * own["expected_calibration_error"]
    assert notes["frames"] == 1500 and notes["share"] == pytest.approx(labels.mean())
    whole = Calibration.of_notes(notes).probabilities(prob2)
    assert metrics["curve"][0]["threshold"] == whole.max(), "as ranked frames have it"
    for name in ("average_precision", "roc_auc", "precision_at", "budgets", "videos", "threshold_recall"):
        assert metrics[name] == own[name], "the order is that of the classifiers"


def test_thresholds_are_measured_on_folds_that_did_not_choose_them() -> None:
    """So few frames that the curve has a point for each."""
    prob2, labels, groups = footage(160, extreme=1.0)
    prob2 = np.where(groups % 4 == 1, 0.5 * prob2, prob2)
    found = left_out.evaluate(table(prob2, labels, groups), wanted="platt", recall=0.8, **MEASURES)[0]
    fold = fold_of_each(labels, [f"g{group}" for group in groups], folds=4)
    above = np.zeros(160, bool)
    for number in range(4):
        others = np.sort(prob2[(fold != number) & (labels > 0)])[::-1]
        above[fold == number] = prob2[fold == number] >= others[int(np.ceil(0.8 * len(others))) - 1]
    reached = found["threshold_recall"]
    assert reached["wanted"] == 0.8
    assert reached["recall"] == pytest.approx(above[labels > 0].mean()) != 0.8
    assert reached["precision"] == pytest.approx(labels[above].mean())
    for name in ("recall", "precision"):
        low, high = reached[f"{name}_interval"]
        assert low < reached[name] < high
