"""What reviewers can expect in the footage that was ranked, from scores and left-out videos."""

from collections.abc import Mapping
from typing import Any

from framewatch.feedback.prevalence import audited_prevalence
from framewatch.pipeline.incident_tables import Probabilities
from framewatch.pipeline.run import Run
from framewatch.ranking import budgets, expectation, left_out
from framewatch.ranking.expectation import Prevalence
from framewatch.tables.saved_model import SavedModel


def budgets_minutes(run: Run) -> list[float]:
    """Returns the budgets to report, ascending: those to evaluate, and the one that the threshold is for."""
    wanted = run.config.ranking.budget_minutes
    return sorted({*run.config.evaluation.budgets_minutes, *([] if wanted is None else [wanted])})


def ranks(run: Run) -> list[int]:
    """Returns the rank of the last frame that each budget pays for; 0 if it pays for none."""
    period_s = run.period_s
    return [budgets.frames_within(minutes, period_s) for minutes in budgets_minutes(run)]


def expected(
    run: Run, saved: SavedModel, counts: Mapping[str, int], probabilities: Probabilities
) -> dict[str, Any]:
    """Returns the result of `expectation.expect` for the ranked footage.

    Args:
        run: the current call.
        saved: the classifier that ranked.
        counts: the counts of `write_incidents`.
        probabilities: those of `ranks`, and their mean.
    """
    suspicious = left_out.suspicious(saved)
    return expectation.expect(
        frames=counts["frames"],
        period_s=run.period_s,
        minutes=budgets_minutes(run),
        thresholds=probabilities.at_ranks,
        recalls=None if suspicious is None else suspicious.recalls,
        prevalence=_prevalence(run, counts, probabilities.mean),
    )


def _prevalence(run: Run, counts: Mapping[str, int], mean_probability: float) -> Prevalence:
    """Returns the configured prevalence, else the audit's estimate, else the mean probability."""
    if run.config.evaluation.prevalence is not None:
        return Prevalence(run.config.evaluation.prevalence, "assumed")
    audited = audited_prevalence(run.config.output, counts)
    return Prevalence(mean_probability, "probabilities") if audited is None else Prevalence(audited, "audit")
