"""Hand labels joined to frames: both formats, names that need care, counts, and errors that name lines."""

import gzip
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from framewatch.errors import InputError
from framewatch.ranking import labels


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


def test_by_point_is_the_frame_that_is_shown(join) -> None:
    labelled, counts = join(
        "video,second,label\nFight1,0:01.9,1\nFight1,3.4,0\ncamera1/Walk1,2,0\nFight1,9,1\n"
    )
    assert labelled == {
        "camera2/Fight1frame0001.jpg": 1.0,
        "camera2/Fight1frame0003.jpg": 0.0,
        "camera1/Walk1frame0002.jpg": 0.0,
    }
    assert (counts.labelled_frames, counts.suspicious_frames, counts.unlabelled_frames) == (3, 1, 9)
    assert counts.unmatched_examples == ("line 5: 'Fight1' at 9 s, label 1 (its frames are from 0 s to 3 s)",)


def test_labels_by_video_are_of_no_frame(join) -> None:
    with pytest.raises(
        InputError, match="has labels by video, which do not show the suspicious frames: give"
    ):
        join("video,label\nFight1,1\n")


def test_more_of_the_path_tells_cameras_apart(join) -> None:
    labelled, _ = join("ImageName,label\ncamera1/Walk1frame0001.jpg,1\n")
    assert labelled == {"camera1/Walk1frame0001.jpg": 1.0}


def test_unmatched_labels_are_counted_with_what_is_closest(join) -> None:
    _, counts = join(
        "ImageName,label\nFight1frame0000.jpg,0\nFight1frame0003x.jpg,1\n\nother_thing_entirely.jpg,1\n"
    )
    assert (counts.labels, counts.unmatched, counts.blank_rows) == (3, 2, 1)
    assert counts.unmatched_examples == (
        "line 3: 'Fight1frame0003x.jpg', label 1 "
        "(the closest name is out/images/camera2/Fight1frame0003.jpg)",
        "line 5: 'other_thing_entirely.jpg', label 1",
    )
    assert "; 1 blank rows skipped; 2 labels match no frame: line 3: 'Fight1frame0003x.jpg'" in str(counts)


def test_ranges_without_frames_are_counted_with_what_there_is(join) -> None:
    text = (
        "Fight1,0,2,0\n" + "".join(f"Fight1,{100 + k},{101 + k},1\n" for k in range(7)) + "Figth1.mpg,0,1,1\n"
    )
    _, counts = join("video,start_s,end_s,label\n" + text)
    assert (counts.labels, counts.unmatched, counts.labelled_frames) == (9, 8, 2)
    first = "line 3: 'Fight1' 100 to 101 s, label 1 (its frames are from 0 s to 3 s)"
    assert counts.unmatched_examples[0] == first and len(counts.unmatched_examples) == 5
    assert str(counts).endswith("; …")


def test_equal_duplicates_and_ranges_that_overlap_or_touch(join) -> None:
    labelled, counts = join(
        "video,start_s,end_s,label\nFight1,0,2,0\nFight1,0,2,0\nFight1,1,2,0\nFight1,2,3,1\nfight1.MPG,2,9,1\n"
    )
    assert labelled == {f"camera2/Fight1frame000{k}.jpg": float(k >= 2) for k in range(4)}
    assert (counts.unmatched, counts.suspicious_frames) == (0, 2)


@given(
    st.lists(
        st.tuples(st.integers(0, 8), st.integers(1, 4), st.integers(0, 1)).map(
            lambda it: (it[0] / 2, (it[0] + it[1]) / 2, it[2])
        ),
        min_size=1,
        max_size=8,
    )
)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_ranges_as_comparing_each_with_each(frames, ranges) -> None:
    given = labels.from_ranges([("camera2/Fight1.mpg", *row) for row in ranges], "the ranges")
    expected = {k: {label for start, end, label in ranges if start <= k < end} for k in range(4)}
    empty = sum(not any(start <= k < end for k in range(4)) for start, end, _ in ranges)
    if any(len(found) == 2 for found in expected.values()):
        with pytest.raises(InputError, match=r"labels of the ranges contradict each other in \d frame"):
            labels.join_labels(frames, given)
    elif empty == len(ranges):
        with pytest.raises(InputError, match="none of the"):
            labels.join_labels(frames, given)
    else:
        labelled, counts = labels.join_labels(frames, given)
        found = {row["frame_index"]: {int(row["label"])} for row in labelled.collect()}
        assert found == {k: label for k, label in expected.items() if label}
        assert counts.unmatched == empty


