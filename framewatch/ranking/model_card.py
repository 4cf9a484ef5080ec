"""Renders the model card, the training data and metrics of a classifier, as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from framewatch.io.redact import redact
from framewatch.ranking import block_notes, budgets, kind_notes
from framewatch.ranking.weak_labels import extent_sentence

_LIMITS = (
    "It ranks frames for human review; it does not decide. A high probability is a reason to look.",
    "It works for scenes, cameras and behavior like those in its labels. For others, label footage and "
    "retrain.",
    "Metrics come from groups of videos that the classifier was not trained on. With few groups they are "
    "uncertain.",
)
_OF_STILLS = "It sees single frames, so it misses what only movement shows."

# Labelled clips are chosen: a larger share of their frames is suspicious, and they are shorter.
ON_LABELLED = (
    "On the labelled footage, not on new footage (`framewatch rank` reports what to expect in the footage "
    "that it ranks)"
)

# With fewer groups, a bootstrap over them underestimates the uncertainty.
_FEW_GROUPS = 10


def quality(metrics: dict[str, Any], *, all_intervals: bool = False) -> str:
    """Returns the main metrics in one line, with the intervals of AP and ROC AUC, or all intervals."""
    by_video = metrics.get("unit") == "videos"
    number = f"{metrics['num_videos']} videos" if by_video else f"{metrics['frames']} frames"
    if metrics["average_precision"] is None:
        return f"{number}, none suspicious"
    ap, auc, tops = (
        metrics.get(f"{name}_interval") for name in ("average_precision", "roc_auc", "precision_at")
    )
    parts = [f"{number}, {metrics['suspicious']} suspicious"] if by_video else []
    parts.append(f"AP {metrics['average_precision']:.3f}{_range(ap)}")
    if metrics["roc_auc"] is not None:
        parts.append(f"ROC AUC {metrics['roc_auc']:.3f}{_range(auc)}")
    parts += [
        f"precision@{k} {value:.2f}{_range((tops or {}).get(k) if all_intervals else None)}"
        for k, value in metrics["precision_at"].items()
        if value is not None
    ]
    return f"{', '.join(parts)} (a random order gives AP and precision of about {metrics['base_rate']:.2f})"


def _range(interval: Sequence[float] | None) -> str:
    return f" ({interval[0]:.2f} to {interval[1]:.2f})" if interval else ""


def basis(metrics: dict[str, Any]) -> str:
    """Describes the groups that the metrics stand on, with a warning if they are few.

    Empty for metrics of older versions, which counted no groups.
    """
    groups, suspicious = metrics.get("groups"), metrics.get("suspicious_groups")
    if groups is None or suspicious is None:
        return ""
    unit = metrics.get("unit", "frames")
    text = f"{_counted(groups)} of videos, {suspicious} with suspicious {unit}"
    if suspicious < 2:
        return f"Warning: {text}. An interval needs suspicious {unit} in 2 groups"
    if groups < _FEW_GROUPS:
        return f"Warning: {text}. With fewer than {_FEW_GROUPS}, the 95% intervals in brackets are too narrow"
    return f"{text}. Ranges in brackets are 95% intervals, from resampling these groups"


def not_measured(labels: Mapping[str, Any]) -> str:
    """Explains why no group could be left out.

    Args:
        labels: the labels' part of the notes, with `groups` and `suspicious_groups`.
    """
    groups, suspicious = labels["groups"], labels["suspicious_groups"]
    if groups < 2:
        return (
            "not measured, as all labelled videos are in one group: label videos of other recordings, or "
            "correct labels.groups"
        )
    if suspicious < 2:
        return (
            f"not measured, as {suspicious} of {groups} groups of videos has suspicious frames: label such "
            "frames in a second group"
        )
    return (
        "not measured, as the frames that are not suspicious are in too few groups: label such frames in "
        "other groups"
    )


def _counted(groups: int) -> str:
    return f"{groups} group{'' if groups == 1 else 's'}"


def probability_quality(metrics: Mapping[str, Any]) -> str:
    """Describes how far probabilities are from shares of suspicious frames; empty in older versions."""
    if metrics.get("brier_score") is None:
        return ""
    error = metrics["expected_calibration_error"]
    return f"Probabilities: Brier score {metrics['brier_score']:.3f}, expected calibration error {error:.3f}"


def threshold_quality(metrics: Mapping[str, Any]) -> str:
    """Describes what a threshold reaches on frames that had no part in choosing it; empty if not measured."""
    reached = metrics.get("threshold_recall")
    if not reached:
        return ""
    text = f"A threshold that is chosen on the other folds for a recall of {reached['wanted']:g} reaches "
    text += f"a recall of {budgets.percent(reached, 'recall')}"
    if reached["precision"] is None:
        return text
    return text + f", at a precision of {budgets.percent(reached, 'precision')}"


def calibration_sentence(calibration: Mapping[str, Any] | None) -> str:
    """Describes the calibration of a classifier's notes; empty for those of older versions."""
    if calibration is None:
        return ""
    if calibration["kind"] == "none":
        start = "Warning: not" if calibration.get("warning") else "Not"
        return f"{start} calibrated, {calibration['reason']}"
    if calibration["kind"] == "platt":
        method = f"Platt scaling (slope {calibration['slope']:.3g}, intercept {calibration['intercept']:.3g})"
    else:
        method = f"isotonic regression ({len(calibration['log_odds'])} steps)"
    return (
        f"Calibrated by {method} on out-of-fold predictions of {calibration['frames']} frames, "
        f"{calibration['share']:.0%} of them suspicious. Where a smaller share is suspicious, probabilities "
        "are too high"
    )


