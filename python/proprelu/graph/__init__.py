"""Reading and rewriting a model's torch.fx graph: no policy."""

from proprelu.graph.dropped import dropped
from proprelu.graph.rewrite import rewrite
from proprelu.graph.rewritten import Rewritten
from proprelu.graph.sites import Site, Sites, find_sites
from proprelu.graph.trace import Traced, trace

__all__ = ["Rewritten", "Site", "Sites", "Traced", "dropped", "find_sites", "rewrite", "trace"]