@pytest.fixture(scope="module")
def oddly_named(spark):
    videos = ["v/hall.cam1", "v/hall.cam1.mp4", "v/Door.mp4", "v/door.mp4", "v/U\u0308ber, 2.5.mp4"]
    videos += ["w/gate.mkv", "w/gate.mp4"]
    rows = [(f"out/images/{video}frame0000.jpg", f"file:/cctv/{video}", 0, 0.0) for video in videos]
    return spark.createDataFrame(
        rows, "origin string, video string, frame_index int, timestamp_s double"
    ).cache()


@pytest.mark.parametrize(
    ("name", "video"),
    [
        ("hall.cam1", "v/hall.cam1"),  # the whole name comes first
        ("Door", "v/Door.mp4"),  # and case before that
        ("V/DOOR.mp4", None),
        ("\u00dcBER, 2.5", "v/U\u0308ber, 2.5.mp4"),
        ("v\\\u00dcber, 2.5.mp4", "v/U\u0308ber, 2.5.mp4"),
        ("gate", None),
        ("gate.mkv", "w/gate.mkv"),
    ],
)
def test_names_fit_the_one_they_are_closest_to(oddly_named, name: str, video: str | None) -> None:
    given = labels.from_ranges([(name, 0, 1, 1)], "the ranges")
    if video is None:
        both = (
            r"matches file:/cctv/(v/Door|w/gate)\.\w+ and file:/cctv/(v/door|w/gate)\.\w+: "
            "write the whole name"
        )
        with pytest.raises(InputError, match=both):
            labels.join_labels(oddly_named, given)
    else:
        labelled, _ = labels.join_labels(oddly_named, given)
        assert [row["video"] for row in labelled.collect()] == [f"file:/cctv/{video}"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "ImageName,label\nFight1frame0001.jpg,1\nFight1frame0001.jpg,0\n",
            "contradict each other in 1 frame(s): line 2: 'Fight1frame0001.jpg', label 1 and line 3: ",
        ),
        (
            "video,start_s,end_s,label\nFight1,0,3,1\nFight1,2,4,0\n",
            "contradict each other in 1 frame(s): line 2: 'Fight1' 0 to 3 s, label 1 and line 3: 'Fight1'",
        ),
        (
            "ImageName,label\nWalk1frame0001.jpg,1\n",
            "match several origins: line 2: 'Walk1frame0001.jpg', label 1 matches "
            "out/images/camera1/Walk1frame0001.jpg and out/images/camera2/Walk1frame0001.jpg: "
            "write the whole name, or more of the path",
        ),
        (
            "ImageName,label\nFight1frame001.jpg,1\n",
            "none of the 1 labels of labels file 'FILE' matches a frame (line 2: "
            "'Fight1frame001.jpg', label 1 (the closest name is "
            "out/images/camera2/Fight1frame0001.jpg)): write names as in the tables",
        ),
        ("ImageName,label\n", "none of the 0 labels of labels file 'FILE' matches a frame: write names"),
    ],
)
def test_errors_name_file_lines_and_remedy(join, tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        join(text)
    message = str(caught.value).replace(str(tmp_path / "labels.csv"), "FILE")
    assert says in message and "labels file 'FILE'" in message and "\n" not in message


def test_frames_have_the_kind_of_the_earlier_row(frames, tmp_path: Path) -> None:
    """A row without a kind takes none away; frames that are not suspicious have none."""
    by_time = (
        "video,start_s,end_s,label\nFight1,0,1,0\nFight1,1,4,1\nFight1,2,4,fight\nFight1,1,3,fall\n"
        "Fight1,3,4,FIGHT\ncamera1/Walk1,0,2,theft\n"
    )
    by_frame = (
        "ImageName,label\nFight1frame0000.jpg,normal\nFight1frame0001.jpg,fall\nFight1frame0002.jpg,1\n"
        "Fight1frame0002.jpg,fight\ncamera2/Fight1frame0002.jpg,fall\nFight1frame0003.jpg,fight\n"
        "camera1/Walk1frame0000.jpg,theft\ncamera1/Walk1frame0001.jpg,theft\n"
    )
    by_point = (
        "video,second,label\nFight1,0,normal\nFight1,1,1\nFight1,1.2,fall\nFight1,1.4,fight\nFight1,2.5,fight\n"
        "Fight1,3,FIGHT\ncamera1/Walk1,0,theft\ncamera1/Walk1,1,theft\n"
    )
    for text in (by_time, by_frame, by_point):
        file = tmp_path / "labels.csv"
        file.write_text(text)
        labelled, counts = labels.join_labels(frames, str(file))
        rows = {
            row["origin"].rpartition("images/")[2]: (row["label"], row["kind"]) for row in labelled.collect()
        }
        of_fight = [rows[f"camera2/Fight1frame000{second}.jpg"] for second in range(4)]
        assert of_fight == [(0.0, None), (1.0, "fall"), (1.0, "fight"), (1.0, "fight")]
        assert [rows[f"camera1/Walk1frame000{second}.jpg"] for second in range(2)] == [(1.0, "theft")] * 2
        assert (counts.labelled_frames, counts.suspicious_frames, counts.kind_overlaps) == (6, 5, 1)
        assert "1 labels overlap an earlier one of another kind, which counts" in str(counts)
    labelled, counts = labels.join_labels(
        labelled.drop("label"), labels.from_ranges([("Fight1", 0, 9, 1)], "x")
    )
    assert counts.kind_overlaps == 0 and "overlap" not in str(counts)


def test_frames_have_the_group_of_their_video(join, spark, frames, tmp_path: Path) -> None:
    """One label of a video names its group for all of them."""
    by_time = "video,start_s,end_s,label,group\nFight1,0,2,0,\nFight1,2,4,1,hall\ncamera1/Walk1,0,1,0,\n"
    by_frame = "ImageName,label,group\nFight1frame0000.jpg,0,\nFight1frame0002.jpg,1,hall\n"
    for text, number in ((by_time, 4), (by_frame, 2)):
        file = tmp_path / "labels.csv"
        file.write_text(text)
        labelled, _ = labels.join_labels(frames, str(file))
        rows = [(row["video"], row["group"]) for row in labelled.collect()]
        assert rows.count(("file:/cctv/camera2/Fight1.mpg", "hall")) == number
        assert {group for video, group in rows if "Walk1" in video} <= {None}
    with pytest.raises(InputError) as caught:
        join(by_frame.replace("0,\n", "0,yard\n"))
    assert (
        "puts one video into two groups: line 2: 'Fight1frame0000.jpg', label 0, group 'yard' and line 3: "
        in str(caught.value)
    )


def test_a_file_of_groups_is_matched_by_the_rules_of_labels(spark, frames, tmp_path: Path) -> None:
    file = tmp_path / "groups.csv"
    file.write_text("video,group\nFIGHT1,hall\ncamera1/Walk1.mpg,yard\nFigth1.mpg,yard\nnone.mpg,x\n")
    found, summary = labels.match_groups(frames.select("video"), labels.read_groups(spark, str(file)))
    assert found == {"file:/cctv/camera2/Fight1.mpg": "hall", "file:/cctv/camera1/Walk1.mpg": "yard"}
    assert summary.startswith(
        f"2 videos are in 2 groups of groups file '{file}'; 2 of its rows match no video: "
    )
    assert "line 4: 'Figth1.mpg', group 'yard' (the closest name is file:/cctv/camera2/Fight1.mpg)" in summary
    file.write_text("video,group\nFight1,hall\nFight1.mpg,yard\n")
    with pytest.raises(
        InputError, match=r"puts one video into two groups: line 2: 'Fight1', group 'hall' and"
    ):
        labels.match_groups(frames.select("video"), labels.read_groups(spark, str(file)))
    file.write_text("video,group\nWalk1,hall\n")
    with pytest.raises(
        InputError, match=r"names in groups file '.*' match several videos: line 2: 'Walk1', group"
    ):
        labels.match_groups(frames.select("video"), labels.read_groups(spark, str(file)))
    with pytest.raises(InputError, match=r"groups file 'nope\.csv' does not exist: .*labels\.groups=FILE"):
        labels.read_groups(spark, "nope.csv")


def test_missing_file(spark) -> None:
    with pytest.raises(InputError, match=r"'nope\.csv' does not exist"):
        labels.read_labels(spark, "nope.csv")


def test_a_directory_of_files_and_a_compressed_one(spark, tmp_path: Path) -> None:
    """As Spark writes them; names of files need no care."""
    place = tmp_path / "a [1] {b}: c"
    place.mkdir()
    (place / "0.csv").write_text("ImageName,label\na.jpg,1\n")
    (place / "1.csv.gz").write_bytes(gzip.compress(b"ImageName,label\nb.jpg,0\n\n"))
    found = labels.read_labels(spark, f"file:{place}/1.csv.gz")
    assert [row.name for row in found.rows] == ["b.jpg"] and found.blank_rows == 1
    place = place.rename(tmp_path / "plain")
    found = labels.read_labels(spark, str(place))
    assert [found.location(row).rpartition("/")[2] for row in (0, 1)] == ["0.csv line 2", "1.csv.gz line 2"]
    for header, form in {
        "video,start_s,end_s,label": "time", "video,label": "video", "video,second,label": "point"
    }.items():  # fmt: skip
        (place / "2.csv").write_text(f"{header}\n")
        with pytest.raises(InputError, match=f"mix two formats: '.*2.csv' is by {form}, '.*' by frame: keep"):
            labels.read_labels(spark, str(place))


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_only(join, label: int) -> None:
    _, counts = join(f"ImageName,label\nFight1frame0001.jpg,{label}\n")
    with pytest.raises(InputError, match=f"have label {label}: training needs frames of both classes"):
        labels.require_both_classes(counts)
