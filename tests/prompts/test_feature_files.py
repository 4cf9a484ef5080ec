"""The files of the features table, read without Spark: what the ledger vouches for, here and on S3."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import s3fs
from arrow_run import write_batch
from moto.server import ThreadedMotoServer

from framewatch.errors import InputError
from framewatch.tables.feature_files import FeatureFiles, vectors
from framewatch.tables.feature_lookup import read_background, read_examples

ABOUT = {"model": "own", "pooling": "avg"}


@pytest.fixture(scope="module", params=["arrays", "vectors"])
def output(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """North was extracted anew in batch 1; batch 2 is of a run that was killed before its ledger."""
    path = tmp_path_factory.mktemp("files") / "out"
    before = request.param == "vectors"
    write_batch(
        path, 0, {"north.mp4": [[1, 1], [1, 2]], "south.mp4": [[2, 1], None]}, ABOUT, as_before=before
    )
    write_batch(path, 1, {"north.mp4": [[3, 1]]}, ABOUT, as_before=before)
    write_batch(path, 2, {"east.mp4": [[4, 1]]}, ABOUT, as_before=before)
    (path / "videos" / "batch=2" / "part-0.parquet").unlink()
    return path


@pytest.fixture(scope="module")
def bucket(output: Path) -> Iterator[str]:
    """The same output on a real S3 API."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ACCESS_KEY_ID": "a-key", "AWS_SECRET_ACCESS_KEY": "a-secret",
            "AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        }.items():  # fmt: skip
            patch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        files = s3fs.S3FileSystem()
        name = output.parent.name  # servers of one process share their buckets
        files.mkdir(name)
        files.put(str(output), f"{name}/", recursive=True)
        yield f"s3a://{name}/out"
        s3fs.S3FileSystem.clear_instance_cache()
        server.stop()


@pytest.fixture(params=["here", "on S3"])
def features(request: pytest.FixtureRequest, output: Path) -> FeatureFiles:
    place = str(output) if request.param == "here" else request.getfixturevalue("bucket")
    return FeatureFiles.of(place)


def test_rows_that_count_are_each_video_s_latest(features: FeatureFiles) -> None:
    found = {}
    rows = 0
    for path in features.paths:
        for batch in features.read(path, ["timestamp_s", "features"]):
            rows += batch.num_rows
            numbers, valid = vectors(batch["features"])
            for video, its in zip(np.array(batch["video"].to_pylist())[valid], numbers.tolist(), strict=True):
                found.setdefault(str(video), []).append(its)
    assert found == {"south.mp4": [[2, 1]], "north.mp4": [[3, 1]]}
    assert rows == 3
    assert features.identity() == ABOUT


def test_examples_and_background_are_found_there(features: FeatureFiles) -> None:
    found = read_examples(features, ["north-1frame0000.jpg", "southframe0000.jpg"])
    assert {name: its.tolist() for name, its in found.items()} == {
        "north-1frame0000.jpg": [3, 1], "southframe0000.jpg": [2, 1]
    }  # fmt: skip
    rows, videos = read_background(features, most=100)
    found = sorted(zip(videos.tolist(), rows.tolist(), strict=True))
    assert found == [("north.mp4", [3, 1]), ("south.mp4", [2, 1])]
    with pytest.raises(InputError, match=r"example 'northframe0000\.jpg' is no frame with features"):
        read_examples(features, ["northframe0000.jpg"])  # of before
    with pytest.raises(InputError, match="has no features: its picture is damaged"):
        read_examples(features, ["southframe0001.jpg"])
