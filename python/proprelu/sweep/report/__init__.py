"""The results of a sweep as one HTML page."""

from proprelu.sweep.report.page import write_report

__all__ = ["write_report"]
