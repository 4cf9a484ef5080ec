"""Extracts frames: videos -> `frames`, with full pictures, and the ledger `videos`. Skips recorded videos."""

import functools

from pyspark.sql import DataFrame

from framewatch.ingest import frames
from framewatch.pipeline.run import Run
from framewatch.pipeline.video_batches import Reading, images_root, read_videos, sampling_of


def extract(run: Run, listed: DataFrame | None = None) -> None:
    """Writes `frames` and the ledger `videos`, batch by batch. Videos in the ledger are not read again.

    The frames have full pictures, whatever `frames.keep` is.

    Args:
        run: the current call.
        listed: the videos, as returned by `listing.list_videos`; None takes the configured videos.

    Raises:
        InputError: there are no videos, existing frames were sampled or kept with other settings, or too many
            of the listed videos have failed, in this run or an earlier one.
    """
    sampling = sampling_of(run.config, "full")
    read = functools.partial(
        frames.extract_frames,
        sampling=sampling,
        images_root=images_root(run.tables),
        write_images=run.config.frames.write_images,
    )
    reading = Reading(sampling, read, {"frames": frames.frames_of})
    read_videos(run, "extract", lambda: reading, listed)
