"""Combinations of blocks of features: what is chosen, and that the result is one linear classifier."""

import numpy as np
import pytest

from framewatch.errors import InputError
from framewatch.pipeline.fitting import require_both_classes
from framewatch.ranking.classifier import fit_in_memory
from framewatch.ranking.stacking import Labelled, fit_stacked

GROUPS, FRAMES = 20, 12


def drawn(*, of_still: float, of_motion: float, seed: int = 0) -> Labelled:
    """Frames of groups with scenes of their own; labels shift one number of a block by so much."""
    random = np.random.default_rng(seed)
    groups = np.repeat(np.arange(GROUPS), FRAMES)
    labels = (random.random(len(groups)) < 0.4).astype(float)
    scenes = random.normal(size=(GROUPS, 30))[groups]
    still = scenes + random.normal(size=scenes.shape)
    motion = random.normal(size=(len(groups), 4))
    still[:, 0] += of_still * labels
    motion[:, 0] += of_motion * labels
    blocks = {"still": slice(0, 30), "motion": slice(30, 34)}
    names = np.array([f"camera {group:02}" for group in groups])
    return Labelled(np.hstack([still, motion]), labels, np.ones(len(labels)), names, blocks)


def fit(labelled: Labelled, *, choose: bool = True):
    return fit_stacked(labelled, fit_stills=fit_in_memory, folds=5, choose=choose)


def test_a_block_that_helps_is_used_and_outweighs_noise() -> None:
    found = fit(drawn(of_still=0.5, of_motion=2.0))
    assert "motion" in found.weights
    by_blocks = {tuple(row["blocks"]): row for row in found.compared}
    assert set(by_blocks) == {("still",), ("motion",), ("still", "motion")}
    used = by_blocks[tuple(found.weights)]
    assert used["gain"] > used["gain_error"] > 0
    assert used["roc_auc_interval"][0] < used["roc_auc"] < used["roc_auc_interval"][1]
    test = drawn(of_still=0.5, of_motion=2.0, seed=1)
    probabilities = found.logistic.probabilities(test.features)
    assert probabilities[test.labels == 1].mean() > probabilities[test.labels == 0].mean() + 0.3


def test_stills_alone_stay_as_they_are_without_other_blocks() -> None:
    labelled = drawn(of_still=2.0, of_motion=0.0)
    found = fit(labelled)
    assert found.weights == {"still": 1.0}
    alone = fit_in_memory(labelled.features[:, :30], labelled.labels, labelled.weights)
    np.testing.assert_array_equal(found.logistic.coefficients[:30], alone.coefficients)
    np.testing.assert_array_equal(found.logistic.coefficients[30:], 0)
    assert found.logistic.intercept == alone.intercept


def test_frames_of_one_class_are_refused() -> None:
    with pytest.raises(InputError, match="3 labelled frames have features, 0 of them suspicious"):
        require_both_classes(np.zeros(3))


def test_all_blocks_are_used_where_none_is_chosen_and_noise_weighs_little() -> None:
    labelled = drawn(of_still=2.0, of_motion=0.0)
    found = fit(labelled, choose=False)
    assert set(found.weights) == {"still", "motion"} and not found.compared
    spread = {
        name: float(np.std(labelled.features[:, columns] @ found.logistic.coefficients[columns]))
        for name, columns in labelled.blocks.items()
    }
    assert spread["motion"] < 0.3 * spread["still"]


def test_labels_of_a_group_do_not_change_its_own_comparison() -> None:
    """Weights and penalties come from frames of groups that a regression was not trained on."""
    labelled = drawn(of_still=0.0, of_motion=0.0)
    # Each group has its own feature that equals its labels and is 0 in all other groups.
    own = (np.arange(GROUPS)[:, None] == np.repeat(np.arange(GROUPS), FRAMES)).T * labelled.labels[:, None]
    features = np.hstack([labelled.features[:, :30], 100.0 * own])
    blocks = {"still": slice(0, 30), "motion": slice(30, 30 + GROUPS)}
    leaking = Labelled(features, labelled.labels, labelled.weights, labelled.groups, blocks)
    areas = {tuple(row["blocks"]): row["roc_auc"] for row in fit(leaking).compared}
    assert areas["motion",] == pytest.approx(0.5, abs=0.12)


def test_frames_with_weight_0_do_not_count() -> None:
    labelled = drawn(of_still=0.5, of_motion=2.0)
    kept = labelled.groups < "camera 15"
    weighted = Labelled(
        labelled.features, labelled.labels, kept.astype(float), labelled.groups, labelled.blocks
    )
    one, other = fit(weighted), fit(labelled.rows(kept))
    np.testing.assert_array_equal(one.logistic.coefficients, other.logistic.coefficients)


def test_one_group_gives_every_block_the_same_weight() -> None:
    labelled = drawn(of_still=1.0, of_motion=1.0)
    one = labelled.rows(labelled.groups == "camera 00")
    assert fit(one).weights == {"still": 1.0, "motion": 1.0}
