"""Outputs to review: tables as the stages write them, of real videos that brighten second by second."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent
LENGTH = 16
# Of 2,048 features, what `rank` writes into one row group.
ROWS = 1000

OutputMaker = Callable[..., Path]


def write_table(output: Path, name: str, columns: dict[str, pa.Array | list | np.ndarray]) -> None:
    directory = output / name
    directory.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), directory / "part-0.parquet", row_group_size=ROWS)


def write_output(
    output: Path, videos: list[str], prob2: np.ndarray, features: np.ndarray | int, *,
    incidents: list[tuple[int, int, int, int]], labelled: dict | None = None, most: int = 1_000_000,
    kinds: list[str] | None = None,
) -> Path:  # fmt: skip
    """Writes what `rank` leaves behind, of frames at the seconds 0, 1, 2 ... of each video.

    Args:
        output: the directory.
        videos: URIs.
        prob2: (videos, frames) probabilities.
        features: (videos, frames, length) float32; or only the length, for noise.
        incidents: video, start_s, end_s, peak_s, in order of rank.
        labelled: columns of `model/labelled`.
        most: as `review.candidates`.
        kinds: the kind of each incident; frames outside have that of the first. None as in older versions.
    """
    num_frames = prob2.shape[1]
    number, frame = np.indices(prob2.shape).reshape(2, -1)
    names = np.array(videos)[number]
    origins = np.array([f"images/{Path(videos[v]).stem}frame{k:04d}.jpg" for v, k in np.ndindex(prob2.shape)])
    rank = np.empty(len(names), np.int32)
    rank[np.argsort(-prob2.ravel(), kind="stable")] = np.arange(1, len(names) + 1)
    inside = np.zeros(len(names), bool)
    incident = np.zeros(len(names), np.int32)
    peaks = [video * num_frames + peak_s for video, _, _, peak_s in incidents]
    for place, (video, start_s, end_s, _) in enumerate(incidents, start=1):
        inside[video * num_frames + start_s : video * num_frames + end_s] = True
        incident[peaks[place - 1]] = place
    draw = np.random.default_rng(3).permutation(len(names))
    drawn = ~inside & (draw <= np.sort(draw[~inside])[: most // 5 + 1].max(initial=-1))
    best = ~inside & (rank <= np.sort(rank[~inside])[:most].max(initial=-1))
    chosen = best | drawn | ((incident > 0) & (incident <= most))
    table = {
        "video": list(videos), "status": ["ok"] * len(videos),
        "error": pa.array([None] * len(videos), pa.string()),
        "duration_s": [float(num_frames)] * len(videos), "num_frames": [num_frames] * len(videos),
        "modified_at": [datetime(2026, 1, 1, tzinfo=UTC)] * len(videos),
    }  # fmt: skip
    write_table(output, "videos/batch=0", table)
    order = np.argsort(rank)
    write_table(output, "predictions", {
        "origin": origins[order], "video": names[order], "frame_index": frame[order],
        "timestamp_s": frame[order].astype(float), "prob2": prob2.ravel()[order], "rank": rank[order],
    })  # fmt: skip
    write_table(output, "incidents", {
        "video": pa.array([videos[v] for v, *_ in incidents], pa.string()),
        **{key: pa.array([float(it[i]) for it in incidents], pa.float64())
           for i, key in enumerate(("start_s", "end_s", "peak_s"), start=1)},
        "peak_origin": pa.array(origins[peaks].tolist(), pa.string()),
        "peak_prob2": pa.array(prob2.ravel()[peaks].tolist(), pa.float64()),
        "num_frames": pa.array([int(it[2] - it[1]) for it in incidents], pa.int32()),
        "rank": pa.array(range(1, len(incidents) + 1), pa.int32()),
        **({} if kinds is None else {"kind": pa.array(kinds, pa.string())}),
    })  # fmt: skip
    if isinstance(features, int):
        flat = np.random.default_rng(2).standard_normal((chosen.sum(), features), np.float32)
    else:
        flat = features.reshape(len(names), -1)[chosen].astype(np.float32)
    vectors = pa.ListArray.from_arrays(
        pa.array(np.arange(0, flat.size + 1, flat.shape[1], dtype=np.int32)), pa.array(flat.ravel())
    )
    write_table(output, "candidates", {
        "origin": origins[chosen], "video": names[chosen], "timestamp_s": frame[chosen].astype(float),
        "end_s": frame[chosen] + 1.0,
        "prob2": prob2.ravel()[chosen], "rank": rank[chosen],
        "incident": pa.array(incident[chosen], mask=incident[chosen] == 0),
        "audit": pa.array(draw[chosen], mask=~drawn[chosen]), "features": vectors,
        **({} if kinds is None else {"kind": [kinds[0]] * int(chosen.sum())}),
    })  # fmt: skip
    if labelled is not None:
        labelled = {"origin": [f"train{k}" for k in range(len(labelled["label"]))], **labelled}
        write_table(output, "model/labelled", labelled)
    notes = {
        "features": {"model": "InceptionV3"}, "settings": {}, "cross_validation": None,
        "labels": {"file": "labels.csv", "labelled_frames": 4, "suspicious_frames": 2},
    }  # fmt: skip
    (output / "model").mkdir(exist_ok=True)
    (output / "model" / "metrics.json").write_text(json.dumps(notes))
    about = {
        "threshold": 0.5, "threshold_from": "as configured", "model": "abc123abc123",
        "model_path": str(output / "model"), "period_s": 1.0, "frames": len(names),
        "suspicious": int((prob2 > 0.5).sum()), "incidents": len(incidents),
        "frames_outside_incidents": int((~inside).sum()),
    }  # fmt: skip
    (output / "ranking.json").write_text(json.dumps(about))
    return output


def set_file(output: Path, video: str, size_bytes: int, modified_ms: int) -> None:
    """Gives a video another file in the ledger, as `extract` does when the file has been replaced."""
    for path in (output / "videos").glob("batch=*/*.parquet"):
        table = pq.read_table(path, partitioning=None)
        values: dict[str, pa.Scalar] = {
            "size_bytes": pa.scalar(size_bytes, pa.int64()),
            "modified_ms": pa.scalar(modified_ms, pa.int64()),
        }
        for name, value in values.items():
            old = table[name] if name in table.column_names else pa.nulls(len(table), pa.int64())
            new = pc.if_else(pc.equal(table["video"], video), value, old)
            place = table.column_names.index(name) if name in table.column_names else len(table.column_names)
            table = table.drop([name] if name in table.column_names else []).add_column(place, name, new)
        pq.write_table(table, path)
        (path.parent / f".{path.name}.crc").unlink(missing_ok=True)  # Hadoop's, of what was there before


def brightness(second: float) -> int:
    """Of the test videos' pictures: each second has its own."""
    return 20 + 10 * int(second)


