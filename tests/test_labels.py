"""Hand labels: both formats, the join, and errors that name rows."""

from pathlib import Path

import pytest

from framewatch import labels
from framewatch.errors import InputError


@pytest.fixture(scope="module")
def frames(spark):
    rows = [
        (f"out/images/{video}frame{k:04d}.jpg", f"file:/cctv/{video}.mpg", k, float(k))
        for video in ("camera1/Walk1", "camera2/Walk1", "camera2/Fight1")
        for k in range(4)
    ]
    return spark.createDataFrame(
        rows, "origin string, video string, frame_index int, timestamp_s double"
    ).cache()


@pytest.fixture
def join(spark, frames, tmp_path: Path):
    def joined(text: str):
        file = tmp_path / "labels.csv"
        file.write_text(text, encoding="utf-8")
        labelled, counts = labels.join_labels(frames, labels.read_labels(spark, str(file)))
        return {row["origin"].removeprefix("out/images/"): row["label"] for row in labelled.collect()}, counts

    return joined


def test_by_frame_name(join) -> None:
    labelled, counts = join("ImageName,label\nFight1frame0000.jpg,0\nFight1frame0002.jpg,1\n")
    assert labelled == {"camera2/Fight1frame0000.jpg": 0.0, "camera2/Fight1frame0002.jpg": 1.0}
    assert (counts.labels, counts.unmatched, counts.labelled_frames, counts.suspicious_frames) == (2, 0, 2, 1)
    assert counts.unlabelled_frames == 10


@pytest.mark.parametrize(
    "name", ["Fight1.mpg", "Fight1", "camera2/Fight1.mpg", "file:/cctv/camera2/Fight1.mpg"]
)
def test_by_time_is_half_open(join, name: str) -> None:
    labelled, _ = join(f"video,start_s,end_s,label\n{name},0,2,0\n{name},2,3.5,1\n")
    assert labelled == {f"camera2/Fight1frame000{k}.jpg": float(k >= 2) for k in range(4)}


def test_more_of_the_path_tells_cameras_apart(join) -> None:
    labelled, _ = join("ImageName,label\ncamera1/Walk1frame0001.jpg,1\n")
    assert labelled == {"camera1/Walk1frame0001.jpg": 1.0}


def test_unmatched_labels_are_counted_and_listed(join) -> None:
    _, counts = join("ImageName,label\nFight1frame0000.jpg,0\nFight1frame0099.jpg,1\nNopeframe0001.jpg,1\n")
    assert counts.unmatched == 2
    assert counts.unmatched_examples == ("Fight1frame0099.jpg,1", "Nopeframe0001.jpg,1")
    assert "2 labels match no frame: Fight1frame0099.jpg,1, Nopeframe0001.jpg,1" in str(counts)


def test_bom_spaces_column_order_and_equal_duplicates(join) -> None:
    labelled, _ = join(
        "\ufefflabel, ImageName\n 1 , Fight1frame0001.jpg \n1,Fight1frame0001.jpg\n0,Fight1frame0002.jpg\n"
    )
    assert labelled == {"camera2/Fight1frame0001.jpg": 1.0, "camera2/Fight1frame0002.jpg": 0.0}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "name,label\na.jpg,1\n",
            "has the columns name, label: it must have ImageName,label or video,start_s",
        ),
        ("ImageName,label\na.jpg,2\nb.jpg,yes\n", "labels other than 0 and 1: a.jpg,2; b.jpg,yes"),
        ("ImageName,label\na.jpg,\n", "labels other than 0 and 1: a.jpg,"),
        ("ImageName,label\n,1\n", "rows without a name: ,1"),
        ("video,start_s,end_s,label\nFight1,3,1,1\nFight1,x,2,0\n", "bad ranges: Fight1,3,1,1; Fight1,x,2,0"),
        (
            "ImageName,label\nFight1frame0001.jpg,1\nFight1frame0001.jpg,0\n",
            "contradict each other: Fight1frame0001.jpg,0",
        ),
        (
            "video,start_s,end_s,label\nFight1,0,3,1\nFight1,2,4,0\n",
            "contradict each other: Fight1,0,3,1; Fight1,2,4,0",
        ),
        (
            "ImageName,label\nWalk1frame0001.jpg,1\n",
            "several videos: Walk1frame0001.jpg,1: write more of the path",
        ),
        ("ImageName,label\nNope1.jpg,1\n", "none of the 1 labels matches a frame"),
        ("ImageName,label\n", "none of the 0 labels matches"),
        ("", "has the columns none"),
    ],
)
def test_errors_name_the_rows(join, text: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        join(text)
    assert says in str(caught.value)


def test_missing_file(spark) -> None:
    with pytest.raises(InputError, match=r"'nope\.csv' does not exist"):
        labels.read_labels(spark, "nope.csv")


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_only(join, label: int) -> None:
    _, counts = join(f"ImageName,label\nFight1frame0001.jpg,{label}\n")
    with pytest.raises(InputError, match=f"have label {label}: training needs frames of both classes"):
        labels.require_both_classes(counts)
