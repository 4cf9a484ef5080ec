"""The notebooks: each runs in a real kernel, one after the other; what is stored; how pictures are shown."""

import ast
import base64
import builtins
import re
import shlex
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import IPython
import nbformat
import pytest
import yaml
from conftest import FAST_OVERRIDES, ROOT, VideoMaker
from jupyter_client import KernelManager
from nbclient import NotebookClient
from pyspark.sql import Row, SparkSession

from framewatch.errors import InputError, SchemaError, SetupError, VideoError
from framewatch.io.images import decode_image, encode_jpeg
from framewatch.io.locks import exclusive_lock
from framewatch.notebook import calls, show
from framewatch.notebook.calls import notebook_config, open_run
from framewatch.notebook.show import show_frames, show_video

pytestmark = pytest.mark.system

PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NAMES = [
    "01_prepare_frames", "02_train_and_rank", "03_review_in_sql", "04_featurizer_migration",
    "05_classify_by_prompts", "06_search_moments",
]  # fmt: skip
EXAMPLES = {"Hall": ["Box0frame0001.jpg"], "Box": ["Box0frame0004.jpg", "Box1frame0004.jpg"]}
LOGIC = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.For, ast.While, ast.If, ast.IfExp,
    ast.With, ast.Try, ast.Match, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp,
)  # fmt: skip
# A directory of somebody's machine, as a path or a URI.
ABSOLUTE = re.compile(r"file:/|(?<![\w.])/(?:home|Users|root|tmp|var|opt|mnt|work|private|usr|srv)/")
ADDRESS = re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b|\b[\w-]+\.(?:local|internal|localdomain|lan)\b")


def code_cells(book: Any) -> list[Any]:
    return [cell for cell in book.cells if cell.cell_type == "code"]


def outputs(book: Any) -> list[Any]:
    return [output for cell in code_cells(book) for output in cell.outputs]


def html_of(book: Any) -> str:
    return "\n".join(output.get("data", {}).get("text/html", "") for output in outputs(book))


def text_of(book: Any) -> str:
    """All that is told in text, without pictures and clips."""
    plain = [
        output.get("text", "") + output.get("data", {}).get("text/plain", "") for output in outputs(book)
    ]
    return "\n".join([*plain, re.sub(r"base64,[\w+/=]*", "", html_of(book))])


def pictures_in(html: str) -> list[Any]:
    found = re.findall(r'src="data:image/jpeg;base64,([\w+/=]+)"', html)
    return [decode_image(base64.b64decode(data)) for data in found]


def clips_in(html: str, directory: Path) -> list[tuple[Path, float]]:
    """The clips, each with the second at which its player starts."""
    found = re.findall(r'src="data:video/mp4;base64,([\w+/=]+)#t=([\d.]+)"', html)
    clips = []
    for number, (data, start_s) in enumerate(found):
        path = directory / f"clip{number}.mp4"
        path.write_bytes(base64.b64decode(data))
        clips.append((path, float(start_s)))
    return clips


def require_playable(path: Path, *, from_s: float, length_s: float) -> None:
    with av.open(str(path)) as clip:
        stream = clip.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        frames = list(clip.decode(stream))
    assert frames[-1].time <= length_s
    assert 0 <= from_s <= frames[-1].time


# Executed


