"""The words of the ledger, from how the parts of a video went."""

from framewatch.video.outcome import combined

GOOD = {
    "failure": None, "complaint": None, "num_damaged": 0,
    "duration_s": 20.0, "expected_s": 60.0, "tolerance_s": 1.0,
    "is_whole": None, "gap_s": 0.0, "goes_on_in": None, "warning": None, "fps": 25.0,
    "width": 384, "height": 288, "codec": "h264", "num_frames": 20,
}  # fmt: skip


def test_parts_that_went_well_are_one_video() -> None:
    parts = [{**GOOD, "duration_s": end} for end in (40.0, 20.0, 60.0)]
    assert combined(parts) == {
        "status": "ok", "error": None, "warning": None, "duration_s": 60.0, "fps": 25.0,
        "width": 384, "height": 288, "codec": "h264", "num_frames": 60,
    }  # fmt: skip


def test_damage_and_what_is_missing_are_told_once() -> None:
    parts = [{**GOOD, "num_damaged": 2}, {**GOOD, "num_damaged": 1, "complaint": "[h264] error"}]
    told = combined(parts)
    assert told["status"] == "partial"
    assert told["error"] == (
        "20.0 s decoded: 3 damaged frame(s); the last 40.0 s are missing; FFmpeg: [h264] error"
    )


def test_a_part_that_crashed_costs_itself_only() -> None:
    crash = {**dict.fromkeys(GOOD), "failure": "the decoder crashed (signal SIGSEGV)", "num_frames": 3}
    told = combined([crash, {**GOOD, "duration_s": 60.0}])
    assert (told["status"], told["num_frames"], told["codec"]) == ("partial", 23, "h264")
    assert told["error"] == "60.0 s decoded: the decoder crashed (signal SIGSEGV)"


def test_nothing_came_out() -> None:
    failed = {**dict.fromkeys(GOOD), "failure": "the file is empty", "num_frames": 0}
    assert combined([failed]) == {"status": "failed", "error": "the file is empty", "num_frames": 0}
    assert combined([])["error"] == "no frame could be decoded"
