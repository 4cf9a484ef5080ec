"""Videos of any name and suffix, through the command line, whatever the locale."""

import json
import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from conftest import FAST_OVERRIDES, ROOT

from framewatch.cli.main import main
from framewatch.ingest import listing
from framewatch.io import storage
from framewatch.tables.spark_tables import Tables
from framewatch.video.clip_writer import cut_clip_in_child
from framewatch.video.extraction import handle_request
from framewatch.video.suffixes import VIDEO_SUFFIXES


def extract(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    names = ("LC_ALL", "LC_CTYPE", "LANG", "PYTHONUTF8")
    clean = {name: value for name, value in os.environ.items() if name not in names}
    return subprocess.run(
        [
            sys.executable, "-m", "framewatch.cli", "extract", *arguments, "spark.master=local[2]",
            *FAST_OVERRIDES,
        ],
        cwd=ROOT, env={**clean, **environment}, capture_output=True, check=False,
    )  # fmt: skip


def test_a_directory_of_odd_names_in_the_c_locale(spark, make_video, tmp_path: Path) -> None:
    good = make_video(tmp_path / "v" / "good.mp4", seconds=2, codec="libx264").read_bytes()
    names = [
        "Überfall 東京.mp4", "Roof_2020-11-09T10:30:54-0800.mp4", "cam[1] {a}.mp4", "_front.mp4", "38.34.MP4",
        "raw.dav", "CAM 7 .mts", "caf\udce9.mp4", "a%41 b.mp4",
    ]  # fmt: skip
    for name in names:
        (tmp_path / "v" / name).write_bytes(good)
    (tmp_path / "v" / ".hidden.mp4").write_bytes(good)
    (tmp_path / "v" / "latest").symlink_to(".")
    (tmp_path / "v" / "last.mp4").symlink_to("gone.mp4")
    (tmp_path / "v" / "notes.txt").write_text("not a video")
    (tmp_path / "v" / "more.txt").write_text("not a video")
    done = extract("--verbose", f"videos.train={tmp_path}/v", f"output={tmp_path}/out", LC_ALL="C")
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    said = done.stdout.decode()
    assert "extract: 10 videos (10 ok, 0 partial, 0 failed" in said and " 20 frames" in said
    passed = next(line for line in said.splitlines() if "passed over" in line)
    assert f"2 files without a video suffix, such as {tmp_path}/v/more.txt" in passed
    assert f"1 dangling link, {tmp_path}/v/last.mp4: No such file or directory" in passed
    assert f"1 hidden name, {tmp_path}/v/.hidden.mp4" in passed
    assert f"1 link to something already listed, {tmp_path}/v/latest" in passed
    assert f"{tmp_path}/v/notes.txt: passed over" in done.stderr.decode()  # each is named
    manifest = json.loads(next((tmp_path / "out" / "runs").iterdir()).read_text())
    assert sum(manifest["report"]["extract"]["passed_over"].values()) == 5
    ledger = {row["video"]: row for row in Tables(spark, f"{tmp_path}/out").read("videos").collect()}
    latin = f"file://localhost{tmp_path}/v/caf%E9.mp4"
    assert latin in ledger and f"file:{tmp_path}/v/Überfall 東京.mp4" in ledger
    # What the review page plays.
    cut_clip_in_child(storage.readable(latin), tmp_path / "clip.mp4", start_s=0.0, end_s=1.0)
    assert (tmp_path / "clip.mp4").stat().st_size > 0
    origins = {row["origin"] for row in Tables(spark, f"{tmp_path}/out").read("frames").collect()}
    assert f"{tmp_path}/out/images/caf%E9frame0000.jpg" in origins


def test_a_name_typed_where_python_reads_ascii(make_video, tmp_path: Path) -> None:
    video = make_video(tmp_path / "Überfall 東京.mpg", seconds=1)
    arguments = (f"videos.train={video}", f"output={tmp_path}/out")
    done = extract(*arguments, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    assert b"extract: 1 videos (1 ok" in done.stdout
    done = extract(*arguments[1:], f"videos.train={tmp_path}/東京", LC_ALL="C", PYTHONUTF8="0")
    assert done.returncode == 2
    assert b"error: no video matches '" in done.stderr and b"UnicodeEncodeError" not in done.stderr


def test_paths_that_are_not_utf8(spark, make_video, tmp_path: Path, capsys) -> None:
    directory = Path(os.fsdecode(os.fsencode(tmp_path) + b"/T\xfcr 1"))
    make_video(tmp_path / "a b.mpg", seconds=1).rename(tmp_path / "x.mpg")
    directory.mkdir()
    (tmp_path / "x.mpg").rename(directory / "a b.mpg")
    assert main(["extract", f"videos.train={directory}/*.mpg", f"output={tmp_path}/out"]) == 0
    row = Tables(spark, f"{tmp_path}/out").read("videos").first()
    assert (row["video"], row["status"]) == (f"file://localhost{tmp_path}/T%FCr 1/a b.mpg", "ok")
    listed = listing.list_videos(spark, [row["video"]])
    assert [(found["video"], found["name"]) for found in listed.collect()] == [(row["video"], "a b")]
    assert listing.list_named(listed, [row["video"]]).collect() == listed.collect()
    assert main(["extract", f"videos.train={directory}", f"output={directory}/out"]) == 2
    assert r"T\udcfcr 1/out is not UTF-8: only videos may have such names" in capsys.readouterr().err


def test_an_output_that_spark_would_take_for_a_glob(tmp_path: Path, clips: Path, capsys) -> None:
    assert main(["extract", f"videos.train={clips}/train", f"output={tmp_path}/out[1]"]) == 2
    assert "which Spark takes for wildcards: choose another directory" in capsys.readouterr().err
    assert not (tmp_path / "out[1]").exists()


# Suffix, FFmpeg's format and encoder.
RECORDERS = [
    ("264", "h264", "libx264"), ("avc", "h264", "libx264"), ("h264", "h264", "libx264"),
    ("265", "hevc", "libx265"), ("h265", "hevc", "libx265"), ("hevc", "hevc", "libx265"),
    ("3g2", "3g2", "mpeg4"), ("3gp", "3gp", "mpeg4"), ("asf", "asf", "mpeg4"), ("wmv", "asf", "wmv2"),
    ("dvr-ms", "asf", "mpeg2video"), ("avi", "avi", "mpeg4"), ("divx", "avi", "mpeg4"),
    ("xvid", "avi", "mpeg4"), ("f4v", "f4v", "libx264"), ("ismv", "ismv", "libx264"), ("flv", "flv", "flv"),
    ("gxf", "gxf", "mpeg2video"), ("ivf", "ivf", "libvpx"), ("m2ts", "mpegts", "libx264"),
    ("mts", "mpegts", "libx264"), ("rec", "mpegts", "mpeg2video"), ("ts", "mpegts", "libx265"),
    ("trp", "mpegts", "mpeg2video"), ("m2v", "mpeg2video", "mpeg2video"), ("m1v", "mpeg1video", "mpeg1video"),
    ("mjpeg", "mjpeg", "mjpeg"), ("mjpg", "mpjpeg", "mjpeg"), ("mkv", "matroska", "libx264"),
    ("mov", "mov", "libx264"), ("qt", "mov", "mjpeg"), ("mpg", "mpeg", "mpeg1video"),
    ("mod", "mpeg", "mpeg2video"), ("vob", "vob", "mpeg2video"), ("vro", "vob", "mpeg2video"),
    ("mxf", "mxf", "mpeg2video"), ("nut", "nut", "mpeg4"), ("obu", "obu", "libsvtav1"),
    ("ogv", "ogv", "libtheora"), ("webm", "webm", "libvpx-vp9"), ("wtv", "wtv", "mpeg2video"),
    ("y4m", "yuv4mpegpipe", "wrapped_avframe"), ("rm", "rm", "rv20"), ("m4v", "m4v", "mpeg4"),
    ("dv", "dv", "dvvideo"),
]  # fmt: skip


def write_two_seconds(path: Path, format_name: str, codec: str) -> None:
    size = (720, 576) if format_name in ("dv", "gxf") else (128, 96)
    with av.open(str(path), "w", format=format_name) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for number in range(50):
            image = np.full((size[1], size[0], 3), 60 + number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


@pytest.mark.parametrize(("suffix", "format_name", "codec"), RECORDERS, ids=[it[0] for it in RECORDERS])
def test_suffixes_of_recorders_are_of_formats_that_are_read(
    tmp_path: Path, suffix: str, format_name: str, codec: str
) -> None:
    assert suffix in VIDEO_SUFFIXES
    path = tmp_path / f"camera.{suffix.upper()}"
    try:
        write_two_seconds(path, format_name, codec)
    except (av.error.FFmpegError, ValueError) as error:
        pytest.skip(f"this FFmpeg does not write {format_name} with {codec}: {error}")
    request = {"jpeg_quality": 90, "tolerance_s": 0.0, "first": 0, "stop": None, "fps": 1.0, "max_side": 0}
    *samples, (last, _) = handle_request(
        {"task": "extract", "source": str(path), **request, "decode_all": False}
    )
    assert last["outcome"]["failure"] is None and len(samples) >= 2
