"""Tracing, analyzing and rewriting a model's torch.fx graph, independent of any policy."""

from proprelu.graph.activations import FUNCTIONS, RECTIFIERS
from proprelu.graph.dropped import dropped
from proprelu.graph.rewrite import rewrite, settle
from proprelu.graph.rewritten import Rewritten
from proprelu.graph.sites import Site, Sites, find_sites
from proprelu.graph.sloped import SLOPE, Slope, Slopes, sloped
from proprelu.graph.trace import Traced, trace

__all__ = [
    "FUNCTIONS",
    "RECTIFIERS",
    "SLOPE",
    "Rewritten",
    "Site",
    "Sites",
    "Slope",
    "Slopes",
    "Traced",
    "dropped",
    "find_sites",
    "rewrite",
    "settle",
    "sloped",
    "trace",
]
