"""Tracing and analyzing a model, and intercepting its activations, independent of any policy."""

from proprelu.graph.activations import RECTIFIERS
from proprelu.graph.copying import copied
from proprelu.graph.decide import decide
from proprelu.graph.decisions import Blend, Decision, Drop, Keep, Switch, Watch
from proprelu.graph.dropped import dropped
from proprelu.graph.functions import FUNCTIONS
from proprelu.graph.install import install, plain, remove
from proprelu.graph.intercept import held, plain_class
from proprelu.graph.places import places, replace_decisions
from proprelu.graph.settle import settle, slope_of, slopes_in
from proprelu.graph.sites import Site, Sites, find_sites
from proprelu.graph.slope import SLOPE, Slope, Slopes
from proprelu.graph.sloped import sloped
from proprelu.graph.trace import Traced, trace
from proprelu.graph.wrappers import check_changeable, check_has_values, check_model

__all__ = [
    "FUNCTIONS",
    "RECTIFIERS",
    "SLOPE",
    "Blend",
    "Decision",
    "Drop",
    "Keep",
    "Site",
    "Sites",
    "Slope",
    "Slopes",
    "Switch",
    "Traced",
    "Watch",
    "check_changeable",
    "check_has_values",
    "check_model",
    "copied",
    "decide",
    "dropped",
    "find_sites",
    "held",
    "install",
    "places",
    "plain",
    "plain_class",
    "remove",
    "replace_decisions",
    "settle",
    "slope_of",
    "sloped",
    "slopes_in",
    "trace",
]
