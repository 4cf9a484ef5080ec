"""Defines the tables' column names and types, the only interface between stages. Does not import Spark.

`tables.schema` derives Spark's types from these.
"""

import pyarrow as pa

_FRAME = {
    "origin": pa.string(),
    "video": pa.string(),
    "frame_index": pa.int32(),
    "timestamp_s": pa.float64(),
}
_BATCH = {"batch": pa.int32()}

LISTING = pa.schema(
    {"video": pa.string(), "size_bytes": pa.int64(), "modified_ms": pa.int64(), "name": pa.string()}
)

VIDEOS = pa.schema(
    {
        "video": pa.string(),
        "status": pa.string(),
        "error": pa.string(),
        "warning": pa.string(),
        "duration_s": pa.float64(),
        "fps": pa.float64(),
        "width": pa.int32(),
        "height": pa.int32(),
        "codec": pa.string(),
        "num_frames": pa.int32(),
        "name": pa.string(),
        "attempts": pa.int32(),
        "size_bytes": pa.int64(),
        "modified_ms": pa.int64(),
        "modified_at": pa.timestamp("us", "UTC"),
        **_BATCH,
    }
)

FRAMES = pa.schema({**_FRAME, "width": pa.int32(), "height": pa.int32(), "content": pa.binary(), **_BATCH})

# Vectors of Spark ML, such as `probability`, have no type in Arrow: Spark's schema replaces this one.
VECTOR = pa.struct(
    {
        "type": pa.int8(),
        "size": pa.int32(),
        "indices": pa.list_(pa.int32()),
        "values": pa.list_(pa.float64()),
    }
)

# `error` is the reason why a frame has no features. `change` and `motion` are null without bursts.
FEATURES = pa.schema(
    {
        **_FRAME,
        "features": pa.list_(pa.float32()),
        "change": pa.list_(pa.float32()),
        "motion": pa.list_(pa.float32()),
        "error": pa.string(),
        **_BATCH,
    }
)

# What each file of `frames` and `features` holds: the number of each video's rows, by `error`.
CONTENTS = pa.schema(
    {
        "video": pa.string(),
        "error": pa.string(),
        "num_frames": pa.int64(),
        "file": pa.string(),
        "file_bytes": pa.int64(),
        **_BATCH,
    }
)

# Frames' probabilities, which `rank` keeps for as long as the classifier and the frames' features stay, and
# the log-odds of the kinds of events that the classifier names; `kinds` is null if it names none.
SCORES = pa.schema(
    {
        **_FRAME,
        "prob1": pa.float64(),
        "prob2": pa.float64(),
        "kinds": pa.list_(pa.float32()),
        **_BATCH,
    }
)

PREDICTIONS = pa.schema(
    {
        **_FRAME,
        "probability": VECTOR,
        "prob2": pa.float64(),
        "prediction": pa.float64(),
        "rank": pa.int32(),
        "kind": pa.string(),
    }
)

INCIDENTS = pa.schema(
    {
        "video": pa.string(),
        "start_s": pa.float64(),
        "end_s": pa.float64(),
        "peak_s": pa.float64(),
        "peak_origin": pa.string(),
        "peak_prob2": pa.float64(),
        "num_frames": pa.int32(),
        "rank": pa.int32(),
        "kind": pa.string(),
    }
)

CANDIDATES = pa.schema(
    {
        "origin": pa.string(),
        "video": pa.string(),
        "timestamp_s": pa.float64(),
        "end_s": pa.float64(),
        "prob2": pa.float64(),
        "rank": pa.int32(),
        "incident": pa.int32(),
        "audit": pa.int64(),
        "kind": pa.string(),
        "features": pa.list_(pa.float32()),
    }
)

CLASSIFICATIONS = pa.schema(
    {
        "video": pa.string(),
        "class": pa.string(),
        "score": pa.float64(),
        "duration_ratio": pa.float64(),
        "calibrated": pa.bool_(),
    }
)

CLASS_CLIPS = pa.schema(
    {
        "video": pa.string(),
        "class": pa.string(),
        "prompt": pa.string(),
        "start_s": pa.float64(),
        "end_s": pa.float64(),
        "score": pa.float64(),
    }
)

CLUSTERS = pa.schema(
    {
        "cluster": pa.int32(),
        "num_frames": pa.int64(),
        "num_still": pa.int64(),
        "num_videos": pa.int64(),
        "mean_prob2": pa.float64(),
        "example": pa.string(),
        "example_video": pa.string(),
        "example_s": pa.float64(),
    }
)

CLUSTER_FRAMES = pa.schema(
    {
        "origin": pa.string(),
        "video": pa.string(),
        "timestamp_s": pa.float64(),
        "cluster": pa.int32(),
        "distance": pa.float64(),
        "still": pa.bool_(),
    }
)

CLUSTER_TIMES = pa.schema(
    {"video": pa.string(), "from_s": pa.float64(), "cluster": pa.int32(), "num_frames": pa.int64()}
)

OUTLIERS = pa.schema(
    {
        "origin": pa.string(),
        "video": pa.string(),
        "timestamp_s": pa.float64(),
        "distance": pa.float64(),
        "rank": pa.int32(),
    }
)
