"""Converts the output of a network to Arrow lists, with a reason for each picture without features."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from framewatch.models.engines import PredictFn

# The error of frames whose features contain NaN or infinity, which would rank first or spoil a fit.
NOT_FINITE = "not finite"


def run_network(
    predict_fn: PredictFn, pictures: Sequence[np.ndarray], errors: Sequence[str | None]
) -> tuple[pa.Array, list[str | None]]:
    """Runs a network on the usable pictures of some rows.

    Args:
        predict_fn: the network.
        pictures: (input_size, input_size, 3) uint8 BGR each, of the rows without an error.
        errors: for each row, why it has no picture; None if it has one.

    Returns:
        One list of float32 or null for each row, and the reasons of nulls.
    """
    values = predict_fn.run(np.stack(pictures)) if pictures else np.zeros((0, 0), np.float32)
    return feature_lists(values, errors)


def feature_lists(values: np.ndarray, errors: Sequence[str | None]) -> tuple[pa.Array, list[str | None]]:
    """Returns features as one list of float32 or null for each row, and the reasons of nulls.

    Args:
        values: (rows without an error, length) float32.
        errors: for each row, why it has no features; None if it has some, which may not be finite.
    """
    if not len(values):
        return pa.nulls(len(errors), pa.list_(pa.float32())), list(errors)
    finite = np.isfinite(values).all(axis=1)
    is_finite = iter(finite.tolist())
    reasons = [error if error or next(is_finite) else NOT_FINITE for error in errors]
    return lists(values[finite], [reason is not None for reason in reasons]), reasons


def lists(values: np.ndarray, missing: Sequence[bool]) -> pa.Array:
    """Returns lists: nulls in the missing positions, and the rows of `values` in the others, in order."""
    lengths = np.where(missing, 0, values.shape[1])
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(
        pa.array(offsets), pa.array(values.ravel()), mask=pa.array(missing, pa.bool_())
    )
