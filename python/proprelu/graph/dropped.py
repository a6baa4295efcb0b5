"""What stands in a graph where an activation was dropped."""

from typing import Any

from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary


def dropped(input: Tensor, activation: str, **settings: Any) -> Tensor:
    """Return ``input`` itself: the place of an activation that a plan left out.

    A bare edge would forget that an activation stood here; with this mark a converted model can be
    converted again, to any ratio, and back to 1:1. It costs a function call in eager PyTorch and
    nothing in a compiled program.

    Args:
        input: any tensor.
        activation: what stood here, ``"relu"`` or another function's name, with a trailing
            underscore for the in-place form.
        settings: what that function was told beside its input.

    Returns:
        ``input``, the same object.

    Example:
        >>> import torch
        >>> x = torch.randn(2, 3)
        >>> dropped(x, "relu") is x
        True
    """
    # tracers record the call through the same protocol as torch's own functions
    if has_torch_function_unary(input):
        result: Tensor = handle_torch_function(dropped, (input,), input, activation, **settings)
        return result
    return input
