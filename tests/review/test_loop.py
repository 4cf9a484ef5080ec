"""The loop: refits that learn, scores of neighbours, and the mix of the queue."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from framewatch.feedback.loop import Footage, Loop, LoopSettings, mix

RNG = np.random.default_rng(5)


def footage(num: int = 60, length: int = 8, videos: int = 2) -> tuple[Footage, np.ndarray]:
    """Frames in order, with a suspicious stretch in each video that one feature tells."""
    numbers = np.repeat(np.arange(videos), num // videos)
    times = np.tile(np.arange(num / videos), videos)
    truth = ((times >= 8) & (times < 15)).astype(float)
    features = RNG.normal(size=(num, length)).astype(np.float32)
    features[:, 0] += 3 * truth
    return Footage(features, numbers, times), truth


def unseen(answers: np.ndarray) -> np.ndarray:
    return np.flatnonzero(np.isnan(answers))


def test_verdicts_teach_what_labels_did_not() -> None:
    where, truth = footage()
    misled = RNG.normal(size=(20, 8)).astype(np.float32)
    loop = Loop(where, misled, np.arange(20) % 2, LoopSettings())
    answers = np.full(60, np.nan)
    before = loop.refit(answers)
    shown = [0, 3, 9, 10, 12, 20, 25, 29]
    answers[shown] = truth[shown]
    after = loop.refit(answers)
    other = where.videos == 1  # whose frames nobody has seen, nor any near them

    def separation(log_odds: np.ndarray) -> float:
        return log_odds[other & (truth == 1)].mean() - log_odds[other & (truth == 0)].mean()

    assert separation(after) > separation(before) + 0.5


def test_a_verdict_reaches_the_seconds_around_it_in_its_own_video_only() -> None:
    where, _ = footage()
    flat = Footage(np.zeros_like(where.features), where.videos, where.timestamps_s)
    loop = Loop(flat, RNG.normal(size=(10, 8)).astype(np.float32), np.arange(10) % 2, LoopSettings())
    answers = np.full(60, np.nan)
    answers[29] = 1  # the last second of the first video
    log_odds = loop.refit(answers)
    far = log_odds[10]
    assert log_odds[29] > log_odds[28] > log_odds[27] > far + 0.1
    assert log_odds[30:] == pytest.approx(np.full(30, far))
    answers[29] = 0
    assert loop.refit(answers)[28] < loop.refit(answers)[10]


def test_scores_are_those_of_the_same_classifier_in_scikit_learn() -> None:
    """Without smoothing and push: the weighted, balanced logistic regression, fitted apart from ours."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    where, truth = footage()
    known, labels = RNG.normal(size=(30, 8)).astype(np.float32), np.repeat([0, 1, 0], 10)
    settings = LoopSettings(smooth_s=0, push=0, verdict_weight=3, reg_param=0.1)
    answers = np.full(60, np.nan)
    answers[:12] = truth[:12]
    ours = Loop(where, known, labels, settings).refit(answers)
    scaler = StandardScaler().fit(known)
    rows, classes = np.concatenate([known, where.features[:12]]), np.append(labels, truth[:12])
    weights = np.append(np.ones(30), np.full(12, 3.0))
    for label in (0, 1):
        weights[classes == label] *= 33 / weights[classes == label].sum()
    theirs = LogisticRegression(C=1 / (0.1 * 66), tol=1e-8, max_iter=1000)
    theirs.fit(scaler.transform(rows), classes, sample_weight=weights)
    assert ours == pytest.approx(theirs.decision_function(scaler.transform(where.features)), abs=0.01)


def test_one_class_only_gives_no_ranking() -> None:
    where, _ = footage()
    loop = Loop(where, np.zeros((0, 8), np.float32), np.zeros(0), LoopSettings())
    answers = np.full(60, np.nan)
    assert loop.refit(answers) is None
    answers[3] = 1
    assert loop.refit(answers) is None
    answers[5] = 0
    assert loop.refit(answers) is not None


@given(
    st.integers(1, 60), st.integers(0, 30), st.floats(0, 0.5), st.floats(0, 0.5), st.integers(0, 40),
    st.randoms(use_true_random=False),
)  # fmt: skip
def test_the_mix_shows_all_once_and_keeps_its_shares(num, audited, doubt, chance, seen, random) -> None:
    settings = LoopSettings(uncertain_share=doubt, random_share=chance)
    log_odds = np.array([random.gauss(0, 3) for _ in range(num)])
    candidates = np.array(sorted(random.sample(range(num), random.randint(1, num))))
    audit = np.array(random.sample(range(num), min(audited, num)), int)
    slots = mix(log_odds, candidates, audit, seen, settings)
    assert sorted(slot.index for slot in slots) == candidates.tolist()
    drawn = [slot.index for slot in slots if slot.reason == "random"]
    assert drawn == [index for index in audit if index in drawn], "the audit's order"
    assert len(drawn) <= math.ceil(chance * (seen + len(slots))) - math.floor(chance * seen) + 1
    tops = [slot.index for slot in slots if slot.reason == "top"]
    assert tops == sorted(tops, key=lambda index: -log_odds[index])
    if doubt == chance == 0:
        assert len(tops) == len(slots)


def test_shares_hold_over_refits_that_take_a_few_slots_each() -> None:
    settings = LoopSettings(uncertain_share=0.2, random_share=0.1, refit_every=3)
    log_odds, audit = RNG.normal(size=200), RNG.permutation(200)
    left, reasons = np.arange(200), []
    for shown in range(0, 150, 3):
        slots = mix(log_odds, left, audit, shown, settings)[:3]
        reasons += [slot.reason for slot in slots]
        left = np.setdiff1d(left, [slot.index for slot in slots])
    assert reasons.count("random") == pytest.approx(15, abs=1)
    assert reasons.count("uncertain") == pytest.approx(30, abs=1)
