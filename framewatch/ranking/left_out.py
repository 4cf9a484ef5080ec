"""Evaluates and calibrates out-of-fold predictions. No choice is measured on the frames that made it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from framewatch.io import logs, storage
from framewatch.ranking import calibration
from framewatch.ranking.calibration import Calibration
from framewatch.ranking.cross_validation import fold_of_each
from framewatch.ranking.evaluation import RankedLabels, evaluate_rows, threshold_for_recall
from framewatch.ranking.intervals import Interval, share_intervals
from framewatch.ranking.reliability import reliability
from framewatch.tables.saved_model import SavedModel

_COLUMNS = ("origin", "video", "group", "timestamp_s", "label", "prob2")
_log = logs.get("train")


@dataclass(frozen=True)
class Suspicious:
    """The out-of-fold probabilities of suspicious frames, which depend on no prevalence.

    Attributes:
        probabilities: (frames,) P(suspicious), calibrated as the classifier is.
        groups: (frames,) the group of each frame.
    """

    probabilities: np.ndarray
    groups: np.ndarray

    def recalls(self, thresholds: list[float]) -> list[tuple[float, Interval]]:
        """Returns the share of frames at or above each threshold, and its 95% interval over groups.

        The interval is None if the frames are of one group.
        """
        found = self.probabilities >= np.array(thresholds)[:, None]
        intervals: list[Interval] = [None] * len(thresholds)
        if thresholds and len(np.unique(self.groups)) > 1:
            intervals = share_intervals(found, np.ones_like(found), self.groups)
        return list(zip(found.mean(axis=1).tolist(), intervals, strict=True))


def read(saved: SavedModel) -> pa.Table | None:
    """Returns the labelled frames of a classifier with their out-of-fold `prob2`, as its folds gave it.

    None if no group could be left out, or the classifier came without its frames. In older versions, each
    video is a group. Of labels by point, only the frames with a point on them are returned.
    """
    files, paths = storage.parquet_files(saved.labelled_path, "*.parquet")
    if not paths:
        return None
    rows = ds.dataset(paths, format="parquet", filesystem=files)
    if "prob2" not in rows.schema.names:
        return None
    columns = [name for name in _COLUMNS if name in rows.schema.names]
    table = rows.to_table(columns=columns, filter=ds.field("known") if "known" in rows.schema.names else None)
    if table["prob2"].null_count or not len(table):
        return None
    return table if "group" in table.column_names else table.append_column("group", table["video"])


def evaluate(
    rows: pa.Table, *, folds: int, wanted: str, recall: float, **measures: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the metrics of out-of-fold predictions, and the calibration for the classifier's notes.

    The map in the notes is fitted on all rows. It keeps their order, so metrics of the order and the curve
    are those of its probabilities. Metrics of probabilities come from nested maps, each fitted without the
    fold whose frames it calibrates, and `threshold_recall` from nested thresholds.

    Args:
        rows: the result of `read`.
        folds: maximum number of folds, as in cross-validation.
        wanted: `classifier.calibration`.
        recall: the recall that thresholds are chosen for, `ranking.recall`.
        measures: the arguments of `evaluate_rows`.
    """
    prob2, labels, groups = _arrays(rows)
    fold = fold_of_each(labels, groups.tolist(), folds=folds)
    assert fold is not None  # there are out-of-fold predictions
    kind = calibration.choose_kind(wanted, labels, groups)
    found = None if kind == "none" else calibration.fit(prob2, labels, groups, kind)
    nested = prob2
    if found is not None:
        nested = calibration.nested(prob2, labels, groups, fold, found.kind)
        calibrated = pa.array(found.probabilities(prob2))
        rows = rows.set_column(rows.column_names.index("prob2"), "prob2", calibrated)
        notes = {**found.notes(), "frames": len(rows), "share": float(labels.mean())}
    elif kind == "none":
        notes = {"kind": "none", "reason": "as classifier.calibration=none"}
    else:
        reason = "as frames of left-out videos with higher scores are not more often suspicious"
        notes = {"kind": "none", "reason": reason, "warning": True}
        _log.warning("probabilities are not calibrated, %s: the classifier is no better than chance", reason)
    metrics = evaluate_rows(rows, **measures)
    metrics |= reliability(nested, labels, groups, intervals=metrics["suspicious_groups"] >= 2)
    return {**metrics, "threshold_recall": _threshold_recall(prob2, labels, groups, fold, recall)}, notes


def suspicious(saved: SavedModel) -> Suspicious | None:
    """Returns the out-of-fold probabilities of suspicious frames; None in the cases of `read`.

    None, too, for labels by video, as they do not show the suspicious frames.
    """
    by_video = saved.notes.get("labels", {}).get("format") == "video"
    rows = None if by_video else read(saved)
    if rows is None:
        return None
    prob2, labels, groups = _arrays(rows)
    found = Calibration.of_notes(saved.notes.get("calibration"))
    if found is not None:
        prob2 = found.probabilities(prob2)
    return Suspicious(prob2[labels > 0], groups[labels > 0])


def _arrays(rows: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    prob2, labels = rows["prob2"].to_numpy(), rows["label"].to_numpy()
    return prob2, labels, np.array(rows["group"].to_pylist())


def _threshold_recall(
    prob2: np.ndarray, labels: np.ndarray, groups: np.ndarray, fold: np.ndarray, recall: float
) -> dict[str, Any]:
    """Returns what thresholds reach on each fold that were chosen for a recall on the other folds.

    A map that rises changes nothing here, so the classifiers' own probabilities are compared.
    """
    above = np.zeros(len(prob2), bool)
    for number in np.unique(fold):
        held_out = fold == number
        curve = RankedLabels.count(prob2[~held_out].tolist(), labels[~held_out].tolist()).curve()
        above[held_out] = prob2[held_out] > threshold_for_recall(curve, recall)
    ones = labels > 0
    reached: dict[str, Any] = {"wanted": recall, "recall": float(above[ones].mean()), "recall_interval": None}
    reached |= {"precision": float(ones[above].mean()) if above.any() else None, "precision_interval": None}
    if len(np.unique(groups[ones])) > 1:
        both = share_intervals(np.array([above & ones] * 2), np.array([ones, above]), groups)
        reached |= {"recall_interval": both[0], "precision_interval": both[1]}
    return reached
