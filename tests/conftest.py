"""What tests share: one Spark session, small real videos, and small real weights."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyspark
import pytest
from hypothesis import settings
from pyspark.sql import Row, SparkSession

from framewatch.models.weights import cache_directory
from framewatch.spark.session import get_spark
from framewatch.tables.spark_tables import Tables

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"

# Tests are short: the JVM's second compiler would cost more than it brings.
FAST_JAVA = f"-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Djava.io.tmpdir={tempfile.gettempdir()}"
# `make test` writes it, and JVMs start in half the time.
_CLASSES = ROOT / ".venv" / f"classes-{pyspark.__version__}.jsa"
if _CLASSES.is_file():
    FAST_JAVA += f" -XX:SharedArchiveFile={_CLASSES} -Xlog:cds*=off"
# Rows are few: a third of a query's time would go into compiling it. The demo does compile.
_FAST_SPARK = {
    "spark.sql.shuffle.partitions": "2",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
}
# Short-lived objects die before they are copied.
FAST_START = {**_FAST_SPARK, "spark.driver.extraJavaOptions": f"{FAST_JAVA} -XX:NewSize=256m"}
FAST_OVERRIDES = [f"spark.conf.{key}={value}" for key, value in FAST_START.items()]
# The same in JAVA_TOOL_OPTIONS, for processes that take no configuration.
FAST_OPTIONS = " ".join([FAST_JAVA, *(f"-D{key}={value}" for key, value in _FAST_SPARK.items())])

# On a busy machine an example may take seconds.
settings.register_profile("leave nothing behind", database=None, deadline=None)
settings.load_profile("leave nothing behind")

VideoMaker = Callable[..., Path]

# These come first: a long file that begins last leaves a core idle.
_LONGEST = ("readme", "pipeline", "cluster", "watch", "models", "connect", "notebooks", "transformer")


def pytest_report_header() -> str:
    return f"pyspark: {pyspark.__version__}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.stem.removeprefix("test_") not in _LONGEST)


_ORDER = {
    "videos": "video",
    "frames": "origin",
    "features": "origin",
    "predictions": "rank",
    "incidents": "rank",
}


def contents(spark: SparkSession, output: Path, *, batches: bool = True) -> dict[str, list[str]]:
    """All tables there are, comparable: rows in order, without the output's own path.

    Args:
        spark: the session.
        output: of a run.
        batches: whether it counts what came in which batch.
    """
    tables = Tables(spark, str(output))
    found = {}
    for table, order in _ORDER.items():
        if tables.exists(table):
            rows = tables.read(table) if batches else tables.read(table).drop("batch")
            rows = rows.orderBy(order).collect()
            found[table] = [_told(row).replace(str(output), "OUT") for row in rows]
    return found


def _told(row: Row) -> str:
    """A row in a line that can be read where two differ: pictures by their checksum."""
    values = row.asDict().items()
    return str({k: hashlib.sha1(v).hexdigest() if isinstance(v, bytes | bytearray) else v for k, v in values})


Share = Callable[[str, Callable[[Path], None]], Path]


@pytest.fixture(scope="session")
def share(tmp_path_factory: pytest.TempPathFactory) -> Share:
    """Makes a directory's content once for all of the processes that test side by side."""
    place = _common_place(tmp_path_factory)

    def make_once(name: str, make: Callable[[Path], None]) -> Path:
        with open(place / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (place / name).exists():
                part = place / f"{name}.part"
                shutil.rmtree(part, ignore_errors=True)
                part.mkdir()
                make(part)
                part.rename(place / name)
        return place / name

    return make_once


def _common_place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache for converted networks that goes away; fetched weights stay for the next time.

    The processes that test side by side share it: what one has converted, the others find.
    """
    fetched = cache_directory() / "weights"
    fetched.mkdir(parents=True, exist_ok=True)
    home = _common_place(tmp_path_factory) / "cache"
    home.mkdir(exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (home / "weights").symlink_to(fetched)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FRAMEWATCH_HOME", str(home))
        yield


@pytest.fixture(scope="session")
def spark(_own_cache: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """The session of all tests: two cores, and directories of its own."""
    directory = tmp_path_factory.mktemp("spark")
    os.chdir(ROOT)  # the JVM keeps the directory it starts in
    session = get_spark(
        master="local[2]",
        app_name="framewatch tests",
        conf={
            **FAST_START,
            "spark.local.dir": str(directory / "local"),
            "spark.sql.warehouse.dir": str(directory / "warehouse"),
        },
    )
    yield session
    session.stop()


@pytest.fixture(scope="session")
def make_video() -> VideoMaker:
    """Encodes a small real video with PyAV."""
    return _make_video


def _make_video(
    path: Path,
    *,
    seconds: float = 3,
    fps: int = 10,
    codec: str = "mpeg2video",
    size: tuple[int, int] = (96, 64),
    shade: int = 90,
    suspicious_from_s: float | None = None,
) -> Path:
    """Writes `seconds` of flat pictures that brighten frame by frame, with a red box where suspicious."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = size[0], size[1], "yuv420p"
        for number in range(round(seconds * fps)):
            image = np.full((size[1], size[0], 3), shade + number % 60, np.uint8)
            if suspicious_from_s is not None and number / fps >= suspicious_from_s:
                image[10:50, 20:70] = (230, 20, 20)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="session")
