"""From a trained network to a faster one, in one call."""

from proprelu.shrink.measured import Measured
from proprelu.shrink.result import Shrunk
from proprelu.shrink.shrink import shrink

__all__ = ["Measured", "Shrunk", "shrink"]