def render(notes: dict[str, Any]) -> str:
    """Renders the card as Markdown.

    Args:
        notes: `features`, `labels`, `settings`, `cross_validation`, `calibration`, `test` if there are test
            labels, and `kinds` if labels name kinds of events. Older versions have no `calibration`.
    """
    notes = redact(notes)  # the labels may come from a signed URL
    features, labels = notes["features"], notes["labels"]
    sections = [
        "# Model card: suspicious frames",
        "A logistic regression on deep features of CCTV frames, made by framewatch. `prob2` is the "
        "probability that a frame is suspicious.",
        "## Data",
        f"- Labels: {_sources(labels)}, {labelled(labels)}; {labels['unlabelled_frames']} frames without a "
        f"label and {labels['unmatched']} labels without a frame were ignored.",
        f"- By {labels['format']}: {extent_sentence(labels)}." if labels.get("format") else "",
        "## Features and weights",
        "\n".join(f"- {key}: `{value}`" for key, value in sorted(features.items())),
        "## Settings",
        "\n".join(f"- {key}: `{value}`" for key, value in notes["settings"].items()),
        block_notes.card_section(notes["blocks"]) if notes.get("blocks") else "",
        block_notes.context_section(notes["context"]) if notes.get("context") else "",
        "## Calibration" if notes.get("calibration") else "",
        _sentence(calibration_sentence(notes.get("calibration"))),
        "## Metrics",
        _metrics(
            "Left-out groups of videos (each scored by a classifier that was trained without it)",
            notes["cross_validation"],
        ),
        _few_groups(notes),
        _metrics("Test labels", notes.get("test")),
        kind_notes.card_section(notes["kinds"]) if notes.get("kinds") else "",
        "## Limits",
        "\n".join(f"- {limit}" for limit in limits(notes)),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def limits(notes: Mapping[str, Any] | None) -> list[str]:
    """Returns what a classifier cannot do, from its notes."""
    sees_bursts = notes is not None and block_notes.uses_bursts(notes.get("blocks"))
    return [*_LIMITS] if sees_bursts else [*_LIMITS, _OF_STILLS]


def labelled(labels: Mapping[str, Any]) -> str:
    """Describes what is labelled, from the labels' part of the notes."""
    if labels.get("format") == "video":
        videos = f"{labels['labelled_videos']} labelled videos, {labels['suspicious_videos']} suspicious"
        return f"{videos}, with {labels['labelled_frames']} frames"
    return f"{labels['labelled_frames']} labelled frames, {labels['suspicious_frames']} suspicious"


def _sentence(text: str) -> str:
    return f"{text}." if text else ""


def _sources(labels: dict[str, Any]) -> str:
    num_verdicts = labels.get("verdicts", 0)
    verdicts = f"{num_verdicts} time ranges from reviewers' verdicts" if num_verdicts else ""
    return " and ".join(filter(None, (labels["file"] and f"`{labels['file']}`", verdicts)))


def _few_groups(notes: dict[str, Any]) -> str:
    """Returns a warning if nothing was measured because of too few groups."""
    labels = notes["labels"]
    few = min(labels.get("groups", 2), labels.get("suspicious_groups", 2)) < 2
    if notes["cross_validation"] is not None or not few:
        return ""
    return f"Warning: {not_measured(labels)}."


def _metrics(title: str, metrics: dict[str, Any] | None) -> str:
    if metrics is None:
        return ""
    if metrics.get("unit") == "videos":
        return "\n".join([*_about_metrics(title, metrics), *_video_scores(metrics)])
    by_video = sorted(metrics["videos"].items())
    rows = [("all", metrics)] + [(_cell(video), summary) for video, summary in by_video]
    lines = _about_metrics(title, metrics)
    spent = budgets.up_to_all(metrics.get("budgets", []))
    lines += [f"{ON_LABELLED}:", ""] if spent else []
    lines += [f"- {budgets.sentence(budget, intervals=True)}" for budget in spent] + [""]
    lines += ["| video | frames | suspicious | AP | random order |", "| --- | ---: | ---: | ---: | ---: |"]
    for name, row in rows:
        precision = "" if row["average_precision"] is None else f"{row['average_precision']:.3f}"
        lines.append(
            f"| {name} | {row['frames']} | {row['suspicious']} | {precision} | {row['base_rate']:.3f} |"
        )
    return "\n".join(lines)


def _about_metrics(title: str, metrics: dict[str, Any]) -> list[str]:
    lines = [f"### {title}", "", f"{quality(metrics, all_intervals=True)}.", ""]
    for text in (basis(metrics), probability_quality(metrics), threshold_quality(metrics)):
        lines += [f"{text}.", ""] if text else []
    return lines


def _video_scores(metrics: Mapping[str, Any]) -> list[str]:
    """Returns the lines of a table of videos, the highest score first."""
    lines = [f"No budgets, as {metrics['not_by_second']}.", ""]
    lines += ["| video | suspicious | score |", "| --- | ---: | ---: |"]
    ranked = sorted(metrics["videos"].items(), key=lambda item: (-item[1]["score"], item[0]))
    return lines + [f"| {_cell(video)} | {row['label']} | {row['score']:.3f} |" for video, row in ranked]


def _cell(video: str) -> str:
    return video.rsplit("/", 1)[-1].replace("|", "\\|").replace("\n", " ")
