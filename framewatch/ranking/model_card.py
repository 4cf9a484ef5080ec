"""Renders the model card, the training data and metrics of a classifier, as Markdown."""

from typing import Any

from framewatch.io.redact import redact
from framewatch.ranking import budgets

LIMITS = """\
- It ranks frames for human review; it does not decide. A high probability is a reason to look.
- It works for scenes, cameras and behavior like those in its labels. For others, label footage and retrain.
- It sees single frames, so it misses what only movement shows.
- Metrics come from videos that the classifier was not trained on. With few videos they are uncertain."""


def quality(metrics: dict[str, Any]) -> str:
    """Returns the main metrics in one line."""
    if metrics["average_precision"] is None:
        return f"{metrics['frames']} frames, none suspicious"
    parts = [f"AP {metrics['average_precision']:.3f}"]
    if metrics["roc_auc"] is not None:
        parts.append(f"ROC AUC {metrics['roc_auc']:.3f}")
    parts += [
        f"precision@{k} {value:.2f}" for k, value in metrics["precision_at"].items() if value is not None
    ]
    return f"{', '.join(parts)} (a random order gives AP and precision of about {metrics['base_rate']:.2f})"


def render(notes: dict[str, Any]) -> str:
    """Renders the card as Markdown.

    Args:
        notes: `features`, `labels`, `settings`, `cross_validation`, and `test` if there are test labels.
    """
    notes = redact(notes)  # the labels may come from a signed URL
    features, labels = notes["features"], notes["labels"]
    sections = [
        "# Model card: suspicious frames",
        "A logistic regression on deep features of single CCTV frames, made by framewatch. `prob2` is the "
        "probability that a frame is suspicious.",
        "## Data",
        f"- Labels: {_sources(labels)}, {labels['labelled_frames']} labelled frames, "
        f"{labels['suspicious_frames']} suspicious; {labels['unlabelled_frames']} frames without a label and "
        f"{labels['unmatched']} labels without a frame were ignored.",
        "## Features and weights",
        "\n".join(f"- {key}: `{value}`" for key, value in sorted(features.items())),
        "## Settings",
        "\n".join(f"- {key}: `{value}`" for key, value in notes["settings"].items()),
        "## Metrics",
        _metrics(
            "Left-out videos (each video scored by a classifier that was trained without it)",
            notes["cross_validation"],
        ),
        _metrics("Test labels", notes.get("test")),
        "## Limits",
        LIMITS,
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _sources(labels: dict[str, Any]) -> str:
    num_verdicts = labels.get("verdicts", 0)
    verdicts = f"{num_verdicts} time ranges from reviewers' verdicts" if num_verdicts else ""
    return " and ".join(filter(None, (labels["file"] and f"`{labels['file']}`", verdicts)))


def _metrics(title: str, metrics: dict[str, Any] | None) -> str:
    if metrics is None:
        return ""
    by_video = sorted(metrics["videos"].items())
    rows = [("all", metrics)] + [(video.rsplit("/", 1)[-1], summary) for video, summary in by_video]
    lines = [f"### {title}", "", f"{quality(metrics)}.", ""]
    lines += [f"- {budgets.sentence(spent)}" for spent in budgets.up_to_all(metrics.get("budgets", []))] + [
        ""
    ]
    lines += ["| video | frames | suspicious | AP | random order |", "| --- | ---: | ---: | ---: | ---: |"]
    for name, row in rows:
        precision = "" if row["average_precision"] is None else f"{row['average_precision']:.3f}"
        cell = name.replace("|", "\\|").replace("\n", " ")
        lines.append(
            f"| {cell} | {row['frames']} | {row['suspicious']} | {precision} | {row['base_rate']:.3f} |"
        )
    return "\n".join(lines)
