"""The desk: moments out of tables, their states, the queue, and what was missed."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from outputs import make_output, set_file

from framewatch.errors import InputError
from framewatch.feedback import STATES, Verdict
from framewatch.feedback.desk import Desk
from framewatch.feedback.loop import REASONS, LoopSettings
from framewatch.feedback.prevalence import audited_prevalence
from framewatch.review.queue_filters import QueueFilter


def open_desk(output: Path, **settings: float) -> Desk:
    return Desk(str(output), LoopSettings(**settings))


def say(desk: Desk, moment: int, answer: str, reviewer: str = "ann") -> None:
    its = desk.moments
    desk.judge(
        Verdict(
            video=its.names[its.videos[moment]],
            start_s=float(its.starts_s[moment]),
            end_s=float(its.ends_s[moment]),
            answer=answer,
            reviewer=reviewer,
        )
    )


def state(desk: Desk, moment: int) -> str:
    return STATES[desk.states[moment]]


def test_moments_of_a_replaced_file_are_unseen_until_it_is_back(output: Path) -> None:
    desk = open_desk(output)
    video = desk.moments.names[desk.moments.videos[0]]
    say(desk, 0, "suspicious")
    say(desk, 1, "not")
    set_file(output, video, 1, 1)
    replaced = open_desk(output)
    assert (state(replaced, 0), state(replaced, 1)) == ("unseen", "not")
    assert 0 in replaced.queue.moments and replaced.num_verdicts == 1
    assert desk.states[0] and state(desk, 0) == "suspicious", "an open desk stays with its ledger"
    first = desk.log.verdicts()[0]
    set_file(output, video, 1, first.modified_ms)  # this ledger had no size
    assert state(open_desk(output), 0) == "suspicious"


def test_moments_are_the_incidents_by_rank_then_frames_by_rank(output: Path) -> None:
    its = open_desk(output).moments
    assert (its.num_incidents, len(its)) == (3, 3 + 60 - 7)
    assert [its.names[v].rpartition("/")[2] for v in its.videos[:3]] == [
        "Hall <b>1.mpg",
        "Yard.avi",
        'a\'b "c" é.mpg',
    ]
    assert its.starts_s[:3].tolist() == [5, 12, 5] and its.peaks_s[:3].tolist() == [6, 13, 5]
    assert (np.diff(its.prob2[3:]) <= 0).all()
    assert its.origins[0].as_py() == "images/Hall <b>1frame0006.jpg"
    for moment in range(len(its)):
        assert its.origins[moment].as_py().endswith(f"frame{int(its.peaks_s[moment]):04d}.jpg")


def test_states_of_moments(output: Path) -> None:
    desk = open_desk(output)
    say(desk, 0, "suspicious")
    assert state(desk, 0) == "suspicious"
    say(desk, 0, "not", "bob")
    assert state(desk, 0) == "disagreement"
    say(desk, 0, "unsure", "bob")
    assert state(desk, 0) == "suspicious", "who is unsure does not contradict"
    desk.undo("bob")
    desk.undo("bob")
    assert state(desk, 0) == "suspicious"
    video = desk.moments.names[desk.moments.videos[1]]
    desk.judge(Verdict(video=video, start_s=12, end_s=13, answer="not", reviewer="ann"))
    assert state(desk, 1) == "unseen", "half of it has an answer"
    desk.judge(Verdict(video=video, start_s=13, end_s=14, answer="suspicious", reviewer="ann"))
    assert state(desk, 1) == "suspicious"
    assert desk.counts() == {"unseen": 54, "suspicious": 2, "not": 0, "unsure": 0, "disagreement": 0}


def test_the_first_queue_is_by_rank_but_for_what_is_mixed_in(output: Path) -> None:
    desk = open_desk(output, uncertain_share=0, random_share=0)
    assert desk.queue.moments.tolist() == list(range(len(desk.moments)))
    mixed = open_desk(output).queue
    reasons = [REASONS[mixed.reasons[moment]] for moment in mixed.moments]
    tops = [moment for moment, why in zip(mixed.moments, reasons, strict=True) if why == "top"]
    assert tops == sorted(tops)
    assert set(reasons) == {"top", "random", "uncertain"}


def test_verdicts_move_what_is_unseen(output: Path) -> None:
    """The ranking knows little; the truth is seconds 5 to 10, and the first feature tells it."""
    desk = open_desk(output, uncertain_share=0, random_share=0)
    its = desk.moments
    truth = (its.peaks_s >= 5) & (its.peaks_s < 10)

    def found_early(order: np.ndarray) -> int:
        return int(truth[order[:8]].sum())

    before = found_early(desk.queue.moments[3:])
    for moment in (0, 1, 2, 30):
        say(desk, moment, "suspicious" if truth[moment] else "not")
    assert desk.learning_is_due
    version = desk.queue.version
    desk.learn()
    assert desk.queue.version == version + 1 and not desk.learning_is_due
    assert not set(desk.queue.moments) & {0, 1, 2, 30}
    assert found_early(desk.queue.moments) >= max(before, 6)


def test_each_frame_teaches_what_was_said_of_it(output: Path) -> None:
    """An incident is harmless but for its last second: its peak teaches that it is harmless."""
    desk = open_desk(output)
    say(desk, 0, "not")
    video = desk.moments.names[desk.moments.videos[0]]
    desk.judge(Verdict(video=video, start_s=7, end_s=8, answer="suspicious", reviewer="ann"))
    assert state(desk, 0) == "suspicious"
    answers = desk._answers(desk.segments)
    assert answers[desk.moments.rows[0]] == 0
    assert np.isnan(np.delete(answers, desk.moments.rows[0])).all()


def test_an_answer_taken_back_comes_first(output: Path) -> None:
    desk = open_desk(output)
    say(desk, 20, "not")
    desk.learn()
    desk.undo("ann")
    assert QueueFilter().apply(desk)[0] == 20


def test_another_desk_takes_in_what_was_said_here(output: Path) -> None:
    ann, bob = open_desk(output), open_desk(output)
    say(ann, 0, "suspicious")
    bob.refresh()
    assert state(bob, 0) == "suspicious"
    assert state(open_desk(output), 0) == "suspicious", "and so does one that starts later"


def test_the_audit_is_its_longest_answered_beginning(output: Path) -> None:
    desk = open_desk(output)
    audit = desk.moments.audit
    assert len(audit) == 53 and (audit >= 3).all()
    assert desk.missed().drawn == 0
    say(desk, audit[1], "suspicious")
    assert (desk.missed().drawn, desk.missed().found) == (0, 1), "the first is still unseen"
    say(desk, audit[0], "not")
    say(desk, audit[2], "unsure")
    say(desk, audit[3], "suspicious")
    missed = desk.missed()
    assert (missed.frames, missed.drawn, missed.drawn_suspicious, missed.found) == (53, 3, 2, 2)
    assert missed.unsure == 1
    say(desk, audit[2], "suspicious", "bob")
    assert desk.missed().unsure == 0, "who is unsure does not contradict"
    say(desk, audit[2], "not", "cem")
    assert desk.missed().unsure == 1, "two disagree"


def test_the_prevalence_is_that_of_the_sample_outside_and_of_reviewed_incidents_inside(output: Path) -> None:
    desk = open_desk(output)
    audit, ranking = desk.moments.audit, desk.results.ranking
    assert audited_prevalence(str(output), ranking) is None, "nothing was reviewed"
    say(desk, audit[1], "suspicious")
    say(desk, 0, "suspicious")
    assert audited_prevalence(str(output), ranking) is None, "the first of the sample is still unseen"
    for place, answer in ((0, "not"), (2, "unsure"), (3, "not"), (4, "not")):
        say(desk, audit[place], answer)
    # Of 60 frames, 53 are outside incidents. Of those inside, 3 s are suspicious.
    assert audited_prevalence(str(output), ranking) == pytest.approx((53 / 4 + 7) / 60)
    say(desk, 1, "not")  # 2 s
    assert audited_prevalence(str(output), ranking) == pytest.approx((53 / 4 + 7 * 3 / 5) / 60)
    desk.undo("ann")
    desk.undo("ann")
    say(desk, 0, "unsure")
    assert audited_prevalence(str(output), ranking) is None, "no incident has a sure verdict"


def test_filters(output: Path) -> None:
    desk = open_desk(output)

    def found(**arguments: Any) -> list[int]:
        return QueueFilter(**arguments).apply(desk).tolist()

    its = desk.moments
    assert found(order="rank") == list(range(56))
    by_time = found(order="time")
    assert by_time == sorted(range(56), key=lambda m: (its.videos[m], its.starts_s[m]))
    assert {its.names[its.videos[m]][-8:] for m in found(video="YARD")} == {"Yard.avi"}
    assert {its.starts_s[m] for m in found(from_s=6, to_s=7)} == {5.0, 6.0}, "two incidents begin before"
    assert found(order="rank", min_prob=0.9) == [0]
    assert found(order="rank", min_prob=0.75, max_prob=0.9) == [1]
    assert found(video="nowhere") == []
    say(desk, 1, "not")
    assert found(shown="reviewed") == found(shown="not") == [1]
    assert 1 not in found() and 1 in found(shown="all") and len(found(shown="all")) == 56


def test_the_queue_is_filtered_by_kinds_of_events(clocks: list[Path], output: Path, tmp_path: Path) -> None:
    desk = open_desk(make_output(tmp_path / "kinds", clocks, ["fight", "Fall", "fight"]))
    assert QueueFilter(kind="fall").apply(desk).tolist() == [1]
    assert set(QueueFilter(kind="FIGHT").apply(desk).tolist()) == set(range(56)) - {1}
    assert QueueFilter(kind="theft").apply(desk).tolist() == []
    of_older_version = open_desk(output)
    assert set(of_older_version.moments.kinds) == {None}
    assert QueueFilter(kind="fight").apply(of_older_version).tolist() == []


def test_no_incidents_no_labels_no_frames_left(output: Path) -> None:
    shutil.rmtree(output / "model" / "labelled")
    desk = open_desk(output)
    for moment in range(len(desk.moments)):
        say(desk, moment, "not")
    desk.learn()
    assert len(desk.queue.moments) == 0
    assert desk.missed().high == 0


def test_nothing_ranked_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run `framewatch rank` with output="):
        open_desk(tmp_path)