def make_output(output: Path, clocks: list[Path], kinds: list[str] | None = None) -> Path:
    """Three videos of 20 s; seconds 5 to 10 of each are suspicious, and the ranking knows a little of it.

    Incidents: video 0 [5, 8), video 1 [12, 14), video 2 [5, 7).
    """
    rng = np.random.default_rng(1)
    times = np.tile(np.arange(20), (3, 1))
    truth = (times >= 5) & (times < 10)
    features = rng.normal(size=(3, 20, LENGTH)).astype(np.float32)
    features[..., 0] += 3 * truth
    prob2 = 0.1 + 0.3 * rng.random((3, 20))
    for video, seconds, value in ((0, (5, 6, 7), 0.95), (1, (12, 13), 0.8), (2, (5, 6), 0.7)):
        prob2[video, list(seconds)] = value
    prob2[0, 6], prob2[1, 13], prob2[2, 5] = 0.97, 0.82, 0.72
    known = rng.normal(size=(8, LENGTH)).astype(np.float32)
    known[::2, 0] += 3
    labelled = {
        "video": ["file:/elsewhere/train.mpg"] * 8, "timestamp_s": np.arange(8.0),
        "label": np.array([1.0, 0.0] * 4), "features": pa.array(list(known)),
    }  # fmt: skip
    uris = [f"file:{path}" for path in clocks]
    incidents = [(0, 5, 8, 6), (1, 12, 14, 13), (2, 5, 7, 5)]
    write_output(output, uris, prob2, features, incidents=incidents, labelled=labelled, kinds=kinds)
    rows = []
    for video in range(3):
        for second in range(20):
            _, data = cv2.imencode(".jpg", np.full((120, 160, 3), brightness(second), np.uint8))
            origin = f"images/{clocks[video].stem}frame{second:04d}.jpg"
            looks = np.cos(np.arange(LENGTH) * second / 19) + 0.1 * features[video, second]
            rows.append((origin, uris[video], float(second), data.tobytes(), looks))
    rows.sort()
    for name in ("frames", "features"):
        (output / name / "batch=0").mkdir(parents=True)
    origins, videos, seconds, contents, looks = zip(*rows, strict=True)
    common = {"origin": origins, "video": videos, "timestamp_s": seconds}
    table = pa.table({**common, "content": contents})
    pq.write_table(table, output / "frames" / "batch=0" / "part-0.parquet", row_group_size=13)
    vectors = pa.array([it.tolist() for it in looks], pa.list_(pa.float32()))
    pq.write_table(
        pa.table({**common, "features": vectors}), output / "features" / "batch=0" / "part-0.parquet"
    )
    return output


@contextlib.contextmanager
def served(output: Path, *options: str, home: Path) -> Iterator[tuple[str, subprocess.Popen]]:
    """`framewatch review` in a process of its own: its address, and the process."""
    command = [
        sys.executable,
        "-m",
        "framewatch.cli",
        "review",
        str(output),
        "--port",
        "0",
        "--reviewer",
        "ann",
    ]
    process = subprocess.Popen(
        [*command, "--reviewer", "ann", *options], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, "FRAMEWATCH_HOME": str(home), "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    said = io.StringIO()
    try:
        for line in process.stdout:
            said.write(line)
            found = re.search(r"open (https?://\S+)", line)
            if found:
                yield found.group(1), process
                return
        raise AssertionError(f"it ended: {said.getvalue()}")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
