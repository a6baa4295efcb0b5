"""Single layers, forward and backward: ours beside the plain way of writing the same in PyTorch."""
