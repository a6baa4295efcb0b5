"""Trains a network at several ratios with several seeds, and says which to take."""

from proprelu.sweep.results import SweepResults
from proprelu.sweep.summary import Summary
from proprelu.sweep.sweep import sweep
from proprelu.sweep.verdict import Verdict

__all__ = ["Summary", "SweepResults", "Verdict", "sweep"]
