"""Combines blocks of features: a logistic regression for each, and weights that are fitted out of fold.

Blocks differ in length and scale: a still has a thousand numbers, a motion 44. One penalty for all would
leave the short blocks without influence. So each block has its own regression with its own penalty. A second
regression weighs the log-odds that they give to frames of groups that they were not trained on (Wolpert,
"Stacked Generalization", 1992). All steps are linear: the result is one logistic regression on all numbers.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from framewatch.ranking.cross_validation import by_fold, fold_of_each
from framewatch.ranking.gains import gains
from framewatch.ranking.logistic import Fit, Logistic, Standardized, balanced, fit_regression

# Penalties to choose from, for standardized numbers.
_PENALTIES = (0.03, 0.3, 3.0, 30.0)
# The weights of a few log-odds need no shrinkage, only an optimum that is finite where classes are separable.
_WEIGHT_PENALTY = 1e-3
_MAX_ITER = 100
_STILL = "still"


@dataclass(frozen=True)
class Labelled:
    """Labelled frames in memory.

    Attributes:
        features: (frames, features) float64, all blocks side by side.
        labels: (frames,) 0 or 1.
        weights: (frames,) 0 or more; a frame with weight 0 does not count.
        groups: (frames,) the group of each frame.
        blocks: the columns of each block, by its name.
    """

    features: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    groups: np.ndarray
    blocks: Mapping[str, slice]

    def rows(self, chosen: np.ndarray) -> "Labelled":
        """Returns some of the frames."""
        return Labelled(
            self.features[chosen], self.labels[chosen], self.weights[chosen], self.groups[chosen], self.blocks
        )


@dataclass(frozen=True)
class Stacked:
    """A fitted combination of blocks.

    Attributes:
        logistic: the regression on all numbers; those of blocks that are not used have coefficient 0.
        weights: the weight of each block's log-odds.
        penalties: the penalty of each block that is used, except stills.
        compared: for each choice of blocks, ROC AUC on left-out groups, and its gain over stills alone with
            the standard error of the gain; empty without a comparison.
    """

    logistic: Logistic
    weights: dict[str, float]
    penalties: dict[str, float]
    compared: list[dict[str, Any]]


def fit_stacked(labelled: Labelled, *, fit_stills: Fit, folds: int, choose: bool) -> Stacked:
    """Fits a combination of blocks.

    Args:
        labelled: the frames to train on, with suspicious ones in two groups or more.
        fit_stills: fits the regression of the block `still`, as without other blocks.
        folds: maximum number of folds, which never split a group.
        choose: whether to use only blocks that help: of all choices, the one with the highest ROC AUC on
            left-out groups if it gains more over stills than the standard error of this gain, else stills.

    Returns:
        The combination; of stills alone, the regression of `fit_stills`. If no split can both train and test,
        all blocks have the same weight.
    """
    labelled = labelled.rows(labelled.weights > 0)
    fold = fold_of_each(labelled.labels, labelled.groups.tolist(), folds=folds)
    fitted = {
        name: _Block.of_stills(labelled, columns, fold, fit_stills)
        if name == _STILL
        else _Block.choose(labelled, columns, fold)
        for name, columns in labelled.blocks.items()
    }
    chosen, compared = list(fitted), list[dict[str, Any]]()
    if fold is not None and choose:
        compared = _compare(labelled, fold, {name: block.log_odds for name, block in fitted.items()})
        chosen = _best(compared)
    if chosen == [_STILL]:
        weights, intercept = np.ones(1), 0.0
    else:
        log_odds = np.column_stack([fitted[name].log_odds for name in chosen])
        weights, intercept = _weigh(labelled, log_odds, fold)
    coefficients = np.zeros(labelled.features.shape[1])
    for name, weight in zip(chosen, weights, strict=True):
        whole = fitted[name].whole
        coefficients[labelled.blocks[name]] = weight * whole.coefficients
        intercept += weight * whole.intercept
    used = dict(zip(chosen, weights.tolist(), strict=True))
    penalties = {name: fitted[name].penalty for name in chosen if name != _STILL}
    return Stacked(Logistic(coefficients, float(intercept)), used, penalties, compared)


@dataclass(frozen=True)
class _Block:
    """The regression of a block.

    Attributes:
        whole: fitted on all frames.
        penalty: its penalty, with the lowest loss on left-out groups; 0 for stills.
        log_odds: (frames,) of regressions that were not trained on the frame's group.
    """

    whole: Logistic
    penalty: float
    log_odds: np.ndarray

    @classmethod
    def of_stills(cls, labelled: Labelled, columns: slice, fold: np.ndarray | None, fit: Fit) -> "_Block":
        features, labels, weights = labelled.features[:, columns], labelled.labels, labelled.weights
        whole = fit(features, labels, weights)
        if fold is None:
            return cls(whole, 0.0, whole.log_odds(features))

        def left_out(held_out: np.ndarray) -> np.ndarray:
            return fit(features, labels, np.where(held_out, 0.0, weights)).log_odds(features[held_out])

        return cls(whole, 0.0, by_fold(fold, left_out))

    @classmethod
    def choose(cls, labelled: Labelled, columns: slice, fold: np.ndarray | None) -> "_Block":
        features, every = labelled.features[:, columns], np.ones(len(labelled.labels), bool)
        if fold is None:
            (whole,) = _fit(labelled, features, every, _PENALTIES[2:3])
            return cls(whole, _PENALTIES[2], whole.log_odds(features))
        log_odds = np.empty((len(_PENALTIES), len(every)))
        for number in np.unique(fold):
            held_out = fold == number
            for place, one in enumerate(_fit(labelled, features, ~held_out, _PENALTIES)):
                log_odds[place, held_out] = one.log_odds(features[held_out])
        losses = [_loss(labelled, values) for values in log_odds]
        best = int(np.argmin(losses))
        (whole,) = _fit(labelled, features, every, _PENALTIES[best : best + 1])
        return cls(whole, _PENALTIES[best], log_odds[best])


def _fit(
    labelled: Labelled, features: np.ndarray, rows: np.ndarray, penalties: Sequence[float]
) -> list[Logistic]:
    """Fits an L2 regression on some frames for each penalty, with both classes at equal weight."""
    own, labels, weights = features[rows], labelled.labels[rows], _balanced(labelled, rows)
    standard = Standardized.of(own, weights)
    scaled = standard.apply(own)
    found = []
    for penalty in penalties:
        fitted = fit_regression(
            scaled,
            labels,
            weights,
            max_iter=_MAX_ITER,
            reg_param=penalty,
            elastic_net_param=0.0,
            standardization=False,
        )
        found.append(standard.restored(fitted))
    return found


def _balanced(labelled: Labelled, rows: np.ndarray) -> np.ndarray:
    labels, weights = labelled.labels[rows], labelled.weights[rows]
    return balanced(labels, weights)


def _loss(labelled: Labelled, log_odds: np.ndarray) -> float:
    weights = _balanced(labelled, np.ones(len(log_odds), bool))
    losses = np.logaddexp(0.0, log_odds) - labelled.labels * log_odds
    return float(weights @ losses / weights.sum())


def _weigh(labelled: Labelled, log_odds: np.ndarray, fold: np.ndarray | None) -> tuple[np.ndarray, float]:
    """Returns the weights of columns of log-odds, 0 or more, and an intercept."""
    if fold is None:
        return np.ones(log_odds.shape[1]), 0.0
    weights, active = np.zeros(log_odds.shape[1]), np.arange(log_odds.shape[1])
    while True:
        fitted = fit_regression(
            log_odds[:, active],
            labelled.labels,
            # With the share of suspicious frames in the intercept, log-odds of folds would not compare.
            _balanced(labelled, np.ones(len(log_odds), bool)),
            max_iter=_MAX_ITER,
            reg_param=_WEIGHT_PENALTY,
            elastic_net_param=0.0,
            standardization=True,
        )
        # Log-odds that count against their own class are noise.
        if len(active) == 1 or (fitted.coefficients >= 0).all():
            weights[active] = np.maximum(fitted.coefficients, 1e-3 if len(active) == 1 else 0.0)
            return weights, fitted.intercept
        active = active[fitted.coefficients > fitted.coefficients.min()]


def _compare(
    labelled: Labelled, fold: np.ndarray, log_odds: Mapping[str, np.ndarray]
) -> list[dict[str, Any]]:
    """Compares all choices of blocks on left-out groups; the first is stills alone."""
    names = sorted(log_odds, key=lambda name: (name != _STILL, name))
    choices = [list(c) for size in range(1, len(names) + 1) for c in itertools.combinations(names, size)]
    scores = [_left_out(labelled, fold, np.column_stack([log_odds[n] for n in choice])) for choice in choices]
    found = gains(scores, labelled.labels, labelled.groups)
    return [{"blocks": choice, **gain} for choice, gain in zip(choices, found, strict=True)]


def _best(compared: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the choice with the highest ROC AUC if its gain over stills exceeds its standard error."""
    best = max(compared, key=lambda row: row["roc_auc"])
    return list((best if best["gain"] > best["gain_error"] else compared[0])["blocks"])


def _left_out(labelled: Labelled, fold: np.ndarray, log_odds: np.ndarray) -> np.ndarray:
    """Returns (frames,) combined log-odds, by weights that were fitted without the frame's group."""

    def combined(held_out: np.ndarray) -> np.ndarray:
        weights, intercept = _weigh(labelled.rows(~held_out), log_odds[~held_out], fold[~held_out])
        return log_odds[held_out] @ weights + intercept

    return by_fold(fold, combined)
