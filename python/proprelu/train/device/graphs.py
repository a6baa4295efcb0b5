"""torch's CUDA graphs, as the core uses them."""

from __future__ import annotations

import contextlib
import gc
import warnings

import torch


class Graphs:
    """Captures what is launched on the current stream between `begin` and `end`."""

    def __init__(self) -> None:
        self._graph: torch.cuda.CUDAGraph | None = None

    def begin(self) -> None:
        """From here on launches are kept and not run."""
        torch.cuda.synchronize()
        # What is freed by a garbage collection later would have to wait for the capture's end.
        gc.collect()
        torch.cuda.empty_cache()
        self._graph = torch.cuda.CUDAGraph()
        self._graph.capture_begin(capture_error_mode="thread_local")

    def end(self) -> torch.cuda.CUDAGraph:
        """What was kept; its `replay()` has it run, with new random numbers each time."""
        graph, self._graph = self._graph, None
        assert graph is not None, "end without begin"
        graph.capture_end()
        return graph

    def abandon(self) -> None:
        """Give up the capture."""
        graph, self._graph = self._graph, None
        if graph is not None:
            # The stream may have left the capture by itself.
            with contextlib.suppress(RuntimeError):
                graph.capture_end()

    def explain(self, reason: str) -> None:
        """Say why there is none."""
        warnings.warn(
            f"the step cannot be captured as one CUDA graph, so it is launched kernel by kernel, "
            f"slower: {reason}",
            stacklevel=2,
        )
