"""Cross-validation by groups of videos: each frame is scored by a classifier that never saw its group.

Frames of one recording resemble each other, so a split by frames, or by clips of one recording, would leak
training data into the test. Every split here holds out whole groups.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from framewatch.ranking.logistic import Fit


def assign_folds(
    groups: Mapping[str, int], folds: int, *, sizes: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Assigns whole groups to folds, and spreads suspicious frames and all frames evenly over the folds.

    Args:
        groups: number of suspicious frames of each group.
        folds: maximum number of folds.
        sizes: number of all frames of each group; None if all groups are of one size.

    Returns:
        The fold of each group; empty if fewer than two groups have suspicious frames, because then no split
        can both train and test.
    """
    with_positives = sum(count > 0 for count in groups.values())
    used = min(folds, with_positives)
    if used < 2:
        return {}
    size_of = sizes or dict.fromkeys(groups, 1)
    fold_of: dict[str, int] = {}
    ones, frames = [0] * used, [0] * used
    for group in sorted(groups, key=lambda g: (-groups[g], -size_of[g], g)):
        # Groups without suspicious frames come last. They make up for differences in size.
        fold = min(range(used), key=lambda n: (ones[n] if groups[group] else 0, frames[n], n))
        ones[fold] += groups[group]
        frames[fold] += size_of[group]
        fold_of[group] = fold
    return fold_of


def out_of_fold(
    labelled: DataFrame,
    *,
    folds: int,
    fit: Callable[[DataFrame], Any],
    score: Callable[[DataFrame, Any], DataFrame],
) -> DataFrame | None:
    """Scores each labelled frame with a classifier that was trained without its group.

    Args:
        labelled: `features` rows with `label` and `group`.
        folds: maximum number of folds.
        fit: labelled rows -> classifier.
        score: (rows, classifier) -> rows with `prob2`.

    Returns:
        The rows with `prob2`; or None if too few groups have suspicious frames, or if all other frames are
        in one fold.
    """
    counts = labelled.groupBy("group").agg(F.sum("label").alias("ones"), F.count("*").alias("all")).collect()
    fold_of = _usable_folds({row["group"]: (int(row["ones"]), row["all"]) for row in counts}, folds)
    if not fold_of:
        return None
    parts = []
    for fold in sorted(set(fold_of.values())):
        held_out = F.col("group").isin([group for group, number in fold_of.items() if number == fold])
        classifier = fit(labelled.where(~held_out))
        parts.append(score(labelled.where(held_out), classifier).select(*labelled.columns, "prob2"))
    whole = parts[0]
    for part in parts[1:]:
        whole = whole.unionByName(part)
    return whole


def _usable_folds(counts: Mapping[str, tuple[int, int]], folds: int) -> dict[str, int]:
    """Returns the fold of each group, given its suspicious frames and all its frames.

    Empty if too few groups have suspicious frames, or if all other frames are in one fold.
    """
    sizes = {group: total for group, (_, total) in counts.items()}
    fold_of = assign_folds({group: ones for group, (ones, _) in counts.items()}, folds, sizes=sizes)
    with_zeros = {fold_of[group] for group, (ones, total) in counts.items() if fold_of and total > ones}
    return fold_of if len(with_zeros) >= 2 else {}


def fold_of_each(labels: np.ndarray, groups: Sequence[str], *, folds: int) -> np.ndarray | None:
    """Returns (frames,) the number of the fold that each frame is in; None in the cases of `out_of_fold`."""
    counts: dict[str, tuple[int, int]] = {}
    for group, label in zip(groups, labels, strict=True):
        ones, total = counts.get(group, (0, 0))
        counts[group] = ones + int(label), total + 1
    fold_of = _usable_folds(counts, folds)
    return np.array([fold_of[group] for group in groups], np.int32) if fold_of else None


def out_of_fold_in_memory(
    features: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    groups: Sequence[str],
    *,
    folds: int,
    fit: Fit,
) -> np.ndarray | None:
    """Does the same as `out_of_fold`, without Spark, for frames that fit into memory.

    Args:
        features: (frames, features) float64.
        labels: (frames,), 0 or 1.
        weights: (frames,), above 0.
        groups: (frames,), the group of each frame.
        folds: maximum number of folds.
        fit: features, labels and weights -> classifier; frames with weight 0 do not count.

    Returns:
        (frames,) float64, P(suspicious); or None in the cases of `out_of_fold`.
    """
    fold = fold_of_each(labels, groups, folds=folds)
    if fold is None:
        return None
    return by_fold(
        fold,
        lambda held_out: fit(features, labels, np.where(held_out, 0.0, weights)).probabilities(
            features[held_out]
        ),
    )


def by_fold(fold: np.ndarray, score: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Scores the frames of each fold in turn.

    Args:
        fold: (frames,) the fold that each frame is in; frames below 0 are in none, and are scored as 0.
        score: (frames,) bool, which frames are left out -> the scores of these frames.

    Returns:
        (frames,) float64.
    """
    scores = np.zeros(len(fold))
    for number in np.unique(fold[fold >= 0]):
        held_out = fold == number
        scores[held_out] = score(held_out)
    return scores
