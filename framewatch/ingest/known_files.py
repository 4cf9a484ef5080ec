"""Matches listed files to rows of the ledger `videos`, by URI, size and time."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

# Versions without `attempts` wrote local times, which are ambiguous in the hour that the end of summer time
# repeats: theirs may be off by the shift, which is an hour, or half of one on Lord Howe Island.
_OLD_SHIFTS_MS = (1_800_000, 3_600_000)


def with_ledger(listed: DataFrame, ledger: DataFrame) -> DataFrame:
    """Adds the ledger's status of the same files: those with the same URI, size and time.

    Args:
        listed: rows of `listing.list_videos`.
        ledger: rows of `Tables.ledger`.

    Returns:
        `listed` with `status`, `attempts` and `num_frames`, which are null for files that the ledger lacks.
    """
    known = ledger.select(
        *(F.col(name).alias(f"_{name}") for name in ("video", "size_bytes", "modified_ms", "attempts")),
        "status",
        F.coalesce("attempts", F.lit(1)).alias("attempts"),
        "num_frames",
    )
    shift_ms = F.abs(F.col("modified_ms") - F.col("_modified_ms"))
    is_same_time = F.col("modified_ms").eqNullSafe(F.col("_modified_ms"))
    is_same_time |= F.col("_attempts").isNull() & shift_ms.isin(*_OLD_SHIFTS_MS)
    same = [F.col(name) == F.col(f"_{name}") for name in ("video", "size_bytes")]
    return listed.join(known, [*same, is_same_time], "left").select(
        *(listed[name] for name in listed.columns), "status", "attempts", "num_frames"
    )
