"""Updates and searches the moments in Milvus, and computes one video's similarity over time."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from framewatch.config import Config
from framewatch.errors import InputError
from framewatch.io import access, storage
from framewatch.io.locks import exclusive_lock
from framewatch.io.terminal import counted_progress, print_line
from framewatch.models.encoder import Encoder
from framewatch.search import searcher
from framewatch.search.collection import read_fitted
from framewatch.search.fitted import Fitted
from framewatch.search.hits import Hit
from framewatch.search.indexer import IndexPlan, WriteVideos, Written, about_of, failed_videos, fit, plan
from framewatch.search.milvus_client import Place, default_place
from framewatch.search.moment_store import Store, create_store, drop_store, open_store
from framewatch.search.query import QueryPart, combine
from framewatch.search.searcher import Wanted
from framewatch.search.source import SourceVideo, read_indexed_videos
from framewatch.tables.feature_files import FeatureFiles
from framewatch.tables.metadata import read_metadata, sampling_period_s

_SHOWN_FAILURES = 5
# The columns of `Written`.
_WRITTEN = pa.schema([("video", pa.string()), ("moments", pa.int64()), ("error", pa.string())])


def index(config: Config, *, rebuild: bool = False, debug: bool = False) -> None:
    """Updates the collection to the current features of the output.

    This process writes to a local file. Spark's executors write to a server.

    Args:
        config: the configuration.
        rebuild: whether to drop the collection first.
        debug: whether to show Spark's log.

    Raises:
        InputError: there are no features, the collection holds other features, or some videos could not be
            indexed.
    """
    started = time.monotonic()
    place = place_of(config)
    storage.require_writable(config.output)
    with exclusive_lock(config.output, "index", **asdict(config.lock)), access.umasked():
        features = FeatureFiles.of(config.output)
        if rebuild:
            drop_store(place, output=storage.absolute(config.output))
        with _create(config, place, features) as store:
            todo = plan(store, read_indexed_videos(config.output, features, settings=store.about.settings))
            for video in todo.drop:
                store.drop(video)
            write = WriteVideos(
                config.output,
                features.for_workers(),
                sampling_period_s(read_metadata(config.output, "frames"), default_fps=config.sampling.fps),
                todo.begun,
                frozenset(video.uri for video in todo.update),
            )
            changed = (*todo.write, *todo.update)
            if place.is_server and changed:
                written = _by_executors(config, write, changed, place, debug=debug)
            else:
                written = _by_this_process(store, write, changed)
            store.finish()
            storage.write_json(storage.join(config.output, "search", "index.json"), _stamp(todo, written))
            _tell(store, config.output, todo, written, time.monotonic() - started)
    _require_none_failed(written, len(changed))


def _create(config: Config, place: Place, features: FeatureFiles) -> Store:
    settings = config.index
    # A text query may describe the scene, so features that support texts keep it.
    of_texts = encoder_of(config)[1].supports_texts
    about = about_of(
        features,
        clip_s=settings.clip_s,
        still_cosine=settings.still_cosine,
        exact=settings.exact,
        scenes=0 if of_texts else settings.scenes,
        sketch_length=0 if place.is_server else settings.sketch_length,
        output=storage.absolute(config.output),
    )

    def fitted() -> Fitted:
        return fit(features, about, num_videos=len(features.videos))

    return create_store(place, about, fit=fitted)


def _by_this_process(store: Store, write: WriteVideos, videos: Sequence[SourceVideo]) -> list[Written]:
    done: list[Written] = []
    with counted_progress("index", "videos") as show:
        for result in write(store, videos):
            done.append(result)
            show(len(done), len(videos))
    return done


@dataclass(frozen=True)
class _Task:
    """Indexes videos in a Spark task, with a client of its own.

    Takes rows of `id`, an index into `videos`, and returns the fields of `Written`.
    """

    write: WriteVideos
    videos: Sequence[SourceVideo]
    place: Place

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        numbers = [number for batch in batches for number in batch["id"].to_pylist()]
        if not numbers:
            return
        with open_store(self.place) as store:
            rows = [vars(result) for result in self.write(store, [self.videos[number] for number in numbers])]
        yield pa.RecordBatch.from_pylist(rows, _WRITTEN)


def _by_executors(
    config: Config, write: WriteVideos, videos: Sequence[SourceVideo], place: Place, *, debug: bool
) -> list[Written]:
    from framewatch.spark.session import get_spark
    from framewatch.spark.task_progress import task_progress
    from framewatch.tables.schema import from_arrow

    settings = config.spark
    spark = get_spark(
        master=settings.master,
        remote=settings.remote,
        app_name=settings.app_name,
        conf=settings.conf,
        debug=debug,
    )
    with task_progress(spark, "index"):
        numbers = spark.range(0, len(videos), 1, min(len(videos), 4 * config.index.writers))
        done = numbers.coalesce(config.index.writers).mapInArrow(
            _Task(write, videos, place), from_arrow(_WRITTEN)
        )
        return [Written(**row.asDict()) for row in done.collect()]


def _stamp(todo: IndexPlan, written: Sequence[Written]) -> dict[str, object]:
    """Records when the index last changed, which invalidates cached searches."""
    return {
        "indexed_at": datetime.now(UTC).isoformat(),
        "written": len(written) - len(failed_videos(written)),
        "dropped": len(todo.drop),
        "kept": todo.kept,
        "failed": [result.video for result in failed_videos(written)],
    }


def _tell(store: Store, output: str, todo: IndexPlan, written: Sequence[Written], seconds: float) -> None:
    done = [result for result in written if result.error is None]
    whole = [result for result in done if not result.is_update]
    updated = [result for result in done if result.is_update]
    changed = f"{len(updated)} updated ({_moments(updated)} moments), " if updated else ""
    # Shows the output as it was given, so that a saved notebook has no paths of the machine.
    shown = str(store.place).replace(storage.absolute(output), output)
    print_line(
        f"index: {len(whole)} videos written ({_moments(whole)} moments), {changed}"
        f"{len(todo.drop)} dropped, {todo.kept} as they were: {store.count()} moments in {shown}, "
        f"in {seconds:.1f} s"
    )
    num_videos = todo.kept + len(todo.write) + len(todo.update)
    if store.about.scenes and num_videos > 2 * store.fitted.num_videos:
        print_line(
            f"the index knows the scenes of {store.fitted.num_videos} videos, and there are {num_videos}: "
            "`framewatch index --rebuild` learns the others'"
        )


def _moments(written: Sequence[Written]) -> int:
    return sum(result.moments for result in written)


def _require_none_failed(written: Sequence[Written], count: int) -> None:
    wrong = failed_videos(written)
    if wrong:
        shown = "; ".join(
            f"{storage.basename(result.video)}: {result.error}" for result in wrong[:_SHOWN_FAILURES]
        )
        more = f"; and {len(wrong) - _SHOWN_FAILURES} more" if len(wrong) > _SHOWN_FAILURES else ""
        raise InputError(
            f"{len(wrong)} of {count} videos could not be indexed ({shown}{more}): the others are; run "
            "`framewatch index` again for these"
        )


def place_of(config: Config) -> Place:
    """Returns where the configured collection is."""
    return default_place(config.output, config.index.uri, config.index.collection)


def search(config: Config, parts: Sequence[QueryPart], wanted: Wanted) -> list[Hit]:
    """Returns the moments most similar to a query, the best first.

    Args:
        config: the configuration.
        parts: the terms of the query.
        wanted: filter, limit and grouping of the hits.

    Raises:
        InputError: the query is empty or not usable with these features, or there is no index.
    """
    features, encoder = encoder_of(config)
    vectors = searcher.vectors_of(parts, features, encoder, config.output)
    with open_store(place_of(config)) as store:
        vector = combine(store.fitted.vectors(vectors), parts)
        return searcher.find_moments(store, vector, wanted, output=config.output)


def similarity(config: Config, parts: Sequence[QueryPart], video: str) -> tuple[str, np.ndarray, np.ndarray]:
    """Returns a video's similarity to a query over time.

    Args:
        config: the configuration.
        parts: the terms of the query.
        video: its URI, or a unique end of it.

    Returns:
        The video's URI, (frames,) seconds from the first frame, and (frames,) cosines.

    Raises:
        InputError: the query is empty or not usable with these features, or the video does not exist.
    """
    features, encoder = encoder_of(config)
    vectors = searcher.vectors_of(parts, features, encoder, config.output)
    frames = searcher.query_frames(video, features, config.output)
    rows = frames.vectors
    # If there is an index, the scores are the same as those of a search.
    fitted = read_fitted(place_of(config), config.output)
    if fitted is not None:
        vectors, rows = fitted.vectors(vectors), fitted.vectors(rows)
    return frames.video, frames.times_s, rows @ combine(vectors, parts)


def encoder_of(config: Config) -> tuple[FeatureFiles, Encoder]:
    """Returns the features of an output, and an encoder of texts and pictures to the same features.

    Raises:
        InputError: there are no features.
    """
    features, settings = FeatureFiles.of(config.output), config.featurizer
    return features, Encoder(
        features.identity(),
        model=settings.model,
        weights=settings.weights,
        max_pixels=config.images.max_pixels,
    )
