"""Verdicts: kept whatever happens, and what they say together."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from outputs import set_file, write_output

from framewatch.errors import InputError
from framewatch.feedback import ANSWERS, Verdict, VerdictLog, label_ranges, segments_by_video


def verdict(start_s: float, end_s: float, answer: str, reviewer: str = "ann", video: str = "v") -> Verdict:
    return Verdict(video=video, start_s=start_s, end_s=end_s, answer=answer, reviewer=reviewer)


def lines(directory: Path) -> list[dict]:
    return [
        json.loads(line)
        for path in sorted(directory.glob("verdicts/*"))
        for line in path.read_text().splitlines()
    ]


def test_what_is_kept(tmp_path: Path) -> None:
    log = VerdictLog(str(tmp_path))
    given = Verdict(
        video="file:/a b/é.mpg", start_s=1.5, end_s=3, answer="suspicious", reviewer="ann", reason="top",
        model="abc", prob2=0.75,
    )  # fmt: skip
    kept = log.append(given)
    [line] = lines(tmp_path)
    assert line == {
        "id": kept.id, "at": kept.at, "video": "file:/a b/é.mpg", "start_s": 1.5, "end_s": 3,
        "answer": "suspicious", "reviewer": "ann", "reason": "top", "model": "abc", "prob2": 0.75,
    }  # fmt: skip
    assert VerdictLog(str(tmp_path)).verdicts() == [kept]


def test_two_reviewers_at_once_do_not_overwrite_each_other(tmp_path: Path) -> None:
    ann, bob = VerdictLog(str(tmp_path)), VerdictLog(str(tmp_path))
    for number in range(5):
        ann.append(verdict(number, number + 1, "suspicious", "ann"))
        bob.append(verdict(number, number + 1, "not", "bob"))
    assert ann.verdicts() != bob.verdicts()
    assert ann.refresh() and bob.refresh() and not bob.refresh()
    assert ann.verdicts() == bob.verdicts() and len(bob.verdicts()) == 10
    assert {segment.state for segment in segments_by_video(ann.verdicts())["v"]} == {"disagreement"}
    assert label_ranges(ann.verdicts()) == []
    bob.append(verdict(0, 2, "suspicious", "bob"))
    assert label_ranges(bob.verdicts()) == [("v", 0, 2, 1)]


def test_undo_takes_back_the_last_of_ones_own(tmp_path: Path) -> None:
    ann, bob = VerdictLog(str(tmp_path)), VerdictLog(str(tmp_path))
    first, second = ann.append(verdict(0, 1, "not")), ann.append(verdict(0, 1, "suspicious"))
    other = bob.append(verdict(5, 6, "not", "bob"))
    assert ann.undo("ann") == second
    assert VerdictLog(str(tmp_path)).verdicts() == [first, other]
    assert ann.undo("ann") == first
    assert ann.undo("ann") is None
    assert len(lines(tmp_path)) == 5, "nothing is ever removed"


def test_killed_between_any_two_verdicts_none_is_lost(tmp_path: Path) -> None:
    """A process writes verdicts and tells of each; killed at once after the k-th, k are there."""
    code = (
        "import sys; from framewatch.feedback import *; log = VerdictLog(sys.argv[1])\n"
        "for n in range(1000):\n"
        "    log.append(Verdict(video='v', start_s=n, end_s=n + 1, answer='not', reviewer='ann'))\n"
        "    print(n, flush=True)\n"
    )
    for kill_after in (1, 2, 7):
        output = tmp_path / str(kill_after)
        process = subprocess.Popen([sys.executable, "-c", code, output], stdout=subprocess.PIPE, text=True)
        told = [int(process.stdout.readline()) for _ in range(kill_after)]
        os.kill(process.pid, signal.SIGKILL)
        rest = process.stdout.read().split()
        process.wait()
        process.stdout.close()
        told += [int(number) for number in rest]
        kept = [int(it.start_s) for it in VerdictLog(str(output)).verdicts()]
        assert kept[: len(told)] == told and len(kept) <= len(told) + 1


VIDEO = "file:/cam/One.mpg"


@pytest.fixture
def reviewed(tmp_path: Path) -> Path:
    """An output whose ledger has one file, of which ann has said two things and undone a third."""
    output = write_output(tmp_path / "out", [VIDEO], np.full((1, 4), 0.1), 2, incidents=[])
    set_file(output, VIDEO, 1000, 5_000)
    log = VerdictLog(str(output))
    for second, answer in ((0, "suspicious"), (1, "not"), (2, "not")):
        log.append(verdict(second, second + 1, answer, video=VIDEO))
    log.undo("ann")
    return output


@pytest.mark.parametrize(("size_bytes", "modified_ms"), [(1001, 5_000), (1000, 5_001), (7, 7)])
def test_verdicts_of_a_replaced_file_are_set_aside_until_it_is_back(
    reviewed: Path, size_bytes: int, modified_ms: int
) -> None:
    kept = VerdictLog(str(reviewed)).verdicts()
    assert [(it.size_bytes, it.modified_ms) for it in kept] == [(1000, 5_000)] * 2
    set_file(reviewed, VIDEO, size_bytes, modified_ms)
    log = VerdictLog(str(reviewed))
    assert log.verdicts() == [] and log.set_aside() == kept
    assert "set aside: 2 verdicts on 1 video" in log.file_summary
    assert log.undo("ann") is None, "nobody takes back what is not shown"
    new = log.append(verdict(0, 1, "not", video=VIDEO))
    assert label_ranges(VerdictLog(str(reviewed)).verdicts()) == [(VIDEO, 0, 1, 0)]
    set_file(reviewed, VIDEO, 1000, 5_000)
    back = VerdictLog(str(reviewed))
    assert back.verdicts() == kept and back.set_aside() == [new]


def test_the_latest_row_of_the_ledger_is_the_file(reviewed: Path) -> None:
    """Batch 10 comes after batch 9, by number and not by name."""
    videos = reviewed / "videos"
    for batch, size_bytes in ((9, 1000), (10, 1001)):
        set_file(reviewed, VIDEO, size_bytes, 5_000)
        shutil.copytree(videos / "batch=0", reviewed / "kept" / f"batch={batch}")
    shutil.rmtree(videos)
    shutil.move(reviewed / "kept", videos)
    assert len(VerdictLog(str(reviewed)).set_aside()) == 2


def test_verdicts_of_an_older_version_count_and_are_counted(reviewed: Path) -> None:
    (reviewed / "verdicts" / "old.jsonl").write_text(
        json.dumps(
            {"id": "a", "at": "2020-01-01T00:00:00+00:00", "video": VIDEO, "start_s": 3, "end_s": 4,
             "answer": "suspicious", "reviewer": "bob", "reason": "top", "model": "", "prob2": 0.5}
        ) + "\n"
    )  # fmt: skip
    set_file(reviewed, VIDEO, 1, 1)
    log = VerdictLog(str(reviewed))
    assert [it.id for it in log.verdicts()] == ["a"] and len(log.set_aside()) == 2
    assert log.file_summary.endswith(
        "without a file: 1 verdict from an older version, which count for the present files"
    )


@pytest.mark.parametrize(
    "tail", ['{"id": "x", "answ', "no json\n", '{"answer": "maybe", "id": "1", "at": "2"}\n', "[1]\n"]
)
def test_what_is_torn_or_foreign_is_passed_over(tmp_path: Path, tail: str) -> None:
    log = VerdictLog(str(tmp_path))
    kept = log.append(verdict(0, 1, "not"))
    [path] = (tmp_path / "verdicts").iterdir()
    with path.open("a") as file:
        file.write(tail)
    (tmp_path / "verdicts" / "notes.txt").write_text("mine")
    again = VerdictLog(str(tmp_path))
    assert again.verdicts() == [kept]
    assert again.append(verdict(1, 2, "not")) in VerdictLog(str(tmp_path)).verdicts()


def test_after_a_write_that_failed_nothing_is_appended_to_its_half_line(tmp_path: Path, monkeypatch) -> None:
    log = VerdictLog(str(tmp_path))
    kept = [log.append(verdict(0, 1, "not"))]
    [path] = (tmp_path / "verdicts").iterdir()

    def full(descriptor: int) -> None:
        os.ftruncate(descriptor, path.stat().st_size - 20)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError):
            log.append(verdict(1, 2, "not"))
    kept.append(log.append(verdict(2, 3, "not")))
    assert log.verdicts() == kept == VerdictLog(str(tmp_path)).verdicts()


def test_verdicts_on_object_storage() -> None:
    log = VerdictLog("memory://reviews/out")
    kept = [log.append(verdict(n, n + 1, "not")) for n in range(3)]
    other = VerdictLog("memory://reviews/out")
    assert other.verdicts() == kept
    assert other.undo("ann") == kept[2]
    assert log.refresh() and log.verdicts() == kept[:2]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"answer": "maybe"}, "choose one of suspicious, not, unsure"),
        ({"end_s": 1.0}, "give start_s below end_s"),
        ({"start_s": float("nan")}, "give start_s below end_s"),
        ({"end_s": float("inf")}, "give start_s below end_s"),
        ({"reviewer": "  "}, "give a name of 1 to 40"),
        ({"reviewer": "a\nb"}, "give a name of 1 to 40"),
    ],
)
def test_verdicts_that_are_none(change: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        Verdict(**{"video": "v", "start_s": 1.0, "end_s": 2.0, "answer": "not", "reviewer": "ann", **change})


given_verdicts = st.lists(
    st.builds(
        lambda start, length, answer, who, video: verdict(start, start + length, answer, who, video),
        st.integers(0, 12), st.integers(1, 6), st.sampled_from(ANSWERS), st.sampled_from(["ann", "bob"]),
        st.sampled_from(["v", "w"]),
    ),
    max_size=12,
)  # fmt: skip


@given(given_verdicts)
def test_segments_and_labels_say_what_was_last_said_of_each_second(verdicts: list[Verdict]) -> None:
    segments, ranges = segments_by_video(verdicts), label_ranges(verdicts)
    for video in ("v", "w"):
        for second in range(20):
            last = {
                it.reviewer: it.answer
                for it in verdicts
                if it.video == video and it.start_s <= second < it.end_s
            }
            found = [it for it in segments.get(video, []) if it.start_s <= second < it.end_s]
            assert [it.answers for it in found] == ([last] if last else [])
            sure = set(last.values()) - {"unsure"}
            labels = [it[3] for it in ranges if it[0] == video and it[1] <= second < it[2]]
            assert labels == ([int("suspicious" in sure)] if len(sure) == 1 else [])
    for one, other in itertools.pairwise(ranges):
        assert one[0] != other[0] or one[2] < other[1] or (one[2] == other[1] and one[3] != other[3])
