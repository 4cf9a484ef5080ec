"""Converts the column `features` to arrays of NumPy. Does not import Spark."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def vectors(features: Any) -> tuple[np.ndarray, np.ndarray]:
    """Converts a column of lists, or of the MLlib vectors of older versions, to an array.

    Returns:
        (valid rows, length) float32, and (rows,) booleans: whether a row is valid. A row is not valid if the
        frame has no features, or if they are not finite, as in outputs of older versions.
    """
    values = features.field("values") if pa.types.is_struct(features.type) else features
    valid = pc.and_(features.is_valid(), values.is_valid()).to_numpy(zero_copy_only=False)
    if not valid.all():
        values = values.filter(pa.array(valid))
    numbers = values.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    rows = numbers.reshape((len(values), -1) if len(values) else (0, 0))
    finite = np.isfinite(rows).all(axis=1)
    if finite.all():
        return rows, valid
    usable = valid.copy()
    usable[valid] = finite
    return rows[finite], usable
