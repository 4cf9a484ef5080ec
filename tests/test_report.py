"""The report, read as HTML."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from outputs import set_file, write_output

from framewatch.cli.main import main
from framewatch.feedback import Verdict, VerdictLog
from framewatch.report import charts, write_report
from framewatch.tables.frame_pictures import Pictures, smaller
from framewatch.tables.results import Results


class Reader(HTMLParser):
    """Text, addresses and tags of a page; an unclosed tag is an error."""

    def __init__(self) -> None:
        super().__init__()
        self.text, self.addresses, self.tags, self.open = [], [], [], []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img", "br", "rect", "line", "polyline"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("rect", "line", "polyline"):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text.append(data)


def read(path: str | Path) -> tuple[Reader, str]:
    reader = Reader()
    reader.feed(Path(path).read_text())
    assert reader.open == []
    return reader, " ".join(" ".join(reader.text).split())


def many_incidents(output: Path, num: int, picture: bytes) -> Path:
    """One video, an incident every fourth second, and a picture of each frame."""
    second = np.arange(4 * num)[None]
    prob2 = np.where(second % 4 == 1, 0.9, 0.1) + np.random.default_rng(0).random(second.shape) * 0.05
    incidents = [(0, start, start + 1, start) for start in range(1, 4 * num, 4)]
    incidents.sort(key=lambda it: -prob2[0, it[1]])
    write_output(output, ["file:/cam/One.mpg"], prob2, 2, incidents=incidents)
    origins = sorted(f"images/Oneframe{k:04d}.jpg" for k in range(4 * num))
    (output / "frames" / "batch=0").mkdir(parents=True)
    videos = ["file:/cam/One.mpg"] * len(origins)
    table = pa.table({"origin": origins, "video": videos, "content": [picture] * len(origins)})
    pq.write_table(table, output / "frames" / "batch=0" / "part-0.parquet", row_group_size=50)
    return output


def test_a_hundred_incidents_stay_below_five_megabytes(tmp_path: Path) -> None:
    """Of noise, which no JPEG makes small, and of which 130 are found."""
    noise = np.random.default_rng(1).integers(0, 255, (720, 1280, 3), np.uint8)
    _, picture = cv2.imencode(".jpg", noise)
    path = Path(write_report(str(many_incidents(tmp_path / "out", 130, picture.tobytes()))))
    assert path.stat().st_size < 5_000_000
    reader, text = read(path)
    assert sum(address.startswith("data:image/jpeg") for address in reader.addresses) == 100
    assert "130 incidents in 0:08:40 of video" in text or "130 incidents in 8:40 of video" in text
    assert "The first 100 of 130." in text


def test_it_refers_to_nothing_outside(tmp_path: Path) -> None:
    path = write_report(str(many_incidents(tmp_path / "out", 3, b"no picture")))
    reader, text = read(path)
    assert all(address.startswith(("data:", "#")) for address in reader.addresses)
    assert "script" not in reader.tags and "link" not in reader.tags
    assert text.count("no picture") == 3
    assert (
        "default-src &#39;none&#39;" in Path(path).read_text()
        or "default-src 'none'" in Path(path).read_text()
    )


def test_names_and_reasons_from_outside_are_escaped(tmp_path: Path) -> None:
    output = many_incidents(tmp_path / "out", 2, b"")
    evil = "<script>alert(1)</script>"
    ledger = output / "videos" / "batch=0" / "part-0.parquet"
    rows = pq.read_table(ledger, partitioning=None).to_pylist()
    failed = {**rows[0], "video": f"file:/{evil}.mpg", "status": "failed", "error": evil}
    pq.write_table(pa.Table.from_pylist([*rows, failed]), ledger)
    VerdictLog(str(output)).append(
        Verdict(video="file:/cam/One.mpg", start_s=1, end_s=2, answer="not", reviewer="<i>ann</i>")
    )
    page = Path(write_report(str(output))).read_text()
    assert "<script>" not in page and "<i>ann" not in page
    assert "&lt;script&gt;alert(1)" in page and "&lt;i&gt;ann&lt;/i&gt;" in page


def test_verdicts_and_what_was_missed(tmp_path: Path, capsys) -> None:
    output = many_incidents(tmp_path / "out", 5, b"")
    log = VerdictLog(str(output))
    for second, answer in ((1, "suspicious"), (5, "not"), (9, "unsure")):
        log.append(
            Verdict(
                video="file:/cam/One.mpg", start_s=second, end_s=second + 1, answer=answer, reviewer="ann"
            )
        )
    assert main(["report", str(output)]) == 0
    assert capsys.readouterr().out.strip() == f"report: {output}/report/index.html"
    _, text = read(output / "report" / "index.html")
    assert "1 suspicious, 1 not suspicious, 1 unsure, 0 with disagreement, 2 unseen" in text
    assert "3 verdicts by ann" in text
    assert "Missed: no audit sample yet" in text
    set_file(output, "file:/cam/One.mpg", 1, 1)
    assert main(["report", str(output)]) == 0
    _, text = read(output / "report" / "index.html")
    assert "0 verdicts" in text and "5 unseen" in text
    assert "Verdicts set aside: 3 verdicts on 1 video" in text


def test_metrics_failed_videos_and_the_model_card(tmp_path: Path) -> None:
    output = many_incidents(tmp_path / "out", 2, b"")
    spent = {
        "minutes": 5, "frames": 900, "viewed": 300, "suspicious": 50, "suspicious_viewed": 40,
        "incidents": 10,
        "incidents_found": 9, "stops": 12, "stops_suspicious": 9, "frame_recall": 0.8,
        "frame_precision": 0.133,
        "incident_recall": 0.9, "incident_precision": 0.75,
    }  # fmt: skip
    metrics = {
        "frames": 900, "suspicious": 50, "base_rate": 0.055, "average_precision": 0.61, "roc_auc": 0.9,
        "precision_at": {"3": 1.0}, "videos": {}, "budgets": [spent],
        "curve": [{"threshold": 0.9, "precision": 1.0, "recall": 0.1, "share": 0.01},
                  {"threshold": 0.1, "precision": 0.2, "recall": 1.0, "share": 0.4}],
    }  # fmt: skip
    (output / "test_metrics.json").write_text(json.dumps(metrics))
    ledger = output / "videos" / "batch=0" / "part-0.parquet"
    table = pq.read_table(ledger, partitioning=None)
    table = table.set_column(1, "status", pa.array(["partial"])).set_column(
        2, "error", pa.array(["cut short"])
    )
    pq.write_table(table, ledger)
    reader, text = read(write_report(str(output)))
    assert "Reviewing 5 minutes finds 90% of the incidents and 80% of the suspicious frames." in text
    assert "5 90% 75% 80% 13%" in text
    assert "AP 0.610, ROC AUC 0.900" in text
    assert "One.mpg partial cut short" in text
    assert "4 labelled frames, 2 suspicious, from labels.csv" in text
    assert reader.tags.count("svg") == 2
    spent |= {"frame_recall_interval": [0.6, 0.9], "incident_recall_interval": None}
    metrics |= {"groups": 12, "suspicious_groups": 7, "average_precision_interval": [0.42, 0.75]}
    (output / "test_metrics.json").write_text(json.dumps(metrics))
    _, text = read(write_report(str(output)))
    assert "AP 0.610 (0.42 to 0.75), ROC AUC 0.900, precision@3 1.00" in text
    assert "12 groups of videos, 7 with suspicious frames. Ranges in brackets are 95% intervals" in text
    assert "5 90% 75% 80% (60% to 90%) 13%" in text


def test_kinds_of_events(tmp_path: Path) -> None:
    output = many_incidents(tmp_path / "out", 3, b"")
    _, text = read(write_report(str(output)))
    assert "kind of event" not in text, "an older version wrote this output"
    path = output / "incidents" / "part-0.parquet"
    kinds = pa.array(["fight", "fall", "fight"])
    pq.write_table(pq.read_table(path, partitioning=None).append_column("kind", kinds), path)
    notes = json.loads((output / "model" / "metrics.json").read_text())
    fight = {"kind": "fight", "frames": 30, "groups": 4, "reason": None, "not_measured": None}
    fight |= {"base_rate": 0.25, "roc_auc": 0.9, "roc_auc_interval": [0.7, 1], "average_precision": 0.8}
    alone = "kind 'fall' has 1 labelled frame: 2 are needed to name it"
    fall = {"kind": "fall", "frames": 1, "groups": 1, "reason": alone, "not_measured": alone}
    notes["kinds"] = {
        "named": ["fight", "theft"], "without_kind": 7, "fitted_per_kind": 2000, "kinds": [fight, fall],
        "confusion": [{"kind": "fight", "named": [28, 2]}, {"kind": "fall", "named": [0, 1]}],
    }  # fmt: skip
    (output / "model" / "metrics.json").write_text(json.dumps(notes))
    _, text = read(write_report(str(output)))
    assert "kind of event incidents seconds fight 2 2 fall 1 1" in text
    assert text.count("One.mpg fight") == 2 and text.count("One.mpg fall") == 1
    assert "7 suspicious frames without a kind are left out." in text
    assert f"fight 30 4 0.900 (0.70 to 1.00) 0.800 0.250 fall 1 1 {alone}" in text
    assert "labelled fight theft fight 28 2 fall 0 1" in text


def test_what_budgets_are_expected_to_find_in_this_footage(tmp_path: Path) -> None:
    output = many_incidents(tmp_path / "out", 5, b"")
    files = output / "ranking.json", output / "model" / "metrics.json"
    ranking, notes = (json.loads(file.read_text()) for file in files)
    spent = {"minutes": 0.1, "frames": 6, "threshold": 0.75, "recall": 0.62, "recall_interval": [0.45, 0.8]}
    whole = {"minutes": 1, "frames": 20, "threshold": None, "recall": 1.0, "recall_interval": None}
    footage = {"minutes": 1 / 3, "frames": 20, "prevalence": 0.05, "prevalence_from": "probabilities"}
    budgets = [{**spent, "precision": 0.1}, {**whole, "precision": 0.05}, {**whole, "minutes": 2}]
    ranking["footage"] = {**footage, "budgets": [*budgets[:2], {**budgets[2], "precision": 0.05}]}
    bins = [
        {"probability": 0.1, "share": 0.0, "share_interval": None, "frames": 450},
        {"probability": 0.6, "share": 0.7, "share_interval": [0.5, 0.8], "frames": 450},
    ]
    notes["cross_validation"] = {
        "frames": 900, "suspicious": 315, "base_rate": 0.35, "average_precision": 0.61, "roc_auc": 0.9,
        "precision_at": {}, "videos": {}, "budgets": [], "reliability": bins, "brier_score": 0.12,
        "expected_calibration_error": 0.1,
        "curve": [{"threshold": 0.9, "precision": 1.0, "recall": 0.1, "share": 0.01}],
        "threshold_recall": {"wanted": 0.9, "recall": 0.8, "precision": 0.5},
    }  # fmt: skip
    notes["calibration"] = {"kind": "none", "reason": "as it is", "warning": True}
    for file, content in zip(files, (ranking, notes), strict=True):
        file.write_text(json.dumps(content))
    reader, text = read(write_report(str(output)))
    assert "In this footage, reviewing 1 minute (all) is expected to find 100% of the suspicious" in text
    assert "minutes threshold recall precision 0.1 0.75 62% (45% to 80%) 10% 1 (all) 100% 5%" in text
    assert "2 (all)" not in text
    assert "chosen clips. 35% of the labelled frames are suspicious, and 5% of this footage (the mean" in text
    assert "Probabilities: Brier score 0.120, expected calibration error 0.100." in text
    assert "for a recall of 0.9 reaches a recall of 80%, at a precision of 50%." in text
    assert "Warning: not calibrated, as it is." in text
    assert reader.tags.count("svg") == 3 and "share suspicious" in text
    log = VerdictLog(str(output))
    common = {"video": "file:/cam/One.mpg", "reviewer": "ann"}
    log.append(Verdict(start_s=0, end_s=20, answer="not", **common))
    log.append(Verdict(start_s=1, end_s=2, answer="suspicious", **common))
    _, text = read(write_report(str(output)))
    assert "prevalence 5%, estimated by the audit" in text, "one incident of five, each of one frame in 20"


def test_the_reliability_curve_is_on_the_diagonal_where_probabilities_are_shares() -> None:
    common = {"share_interval": [0.0, 1.0], "frames": 5}
    bins = [{"probability": share, "share": share, **common} for share in (0.2, 0.8)]
    svg = charts.reliability({"left-out videos": bins, "test labels": None})
    points = re.search(r'<polyline class="curve curve-0" points="([^"]+)"', svg).group(1).split()
    (left, low), (right, high) = (map(float, point.split(",")) for point in points)
    assert right - left == pytest.approx(low - high)
    assert svg.count("<line") == 3, "the diagonal, and an interval for each bin"
    assert charts.reliability({"test labels": None}) is None


def test_nothing_found_is_said(tmp_path: Path) -> None:
    output = tmp_path / "out"
    write_output(output, ["file:/cam/One.mpg"], np.full((1, 10), 0.1), 2, incidents=[])
    _, text = read(write_report(str(output)))
    assert "0 incidents in 0:10 of video" in text and "No frame is above the threshold" in text


def test_before_anything_was_ranked(tmp_path: Path, capsys) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "run `framewatch rank` with output=" in capsys.readouterr().err


def test_a_long_video_is_drawn_with_few_points_and_keeps_its_peaks() -> None:
    times = np.arange(100_000.0)
    prob2 = np.full(100_000, 0.1)
    prob2[[7, 55_555, 99_999]] = 0.99
    svg = charts.timeline(
        times, prob2, duration_s=100_000, period_s=1, threshold=0.5, incidents=[(55_555, 55_556)],
        labels=[(float(second), float(second > 50)) for second in range(100)],
    )  # fmt: skip
    assert len(svg) < 30_000
    heights = [float(point.split(",")[1]) for point in re.search(r'points="([^"]+)"', svg).group(1).split()]
    assert sum(height < 10 for height in heights) == 6  # each point is a step of two
    assert svg.count('class="suspicious"') == svg.count('class="not"') == 1


@pytest.mark.parametrize("width", [320, 96])
def test_thumbnails_keep_their_shape(width: int) -> None:
    _, data = cv2.imencode(".jpg", np.zeros((100, 400, 3), np.uint8))
    picture = cv2.imdecode(np.frombuffer(smaller(data.tobytes(), width), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (width // 4, width, 3)
    assert smaller(b"none", width) is None


def test_pictures_are_of_frames_that_count(tmp_path: Path) -> None:
    """One was replaced in batch 1 by a shorter file, and the run of batch 2 was killed."""
    output = tmp_path / "out"
    write_output(output, ["One.mpg", "Two.mpg"], np.full((2, 2), 0.1), 2, incidents=[])
    (output / "videos" / "batch=1").mkdir()
    pq.write_table(pa.table({"video": ["One.mpg"]}), output / "videos" / "batch=1" / "part-0.parquet")
    batches = [["One0", "One1", "Two0"], ["One0"], ["One0", "Two0", "Two1"]]
    for batch, names in enumerate(batches):
        rows = [
            {"origin": it, "video": f"{it[:3]}.mpg", "content": f"{it} of {batch}".encode()} for it in names
        ]
        (output / "frames" / f"batch={batch}").mkdir(parents=True)
        path = output / "frames" / f"batch={batch}" / "part-0.parquet"
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)
    pictures = Pictures(Results(str(output)))
    found = {name: pictures.get(name) for name in ("One0", "One1", "Two0", "Two1")}
    assert found == {"One0": b"One0 of 1", "One1": None, "Two0": b"Two0 of 0", "Two1": None}


def test_a_directory_that_was_deleted_in_part_is_no_table(tmp_path: Path) -> None:
    output = tmp_path / "out"
    write_output(output, ["One.mpg"], np.full((1, 2), 0.1), 2, incidents=[])
    (output / "labelled").mkdir()
    (output / "labelled" / "._SUCCESS.crc").write_bytes(b"crc")
    assert Results(str(output)).known_labels() == {}


def test_the_timeline_of_a_video_without_incidents(tmp_path: Path, capsys) -> None:
    output = tmp_path / "out"
    prob2 = np.full((1, 70), 0.1)
    prob2[0, 65] = 0.4
    write_output(output, ["file:/cam/One.mpg"], prob2, 2, incidents=[])
    assert main(["timeline", "cam/One.mpg", f"output={output}"]) == 0
    said = capsys.readouterr().out
    assert said.strip() == "One.mpg: nothing suspicious in 1:10; the most suspicious second is 1:05 (0.400)"
