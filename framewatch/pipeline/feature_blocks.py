"""The blocks of features that a classifier uses: stills alone, or also what changes and moves in bursts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pyspark.sql import DataFrame

from framewatch.config import Config
from framewatch.errors import InputError
from framewatch.io import storage
from framewatch.pipeline.run import Run
from framewatch.ranking import stacking
from framewatch.ranking.block_notes import uses_bursts
from framewatch.ranking.blocks import COLUMNS, STILLS, Blocks
from framewatch.ranking.logistic import Fit, Logistic
from framewatch.tables.saved_model import SavedModel

_BURST = ("burst", "burst_step_s")
# Weights of blocks are fitted out of fold, also where no metrics are wanted.
DEFAULT_FOLDS = 5


def wanted_blocks(config: Config, sampled: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the names of the blocks to train on; with `auto`, of those that the frames have.

    Args:
        config: the configuration.
        sampled: the metadata of the frames.

    Raises:
        InputError: a block needs bursts, and the frames have none.
    """
    wanted = config.classifier.blocks
    if wanted == STILLS or "burst" in sampled:
        return tuple(COLUMNS) if wanted is None else wanted
    if wanted is None:
        return STILLS
    raise InputError(
        f"classifier.features={config.classifier.features} needs bursts, and the frames in "
        f"{config.output} have none: read the videos with sampling.burst=5 and another output, or "
        "set classifier.features=still"
    )


@dataclass(frozen=True)
class BlockTraining:
    """Fits classifiers on blocks of features.

    Attributes:
        blocks: the blocks.
        groups: (frames,) the group of each labelled frame.
        fit_stills: fits the block of stills.
        folds: maximum number of folds.
        choose: whether to use only blocks that help.
    """

    blocks: Blocks
    groups: np.ndarray
    fit_stills: Fit
    folds: int
    choose: bool

    def stack(self, features: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> stacking.Stacked:
        """Fits a combination of blocks; frames with weight 0 do not count."""
        labelled = stacking.Labelled(features, labels, weights, self.groups, self.blocks.columns)
        return stacking.fit_stacked(
            labelled, fit_stills=self.fit_stills, folds=self.folds or DEFAULT_FOLDS, choose=self.choose
        )

    def fit(self, features: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> Logistic:
        """Returns the regression of `stack`."""
        return self.stack(features, labels, weights).logistic

    def used(self, stacked: stacking.Stacked) -> Logistic:
        """Returns the regression on what `ranking_features` gives: of stills alone, on their numbers."""
        if tuple(stacked.weights) != STILLS:
            return stacked.logistic
        stills = stacked.logistic.coefficients[self.blocks.columns[STILLS[0]]]
        return Logistic(stills, stacked.logistic.intercept)

    def notes(self, run: Run, stacked: stacking.Stacked) -> dict[str, Any]:
        """Returns what the card shows, and what `ranking_features` reads."""
        sampled = run.tables.metadata("frames")
        return {
            "lengths": {name: len(values) for name, values in self.blocks.fill.items()},
            **{name: sampled[name] for name in _BURST},
            "weights": stacked.weights,
            "penalties": stacked.penalties,
            "compared": stacked.compared,
        }


def save_blocks(saved: SavedModel, blocks: Blocks) -> None:
    """Writes the blocks of a version, before it is published."""
    storage.write_json(_path(saved), {name: values.tolist() for name, values in blocks.fill.items()})


def _path(saved: SavedModel) -> str:
    return storage.join(saved.directory, "blocks.json")


def ranking_features(run: Run, saved: SavedModel) -> DataFrame:
    """Returns `features` as a classifier takes them.

    Raises:
        InputError: the classifier needs bursts as it was trained on, and the frames have none or others.
    """
    require_bursts(saved.notes, run.tables.metadata("frames"), run.config.output)
    features = run.tables.current("features")
    if not uses_bursts(saved.notes.get("blocks")):
        return features.drop("change", "motion")
    fill = storage.read_json(_path(saved))
    return Blocks({name: np.array(values, np.float32) for name, values in fill.items()}).side_by_side(
        features
    )


def require_bursts(notes: Mapping[str, Any], sampled: Mapping[str, Any], output: str) -> None:
    """Checks that frames have the bursts that a classifier uses, if it uses any.

    Args:
        notes: the classifier's notes.
        sampled: the metadata of the frames.
        output: the output directory of the frames.

    Raises:
        InputError: they have none, or others.
    """
    used = notes.get("blocks") or {}
    if uses_bursts(used or None) and any(sampled.get(name) != used[name] for name in _BURST):
        have = "not there"
        if "burst" in sampled:
            have = f"of {sampled['burst']} every {sampled['burst_step_s']} s"
        raise InputError(
            f"the classifier uses bursts of {used['burst']} pictures every {used['burst_step_s']} s, and "
            f"those in {output} are {have}: read the videos with sampling.burst={used['burst']} "
            f"sampling.burst_step_s={used['burst_step_s']} and another output, or train anew"
        )
