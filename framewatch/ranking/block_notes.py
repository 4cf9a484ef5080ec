"""Describes the blocks of features that a classifier uses, from its notes. Does not import Spark."""

from collections.abc import Mapping
from typing import Any

# The blocks of a classifier that looks at single frames.
STILLS = ("still",)


def uses_bursts(notes: Mapping[str, Any] | None) -> bool:
    """Returns whether a classifier uses more than stills, from its notes on blocks; None without any."""
    return notes is not None and tuple(notes["weights"]) != STILLS


def sentence(notes: Mapping[str, Any]) -> str:
    """Describes the blocks that a classifier uses, from its notes on blocks."""
    compared = {tuple(row["blocks"]): row for row in notes["compared"]}
    used = tuple(notes["weights"])
    if not compared:
        return f"features: {', '.join(used)}"
    best = compared.get(used) or next(iter(compared.values()))
    if used == STILLS:
        return "features: still; no choice of blocks ranks left-out groups better beyond one standard error"
    return (
        f"features: {', '.join(used)}; on left-out groups, their ROC AUC is {best['gain']:+.2f} "
        f"(standard error {best['gain_error']:.2f}) beside that of stills"
    )


def card_section(notes: Mapping[str, Any]) -> str:
    """Renders the blocks, their weights, and how their choices compare, as Markdown."""
    lines = [
        "## Blocks of features",
        "",
        f"Bursts of {notes['burst']} pictures, {notes['burst_step_s']} s apart. The log-odds of each block "
        "are added with these weights, which are fitted out of fold: "
        + ", ".join(f"{name} {weight:.2f}" for name, weight in notes["weights"].items())
        + ".",
    ]
    if notes["compared"]:
        lines += [
            "",
            "Choices of blocks on left-out groups, with the gain over stills alone. The one with the highest "
            "ROC AUC is used if its gain exceeds its standard error, else stills.",
            "",
            "| blocks | ROC AUC (95%) | gain | standard error |",
            "| --- | --- | ---: | ---: |",
        ]
        for row in notes["compared"]:
            low, high = row["roc_auc_interval"]
            lines.append(
                f"| {', '.join(row['blocks'])} | {row['roc_auc']:.3f} ({low:.3f} to {high:.3f}) | "
                f"{row['gain']:+.3f} | {row['gain_error']:.3f} |"
            )
    return "\n".join(lines)


def context_sentence(notes: Mapping[str, Any]) -> str:
    """Describes whether a classifier uses context, from its notes on context."""
    if not notes["compared"]:
        few = "suspicious frames, or others, are in fewer than three groups of videos"
        return f"context: not used, as {notes.get('reason') or few}"
    gain = "ROC AUC on left-out groups changes by {gain:+.3f} (standard error {gain_error:.3f})"
    return f"context: {'used' if notes['weights'] else 'not used'}; {gain.format(**notes['compared'][1])}"


def context_section(notes: Mapping[str, Any]) -> str:
    """Renders the context of a classifier, and what it changes, as Markdown."""
    lines = ["## Context", "", f"{context_sentence(notes)[0].upper()}{context_sentence(notes)[1:]}."]
    if notes["weights"]:
        weights = ", ".join(f"{name} {weight:.2f}" for name, weight in notes["weights"].items())
        lines += ["", f"Weights of the log-odds around a frame, fitted out of fold: {weights}."]
    return "\n".join(lines)
