"""The operations that a network runs, whether or not it can be traced."""

from __future__ import annotations

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

_CONVOLUTIONS = {"convolution", "_convolution"}
_ACTIVATIONS = {
    "relu", "hardtanh", "leaky_relu", "_prelu_kernel", "elu", "celu", "selu", "gelu", "silu",
    "mish", "hardswish",
}  # fmt: skip


class Operations(TorchDispatchMode):
    """Records the names of torch's operations that run inside the context."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    @property
    def have_sites(self) -> bool:
        """Whether there may be an activation after a convolution."""
        return bool(self.names & _CONVOLUTIONS) and bool(self.names & _ACTIVATIONS)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.names.add(func._schema.name.removeprefix("aten::").rstrip("_"))
        return func(*args, **(kwargs or {}))
