"""torch's CUDA graphs, with the interface that the core calls."""

from __future__ import annotations

import contextlib
import gc
import warnings

import torch


class Graphs:
    """Captures the kernels that are launched on the current stream between begin and end."""

    def __init__(self) -> None:
        self._graph: torch.cuda.CUDAGraph | None = None

    def begin(self) -> None:
        """Begin a capture: launches are recorded instead of run."""
        torch.cuda.synchronize()
        # Memory that is freed during a capture becomes available only after its end.
        gc.collect()
        torch.cuda.empty_cache()
        self._graph = torch.cuda.CUDAGraph()
        self._graph.capture_begin(capture_error_mode="thread_local")

    def end(self) -> torch.cuda.CUDAGraph:
        """End the capture. ``replay()`` runs the graph, with new random numbers each time."""
        graph, self._graph = self._graph, None
        assert graph is not None, "end without begin"
        graph.capture_end()
        return graph

    def abandon(self) -> None:
        """Abandon the capture."""
        graph, self._graph = self._graph, None
        if graph is not None:
            # An error may have ended the capture already.
            with contextlib.suppress(RuntimeError):
                graph.capture_end()

    def explain(self, reason: str) -> None:
        """Warn that there is no graph, with the reason."""
        warnings.warn(
            f"the step cannot be captured as one CUDA graph, so it is launched kernel by kernel, "
            f"which is slower: {reason}",
            stacklevel=2,
        )
