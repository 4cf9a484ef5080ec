"""Describes the kinds of events that a classifier names, from its notes. Does not import Spark."""

from collections.abc import Mapping, Sequence
from typing import Any


def sentence(notes: Mapping[str, Any]) -> str:
    """Describes the kinds in one line, with the reason for each that is not named."""
    parts = []
    for kind in notes["kinds"]:
        if kind["reason"]:
            continue
        auc = kind.get("roc_auc")
        measured = "" if auc is None else f", ROC AUC {auc:.3f}"
        parts.append(f"{kind['kind']} ({kind['frames']} frames{measured})")
    text = f"kinds: {', '.join(parts) or 'none can be named'}"
    return "; ".join([text, *reasons(notes)])


def reasons(notes: Mapping[str, Any]) -> list[str]:
    """Returns why kinds are not named, a line for each."""
    return [kind["reason"] for kind in notes["kinds"] if kind["reason"]]


def intro(notes: Mapping[str, Any]) -> str:
    """Explains what the table of kinds shows."""
    text = "Each kind is ranked against the frames of other kinds and those that are not suspicious, on "
    text += "left-out groups of videos."
    if notes["without_kind"]:
        text += f" {notes['without_kind']} suspicious frames without a kind are left out."
    if any(kind["frames"] > notes["fitted_per_kind"] for kind in notes["kinds"]):
        text += f" At most {notes['fitted_per_kind']} frames of a kind, drawn at random, are used."
    return text


def rows(notes: Mapping[str, Any]) -> list[dict[str, str]]:
    """Returns the cells of the table of kinds; a kind that is not measured has its reason."""
    return [
        {
            "kind": kind["kind"],
            "frames": str(kind["frames"]),
            "groups": str(kind["groups"]),
            "roc_auc": _metric(kind, "roc_auc"),
            "average_precision": _metric(kind, "average_precision"),
            "base_rate": _metric(kind, "base_rate"),
            "not_measured": kind.get("not_measured") or kind["reason"] or "",
        }
        for kind in notes["kinds"]
    ]


def confusion(notes: Mapping[str, Any]) -> tuple[Sequence[str], list[tuple[str, Sequence[int]]]] | None:
    """Returns the kinds that are named, and for each kind as labelled how many frames get each of them.

    None if nothing was measured or only one kind is named.
    """
    if not notes["confusion"] or len(notes["named"]) < 2:
        return None
    return notes["named"], [(row["kind"], row["named"]) for row in notes["confusion"]]


def card_section(notes: Mapping[str, Any]) -> str:
    """Renders the kinds as Markdown."""
    lines = ["## Kinds of events", "", intro(notes), ""]
    lines += [
        "| kind | frames | groups | ROC AUC (95%) | AP (95%) | random order | not measured |",
        "| --- | ---: | ---: | --- | --- | ---: | --- |",
    ]
    lines += [f"| {' | '.join(row.values())} |" for row in rows(notes)]
    table = confusion(notes)
    if table is not None:
        named, counts = table
        lines += ["", "Suspicious frames of left-out groups: kinds as labelled, and as named.", ""]
        lines += [f"| labelled | {' | '.join(named)} |", f"| --- |{' ---: |' * len(named)}"]
        lines += [f"| {kind} | {' | '.join(map(str, numbers))} |" for kind, numbers in counts]
    lines += ["", *(f"- {reason[:1].upper()}{reason[1:]}." for reason in reasons(notes))]
    return "\n".join(lines).rstrip()


def _metric(kind: Mapping[str, Any], name: str) -> str:
    value, interval = kind.get(name), kind.get(f"{name}_interval")
    if value is None:
        return ""
    return f"{value:.3f}" + (f" ({interval[0]:.2f} to {interval[1]:.2f})" if interval else "")