@pytest.fixture(scope="module")
def settings(make_video: VideoMaker, small_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """For the parameter `settings`: small videos, a red box in each, and weights that are always there."""
    root = tmp_path_factory.mktemp("data")
    labels = ["video,start_s,end_s,label"]
    for number in range(3):
        name = f"Box{number}.mpg"
        make_video(root / "train" / name, seconds=6, shade=60 + 30 * number, suspicious_from_s=3)
        labels += [f"{name},0,3,0", f"{name},3,6,1"]
    make_video(root / "test" / "Box9.mp4", seconds=6, codec="libx264", suspicious_from_s=3)
    (root / "labels.csv").write_text("\n".join(labels) + "\n")
    return shlex.join(
        [
            f"videos.train={root}/train",
            f"videos.test={root}/test",
            f"labels.train={root}/labels.csv",
            f"featurizer.weights={small_weights}",
            "classifier.max_iter=3",
            "evaluation.folds=2",
            "spark.master=local[2]",
            *FAST_OVERRIDES,
        ]
    )


@pytest.fixture(scope="module")
def executed(settings: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The notebooks after running one after the other in a directory that was empty.

    One kernel runs them all, and forgets its names in between: four JVMs would take half a minute more.
    """
    directory = tmp_path_factory.mktemp("notebooks")
    books = {path.stem: nbformat.read(path, as_version=4) for path in PATHS}
    # By TCP, its clients call at a free port until the kernel answers there. Spark in another test may have
    # been given that port, and ends a query at a greeting that it does not know.
    sockets = tempfile.TemporaryDirectory()  # a short path, as Unix has it for sockets
    kernel = KernelManager(
        kernel_name="python3", transport="ipc", connection_file=f"{sockets.name}/kernel.json"
    )
    try:
        for book in books.values():
            prepare(book, settings)
            resources = {"metadata": {"path": str(directory)}}
            NotebookClient(book, km=kernel, timeout=300, resources=resources).execute()
        # The kernel is still there, and the output is free for others.
        with exclusive_lock(str(directory / "out" / "notebooks"), "another run"):
            pass
    finally:
        kernel.shutdown_kernel()
        sockets.cleanup()
    assert (directory / "out" / "notebooks" / "report" / "index.html").is_file()
    return books


def prepare(book: Any, settings: str) -> None:
    """Takes a notebook's outputs away, and sets its parameters as papermill does."""
    for cell in code_cells(book):
        cell.outputs, cell.execution_count = [], None
    defaults = next(k for k, cell in enumerate(book.cells) if "parameters" in cell.metadata.get("tags", []))
    own = f"settings = {settings!r}\nnum_frames = 8\nexamples = {EXAMPLES!r}\nthreshold = 15"
    own += "\nframe, clip, video = 'Box0frame0004.jpg', 'Box9@3-6', 'Box9'"
    book.cells.insert(defaults + 1, nbformat.v4.new_code_cell(own))
    book.cells.insert(0, nbformat.v4.new_code_cell("%reset -f"))


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_without_errors_and_warnings_of_spark(executed: dict[str, Any], name: str) -> None:
    assert [output for output in outputs(executed[name]) if output.output_type == "error"] == []
    assert not re.search(r"\bWARN\b|\bERROR\b|Traceback", text_of(executed[name]))


def test_01_shows_frames_and_a_clip(executed: dict[str, Any], tmp_path: Path) -> None:
    book = executed["01_prepare_frames"]
    assert "extract: 4 videos (4 ok, 0 partial, 0 failed), 2" in text_of(book)
    assert [picture.shape for picture in pictures_in(html_of(book))] == [(64, 96, 3)] * 4
    ((clip, from_s),) = clips_in(html_of(book), tmp_path)
    require_playable(clip, from_s=from_s, length_s=4)


def test_02_trains_ranks_and_shows_the_top(executed: dict[str, Any]) -> None:
    book = executed["02_train_and_rank"]
    text = text_of(book)
    assert "18 labelled frames (9 suspicious)" in text and "on left-out videos: AP" in text
    assert "'weights_sha256'" in text
    assert len(pictures_in(html_of(book))) == 6
    assert re.search(r"<br>1\. Box9\.mp4, [345]\.0 s, \d\.\d{3}</td>", html_of(book))


def test_03_answers_in_sql_and_plays_the_top(executed: dict[str, Any], tmp_path: Path) -> None:
    book = executed["03_review_in_sql"]
    answers = [output.data["text/html"] for output in outputs(book) if output.output_type == "execute_result"]
    assert len(answers) == 4
    assert all("<td>Box9.mp4</td>" in answer for answer in answers[:2])
    assert re.search(r"\|0:00:0[345]\|[\d.]+ *\|#+", text_of(book))
    assert pictures_in(html_of(book))
    ((clip, from_s),) = clips_in(html_of(book), tmp_path)
    require_playable(clip, from_s=from_s, length_s=5)


def test_04_tells_both_lengths_and_speeds(executed: dict[str, Any]) -> None:
    text = text_of(executed["04_featurizer_migration"])
    assert len(re.findall(r"\|131072 *\|", text)) == len(re.findall(r"\|2048 *\|", text)) == 3
    speeds = [float(number) for number in re.findall(r"([\d.]+) frames/s", text)]
    assert len(speeds) == 2 and min(speeds) > 0


def test_05_tells_classes_and_plays_the_best_clip(executed: dict[str, Any], tmp_path: Path) -> None:
    book = executed["05_classify_by_prompts"]
    answers = [output.data["text/html"] for output in outputs(book) if output.output_type == "execute_result"]
    assert "<td>Box9.mp4</td>" in answers[0] and re.search(r"<td>(Box|Hall)</td>", answers[0])
    ((clip, from_s),) = clips_in(html_of(book), tmp_path)
    require_playable(clip, from_s=from_s, length_s=5)
    assert "Box and incident" in text_of(book)


def test_06_finds_the_frame_itself_and_others_like_it(executed: dict[str, Any], tmp_path: Path) -> None:
    book = executed["06_search_moments"]
    assert re.search(r"index: 4 videos written \(\d+ moments\)", text_of(book))
    answers = [output.data["text/html"] for output in outputs(book) if output.output_type == "execute_result"]
    first = re.findall(r"<td>([^<]*)</td>", answers[0])[:3]
    assert first == ["1", "1.000", "Box0.mpg"] or float(first[1]) > 0.999
    assert len(clips_in(html_of(book), tmp_path)) == 1 and "##########" in text_of(book)


# Stored


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def stored(request: pytest.FixtureRequest) -> Any:
    return nbformat.read(request.param, as_version=4)


def test_there_are_six_and_they_are_small() -> None:
    assert [path.stem for path in PATHS] == NAMES
    sizes = [path.stat().st_size for path in PATHS]
    assert max(sizes) < 200_000 and sum(sizes) < 700_000


def test_stored_outputs_are_whole_and_tell_nothing_of_the_machine(stored: Any) -> None:
    counts = [cell.execution_count for cell in code_cells(stored)]
    assert counts == list(range(1, len(counts) + 1)), "execute it from the beginning: notebooks/execute.py"
    assert {output.output_type for output in outputs(stored)} <= {"stream", "display_data", "execute_result"}
    assert [output for output in outputs(stored) if output.get("name") == "stderr"] == []
    told = text_of(stored)
    assert len(told) > 300
    assert not ABSOLUTE.search(told) and not ADDRESS.search(told)
    for private in {str(ROOT), str(Path.home()), tempfile.gettempdir(), socket.gethostname()}:
        assert len(private) < 6 or private not in told


def test_stored_pictures_and_clips_are_there(tmp_path: Path) -> None:
    html = {path.stem: html_of(nbformat.read(path, as_version=4)) for path in PATHS}
    for name in NAMES[:3]:
        assert len(pictures_in(html[name])) >= 4
        assert all(picture is not None for picture in pictures_in(html[name]))
    for name in (NAMES[0], NAMES[2]):
        ((clip, from_s),) = clips_in(html[name], tmp_path)
        require_playable(clip, from_s=from_s, length_s=5)


def test_cells_import_framewatch_call_and_show(stored: Any) -> None:
    for cell in code_cells(stored):
        tree = ast.parse(cell.source)  # so no magics either, which differ from place to place
        assert not [node for node in ast.walk(tree) if isinstance(node, LOGIC)], cell.source
        for node in ast.walk(tree):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert {name.split(".")[0] for name in names} <= {"framewatch", "pyspark"}


def test_parameters_are_the_first_code(stored: Any) -> None:
    cell = code_cells(stored)[0]
    assert cell.metadata.tags == ["parameters"]
    assigned = [node.targets[0].id for node in ast.parse(cell.source).body]
    assert assigned[:3] == ["output", "catalog", "settings"]


def test_links_of_notebooks_lead_somewhere() -> None:
    texts = [cell.source for path in PATHS for cell in nbformat.read(path, as_version=4).cells]
    targets = [target for text in texts for target in re.findall(r"\]\((?!http)([^)#]+)\)", text)]
    assert len(targets) > 8
    assert [target for target in targets if not (ROOT / "notebooks" / target).exists()] == []


# Where data and tables lie


def test_on_databricks_data_is_what_its_configuration_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "17.3")
    config = notebook_config(catalog="main.framewatch")
    named = yaml.safe_load((ROOT / "conf" / "databricks.yaml").read_text(encoding="utf-8"))
    assert config.videos.train == [named["videos"]["train"]]
    assert config.videos.test == [named["videos"]["test"]]
    assert config.labels.train == named["labels"]["train"] and config.labels.test is None
    assert Path(config.output).parent == Path(named["output"]).parent != Path(config.output)
    assert (config.catalog.name, config.catalog.database) == ("main", "framewatch")
    assert config.spark.conf == {}


def test_settings_win_and_own_videos_take_the_place_of_samples() -> None:
    config = notebook_config(output="out/x", settings="videos.test='a b/*.mp4' sampling.fps=2")
    assert config.videos.test == ["a b/*.mp4"] and config.videos.train == [] and config.labels.train is None
    assert (config.output, config.sampling.fps) == ("out/x", 2)
    assert not config.catalog.enabled  # the embedded metastore serves one session at a time


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"settings": "a='b"}, "close the quotation"),
        ({"catalog": "main"}, "such as main.framewatch"),
        ({"settings": "sampling.fsp=2"}, "did you mean sampling.fps"),
    ],
)
def test_wrong_parameters_are_told(arguments: dict[str, str], told: str) -> None:
    with pytest.raises(Exception, match=told):
        notebook_config(**arguments)


