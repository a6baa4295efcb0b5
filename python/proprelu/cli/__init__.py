"""The command line: ``proprelu demo``, ``train``, ``inspect``, ``convert``, ``doctor``."""

from proprelu.cli.app import app, main

__all__ = ["app", "main"]
