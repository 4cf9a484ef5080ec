"""The collections of a run's moments: what they are made of, how they are laid out. No Spark in here."""

import base64
import json
from dataclasses import dataclass
from typing import Any

from framewatch.errors import InputError
from framewatch.io import storage
from framewatch.models.identity import require_same_features
from framewatch.search.fitted import Fitted
from framewatch.search.milvus_client import Place

# Of the row that says what a collection is made of: its key and its version.
ABOUT = "about"


@dataclass(frozen=True)
class About:
    """What a collection is made of.

    Attributes:
        features: the metadata of the features' column: model, weights, ...
        length: of a vector.
        clip_s: length of its clips.
        still_cosine: of near-duplicates.
        exact: whether every search compares all vectors.
        scenes: most scenes that vectors are told from; 0 for vectors as they are.
        sketch_length: of the short stand-ins; 0 for none.
        output: the run that it belongs to.
    """

    features: dict[str, Any]
    length: int
    clip_s: float
    still_cosine: float
    exact: bool
    scenes: int
    sketch_length: int
    output: str

    @property
    def settings(self) -> str:
        """What a video's moments depend on, besides the video."""
        return json.dumps([self.features, self.clip_s, self.still_cosine], sort_keys=True)


def make_collections(client: Any, place: Place, about: About) -> None:
    """Makes both, empty."""
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
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=about.length)
    indexes = client.prepare_index_params()
    if place.is_server:
        params = {} if about.exact else {"M": 16, "efConstruction": 200}
        kind = "FLAT" if about.exact else "HNSW"
        indexes.add_index("vector", index_type=kind, metric_type="COSINE", params=params)
    # Milvus Lite compares with all vectors either way; its index of them would be a second copy.
    if about.sketch_length:
        schema.add_field("sketch", DataType.FLOAT_VECTOR, dim=about.sketch_length)
        indexes.add_index("sketch", index_type="FLAT", metric_type="IP")
    # Last: where it is, the other one is there and says what it is.
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
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)  # Milvus has no table without vectors
    indexes = client.prepare_index_params()
    indexes.add_index("vector", index_type="FLAT", metric_type="L2")
    client.create_collection(name, schema=schema, index_params=indexes, consistency_level="Strong")
    text = base64.b64encode(json.dumps(vars(about)).encode()).decode()
    client.upsert(name, [{"id": ABOUT, "video": text, "version": ABOUT, "vector": [0.0, 1.0]}])


def read_collection(client: Any, place: Place) -> About | None:
    """What the collection there is made of; None where there is none.

    Raises:
        InputError: it is not one of framewatch.
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
    if not both[0]:  # a kill while they were made
        client.drop_collection(name)
        return None
    return About(**json.loads(base64.b64decode(rows[0]["video"])))


def require_same(there: About, about: About, place: Place) -> None:
    """Checks that a collection may take moments like these.

    Raises:
        InputError: names what differs, and the remedy.
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
    for name in ("clip_s", "still_cosine", "exact", "scenes"):
        if getattr(there, name) != getattr(about, name):
            raise InputError(
                f"the index {place} was made with index.{name}={getattr(there, name)}, not "
                f"{getattr(about, name)}: make it anew, `framewatch index --rebuild`"
            )
    if place.is_server:
        require_owner(there, about.output, place)


def require_owner(there: About, output: str, place: Place) -> None:
    """Checks that a collection is a run's own.

    Raises:
        InputError: it is another's.
    """
    if there.output != output:
        raise InputError(
            f"the index {place} belongs to {there.output}: give another name for this run's, "
            "index.collection=NAME"
        )


def fitted_path(place: Place, output: str) -> str:
    """Where what was fitted to the footage lies: beside a file; for a server, in the output."""
    if place.is_server:
        return storage.join(output, "search", f"{place.collection}.fitted.npz")
    return f"{place.uri}.fitted.npz"


def read_fitted(place: Place, output: str) -> Fitted | None:
    """What was fitted to the footage; None where there is no index.

    Raises:
        InputError: it is damaged.
    """
    path = fitted_path(place, output)
    return None if storage.status(path)[1] is None else Fitted.read(path)
