"""What stands in a graph where a ReLU was dropped."""

from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary


def dropped(input: Tensor, activation: str) -> Tensor:
    """Return ``input`` itself: the place of an activation that a plan left out.

    A bare edge would forget that an activation stood here; with this mark a converted model can be
    converted again, to any ratio, and back to 1:1. It costs a function call in eager PyTorch and
    nothing in a compiled program.

    Args:
        input: any tensor.
        activation: what stood here, ``"relu"`` or ``"relu6"``, with a trailing underscore for the
            in-place form.

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
        result: Tensor = handle_torch_function(dropped, (input,), input, activation)
        return result
    return input
