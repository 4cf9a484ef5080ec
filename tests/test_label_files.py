"""Label files: what people's programs write is read, and what is wrong is named with its line."""

import csv
import gzip
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framewatch.errors import InputError
from framewatch.feedback import Verdict
from framewatch.feedback.export import labels_csv
from framewatch.io import csv_text
from framewatch.ranking.groups import group_of_each, parse_groups
from framewatch.ranking.label_files import parse_labels

BY_TIME = ("video", "start_s", "end_s", "label")
HEADER = ",".join(BY_TIME) + "\n"


def rows(text: str | bytes) -> list[tuple]:
    data = text if isinstance(text, bytes) else text.encode()
    return [tuple(row)[1:5] for row in parse_labels(data, "labels.csv").rows]


def error(text: str | bytes) -> str:
    with pytest.raises(InputError) as caught:
        rows(text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).filter(
    lambda name: name.strip()
)


@given(
    names=st.lists(st.tuples(NAMES, st.integers(0, 1)), min_size=1, max_size=5),
    delimiter=st.sampled_from(",;\t"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
    ending=st.sampled_from(["\n", "\r\n"]),
    blank=st.booleans(),
)
def test_what_csv_writes_is_read(names, delimiter, encoding, ending, blank) -> None:
    """RFC 4180 in full: delimiters, quotes and new lines in names; quoted names keep their spaces."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter, lineterminator=ending, quoting=csv.QUOTE_ALL)
    writer.writerow([*BY_TIME, "note"])
    for number, (name, label) in enumerate(names):
        writer.writerow([name, number, number + 0.5, label, "one\ntwo"])
        if blank:
            writer.writerow([""] * 5)
    found = parse_labels(file.getvalue().encode(encoding), "labels.csv")
    assert [row[1:5] for row in found.rows] == [
        (csv_text.plain(name), n, n + 0.5, label) for n, (name, label) in enumerate(names)
    ]
    assert found.blank_rows == blank * len(names)


def test_columns_in_any_order_case_and_spacing() -> None:
    assert rows("\n Label , note, IMAGENAME,,\n 1 ,x, a b.jpg ,,\n") == [("a b.jpg ", None, None, 1)]


def test_excel_of_other_countries() -> None:
    text = "sep=;\r\nvideo;start_s;end_s;label\r\na, b.mp4;0,5;3,25;1\r\n;;;\r\n"
    assert rows(text.encode("utf-8-sig")) == [("a, b.mp4", 0.5, 3.25, 1)]


@pytest.mark.parametrize(
    "word", ["1", "1.0", "1,0", "true", "TRUE", "Yes", " yes ", "suspicious", "Positive", "NORMAL", "none"]
)
def test_label_words(word: str) -> None:
    is_suspicious = word.lower() not in ("normal", "none")
    assert rows(f'ImageName,label\na.jpg,"{word}"\n')[0][-1] == is_suspicious
    no = word.lower().replace("1", "0").replace("true", "false").replace("yes", "no")
    no = "negative" if no in ("suspicious", "positive") else no
    found = parse_labels(f'ImageName,label\na.jpg,"{no}"\n'.encode(), "labels.csv")
    assert found.rows[0].label == 0 and found.kinds == []


def test_other_words_are_kinds_of_events() -> None:
    """One kind is what differs in case, in spaces, or in composed and decomposed letters."""
    cells = [
        "Fight",
        "0",
        " fight ",
        "FIGHT",
        "1",
        "Stu\u0308rz  auf Treppe",
        "st\u00fcrz auf treppe",
        "हाथापाई",
    ]
    data = "ImageName,label\n" + "".join(f'a{n}.jpg,"{cell}"\n' for n, cell in enumerate(cells))
    found = parse_labels(data.encode(), "labels.csv")
    fall = "St\u00fcrz auf Treppe"
    assert [row.kind for row in found.rows] == ["Fight", None, "Fight", "Fight", None, fall, fall, "हाथापाई"]
    assert [row.label for row in found.rows] == [1, 0, 1, 1, 1, 1, 1, 1]
    assert found.kinds == ["Fight", fall, "हाथापाई"]
    assert found.row_text(2) == "line 4: 'a2.jpg', label 'Fight'"


@pytest.mark.parametrize(
    "cell",
    [
        "2", "-1", "1?", "fight!", "", "x", "3rd", "-fight", "_fight", "1e3x", "a" * 41, "fight/fall", "nan",
        "NULL", "n", "not", "not suspicious", "not_suspicious", "No-fight", "non suspicious", "unsure",
        "maybe", "nothing", "nomal", "nornal", "normall", "noraml", "flase", "Suspicous", "postive",
        "negativ", "ture",
    ],
)  # fmt: skip
def test_odd_words_and_misspellings_are_no_kinds(cell: str) -> None:
    message = error(f'ImageName,label\na.jpg,"{cell}"\n')
    assert f"line 2: label '{cell}'; use 1 (true, yes) for suspicious, 0 (false, no) for not, or" in message


@pytest.mark.parametrize("cell", ["falls", "abnormal", "zone", "tree", "note", "a" * 40, "two-man_fight 2"])
def test_words_that_resemble_no_other_are_kinds(cell: str) -> None:
    assert parse_labels(f"ImageName,label\na.jpg,{cell}\n".encode(), "labels.csv").kinds == [cell]


def test_at_most_twenty_kinds() -> None:
    def text(number: int) -> str:
        return "ImageName,label\n" + "".join(f"a{n}.jpg,kind {n}\n" for n in range(number))

    assert len(parse_labels(text(20).encode(), "labels.csv").kinds) == 20
    assert error(text(21)).startswith(
        "labels file 'labels.csv' names 21 kinds of events (kind 0, kind 1, kind 2, kind 3, kind 4, …): name "
        "at most 20"
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12", 12), ("12.5", 12.5), (".5", 0.5), ("1.234", 1.234), ("12,5", 12.5), ("0,125", 0.125),
        ("1e1", 10), ("1:30", 90), ("90:00", 5400), ("1:02:03.5", 3723.5), ("00:00:01,500", 1.5),
        ("1234.567", 1234.567),
        ("1,234.5", 1234.5), ("1.234,5", 1234.5), ("-1", -1),
    ],
)  # fmt: skip
def test_times(text: str, seconds: float) -> None:
    assert rows(f'{HEADER}a,"{text}",9999,1\n')[0][1] == seconds


@given(st.integers(0, 10**7))
def test_clock_times_are_their_seconds(ms: int) -> None:
    hours, minutes, seconds = ms // 3_600_000, ms // 60_000 % 60, ms % 60_000 / 1000
    assert rows(f"{HEADER}a,{hours}:{minutes:02d}:{seconds:06.3f},99999,1\n")[0][1] == pytest.approx(
        ms / 1000
    )


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("a,0,1,2", "label '2'; use 1 (true, yes) for suspicious, 0 (false, no) for not"),
        ("a,0,1,", "label ''; use 1"),
        ("a,0,1,maybe?", "label 'maybe?'; use 1"),
        (",0,1,1", "empty name; name the video"),
        ("a,3,1,1", "range '3' to '1'; start_s must be below end_s"),
        ("a,3,3,1", "range '3' to '3'; start_s must be below end_s"),
        ("a,x,1,1", "start_s 'x'; give seconds such as 12.5, mm:ss or h:mm:ss"),
        ("a,nan,1,1", "start_s 'nan'; give seconds"),
        ("a,0,1e999,1", "end_s '1e999'; give seconds"),
        ("a,1_0,20,1", "start_s '1_0'; give seconds"),
        ("a,0:75,99,1", "start_s '0:75'; minutes and seconds must be below 60"),
        ('a,0,"1,234",1', "end_s '1,234' can be 1.234 or 1234.0; write the one that is meant"),
        ("Door, 2.mp4,0,1,1", "5 fields, but the header has 4; quote fields that contain ','"),
        ("a,0,1", "3 fields, but the header has 4"),
        ('"say "x"",0,1,1', "text follows a closing quote; double the quotes inside a quoted field"),
        ('"open,0,1,1', "a quote opens here and is not closed"),
    ],
)
def test_a_bad_line_is_named_with_its_value_and_the_rule(row: str, problem: str) -> None:
    message = error(f'{HEADER}"two\nlines",0,1,1\n\n{row}\n')
    assert message.startswith(f"labels file 'labels.csv' has 1 bad line: line 5: {problem}")


def test_bad_lines_are_reported_together() -> None:
    message = error(HEADER + "a,0,1,maybe?\n" * 3 + "b,0,1,1\n" + "b,2,1,1\n" * 4)
    assert "has 7 bad lines: line 2: label 'maybe?'" in message and "line 7: range" in message
    assert "line 8" not in message and message.endswith("; and 2 more")


def test_a_point_among_decimal_commas_is_ambiguous() -> None:
    text = "video;start_s;end_s;label\na;1.234;5000;1\nb;0,5;2;0\n"
    assert "line 2: start_s '1.234' can be 1.234 or 1234.0" in error(text)
    assert "(line 3 has a decimal comma)" in error(text)
    assert rows(text.replace("0,5", "0.5"))[0][1] == 1.234


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ("name,label\na,1\n", "has the columns name, label: it must have ImageName,label or video,start_s"),
        ("", "has the columns none"),
        ("label,ImageName,Label\n1,a,0\n", "has the column label twice (line 1): keep one"),
        (f"ImageName,{HEADER}", "has the columns of both formats (line 1): keep ImageName,label or video"),
        (
            HEADER.encode() + "Tür,0,1,1\n".encode("cp1252"),
            "is not UTF-8: line 2 could be 'Tür,0,1,1' (Windows-",
        ),
        (
            HEADER.encode("utf-16-le"),
            "has a NUL character in line 1, so it may be UTF-16 without a byte order mark",
        ),
        (
            b"\xff\xfea",
            "has the byte order mark of UTF-16 but is not valid UTF-16 at byte 2: save it as CSV UTF-8",
        ),
        (gzip.compress(HEADER.encode(), mtime=0), "is not UTF-8: line 1 could be"),
    ],
)
def test_files_that_are_no_label_files(data: str | bytes, problem: str) -> None:
    assert error(data).startswith(f"labels file 'labels.csv' {problem}")


def test_both_readings_of_an_old_encoding_are_shown() -> None:
    message = error(HEADER.encode() + "Über,0,1,1\n".encode("cp1252"))
    assert "'Über,0,1,1' (Windows-1252) or '\u042cber,0,1,1' (Windows-1251); save it as CSV UTF-8" in message


FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "'=1", "''=1", "a;=1", 'a",=1']


@pytest.mark.parametrize("name", [*FORMULAS, "'quoted'", "file:/a.mpg", "'"])
def test_names_come_back_from_an_export(name: str) -> None:
    """A spreadsheet of any country runs nothing in it, and numbers are still numbers."""
    text = csv_text.write([("video", "start_s", "end_s", "label"), (name, -1.5, 2, 1)])
    for delimiter in ",;\t":
        cells = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))[1]
        assert not [cell for cell in cells if cell.startswith(tuple("=+-@\t\r\n")) and cell != "-1.5"]
    cells = list(csv.reader(io.StringIO(text, newline=""), quoting=csv.QUOTE_NONNUMERIC))[1]
    assert cells == [f"'{name}" if name in FORMULAS[:9] else name, -1.5, 2, 1]
    assert rows(text.encode()) == [(name, -1.5, 2.0, 1)]


def test_verdicts_come_back_from_an_export() -> None:
    verdicts = [Verdict(name, 0, 1.5, "suspicious", "ann") for name in FORMULAS]
    assert rows(labels_csv(verdicts).encode()) == [(name, 0.0, 1.5, 1) for name in sorted(FORMULAS)]


@pytest.mark.parametrize(
    "text",
    [
        "video,start_s,end_s,label,group\na.mp4,0,1,1, hall \nb.mp4,0,1,0,\n",
        "GROUP;label;ImageName\nhall;1;a.jpg\n;0;b.jpg\n",
        "video,label,group\na.mp4,1,hall\nb.mp4,0,\n",
        "video,group,Second,label\na.mp4,hall,3,1\nb.mp4,,4,0\n",
    ],
)
def test_all_formats_may_have_groups(text: str) -> None:
    found = parse_labels(text.encode(), "labels.csv")
    assert [row.group for row in found.rows] == ["hall", None]
    assert found.row_text(0).endswith("label 1, group 'hall'") and found.row_text(1).endswith("label 0")


@pytest.mark.parametrize("column", ["second", "second_s", "timestamp_s", "Time_S"])
def test_labels_by_point(column: str) -> None:
    found = parse_labels(f"video;{column};label\na;1:30,5;1\nb;12,5;no\n".encode(), "labels.csv")
    assert found.format == "point"
    assert [row[1:5] for row in found.rows] == [("a", 90.5, None, 1), ("b", 12.5, None, 0)]
    assert found.row_text(1) == "line 3: 'b' at 12.5 s, label 0"
    assert "second 'x'; give seconds" in error(f"video,{column},label\na,x,1\n")


def test_labels_by_video() -> None:
    found = parse_labels(b"label,note,video\n1,in the hall,a b.mp4\n0,,c\n", "labels.csv")
    assert found.format == "video"
    assert [row[1:5] for row in found.rows] == [("a b.mp4", None, None, 1), ("c", None, None, 0)]
    assert found.row_text(0) == "line 2: 'a b.mp4', label 1"


@pytest.mark.parametrize(
    ("header", "form"),
    [
        ("ImageName,label,video", "frame"),
        ("ImageName,label,video,second", "frame"),
        ("video,start_s,end_s,label,time_s", "time"),
        ("video,note,label,second", "point"),
    ],
)
def test_a_file_of_an_older_format_keeps_it(header: str, form: str) -> None:
    values = {"end_s": "9", "label": "1"}
    row = ",".join(values.get(name, "3") for name in header.split(","))
    found = parse_labels(f"{header}\n{row}\n".encode(), "labels.csv")
    assert found.format == form


@pytest.mark.parametrize("column", ["start_s", "end", "from", "Time", "time (s)", "frame", "StartTime"])
def test_a_time_under_another_name_is_no_label_of_a_video(column: str) -> None:
    message = error(f"video,{column},label\na,0,1\n")
    assert f"has the column {column} beside video (line 1): name the times of a range start_s and " in message
    assert rows("video,gender,tool,label\na,x,y,1\n") == [("a", None, None, 1)]


@pytest.mark.parametrize("header", ["video,timestamp_s,end_s,label", "video,start,second,label"])
def test_a_range_under_other_names_is_no_point(header: str) -> None:
    message = error(f"{header}\na,1,2,1\n")
    assert "beside second (line 1): name the times of a range start_s and end_s" in message


def test_two_seconds_are_an_error() -> None:
    assert "has the column second twice (line 1)" in error("video,second,time_s,label\na,1,1,1\n")


def test_two_columns_of_groups_are_an_error() -> None:
    assert "has the column group twice (line 1): keep one" in error("ImageName,label,group,Group\na,1,b,c\n")


def test_a_file_of_groups() -> None:
    data = "sep=;\r\nGroup;video;note\r\nr1;a b.mp4;\r\n;;\r\nr2;'=c.mp4;x\r\n".encode("utf-8-sig")
    found = parse_groups({"groups.csv": data}, "groups.csv")
    assert [tuple(row) for row in found.rows] == [("line 3", "a b.mp4", "r1"), ("line 5", "=c.mp4", "r2")]
    assert found.row_text(0) == "line 3: 'a b.mp4', group 'r1'"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("video,start_s\na,0\n", "has the columns video, start_s: it must have video,group"),
        ("video,group\na,\n", "has 1 bad line: line 2: empty group; name the recording, or remove the line"),
        ("video,group\n,r1\n", "has 1 bad line: line 2: empty name; name the video"),
        ("video,group\na\nb\n", "has 2 bad lines: line 2: 1 fields, but the header has 2"),
    ],
)
def test_files_that_are_no_files_of_groups(text: str, problem: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_groups({"groups.csv": text.encode()}, "groups.csv")
    assert str(caught.value).startswith(f"groups file 'groups.csv' {problem}")


def test_a_video_is_in_one_group() -> None:
    named = [
        ("file:/a.mp4", "r1", "line 2"),
        ("file:/b.mp4", "r2", "line 3"),
        ("file:/a.mp4", "r1", "line 4"),
    ]
    assert group_of_each(named, "groups.csv") == {"file:/a.mp4": "r1", "file:/b.mp4": "r2"}
    with pytest.raises(
        InputError, match=r"groups\.csv puts one video into two groups: line 2 and line 5: a video"
    ):
        group_of_each([*named, ("file:/a.mp4", "r2", "line 5")], "groups.csv")
