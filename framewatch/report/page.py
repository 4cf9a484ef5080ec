"""Collects the contents of the report, and writes it."""

import base64
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow.compute as pc
from jinja2 import Environment, PackageLoader, select_autoescape

import framewatch
from framewatch.feedback import STATES, VerdictLog, moment_states, segments_by_video
from framewatch.feedback.prevalence import audited_prevalence
from framewatch.io import storage
from framewatch.ranking import budgets, expectation, kind_notes, model_card
from framewatch.ranking.expectation import Prevalence
from framewatch.report import charts
from framewatch.report.footage import read_footage
from framewatch.tables.frame_pictures import Pictures, smaller
from framewatch.tables.results import Results
from framewatch.tables.timeline import clock

_MOST_INCIDENTS = 100
_MOST_TIMELINES = 40
_MOST_FAILED = 200
# Base64 adds a third, so the page stays below 5 MB and can be mailed.
_MOST_PICTURE_BYTES = 3_000_000
_WIDTHS = (320, 240, 160, 96)


def write_report(output: str) -> str:
    """Writes `OUTPUT/report/index.html`, a self-contained file, and returns its path.

    Raises:
        InputError: frames have not been ranked in `output`.
    """
    results = Results(output)
    page = Environment(
        loader=PackageLoader("framewatch.report"),
        autoescape=select_autoescape(default=True),
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("report.html")
    path = storage.join(output, "report", "index.html")
    storage.write_bytes(path, page.render(**_contents(results)).encode())
    return path


def _contents(results: Results) -> dict[str, Any]:
    ledger, notes, ranked = results.videos(), results.model_notes(), results.ranked_videos()
    test = results.test_metrics()
    cross_validation = (notes or {}).get("cross_validation")
    evaluated = {"left-out videos": cross_validation, "test labels": test}
    measured = {name: metrics for name, metrics in evaluated.items() if metrics}
    incidents = results.incidents().to_pylist()
    return {
        "clock": clock,
        "name": storage.basename,
        "enough": budgets.up_to_all,
        "up_to_all": expectation.up_to_all,
        "best_of": budgets.best_sentence,
        "quality": model_card.quality,
        "basis": model_card.basis,
        "labelled": model_card.labelled,
        "probability_quality": model_card.probability_quality,
        "threshold_quality": model_card.threshold_quality,
        "calibration": model_card.calibration_sentence((notes or {}).get("calibration")),
        "percent": budgets.percent,
        "version": framewatch.__version__,
        "written_at": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "output": results.output,
        "ranking": results.ranking,
        "statuses": Counter(row["status"] for row in ledger),
        "num_ranked": len(ranked),
        "incidents_s": sum(row["end_s"] - row["start_s"] for row in incidents),
        "num_incidents": len(incidents),
        "incidents": _with_pictures(results, incidents[:_MOST_INCIDENTS]),
        **_kinds(incidents, notes),
        "timelines": _timelines(results, ranked, ledger, incidents),
        "most_timelines": _MOST_TIMELINES,
        "measured": measured,
        "pr": charts.precision_recall({name: m["curve"] for name, m in measured.items() if m["curve"]}),
        "reliability": charts.reliability({name: m.get("reliability") for name, m in measured.items()}),
        **_expected(results, cross_validation),
        "failed": [row for row in ledger if row["status"] != "ok"][:_MOST_FAILED],
        "num_failed": sum(row["status"] != "ok" for row in ledger),
        "notes": notes,
        "limits": model_card.limits(notes),
        "review": _review(results, incidents),
        "footage": read_footage(results),
    }


def _kinds(incidents: list[dict[str, Any]], notes: dict[str, Any] | None) -> dict[str, Any]:
    """Returns the incidents of each kind, and the kinds that the classifier was trained on."""
    counts, seconds = Counter[str](), Counter[str]()
    for row in incidents:
        if row["kind"] is not None:
            counts[row["kind"]] += 1
            seconds[row["kind"]] += row["end_s"] - row["start_s"]
    trained = (notes or {}).get("kinds")
    return {
        "kinds": [(kind, number, seconds[kind]) for kind, number in counts.most_common()],
        "trained_kinds": kind_notes.rows(trained) if trained else [],
        "kinds_intro": kind_notes.intro(trained) if trained else "",
        "confusion": kind_notes.confusion(trained) if trained else None,
    }


def _expected(results: Results, cross_validation: dict[str, Any] | None) -> dict[str, Any]:
    """Returns what to expect of budgets in the ranked footage; rankings of older versions have nothing."""
    footage = results.ranking.get("footage")
    if not footage or not footage["budgets"]:
        return {"expected": None}
    if footage["prevalence_from"] != "assumed":  # verdicts may have come since
        audited = audited_prevalence(results.output, results.ranking)
        if audited is not None:
            footage = expectation.with_prevalence(footage, Prevalence(audited, "audit"))
    return {
        "expected": footage,
        "expected_sentence": expectation.sentence(footage),
        "chosen_clips": expectation.warning(footage, (cross_validation or {}).get("base_rate")),
    }


def _with_pictures(results: Results, incidents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    pictures = Pictures(results) if incidents else None
    found = [pictures.get(row["peak_origin"]) if pictures else None for row in incidents]
    for width in _WIDTHS:
        small = [smaller(content, width) if content else None for content in found]
        if sum(len(content) for content in small if content) <= _MOST_PICTURE_BYTES:
            break
    encoded = [base64.b64encode(content).decode() if content else None for content in small]
    return [{**row, "picture": picture} for row, picture in zip(incidents, encoded, strict=True)]


def _timelines(
    results: Results, ranked: list[str], ledger: list[dict[str, Any]], incidents: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Returns the timelines of ranked videos, those with the highest-ranked incidents first."""
    # Incidents are sorted by rank, and a dict keeps the first position of each video.
    shown = list(dict.fromkeys([row["video"] for row in incidents] + ranked))[:_MOST_TIMELINES]
    rows = results.read("predictions", ["video", "timestamp_s", "prob2"], videos=shown)
    durations = {row["video"]: row["duration_s"] or 0.0 for row in ledger}
    labels = results.known_labels()
    found = []
    for video in shown:
        frames = rows.filter(pc.field("video") == video).sort_by("timestamp_s")
        of_video = [row for row in incidents if row["video"] == video]
        chart = charts.timeline(
            frames["timestamp_s"].to_numpy(),
            np.asarray(frames["prob2"].to_numpy()),
            duration_s=durations.get(video, 0.0),
            period_s=results.ranking["period_s"],
            threshold=results.ranking["threshold"],
            incidents=[(row["start_s"], row["end_s"]) for row in of_video],
            labels=labels.get(video, []),
        )
        suspicious_s = sum(row["end_s"] - row["start_s"] for row in of_video)
        found.append(
            {"video": video, "chart": chart, "incidents": len(of_video), "suspicious_s": suspicious_s}
        )
    return found


def _review(results: Results, incidents: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Returns a summary of the verdicts; None without any."""
    log = VerdictLog(results.output)
    verdicts = log.verdicts()
    if not verdicts and not log.file_summary:
        return None
    segments = segments_by_video(verdicts)
    states: dict[int, str] = {}
    for video, of_video in segments.items():
        rows = [row for row in incidents if row["video"] == video]
        starts_s, ends_s = (np.array([row[name] for row in rows], float) for name in ("start_s", "end_s"))
        for row, state in zip(rows, moment_states(starts_s, ends_s, of_video), strict=True):
            if state:
                states[row["rank"]] = STATES[state]
    return {
        "verdicts": len(verdicts),
        "note": log.file_summary,
        "reviewers": sorted({verdict.reviewer for verdict in verdicts}),
        "states": states,
        "counts": Counter(states.values()),
        "missed": _missed(results.output),
    }


def _missed(output: str) -> str:
    try:
        from framewatch.feedback.desk import missed_in
    except ImportError as error:
        return f"the estimate needs the package {error.name}: pip install 'framewatch[review]'"
    return missed_in(output).sentence
