"""Covariance pooling in the place of a network's average."""

from __future__ import annotations

from copy import deepcopy

from torch import nn

from proprelu.nn import CovariancePool2d

# by the names of their classes: timm's need not be installed
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

    For networks of torchvision, timm and others that average with a module and classify with one
    linear layer behind it (and dropout or flattening between them): ResNets, DenseNets of timm,
    RegNets, EfficientNets. Everything before the average keeps its weights; the pooling's
    reduction and the classifier are new and untrained. Make the optimizer from the result.

    Args:
        model: a network; it is not touched, unless ``inplace``.
        num_classes: of the new classifier; None: as many as the old one has.
        dim: channels that the covariance is of; see :class:`proprelu.nn.CovariancePool2d`, as for
            ``num_iters``, ``method`` and ``gaussian``.
        num_iters: Newton-Schulz updates.
        method: ``"newton_schulz"`` or ``"eigh"``.
        gaussian: embed the means too.
        last_stride: what the strides of 2 in ``layer4``, of a ResNet, become: 1 gives the
            covariance four times the pixels, as the authors of the method have it.
        inplace: change ``model`` itself, and return it.

    Returns:
        The network with the new head, in the mode, on the device and in the type of ``model``.

    Raises:
        ValueError: no such average or classifier, or no ``layer4``; settings out of range.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        ...                     nn.Linear(8, 10))
        >>> covariance_head(net, dim=4)(torch.randn(2, 3, 8, 8)).shape
        torch.Size([2, 10])

    Reference:
        Li et al., arXiv 1712.01034.
    """
    result = model if inplace else deepcopy(model)
    pool_path, linear_path = _places(result)
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


def _places(model: nn.Module) -> tuple[str, str]:
    """The paths of the last global average and of the linear layer behind it."""
    paths = dict(model.named_modules())
    averages = [path for path, module in paths.items() if path and _averages(module)]
    names = list(paths)
    if averages:
        behind = names[names.index(averages[-1]) + 1 :]
        linears = [path for path in behind if isinstance(paths[path], nn.Linear)]
        if len(linears) == 1:
            return averages[-1], linears[0]
    found = f"{len(averages)} such averages"
    found += f" and {len(linears)} linear layers behind the last" if averages else ""
    raise ValueError(
        "covariance_head needs a model with a module that averages all pixels and one linear "
        f"layer behind it, got {type(model).__name__} with {found}; "
        "put proprelu.nn.CovariancePool2d and a linear layer into its forward instead"
    )


def _averages(module: nn.Module) -> bool:
    """To one pixel; timm's may have another kind of pooling, and then be another kind of module."""
    size = getattr(module, "output_size", 1)
    average = getattr(module, "pool_type", "avg") in ("avg", "fast", "fastavg")
    return type(module).__name__ in _POOLS and average and size in (1, (1, 1), (1,), [1, 1])


def _set_stride(model: nn.Module, stride: int) -> None:
    try:
        layer = model.get_submodule("layer4")
    except AttributeError:
        raise ValueError(
            f"last_stride needs a model with a layer4, got {type(model).__name__} without; "
            "leave it out, or set the strides of the model's own last stage"
        ) from None
    for module in layer.modules():
        if isinstance(module, nn.Conv2d) and module.stride != (1, 1):
            module.stride = (stride, stride)
        elif isinstance(module, nn.AvgPool2d) and module.stride != 1:  # in a shortcut
            module.kernel_size = module.stride = stride
