"""Writes the results of a run as one self-contained HTML page."""

from framewatch.report.page import write_report

__all__ = ["write_report"]
