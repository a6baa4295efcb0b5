"""Replaces the global average pooling and the classifier of a network by a covariance head."""

from __future__ import annotations

from torch import nn

from proprelu.graph import check_changeable, copied
from proprelu.nn import CovariancePool2d

# Recognized by the names of their classes, because timm is an optional dependency.
_POOLS = ("AdaptiveAvgPool2d", "SelectAdaptivePool2d", "FastAdaptiveAvgPool", "GlobalAvgPool2d")


def covariance_head(
    model: nn.Module,
    num_classes: int | None = None,
    dim: int | None = 256,
    num_iters: int = 5,
    method: str = "newton_schulz",
    gaussian: bool = False,
    last_stride: int | None = None,
    inplace: bool = False,
) -> nn.Module:
    """Replace a network's global average and classifier by covariance pooling and a new classifier.

    This works for networks of torchvision, timm and others that average with a module and classify
    with one linear layer after it (dropout or flattening may lie between them): ResNets, DenseNets
    of timm, RegNets, EfficientNets. Everything before the average keeps its weights. The channel
    reduction of the pooling and the classifier are new and untrained. Create the optimizer from the
    result.

    Args:
        model: a network; it is not changed, unless ``inplace``.
        num_classes: the outputs of the new classifier; None for those of the old one.
        dim: the channels of which the covariance is computed. See
            ``proprelu.nn.CovariancePool2d`` for this and the next three settings.
        num_iters: the number of Newton-Schulz iterations.
        method: ``"newton_schulz"`` or ``"eigh"``.
        gaussian: embed the means too.
        last_stride: replaces the strides of 2 in ``layer4`` of a ResNet. A value of 1 gives the
            covariance four times as many pixels, as in the paper.
        inplace: change ``model`` itself, and return it.

    Returns:
        The network with the new head, in the mode, on the device and in the dtype of ``model``.

    Raises:
        TypeError: ``model`` is not a module.
        ValueError: the model is wrapped, has no such average or classifier, or no ``layer4``; or
            a setting is out of range.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        ...                     nn.Linear(8, 10))
        >>> covariance_head(net, dim=4)(torch.randn(2, 3, 8, 8)).shape
        torch.Size([2, 10])

    Reference:
        Li et al., arXiv 1712.01034.
    """
    check_changeable(model, "convert")
    result = model if inplace else copied(model)
    pool_path, linear_path = _find_head(result)
    linear = result.get_submodule(linear_path)
    assert isinstance(linear, nn.Linear)
    pool = CovariancePool2d(linear.in_features, dim, num_iters, method, gaussian)
    classes = linear.out_features if num_classes is None else num_classes
    classifier = nn.Linear(pool.out_features, classes, linear.bias is not None)
    if last_stride is not None:
        _set_stride(result, last_stride)
    for path, module in ((pool_path, pool), (linear_path, classifier)):
        parent, _, name = path.rpartition(".")
        module.to(linear.weight.device, linear.weight.dtype).train(model.training)
        setattr(result.get_submodule(parent), name, module)
    return result


def _find_head(model: nn.Module) -> tuple[str, str]:
    """The paths of the last global average and of the linear layer after it."""
    paths = dict(model.named_modules())
    averages = [path for path, module in paths.items() if path and _averages(module)]
    names = list(paths)
    if averages:
        after = names[names.index(averages[-1]) + 1 :]
        linears = [path for path in after if isinstance(paths[path], nn.Linear)]
        if len(linears) == 1:
            return averages[-1], linears[0]
    found = f"{len(averages)} such averages"
    found += f" and {len(linears)} linear layers after the last" if averages else ""
    raise ValueError(
        "covariance_head needs a model with a module that averages all pixels and one linear "
        f"layer after it, got {type(model).__name__} with {found}; "
        "call proprelu.nn.CovariancePool2d and a linear layer in its forward instead"
    )


def _averages(module: nn.Module) -> bool:
    """Whether a module averages all pixels; timm's classes also do other kinds of pooling."""
    size = getattr(module, "output_size", 1)
    average = getattr(module, "pool_type", "avg") in ("avg", "fast", "fastavg")
    return type(module).__name__ in _POOLS and average and size in (1, (1, 1), (1,), [1, 1])


def _set_stride(model: nn.Module, stride: int) -> None:
    try:
        layer = model.get_submodule("layer4")
    except AttributeError:
        raise ValueError(
            f"last_stride needs a model with a layer4, got {type(model).__name__} without one; "
            "omit it, or set the strides of the model's last stage yourself"
        ) from None
    for module in layer.modules():
        if isinstance(module, nn.Conv2d) and module.stride != (1, 1):
            module.stride = (stride, stride)
        elif isinstance(module, nn.AvgPool2d) and module.stride != 1:  # in a shortcut
            module.kernel_size = module.stride = stride