def test_samples_are_drawn_where_they_are_not_there(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(calls, "draw_samples", lambda directory, **_: drawn.append(directory))
    assert open_run().config.videos.test == ["out/samples/test"]
    open_run(settings="videos.test=mine")
    assert drawn == ["out/samples"]


def test_widgets_take_the_place_of_parameters(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said = {"output": str(tmp_path), "settings": "videos.test=mine", "of another": "notebook"}
    dbutils = SimpleNamespace(widgets=SimpleNamespace(getAll=lambda: said))
    monkeypatch.setattr(calls, "notebook_names", lambda: {"dbutils": dbutils})
    config = open_run(output="else", settings="").config
    assert (config.output, config.videos.test) == (str(tmp_path), ["mine"])


def test_a_table_that_is_not_there_yet_is_told(spark: SparkSession, tmp_path: Path) -> None:
    run = open_run(output=str(tmp_path / "out"), settings="videos.test=mine")
    with pytest.raises(InputError, match=r"there is no table .*out/frames: run `framewatch extract`"):
        run.table("frames")
    with pytest.raises(InputError, match=r"there is no table .*: run `framewatch"):
        run.open_sql()
    with pytest.raises(InputError, match="there is no table 'pictures': choose one of videos, frames"):
        run.table("pictures")


# Display


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What `displayHTML` of a notebook on Databricks is given: it is among the notebook's own names."""
    pages: list[str] = []
    shell = SimpleNamespace(user_ns={"displayHTML": pages.append}, execution_count=1)  # PySpark reads that
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
    yield pages


@pytest.fixture(scope="module")
def jpeg() -> Callable[[int, int], bytes]:
    import numpy as np

    return lambda width, height: encode_jpeg(np.full((height, width, 3), 120, np.uint8), quality=90)


def test_frames_of_a_dataframe(spark: SparkSession, shown: list[str], jpeg) -> None:
    rows = [
        (
            f"out/v{k}frame0001.jpg",
            f"file:///cameras/v{k}.mp4",
            1.04,
            k / 10,
            10 - k,
            bytearray(jpeg(400, 300)),
        )
        for k in range(9)
    ]
    names = ["origin", "video", "timestamp_s", "prob2", "rank", "content"]
    df = spark.createDataFrame(rows, names)
    show_frames(df.orderBy("rank"), limit=5, columns=2, width=100)
    (page,) = shown
    assert [picture.shape for picture in pictures_in(page)] == [(75, 100, 3)] * 5
    assert re.findall(r"<br>(.*?)</td>", page)[:2] == ["2. v8.mp4, 1.0 s, 0.800", "3. v7.mp4, 1.0 s, 0.700"]
    assert page.count("<tr") == 3
    assert "cameras" not in page


def test_no_more_is_collected_than_shown(spark: SparkSession, shown: list[str], jpeg) -> None:
    """Neither other columns nor other rows: these would fail."""
    df = spark.range(1_000_000).selectExpr(
        "concat('f', id) as origin", "cast(null as binary) as content", "raise_error('read') as features"
    )
    show_frames(df, limit=3)
    assert shown[0].count("(no picture)") == 3


def test_rows_pictures_that_are_none_and_names_that_are_html(shown: list[str], jpeg) -> None:
    name = "<script>'&\".mp4"
    show_frames(
        [
            Row(origin="x", content=b"half a picture", video=f"s3://b/{name}"),
            {"origin": name, "content": None},
        ]
    )
    assert "<script" not in shown[0] and shown[0].count("&lt;script&gt;&#x27;&amp;&quot;.mp4") == 2
    assert shown[0].count("(no picture)") == 2
    show_frames([{"origin": name, "content": jpeg(20, 20), "prob2": None, "timestamp_s": None}], width=640)
    assert 'alt="&lt;script' in shown[1] and "None" not in shown[1]
    assert pictures_in(shown[1])[0].shape == (20, 20, 3)  # never larger than it is


def test_nothing_to_show_is_said(spark: SparkSession, shown: list[str]) -> None:
    show_frames(spark.createDataFrame([], "origin string, content binary"))
    show_frames([])
    assert [bool(re.search("No frames to show", page)) for page in shown] == [True, True]


def test_wrong_columns_and_numbers_are_told(spark: SparkSession, shown: list[str], jpeg) -> None:
    with pytest.raises(SchemaError, match=r"needs the column.* content, but got origin, prob2"):
        show_frames(spark.createDataFrame([("a", 0.5)], "origin string, prob2 double"))
    with pytest.raises(SchemaError, match=r"needs the column.* origin"):
        show_frames([{"content": b""}])
    one = spark.createDataFrame([("a", "v", b"")], "origin string, video string, content binary")
    with pytest.raises(SchemaError, match="video twice"):
        show_frames(one.join(one.select("origin", "video"), "origin"))
    for rows in (7, {"origin": "a"}):
        with pytest.raises(InputError, match="give a DataFrame or a list"):
            show_frames(rows)
    for wrong in ({"limit": 0}, {"limit": 101}, {"columns": 0}, {"width": 641}):
        with pytest.raises(InputError, match=f"{next(iter(wrong))}=.*: give "):
            show_frames([], **wrong)
    assert shown == []


def test_a_video_plays_from_its_second(shown: list[str], make_video: VideoMaker, tmp_path: Path) -> None:
    path = make_video(tmp_path / "<b>&.mpg", seconds=6, size=(400, 200))
    show_video(str(path), 4, length_s=3, width=160)
    ((clip, from_s),) = clips_in(shown[0], tmp_path)
    assert from_s == pytest.approx(1)
    require_playable(clip, from_s=from_s, length_s=3)
    with av.open(str(clip)) as opened:
        assert opened.streams.video[0].width == 160
    assert "&lt;b&gt;&amp;.mpg, from 4.0 s on" in shown[0] and "<b>" not in shown[0]
    assert str(tmp_path) not in shown[0]
    show_video(f"file:{path}", 0)
    assert clips_in(shown[1], tmp_path)[0][1] == 0


def test_a_video_that_cannot_be_shown_is_told(
    shown: list[str], make_video: VideoMaker, tmp_path: Path
) -> None:
    path = str(make_video(tmp_path / "short.mpg", seconds=2))
    with pytest.raises(VideoError, match="the video ends at 2"):
        show_video(path, 60)
    with pytest.raises(VideoError):
        show_video(str(tmp_path / "none.mpg"), 1)
    for wrong in ({"at_s": -1}, {"at_s": float("nan")}, {"at_s": 1, "length_s": 61}, {"at_s": 1, "width": 1}):
        with pytest.raises(InputError, match=f"{list(wrong)[-1]}=.*: give "):
            show_video(path, **wrong)
    assert shown == []


def test_outside_of_a_notebook_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SetupError, match="needs a notebook"):
        show_frames([])
    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(user_ns={}))  # a terminal
    with pytest.raises(SetupError, match="needs a notebook"):
        show_video("a.mp4", 1)
    imported = builtins.__import__

    def without_ipython(name: str, *args: Any) -> Any:
        if name.startswith("IPython"):
            raise ImportError(name)
        return imported(name, *args)

    monkeypatch.setattr(builtins, "__import__", without_ipython)
    assert show.notebook_names() == {}
    with pytest.raises(SetupError, match="needs a notebook"):
        show_frames([])


def test_databricks_own_module_is_taken_where_the_name_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    pages: list[str] = []
    monkeypatch.setitem(sys.modules, "dbruntime", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "dbruntime.display", SimpleNamespace(displayHTML=pages.append))
    show_frames([])
    assert len(pages) == 1
