"""One self-contained page of what a run found."""

from framewatch.report.page import write_report

__all__ = ["write_report"]
