"""Reads videos in one pass: videos -> `frames`, `features` and the ledger. Skips recorded videos."""

import functools
from typing import Any

from pyspark.sql import DataFrame

from framewatch.config import Config
from framewatch.errors import InputError
from framewatch.featurizer.base import ship_network
from framewatch.ingest import frames
from framewatch.ingest.featurizing import Featurizing
from framewatch.io.terminal import print_line
from framewatch.pipeline.extract import extract
from framewatch.pipeline.featurize import (
    featurize,
    frames_without_features,
    make_featurizer,
    network_in_words,
    require_features_like,
)
from framewatch.pipeline.run import Run
from framewatch.pipeline.video_batches import Reading, images_root, kept_by, read_videos, sampling_of


def ingest(run: Run, listed: DataFrame | None = None) -> None:
    """Writes `frames`, `features` and the ledger `videos`, batch by batch, decoding each video once.

    Args:
        run: the current call.
        listed: the videos, as returned by `listing.list_videos`; None takes the configured videos.

    Raises:
        InputError: there are no videos, existing frames were sampled or kept with other settings, existing
            features were made by another model, full pictures are to be kept, features are to be made from
            them again, or too many of the listed videos have failed, in this run or an earlier one.
    """
    keep = kept_by(run)
    require_one_pass(run.config, keep)
    require_resuming(run.config)
    read_videos(run, "ingest", functools.partial(_reading, run, keep), listed)


def read_and_featurize(run: Run) -> None:
    """Reads and featurizes the configured videos: in one pass, or in two stages if full pictures are kept."""
    if kept_by(run) == "full":
        extract(run)
        featurize(run)
    else:
        ingest(run)


def require_one_pass(config: Config, keep: str) -> None:
    """Checks that no full pictures are kept.

    Raises:
        InputError: full pictures are kept.
    """
    if keep == "full":
        raise InputError(
            f"frames.keep=full in {config.output}: `ingest` keeps no full pictures; run `framewatch extract` "
            "and `framewatch featurize`, or set frames.keep=thumbnails and another output"
        )


def require_resuming(config: Config) -> None:
    """Checks that features without full pictures are not to be made again.

    Raises:
        InputError: `featurizer.mode` is `overwrite`.
    """
    if config.featurizer.mode == "overwrite" and config.extract.mode != "overwrite":
        raise InputError(
            "featurizer.mode=overwrite needs full pictures (frames.keep=full): to read the videos again, set "
            "extract.mode=overwrite"
        )


def _reading(run: Run, keep: str) -> Reading:
    tables, settings = run.tables, run.config.featurizer
    featurizer = make_featurizer(settings, run.config.images)
    spec = featurizer.feature_spec(spark=run.spark, on_message=print_line)
    require_features_like(run, spec, overwriting="extract.mode=overwrite")
    ship_network(run.spark, spec)
    sampling = sampling_of(run.config, keep)
    read = functools.partial(
        frames.ingest_frames,
        sampling=sampling,
        images_root=images_root(tables),
        featurizing=Featurizing(spec, settings.batch_size, run.config.images.max_pixels),
    )

    def closing() -> tuple[str, dict[str, Any]]:
        text, counts = frames_without_features(tables)
        return f"; {network_in_words(settings, spec)}{text}", {**counts, **spec.identity()}

    selected = {"frames": frames.frames_of, "features": frames.features_of}
    return Reading(sampling, read, selected, closing)
