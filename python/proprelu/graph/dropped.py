"""The mark that replaces a dropped activation in a graph."""

from typing import Any

from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary


def dropped(input: Tensor, activation: str, **settings: Any) -> Tensor:
    """Return ``input`` unchanged, and mark the position of an activation that a plan dropped.

    The call records which activation it replaces. With this record a converted model can be
    converted again to any ratio, including back to 1:1. The call costs one function call in eager
    PyTorch and nothing in a compiled program.

    Args:
        input: any tensor.
        activation: the replaced activation, ``"relu"`` or another function's name, with a trailing
            underscore for the in-place form.
        settings: the arguments of the replaced activation other than its input.

    Returns:
        ``input``, the same object.

    Example:
        >>> import torch
        >>> x = torch.randn(2, 3)
        >>> dropped(x, "relu") is x
        True
    """
    # Tracers record the call through the same protocol as torch's own functions.
    if has_torch_function_unary(input):
        result: Tensor = handle_torch_function(dropped, (input,), input, activation, **settings)
        return result
    return input
