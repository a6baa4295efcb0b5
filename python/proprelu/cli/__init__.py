"""The command line: ``proprelu demo``, ``train``, ``inspect``, ``convert``, ``doctor``."""

from proprelu.cli.app import app
from proprelu.cli.main import main

__all__ = ["app", "main"]
