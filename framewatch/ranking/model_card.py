"""The model card: what a classifier learned from, and how well it does, as Markdown."""

from typing import Any

from framewatch.io.redact import redact
from framewatch.ranking import budgets

LIMITS = """\
- It ranks frames for a person to look at; it does not decide. A high probability is a reason to look.
- It knows scenes, cameras and behaviour like those of its labels. Elsewhere, label footage and train again.
- It looks at single frames: what only movement tells, it does not see.
- Metrics come from videos that the classifier had not seen. Few videos make them uncertain."""


def quality(metrics: dict[str, Any]) -> str:
    """The most telling numbers, in one line."""
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
    """The card as Markdown.

    Args:
        notes: `features`, `labels`, `settings`, `cross_validation`, and `test` where test labels were given.
    """
    notes = redact(notes)  # labels may be at a signed URL
    features, labels = notes["features"], notes["labels"]
    sections = [
        "# Model card: suspicious frames",
        "A logistic regression on deep features of single CCTV frames, made by framewatch. `prob2` is the "
        "probability that a frame is suspicious.",
        "## Data",
        f"- Labels: {_sources(labels)}, {labels['labelled_frames']} labelled frames, "
        f"{labels['suspicious_frames']} suspicious; {labels['unlabelled_frames']} frames without a label and "
        f"{labels['unmatched']} labels without a frame were left out.",
        "## Features and weights",
        "\n".join(f"- {key}: `{value}`" for key, value in sorted(features.items())),
        "## Settings",
        "\n".join(f"- {key}: `{value}`" for key, value in notes["settings"].items()),
        "## Metrics",
        _metrics(
            "Left-out videos (each video scored by a classifier that had not seen it)",
            notes["cross_validation"],
        ),
        _metrics("Test labels", notes.get("test")),
        "## Limits",
        LIMITS,
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _sources(labels: dict[str, Any]) -> str:
    num_verdicts = labels.get("verdicts", 0)
    verdicts = f"{num_verdicts} ranges of seconds by reviewers' verdicts" if num_verdicts else ""
    return " and ".join(filter(None, (labels["file"] and f"`{labels['file']}`", verdicts)))


def _metrics(title: str, metrics: dict[str, Any] | None) -> str:
    if metrics is None:
        return ""
    rows = [("all", metrics)] + [
        (video.rsplit("/", 1)[-1], of) for video, of in sorted(metrics["videos"].items())
    ]
    lines = [f"### {title}", "", f"{quality(metrics)}.", ""]
    lines += [f"- {budgets.sentence(spent)}" for spent in budgets.up_to_all(metrics.get("budgets", []))] + [
        ""
    ]
    lines += ["| video | frames | suspicious | AP | random order |", "| --- | ---: | ---: | ---: | ---: |"]
    for name, of in rows:
        precision = "" if of["average_precision"] is None else f"{of['average_precision']:.3f}"
        cell = name.replace("|", "\\|").replace("\n", " ")
        lines.append(
            f"| {cell} | {of['frames']} | {of['suspicious']} | {precision} | {of['base_rate']:.3f} |"
        )
    return "\n".join(lines)
