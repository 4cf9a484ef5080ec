"""Creates and describes the Milvus collections of an output's moments. Does not import Spark."""

import base64
import json
from dataclasses import dataclass
from typing import Any

from framewatch.errors import InputError
from framewatch.io import storage
from framewatch.models.identity import require_same_features
from framewatch.search.fitted import Fitted
from framewatch.search.milvus_client import Place

# Key and version of the row that describes the collection.
ABOUT = "about"
# 1 was half of the nearest scene and a scale for each component.
DEFINITION = 2


@dataclass(frozen=True)
class About:
    """The description of a collection.

    Attributes:
        features: metadata of the features' column: model, weights and so on.
        length: length of the features.
        clip_s: length of clips in seconds; 0 for no clips.
        still_cosine: cosine from which on a frame is a near-duplicate.
        exact: whether every search compares all vectors.
        scenes: maximum number of scenes; 0 for the plain cosine.
        sketch_length: length of a sketch; 0 for no sketches.
        output: absolute path or URI of the output that the collection belongs to.
        definition: number of the definition of similarity; see `framewatch.models.similarity`.
    """

    features: dict[str, Any]
    length: int
    clip_s: float
    still_cosine: float
    exact: bool
    scenes: int
    sketch_length: int
    output: str
    definition: int = DEFINITION

    @property
    def settings(self) -> str:
        """The settings that a video's moments depend on, as JSON."""
        return json.dumps([self.features, self.clip_s, self.still_cosine], sort_keys=True)


def make_collections(client: Any, place: Place, about: About, *, length: int) -> None:
    """Creates both collections, empty.

    Args:
        client: a `pymilvus.MilvusClient`.
        place: the address and the name of the collection.
        about: the description to store.
        length: length of the vectors to compare.
    """
    from pymilvus import DataType

    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("origin", DataType.VARCHAR, max_length=8192, is_primary=True)
    schema.add_field("video", DataType.VARCHAR, max_length=8192)
    schema.add_field("camera", DataType.VARCHAR, max_length=8192, is_partition_key=True)
    schema.add_field("timestamp_s", DataType.DOUBLE)
    schema.add_field("end_s", DataType.DOUBLE)
    schema.add_field("clock_s", DataType.DOUBLE, nullable=True)
    schema.add_field("scope", DataType.VARCHAR, max_length=8)
    schema.add_field("probability", DataType.FLOAT, nullable=True)
    schema.add_field("label", DataType.INT8, nullable=True)
    schema.add_field("still", DataType.BOOL)
    schema.add_field("version", DataType.VARCHAR, max_length=32)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=length)
    indexes = client.prepare_index_params()
    if place.is_server:
        params = {} if about.exact else {"M": 16, "efConstruction": 200}
        kind = "FLAT" if about.exact else "HNSW"
        indexes.add_index("vector", index_type=kind, metric_type="COSINE", params=params)
    # Milvus Lite compares all vectors anyway, and its index would be a second copy of them.
    if about.sketch_length:
        schema.add_field("sketch", DataType.FLOAT_VECTOR, dim=about.sketch_length)
        indexes.add_index("sketch", index_type="FLAT", metric_type="IP")
    # Created last, so that if it exists, the other one with its description exists too.
    _make_videos(client, f"{place.collection}_videos", about)
    client.create_collection(
        place.collection, schema=schema, index_params=indexes, consistency_level="Strong"
    )


def _make_videos(client: Any, name: str, about: About) -> None:
    from pymilvus import DataType

    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", DataType.VARCHAR, max_length=64, is_primary=True)
    schema.add_field("video", DataType.VARCHAR, max_length=32_000)
    schema.add_field("version", DataType.VARCHAR, max_length=32)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)  # Milvus has no collections without vectors
    indexes = client.prepare_index_params()
    indexes.add_index("vector", index_type="FLAT", metric_type="L2")
    client.create_collection(name, schema=schema, index_params=indexes, consistency_level="Strong")
    text = base64.b64encode(json.dumps(vars(about)).encode()).decode()
    client.upsert(name, [{"id": ABOUT, "video": text, "version": ABOUT, "vector": [0.0, 1.0]}])


def read_collection(client: Any, place: Place) -> About | None:
    """Returns the description of the existing collection; None if there is no collection.

    Raises:
        InputError: the collection was not created by framewatch.
    """
    name = f"{place.collection}_videos"
    both = client.has_collection(place.collection), client.has_collection(name)
    if both == (False, False):
        return None
    rows = []
    if both[1]:
        client.load_collection(name)
        rows = client.query(name, ids=[ABOUT], output_fields=["video"])
    if not rows:
        raise InputError(
            f"{place} is a collection of something else: give another name, index.collection=NAME"
        )
    if not both[0]:  # creation was interrupted
        client.drop_collection(name)
        return None
    return About(**{"definition": 1, **json.loads(base64.b64decode(rows[0]["video"]))})


def require_same(there: About, about: About, place: Place) -> None:
    """Checks that an existing collection has the same features and settings.

    Args:
        there: the description of the existing collection.
        about: the description of the moments to add.
        place: the collection's place, for the message.

    Raises:
        InputError: a setting differs; the message names it and the remedy.
    """
    wanted = {**about.features, "length": about.length}
    has = {**there.features, "length": there.length}
    require_same_features(
        has,
        wanted,
        f"the index {place}",
        "this output",
        "rebuild the index, `framewatch index --rebuild`, or give another, index.collection=NAME",
        also=["length"],
    )
    if there.definition != about.definition:
        raise InputError(
            f"the index {place} was made by another version, with another definition of similarity: make it "
            "anew, `framewatch index --rebuild`"
        )
    for name in ("clip_s", "still_cosine", "exact", "scenes"):
        if getattr(there, name) != getattr(about, name):
            raise InputError(
                f"the index {place} was made with index.{name}={getattr(there, name)}, not "
                f"{getattr(about, name)}: make it anew, `framewatch index --rebuild`"
            )
    if place.is_server:
        require_owner(there, about.output, place)


def require_owner(there: About, output: str, place: Place) -> None:
    """Checks that a collection belongs to an output.

    Raises:
        InputError: it belongs to another output.
    """
    if there.output != output:
        raise InputError(
            f"the index {place} belongs to {there.output}: give another name for this run's, "
            "index.collection=NAME"
        )


def fitted_path(place: Place, output: str) -> str:
    """Returns the path of the saved `Fitted`: next to a local file, or in the output for a server."""
    if place.is_server:
        return storage.join(output, "search", f"{place.collection}.fitted.npz")
    return f"{place.uri}.fitted.npz"


def read_fitted(place: Place, output: str) -> Fitted | None:
    """Reads the `Fitted` of an index; None if there is no index.

    Raises:
        InputError: the file is damaged.
    """
    path = fitted_path(place, output)
    return None if storage.status(path)[1] is None else Fitted.read(path)
