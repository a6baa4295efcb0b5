"""The proportional module: N convolutions with M ReLUs."""

from collections.abc import Callable, Sequence
from math import gcd

from torch import Tensor, nn

from proprelu._core import Ratio
from proprelu.nn.as_convolution import folded
from proprelu.nn.relus import relus


class ProportionalBlock(nn.Module):
    """N convolutions, each with its norm, of which M are followed by a ReLU.

    For ``"2:1"`` and placement ``"last"``: conv, norm, conv, norm, ReLU. With ``residual`` the
    input is added after the last norm, as in a ResNet's basic block.

    Args:
        in_channels: channels of the input.
        out_channels: channels of every convolution's output.
        ratio: convolutions to ReLUs; its first number is the number of convolutions.
        kernel_size: the kernel size of all convolutions.
        stride: the stride of the first convolution; the others have 1.
        padding: the padding of all convolutions; None keeps the size (odd kernels, stride 1).
        dilation: the dilation of all convolutions.
        groups: the groups of all convolutions.
        bias: whether the convolutions have a bias; None adds one only if ``norm`` is None.
        norm: ``"batch"``, ``"group"`` (up to 32 groups), None, or a function from the number of
            channels to a module.
        placement: which ReLUs are kept: ``"last"``, ``"first"``, ``"even"``, ``"front"``,
            ``"back"``, ``"block_last"`` or a mask of N booleans; see ``proprelu.plan_for``.
        residual: add the input; if the shape changes, through a strided 1x1 convolution and a norm.

    Shape:
        (B, in_channels, H, W) -> (B, out_channels, H', W'); with the default padding
        H' = ceil(H / stride).

    Raises:
        ValueError: an invalid ratio, placement or norm; or ``residual`` with a padding that does
            not keep the size.

    Example:
        >>> import torch
        >>> block = ProportionalBlock(16, 32, ratio="3:2", stride=2, residual=True)
        >>> block(torch.randn(4, 16, 28, 28)).shape
        torch.Size([4, 32, 14, 14])

    Reference:
        Zhao et al., "Rethink ReLU to Training Better CNNs", arXiv 1709.06247. The position of the
        ReLUs in the module is our interpretation.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        ratio: str | tuple[int, int] | Ratio = "2:1",
        kernel_size: int = 3,
        stride: int = 1,
        padding: int | None = None,
        dilation: int = 1,
        groups: int = 1,
        bias: bool | None = None,
        norm: str | Callable[[int], nn.Module] | None = "batch",
        placement: str | Sequence[bool] = "last",
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.ratio = Ratio.of(ratio)
        convs = self.ratio.convs
        same = dilation * (kernel_size - 1)
        if residual and (same % 2 or padding not in (None, same // 2)):
            raise ValueError(
                f"residual needs convolutions that keep the size, got kernel_size={kernel_size}, "
                f"padding={padding}; use an odd kernel_size and omit padding"
            )
        padding = same // 2 if padding is None else padding
        bias = norm is None if bias is None else bias
        self.convs = nn.ModuleList(
            nn.Conv2d(
                in_channels if i == 0 else out_channels,
                out_channels,
                kernel_size,
                stride=stride if i == 0 else 1,
                padding=padding,
                dilation=dilation,
                groups=groups,
                bias=bias,
            )
            for i in range(convs)
        )
        self.norms = nn.ModuleList(_norm(norm, out_channels) for _ in range(convs))
        self.relus = nn.ModuleList(relus([0] * convs, self.ratio, placement))
        self.shortcut: nn.Module | None = nn.Identity() if residual else None
        if residual and (stride != 1 or in_channels != out_channels):
            projection = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=bias)
            self.shortcut = nn.Sequential(projection, _norm(norm, out_channels))

    def forward(self, input: Tensor) -> Tensor:
        x = input
        last = len(self.convs) - 1
        layers = zip(self.convs, self.norms, self.relus, strict=True)
        for i, (conv, norm, relu) in enumerate(layers):
            x = norm(conv(x))
            if i == last and self.shortcut is not None:
                x = x + self.shortcut(input)
            x = relu(x)
        return x

    def reparameterize(self) -> None:
        """Fold the batch norms into the convolutions, in place, for inference.

        It is what ``timm.utils.reparameterize_model`` calls. ``proprelu.merge`` does more: it
        merges convolutions too, where that is cheaper.

        Raises:
            ValueError: the block is in training mode.

        Example:
            >>> block = ProportionalBlock(4, 4).eval()
            >>> block.reparameterize()
            >>> [type(norm).__name__ for norm in block.norms]
            ['Identity', 'Identity']
        """
        if self.training:
            raise ValueError(
                "the block must be in evaluation mode to be reparameterized, got training mode; "
                "call eval()"
            )
        for index, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            if (both := folded(conv, norm)) is not None:
                self.convs[index], self.norms[index] = both, nn.Identity()
        if isinstance(self.shortcut, nn.Sequential):
            self.shortcut = folded(*self.shortcut) or self.shortcut

    def extra_repr(self) -> str:
        return f"ratio={self.ratio}"


def _norm(norm: str | Callable[[int], nn.Module] | None, channels: int) -> nn.Module:
    if norm is None:
        return nn.Identity()
    if callable(norm):
        return norm(channels)
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    if norm == "group":
        return nn.GroupNorm(gcd(32, channels), channels)
    raise ValueError(
        f'norm must be "batch", "group", None or a function of the channels, got {norm!r}'
    )
