"""Short stand-ins for long vectors: a file of Milvus compares these, and the best again by the whole ones.

The directions in which a sample of vectors is largest, by its uncentred principal components, keep inner
products as well as any so many can (Eckart and Young 1936).
"""

import io
from dataclasses import dataclass

import numpy as np

from framewatch import storage
from framewatch.errors import InputError


@dataclass(frozen=True)
class Sketch:
    """A projection fitted on a sample.

    Attributes:
        columns: (length, sketch length) float32, orthonormal.
        kept: share of the sample's squared length that is left, 0 to 1.
    """

    columns: np.ndarray
    kept: float

    @staticmethod
    def fit(sample: np.ndarray, length: int) -> "Sketch":
        """The best of `length` directions for a sample of (n, vector length)."""
        values, vectors = np.linalg.eigh(sample.T.astype(float) @ sample.astype(float))
        columns = vectors[:, ::-1][:, :length]
        kept = float(values[::-1][:length].sum() / max(values.sum(), 1e-12))
        return Sketch(np.ascontiguousarray(columns, np.float32), kept)

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        """(n, sketch length) float32; not of length 1: inner products are to be kept."""
        return vectors.astype(np.float32, copy=False) @ self.columns

    def write(self, path: str) -> None:
        """Keeps it."""
        data = io.BytesIO()
        np.savez(data, columns=self.columns, kept=self.kept)
        storage.write_bytes(path, data.getvalue())

    @staticmethod
    def read(path: str) -> "Sketch":
        """One that was kept.

        Raises:
            InputError: it is gone or damaged.
        """
        files, name = storage.filesystem(path)
        try:
            with files.open(name, "rb") as file:
                found = np.load(io.BytesIO(file.read()), allow_pickle=False)
                return Sketch(found["columns"], float(found["kept"]))
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                f"{path}, which belongs to the index, cannot be read: run `framewatch index --rebuild`"
            ) from error
