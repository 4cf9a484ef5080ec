"""Compares the tables of two outputs row by row: `python benchmarks/same_tables.py OUT_BEFORE OUT_AFTER`.

Run it on the outputs of two versions to see that a change of the code's structure has not changed a
result. Both must come from the same videos at the same paths. Exits with 1 where a table differs.
"""

import argparse
import math
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

# What identifies a row in each table.
KEYS = {
    "videos": ("video", "batch"),
    "frames": ("origin",),
    "features": ("origin",),
    "predictions": ("origin",),
    "incidents": ("video", "start_s"),
    "candidates": ("origin",),
    "classifications": ("video", "class"),
    "class_clips": ("video", "class", "prompt", "start_s"),
    "clusters": ("cluster",),
    "cluster_frames": ("origin",),
    "cluster_times": ("video", "cluster", "from_s"),
    "outliers": ("origin",),
}


def rows_of(table: Path, key: tuple[str, ...]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The rows of a table by their key; a partition's `batch=N` is a column."""
    found = {}
    for path in sorted(table.rglob("*.parquet")):
        batch = next((int(part[6:]) for part in path.parts if part.startswith("batch=")), None)
        for row in pq.ParquetFile(path).read().to_pylist():
            row = {**row, "batch": batch}
            found[tuple(row[name] for name in key)] = row
    return found


def difference(one: Any, other: Any) -> float:
    """The largest absolute difference of two values; infinite where they differ in anything but numbers."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return max((difference(one[name], other[name]) for name in one), default=0.0)
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return max((difference(a, b) for a, b in zip(one, other, strict=True)), default=0.0)
    if isinstance(one, float) and isinstance(other, float):
        return 0.0 if one == other or (math.isnan(one) and math.isnan(other)) else abs(one - other)
    return 0.0 if one == other else math.inf


def compare(before: Path, after: Path, name: str) -> tuple[str, float]:
    """A line about one table, and the largest difference in it."""
    old, new = rows_of(before / name, KEYS[name]), rows_of(after / name, KEYS[name])
    missing, added = len(old.keys() - new.keys()), len(new.keys() - old.keys())
    columns: dict[str, float] = {}
    for key in old.keys() & new.keys():
        for column in old[key].keys() | new[key].keys():
            value = difference(old[key].get(column), new[key].get(column))
            columns[column] = max(columns.get(column, 0.0), value)
    differ = {column: value for column, value in columns.items() if value}
    text = f"{name}: {len(old)} and {len(new)} rows"
    text += f", {missing} missing, {added} added" if missing or added else ""
    text += ", " + (", ".join(f"{column} by {value:.3g}" for column, value in differ.items()) or "equal")
    return text, math.inf if missing or added else max(differ.values(), default=0.0)


def main() -> None:
    """Compares all tables that either output has."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--tolerance", type=float, default=0.0, help="numbers may differ by this much")
    args = parser.parse_args()
    names = [name for name in KEYS if (args.before / name).exists() or (args.after / name).exists()]
    if not names:
        sys.exit(f"error: neither {args.before} nor {args.after} has a table: give two outputs of framewatch")
    results = [compare(args.before, args.after, name) for name in names]
    print("\n".join(text for text, _ in results))
    sys.exit(any(value > args.tolerance for _, value in results))


if __name__ == "__main__":
    main()
