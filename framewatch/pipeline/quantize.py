"""Quantizes the network: `frames` -> its int8 version, and a report on its agreement with float32."""

import contextlib
import time
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import functions as F

from framewatch.errors import InputError, PictureError
from framewatch.io import storage
from framewatch.io.images import decode_image, resize
from framewatch.io.terminal import print_line
from framewatch.models import conversion
from framewatch.models.identity import differences
from framewatch.models.spec import FeatureSpec, Network, resize_for
from framewatch.pipeline.featurize import make_featurizer
from framewatch.pipeline.run import Run
from framewatch.pipeline.video_batches import require_full_pictures
from framewatch.ranking import classifier
from framewatch.tables import saved_model

# More frames would hardly change the measured agreement.
_MOST_COMPARED = 300
_FEWEST = 8


def quantize(run: Run) -> None:
    """Makes the int8 version of `featurizer.model` with `featurizer.weights`, calibrated on `frames`.

    The network is stored in the cache, where `featurizer.precision=int8` finds it. The report is written next
    to the network and to OUTPUT/quantization.json. It compares frames that were not used for calibration.

    Raises:
        InputError: there are too few frames, or their pictures are not full.
        SetupError: NNCF is not installed.
    """
    started = time.monotonic()
    conversion.require_nncf()
    require_full_pictures(run.config.output, run.tables.metadata("frames"), "quantize")
    settings = run.config.featurizer
    featurizer = make_featurizer(settings, run.config.images)
    network = featurizer.network(on_message=print_line)
    source = conversion.convert(network, network.weights.path, on_message=print_line)
    compared = min(settings.calibration_frames, _MOST_COMPARED)
    pictures = _pictures(run, network, source.path, settings.calibration_frames + compared)
    num_calibrating = min(settings.calibration_frames, len(pictures) // 2)
    print_line(f"quantize: calibrating with {num_calibrating} frames (a minute or two)")
    calibration, comparison = pictures[:num_calibrating], pictures[num_calibrating:]
    int8, wanted, got = conversion.quantize_network(network, source, calibration, comparison)
    spec = FeatureSpec(network, resize_for(network, settings.scale_hint), "openvino", "int8")
    report = {
        "network": spec.identity(),
        "int8": {"path": int8.path, "sha256": int8.sha256},
        "calibration_frames": num_calibrating,
        **_agreement(run, network, wanted, got),
    }
    storage.write_json(int8.path.removesuffix(".zip") + ".json", report)
    storage.write_json(storage.join(run.config.output, "quantization.json"), report)
    report["seconds"] = round(time.monotonic() - started, 1)
    run.summarize("quantize", f"{_summary(report)}; {int8.path}; {report['seconds']} s", **report)


def _pictures(run: Run, network: Network, source: str, limit: int) -> np.ndarray:
    """Returns up to `limit` frames in the network's input size, from all videos, in a reproducible order."""
    frames = run.tables.current("frames").select("origin", "content")
    rows = frames.orderBy(F.xxhash64("origin"), "origin").limit(limit).collect()
    settings = run.config.featurizer
    size = conversion.input_size(source)
    method = resize_for(network, settings.scale_hint)
    resized = []
    for row in rows:
        with contextlib.suppress(PictureError):  # featurize counts damaged pictures
            image = decode_image(row["content"], max_pixels=run.config.images.max_pixels)
            resized.append(resize(image, size, method=method))
    if len(resized) < _FEWEST:
        raise InputError(
            f"{run.config.output} has {len(resized)} frames: quantization needs {_FEWEST}, better "
            "some hundreds: extract more videos"
        )
    return np.stack(resized)


def _agreement(run: Run, network: Network, wanted: np.ndarray, got: np.ndarray) -> dict[str, Any]:
    lengths = np.linalg.norm(wanted, axis=1) * np.linalg.norm(got, axis=1)
    cosines = (wanted * got).sum(axis=1) / np.maximum(lengths, 1e-12)
    return {
        "compared_frames": len(cosines),
        "cosine_min": round(float(cosines.min()), 6),
        "cosine_mean": round(float(cosines.mean()), 6),
        "ranking_spearman": _ranking_agreement(run, network, wanted, got),
    }


def _ranking_agreement(run: Run, network: Network, wanted: np.ndarray, got: np.ndarray) -> float | None:
    """Returns Spearman's correlation of the saved classifier's two rankings.

    None if there is no saved classifier, or if it was trained on another network's features.
    """
    saved = saved_model.read(run.model_path)
    if saved is None:
        return None
    resize_method = resize_for(network, run.config.featurizer.scale_hint)
    identity = FeatureSpec(network, resize_method, "openvino", "int8").identity()
    if differences(saved.notes["features"], identity):
        return None
    model = classifier.load(saved.spark_path)
    weights = model.coefficients.toArray()
    if len(weights) != wanted.shape[1]:  # the classifier uses bursts, and these are stills
        return None
    ranks = [pd.Series(features @ weights).rank() for features in (wanted, got)]
    return round(float(ranks[0].corr(ranks[1])), 6)


def _summary(report: dict[str, Any]) -> str:
    ranking = report["ranking_spearman"]
    agreement = f"{ranking:.4f}" if ranking is not None else "no classifier of these features to compare with"
    return (
        f"int8 against float32 on {report['compared_frames']} frames: cosine at least "
        f"{report['cosine_min']:.4f}, {report['cosine_mean']:.4f} on average; ranking (Spearman): {agreement}"
    )