def cameras(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three short videos of two cameras, with names that need care, and a file that is none."""
    root = tmp_path_factory.mktemp("cameras")
    _make_video(root / "north" / "Walk1.mpg", seconds=3)
    _make_video(root / "south" / "Walk1.mpg", seconds=2)
    _make_video(root / "south" / "a b#1%20é.mp4", seconds=2, codec="libx264")
    (root / "south" / "notes.txt").write_text("not a video")
    return root


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three training clips and one to test on, with labels by time: `train`, `test`, and CSVs."""
    root = tmp_path_factory.mktemp("clips")
    train = []
    for number, shade in enumerate((60, 90, 120), start=1):
        _make_video(root / "train" / f"Box{number}.mpg", seconds=4, shade=shade, suspicious_from_s=2)
        train += [f"Box{number}.mpg,0,2,0", f"Box{number}.mpg,2,4,1"]
    _make_video(root / "test" / "Box9.mp4", seconds=4, codec="libx264", shade=75, suspicious_from_s=2)
    header = "video,start_s,end_s,label\n"
    (root / "labels_train.csv").write_text(header + "\n".join(train) + "\n")
    (root / "labels_test.csv").write_text(header + "Box9.mp4,0,2,0\nBox9.mp4,2,4,1\n")
    return root


@pytest.fixture(scope="session")
def labelled(clips: Path) -> list[str]:
    """Overrides that name the clips and their labels."""
    return [
        f"videos.train={clips}/train",
        f"videos.test={clips}/test",
        f"labels.train={clips}/labels_train.csv",
        f"labels.test={clips}/labels_test.csv",
    ]


@pytest.fixture(scope="session")
def small_weights(share: Share) -> Path:
    """InceptionV3 weights from a fixed seed: for tests where the numbers mean nothing."""
    name = "inception_v3_seed7.weights.h5"

    def make(directory: Path) -> None:
        import keras

        from framewatch.models.networks import build_model
        from framewatch.models.registry import get_model

        keras.utils.set_random_seed(7)
        build_model(get_model("InceptionV3")).save_weights(directory / name)

    return share("weights", make) / name


@pytest.fixture(scope="session")
def model_file(share: Share) -> Path:
    """A small network of a user's own, with its preprocessing inside.

    A file of Keras holds its date: one for all tests is converted once for all of them.
    """
    return share("model", _save_small_model) / "own.keras"


def _save_small_model(directory: Path) -> None:
    import keras

    keras.utils.set_random_seed(7)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(8, 3, activation="relu", name="early"),
            layers.Conv2D(4, 3, strides=2, activation="relu", name="late"),
            layers.Flatten(),
            layers.Dense(5, name="classes"),
        ]
    )
    model.save(directory / "own.keras")


