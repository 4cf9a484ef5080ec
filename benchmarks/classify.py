"""Classes by prompts: 100 prompts over 100,000 frames, on Spark and by a NumPy loop over the videos.

Writes features of made-up frames, then measures `framewatch classify` without the start of its session, and a
plain loop that reads, multiplies and finds clips video by video. It fails where Spark takes above 10 s or the
two disagree by more than 1e-5.

    .venv/bin/python benchmarks/classify.py [--frames 100000]
"""

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.dataset as ds

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from featured import Frames, write_features  # noqa: E402

from framewatch.config import load_config  # noqa: E402
from framewatch.models.encoder import Encoder  # noqa: E402
from framewatch.pipeline import stages  # noqa: E402
from framewatch.pipeline.run import Run  # noqa: E402
from framewatch.prompts import classifications  # noqa: E402
from framewatch.prompts.prepare import prepare  # noqa: E402
from framewatch.prompts.request import parse_request  # noqa: E402
from framewatch.prompts.scoring import ScoringPlan  # noqa: E402
from framewatch.spark.session import get_spark  # noqa: E402
from framewatch.tables.feature_files import FeatureFiles  # noqa: E402

FRAMES_A_VIDEO, LENGTH, CLASSES, PROMPTS = 400, 2048, 20, 5
MOST_S, MOST_APART = 10.0, 1e-5
EVEN, PER_UNIT, GAP_S = 1.5, 0.5, 2.0


