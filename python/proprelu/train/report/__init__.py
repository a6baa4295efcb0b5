"""What a training reports: history, profile, plots, progress bar, loggers."""

from proprelu.train.report.history import History
from proprelu.train.report.loggers import Logger, TensorBoard
from proprelu.train.report.plot import plot_histories
from proprelu.train.report.profile import Profile
from proprelu.train.report.progress import ProgressBar

__all__ = ["History", "Logger", "Profile", "ProgressBar", "TensorBoard", "plot_histories"]