@pytest.fixture(scope="session")
def nsfwjs_weights() -> str:
    """The name of the nsfwjs weights, fetched once; skips where no npm registry is in reach."""
    from framewatch.errors import WeightsError
    from framewatch.models.weights import resolve_weights

    try:
        resolve_weights("nsfwjs", "InceptionV3")
    except WeightsError as error:
        pytest.skip(f"the nsfwjs weights are out of reach: {error}")
    return "nsfwjs"


@pytest.fixture(scope="session")
def caviar() -> Path:
    """The real CAVIAR clips."""
    path = SHARED / "caviar"
    if not path.is_dir():
        pytest.skip("the CAVIAR clips are not beside the project (../shared/caviar)")
    return path


@pytest.fixture(scope="session")
def drawn_samples(share: Share) -> Path:
    """What `framewatch samples` draws, drawn once for all of the processes that test."""
    from framewatch.cli.main import main

    def make(directory: Path) -> None:
        assert main(["samples", str(directory)]) == 0

    return share("samples", make)


@pytest.fixture(scope="session")
def caviar_or_drawn(request: pytest.FixtureRequest) -> Path:
    """A directory of CCTV clips: the real ones where they are, else drawn ones."""
    if (SHARED / "caviar").is_dir():
        return SHARED / "caviar" / "videos"
    return request.getfixturevalue("drawn_samples")


@pytest.fixture(scope="session")
def clocks(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three 20 s videos, MPEG-2 and AVI, as browsers play none of them."""
    import av
    from outputs import brightness

    directory = tmp_path_factory.mktemp("clocks")
    paths = [directory / name for name in ("Hall <b>1.mpg", "Yard.avi", 'a\'b "c" é.mpg')]
    for path in paths:
        codec = "mjpeg" if path.suffix == ".avi" else "mpeg2video"
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=10 if path.suffix == ".avi" else 25)
            stream.width, stream.height = 160, 120
            stream.pix_fmt = "yuvj420p" if path.suffix == ".avi" else "yuv420p"
            fps = int(stream.codec_context.framerate)
            for number in range(20 * fps):
                image = np.full((120, 160, 3), brightness(number / fps), np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode(None))
    return paths


S3_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "a-key", "AWS_SECRET_ACCESS_KEY": "a-secret"}


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """Variables that lead to an S3 server on loopback, and open it."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    _, port = server.get_host_and_port()
    yield {
        **S3_CREDENTIALS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip
    server.stop()


@pytest.fixture
def bucket(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty bucket `clips` there, for this process too, as a file system of s3fs."""
    import s3fs

    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    filesystem = s3fs.S3FileSystem()
    filesystem.mkdir("clips")
    yield filesystem
    filesystem.invalidate_cache()
    filesystem.rm("clips", recursive=True)
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def output(tmp_path: Path, clocks: list[Path]) -> Path:
    """The output of `outputs.make_output`, to review."""
    from outputs import make_output

    return make_output(tmp_path / "out", clocks)


@pytest.fixture
def server(output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of the review page of `output`, served by a thread."""
    from framewatch.feedback.loop import LoopSettings
    from framewatch.review.server import ServeSettings, open_server

    monkeypatch.setenv("FRAMEWATCH_HOME", str(tmp_path / "home"))
    settings = ServeSettings(port=0, reviewer="ann")
    opened = open_server(str(output), settings=settings, loop=LoopSettings())
    thread = threading.Thread(target=opened.run, daemon=True)
    thread.start()
    yield opened.address
    opened.stop()
    thread.join(5)


@pytest.fixture
def clean_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A PATH with the shell's tools but no Java, npm or Node.js on it."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in (
        "bash",
        "sh",
        "env",
        "dirname",
        "readlink",
        "ps",
        "uname",
        "tr",
        "sed",
        "grep",
        "cat",
        "nice",
    ):
        found = shutil.which(name)
        if found:
            (tools / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return tools


@pytest.fixture(autouse=True)
def _in_repository_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