def make(num_frames: int) -> Frames:
    """Videos of 25 cameras; each shows one of twenty things for a minute."""
    num_videos = max(CLASSES * PROMPTS, num_frames // FRAMES_A_VIDEO)
    videos = tuple(f"file:/cameras/{number % 25}/Video{number:05d}.mp4" for number in range(num_videos))
    marks = tuple((number, 100, 160, number % CLASSES) for number in range(num_videos))
    return Frames(videos, FRAMES_A_VIDEO, LENGTH, marks)


def request_for(frames: Frames) -> dict:
    """Five frames each of the twenty things."""
    return {
        "classes": [
            {
                "name": f"thing {it}",
                "prompts": [{"example": frames.origin(it + n * CLASSES, 120 + n)} for n in range(PROMPTS)],
            }
            for it in range(CLASSES)
        ]
    }


def by_numpy(output: Path, plan: ScoringPlan) -> dict[tuple[str, str], tuple]:
    """The loop: (video, class) -> score, share of the video, and clips."""
    request, fitted, columns = plan.request, plan.project.similarity, plan.project.pictures
    similarities, of_camera = {}, defaultdict(list)
    rows = ds.dataset(output / "features", format="parquet", partitioning="hive")
    rows = rows.to_table(columns={"video": pc.field("video"), "x": pc.field("features")})
    names = rows["video"].to_numpy()
    x = rows["x"].combine_chunks().flatten().to_numpy().reshape(len(rows), -1)
    bounds = [0, *(np.flatnonzero(names[1:] != names[:-1]) + 1), len(names)]
    for begin, end in itertools.pairwise(bounds):  # the files are in order
        its = x[begin:end] / np.linalg.norm(x[begin:end], axis=1, keepdims=True) - fitted.center
        its = its - (its @ fitted.directions * (1 - fitted.kept)) @ fitted.directions.T
        its = np.append(its, np.full((len(its), 1), fitted.constant), axis=1)
        similarities[names[begin]] = its / np.linalg.norm(its, axis=1, keepdims=True) @ columns
        of_camera[names[begin].rsplit("/", 1)[0]].append(similarities[names[begin]])
    usual = {camera: np.concatenate(parts) for camera, parts in of_camera.items()}
    usual = {camera: (all_.mean(axis=0), all_.std(axis=0)) for camera, all_ in usual.items()}
    found = {}
    for video, values in similarities.items():
        mean, deviation = usual[video.rsplit("/", 1)[0]]
        log_odds = ((values - mean) / deviation - EVEN) / PER_UNIT
        scores = 100 / (1 + np.exp(-log_odds))
        for number, it in enumerate(request.classes):
            of_prompts = log_odds[:, number * PROMPTS : (number + 1) * PROMPTS]
            column = scores[:, CLASSES * PROMPTS + number]
            clips, covered = [], np.zeros(len(column), bool)
            matching = [second for second, score in enumerate(column) if score >= request.threshold]
            while matching:
                last = 0
                while last + 1 < len(matching) and matching[last + 1] - matching[last] - 1 <= GAP_S:
                    last += 1
                run = matching[: last + 1]
                matching = matching[last + 1 :]
                prompt = it.prompts[int(of_prompts[run].mean(axis=0).argmax())]
                clips.append((str(prompt), run[0], run[-1] + 1, float(column[run].mean())))
                covered[run[0] : run[-1] + 1] = True
            if clips:
                best = np.sort(column)[::-1][: (len(column) + 1) // 2]
                found[video, it.name] = (float(best.mean()), covered.mean(), sorted(clips))
    return found


def apart(output: Path, wanted: dict[tuple[str, str], tuple]) -> float:
    """The greatest difference of any number; infinite where something is found by one only."""
    got = {
        (its.video, it.name): (
            it.score, it.duration_ratio,
            sorted((c.prompt, c.clip.start_s, c.clip.end_s, c.clip.score) for c in it.clips),
        )
        for its in classifications.read_found(str(output)) for it in its.classes
    }  # fmt: skip
    if got.keys() != wanted.keys():
        return float("inf")
    most = 0.0
    for key, (score, share, clips) in wanted.items():
        numbers = [score, share, *(number for clip in clips for number in clip[1:])]
        others = [*got[key][:2], *(number for clip in got[key][2] for number in clip[1:])]
        if len(numbers) != len(others) or [c[0] for c in clips] != [c[0] for c in got[key][2]]:
            return float("inf")
        most = max(most, float(np.abs(np.subtract(numbers, others) / np.maximum(1, np.abs(numbers))).max()))
    return most


def main() -> int:
    """Writes, measures both, and fails where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    frames = make(args.frames)
    source = request_for(frames)
    request = parse_request(source)
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory) / "out"
        spark = get_spark(master="local[2]", conf={"spark.driver.memory": "4g"})
        write_features(spark, output, frames)
        size_mb = sum(path.stat().st_size for path in (output / "features").rglob("*.parquet")) >> 20
        num_frames = len(frames.videos) * FRAMES_A_VIDEO
        print(f"{num_frames} frames, {size_mb} MB of features, {request.num_prompts} prompts")
        overrides = [f"output={output}", "classes.min_duration_ratio=0", "catalog.enabled=false"]
        run = Run(spark, load_config(None, overrides))
        on_spark, in_numpy = [], []
        features = FeatureFiles.of(str(output))
        for _ in range(args.repeats):
            started = time.perf_counter()
            stages.classify(run, request, source=source)
            on_spark.append(time.perf_counter() - started)
            started = time.perf_counter()
            wanted = by_numpy(output, prepare(request, features, Encoder({}, model="", weights="")))
            in_numpy.append(time.perf_counter() - started)
        most = apart(output, wanted)
        spark.stop()
    spark_s, numpy_s = statistics.median(on_spark), statistics.median(in_numpy)
    print(f"Spark: {spark_s:.2f} s ({', '.join(f'{it:.2f}' for it in on_spark)}), bar {MOST_S:g} s")
    print(f"NumPy: {numpy_s:.2f} s ({', '.join(f'{it:.2f}' for it in in_numpy)})")
    print(f"ratio: {numpy_s / spark_s:.2f}; {len(wanted)} classes of videos, at most {most:.1e} apart")
    return int(spark_s > MOST_S or most > MOST_APART)


if __name__ == "__main__":
    sys.exit(main())
