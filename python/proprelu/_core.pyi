"""The compiled core: names, types and documentation."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypedDict, final

import numpy as np
import numpy.typing as npt
from torch import Tensor

__version__: str

# ---- build_info ----

class _BuildInfo(TypedDict):
    version: str
    torch: str
    rustc: str
    target: str
    debug: bool
    cpu: str
    cpu_features: list[str]
    cpu_level: str
    cpu_amx: str

def build_info() -> _BuildInfo:
    """The versions that the extension was built with, and the processor of this machine.

    Returns:
        ``version`` of proprelu; the full versions of ``torch`` and ``rustc`` that it was built
        with; the ``target``; whether it is a ``debug`` build; and of this machine the model name
        of its ``cpu``, the ``cpu_features`` that kernels may use, the ``cpu_level`` of
        instructions that our kernels run on, and as ``cpu_amx`` whether they use AMX, and if not,
        why.
    """

def peak_rates(threads: int) -> dict[str, float]:
    """What a number of threads reach together in a second, measured in some tenths of a second.

    Returns:
        The multiplications and additions of numbers in registers, ``fp32`` and ``bf16``, by the
        fastest instructions for each; and the ``bytes`` that a copy reads and writes, of memory
        that is larger than the caches of a core.
    """

# ---- tuning ----

def kernel_choices(file: _Path) -> list[dict[str, Any]]:
    """The stored choices of algorithms for convolutions; damaged ones are left out.

    Args:
        file: where ``EngineRunner`` was told to store them; it need not exist.

    Returns:
        One dict for each choice: the ``product``, the ``geometry`` and the ``dtype`` of a
        convolution; its ``candidates`` and the ``seconds`` of each; the chosen ``algorithm``; the
        ``spread`` of the timings; whether the choice is ``provisional``, since something disturbed
        all of its timings; the ``machine``, and whether it is this one (``valid_here``).
    """

# ---- data ----

_Path = str | os.PathLike[str]
_MeanStd = tuple[Sequence[float], Sequence[float]]

class Dataset:
    """Labeled images of one size in memory: uint8 or float32, NHWC.

    Datasets are created by the static methods, by ``proprelu.datasets`` and by
    ``proprelu.train.as_dataset``. They are immutable.
    """

    @staticmethod
    def from_u8(
        images: npt.NDArray[np.uint8],
        labels: npt.NDArray[np.int64],
        num_classes: int | None = None,
        mean_std: _MeanStd | None = None,
    ) -> Dataset:
        """Create a dataset from copies of uint8 images and their labels.

        Args:
            images: (n, h, w, c), 0 to 255.
            labels: (n,), below ``num_classes``; those below 0 are left to the loss.
            num_classes: None for the largest label + 1.
            mean_std: the result of ``mean_std``, for images scaled to 0..1; None to compute it.

        Raises:
            ValueError: there are no images, the number of labels differs, or a label is out of
                range.
            TypeError: an array has another dtype or number of axes.
        """

    @staticmethod
    def from_f32(
        images: npt.NDArray[np.float32],
        labels: npt.NDArray[np.int64],
        num_classes: int | None = None,
        mean_std: _MeanStd | None = None,
    ) -> Dataset:
        """Like ``from_u8``, for float32 images in any unit."""

    @staticmethod
    def read_idx(images_path: _Path, labels_path: _Path, num_classes: int | None = None) -> Dataset:
        """Read images (n, h, w) and labels from IDX files of unsigned bytes, gzipped or plain.

        Raises:
            OSError: a file cannot be read.
            ValueError: a file is damaged, or the files do not match.
        """

    @staticmethod
    def parse_cifar(files: Sequence[tuple[str, bytes]], num_classes: int) -> Dataset:
        """Parse the binary files of CIFAR-10 or, with 100 classes, CIFAR-100 (fine labels).

        Args:
            files: pairs (name, content); names are used in error messages.
            num_classes: 10 or 100.

        Raises:
            ValueError: a file is damaged, or ``num_classes`` is neither 10 nor 100.
        """

    def subset(self, indices: Sequence[int]) -> Dataset:
        """A dataset with copies of the images at ``indices``, in that order.

        Negative indices count from the end.

        Raises:
            ValueError: an index is out of range, or ``indices`` is empty.
        """

    @property
    def stated_mean_std(self) -> tuple[list[float], list[float]] | None:
        """The mean and deviation that the dataset was created with; None if they are measured."""

    def mean_std(self) -> tuple[list[float], list[float]]:
        """Mean and (population) standard deviation of each channel, with uint8 images in 0..1.

        If the dataset was created with ``mean_std``, these values are returned. The standard
        deviation of a constant channel is returned as 1.
        """

    def images(self) -> npt.NDArray[np.uint8] | npt.NDArray[np.float32]:
        """A copy of the images (n, h, w, c)."""

    def labels(self) -> npt.NDArray[np.int64]:
        """A copy of the labels (n,)."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n, h, w, c)."""

    @property
    def nbytes(self) -> int:
        """The memory of the images, in bytes."""

    @property
    def num_classes(self) -> int:
        """The number of classes; labels are from 0 to ``num_classes - 1``."""

    def __len__(self) -> int: ...
    def __getitem__(
        self, index: int
    ) -> tuple[npt.NDArray[np.uint8] | npt.NDArray[np.float32], int]:
        """Image (h, w, c) and label; negative indices count from the end."""

class Loader:
    """Batches of a dataset, which a thread prepares ahead of time.

    Each iteration yields the next epoch: 0, 1, 2, ...; ``epoch`` yields a given one. The same seed
    and epoch give the same batches: normalized float32 images (n, h, w, c) and int64 labels (n,).

    Args:
        dataset: the images and labels.
        batch_size: the number of images in a batch.
        shuffle: draw a new order for every epoch.
        drop_last: omit the last batch if it is not full.
        seed: determines orders and augmentation.
        augment: ``proprelu.train.Augment.to_dict``; by default uint8 images are scaled to 0..1.

    Raises:
        ValueError: a batch size of 0, or larger than the dataset with ``drop_last``; or settings
            that are invalid for the images.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        *,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int = 0,
        augment: Mapping[str, Any] | None = None,
    ) -> None: ...
    def epoch(self, epoch: int) -> Batches:
        """The batches of one epoch, counted from 0."""

    def __iter__(self) -> Batches: ...
    def __len__(self) -> int:
        """The number of batches in an epoch."""

class Batches(Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]]):
    """The batches of one epoch; dropping the iterator early ends its thread."""

    def __iter__(self) -> Batches: ...
    def __next__(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]: ...

# ---- cuda ----

def cuda_sources() -> list[str]:
    """The names of the CUDA source files."""

def cuda_source(name: str) -> tuple[str, list[str]]:
    """The text of a CUDA source, as passed to the compiler, and the names of its kernels.

    Raises:
        ValueError: there is no such source.
    """

def cuda_compile(name: str, major: int, minor: int, folder: _Path | None = None) -> bytes:
    """Compile a CUDA source to machine code (a cubin) by NVRTC; this needs no GPU.

    Args:
        name: one of ``cuda_sources``.
        major: the major number of the compute capability, 9 for sm_90.
        minor: the minor number, 0 for sm_90.
        folder: the cache for machine code; None for no cache.

    Returns:
        The cubin.

    Raises:
        ValueError: there is no such source.
        RuntimeError: NVRTC is not found, does not support the architecture, or rejects the source.
    """

def cuda_host_text(name: str) -> str:
    """The C++ source of a library for ``CudaDevice.on_host``, without ``host.h``."""

@final
class CudaDevice:
    """A GPU that runs programs and single kernels.

    Args:
        ordinal: the number of the GPU.
        stream: the ``cuda_stream`` of a ``torch.cuda.Stream``, which must outlive the device.
        folder: the cache for machine code.

    Raises:
        RuntimeError: there is no driver or no such GPU, or the GPU is too old.
    """

    def __new__(cls, ordinal: int, stream: int, folder: _Path) -> CudaDevice: ...
    @staticmethod
    def on_host(folder: _Path, multiprocessors: int) -> CudaDevice:
        """A device that runs the kernels on the CPU, for tests.

        This is as unsafe as ``ctypes``: the libraries must match this version's ``cuda_host_text``.

        Args:
            folder: holds a library ``<source>.so`` for each source.
            multiprocessors: the number of multiprocessors that the device reports.
        """

    @property
    def architecture(self) -> str:
        """The architecture, such as ``sm_90``."""

    @property
    def multiprocessors(self) -> int: ...
    def launch(
        self,
        name: str,
        entry: str,
        grid: Sequence[int],
        block: Sequence[int],
        arguments: Sequence[bytes],
    ) -> None:
        """Launch a kernel, without waiting for it.

        This is as unsafe as ``ctypes``.

        Args:
            name: the source of the kernel.
            entry: the name of the kernel.
            grid: blocks in each dimension.
            block: threads in each dimension.
            arguments: the values of the parameters, each in its C representation.

        Raises:
            ValueError: an argument has more than 16 bytes.
            RuntimeError: the driver returns an error.
        """

# ---- ratio ----

@final
class Ratio:
    """A ratio of convolutions to ReLUs, ``convs >= relus >= 1``.

    Ratios are compared and hashed by their two numbers, which are not reduced: ``4:2`` differs from
    ``2:1``, because the first number is the length of the groups in which ReLUs are kept.

    Args:
        convs: the number of convolutions; or the whole ratio as a string ``"2:1"``, as a pair
            ``(2, 1)`` or as another Ratio.
        relus: the number of ReLUs among them.

    Raises:
        ValueError: not ``convs >= relus >= 1``, or a string that cannot be parsed.
        TypeError: an argument of another type.

    Example:
        >>> Ratio("2:1")
        Ratio(2, 1)
        >>> str(Ratio(3, 2))
        '3:2'
    """

    def __new__(
        cls, convs: int | str | tuple[int, int] | Ratio, relus: int | None = None
    ) -> Ratio: ...
    @classmethod
    def of(cls, value: str | tuple[int, int] | Ratio) -> Ratio:
        """A ratio from a string, a pair or another ratio."""
    @property
    def convs(self) -> int: ...
    @property
    def relus(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __getnewargs__(self) -> tuple[int, int]: ...

@final
class SitePlan:
    """The decision for each site of a list, in execution order."""

    @property
    def ratio(self) -> Ratio: ...
    @property
    def placement(self) -> str:
        """The placement's name, ``"mask"`` for an explicit one."""
    @property
    def keep(self) -> list[bool]:
        """For each site, whether its ReLU is kept."""
    @property
    def groups(self) -> list[int]:
        """For each site, the number of its group, from 0."""
    @property
    def reasons(self) -> list[str]:
        """For each site, why it is kept or dropped."""
    @property
    def kept(self) -> int:
        """The number of sites that keep their ReLU."""
    @property
    def achieved(self) -> str:
        """The ratio of sites to kept ReLUs, not reduced: ``"19:10"``."""

@final
class ConvGeometry:
    """The geometry of a convolution in two dimensions, and of several convolutions as one.

    A second convolution reads zeros in its padding. A merged one computes there what the first
    gives: its bias, and what its kernel reaches of the image. A ``border`` corrects the bias. Where
    the kernel reaches, a ``frame`` of rows and columns along the sides of the result is wrong.

    Args:
        in_channels: the channels of the input.
        out_channels: the channels of the output.
        kernel_size: vertical and horizontal, as all pairs.
        stride: the stride of the convolution.
        padding: the zero padding on each side.
        dilation: the dilation of the kernel.
        groups: the number of groups.
        bias: whether a constant is added.

    Raises:
        ValueError: a size is 0, or the groups do not divide the channels.

    Example:
        >>> pair = ConvGeometry(8, 8, (3, 3)).then(ConvGeometry(8, 4, (3, 3), padding=(1, 1)))
        >>> pair.kernel_size, pair.padding, pair.frame
        ((5, 5), (1, 1), (1, 1))
    """

    def __new__(
        cls,
        in_channels: int,
        out_channels: int,
        kernel_size: tuple[int, int],
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int] = (0, 0),
        dilation: tuple[int, int] = (1, 1),
        groups: int = 1,
        bias: bool = True,
    ) -> ConvGeometry: ...
    @staticmethod
    def pointwise(channels: int, bias: bool) -> ConvGeometry:
        """A convolution that works on each channel and each pixel by itself, as a batch norm."""
    @property
    def in_channels(self) -> int: ...
    @property
    def out_channels(self) -> int: ...
    @property
    def kernel_size(self) -> tuple[int, int]: ...
    @property
    def stride(self) -> tuple[int, int]: ...
    @property
    def padding(self) -> tuple[int, int]: ...
    @property
    def dilation(self) -> tuple[int, int]: ...
    @property
    def groups(self) -> int: ...
    @property
    def bias(self) -> bool: ...
    @property
    def border(self) -> bool:
        """Whether there is a weight of an image of ones, which is zero in the padding."""
    @property
    def frame(self) -> tuple[int, int]:
        """The rows and columns along each side of the result that are wrong."""
    @property
    def multiplications(self) -> int:
        """The multiplications for a pixel of the result."""
    def then(self, next: ConvGeometry) -> ConvGeometry:
        """The geometry of this convolution and ``next`` as one.

        Raises:
            ValueError: ``next`` has other input channels than this one has outputs.
        """
    def beside(self, other: ConvGeometry) -> ConvGeometry:
        """The geometry of the sum of this convolution and ``other``.

        Raises:
            ValueError: the results have different shapes for some images.
        """
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Convolution:
    """The numbers of a convolution, in float64.

    Args:
        geometry: its geometry.
        weight: (out_channels, in_channels / groups, height, width).
        bias: (out_channels,), zeros for none.

    Raises:
        ValueError: an array has another shape.

    Example:
        >>> import numpy as np
        >>> double = Convolution.norm(np.full(2, 2.0), np.ones(2))
        >>> double.then(double).weight.ravel(), double.then(double).bias
        (array([4., 4.]), array([3., 3.]))
    """

    def __new__(
        cls,
        geometry: ConvGeometry,
        weight: npt.NDArray[np.float64],
        bias: npt.NDArray[np.float64],
    ) -> Convolution: ...
    @staticmethod
    def norm(scale: npt.NDArray[np.float64], shift: npt.NDArray[np.float64]) -> Convolution:
        """A batch norm in evaluation: each channel with a scale and a shift."""
    @staticmethod
    def identity(channels: int) -> Convolution:
        """The convolution that returns its input."""
    @property
    def geometry(self) -> ConvGeometry: ...
    @property
    def weight(self) -> npt.NDArray[np.float64]: ...
    @property
    def bias(self) -> npt.NDArray[np.float64]: ...
    @property
    def border(self) -> npt.NDArray[np.float64] | None:
        """The weight of the image of ones, (out_channels, 1, height, width)."""
    def then(self, next: Convolution) -> Convolution:
        """The convolution that computes this one and then ``next``, exact within its frame.

        Raises:
            ValueError: ``next`` has other input channels than this one has outputs.
        """
    def beside(self, other: Convolution) -> Convolution:
        """The convolution that adds the results of this one and of ``other``.

        Raises:
            ValueError: the results have different shapes for some images.
        """

def decompose_kernel(
    weight: npt.NDArray[np.float64], variant: str
) -> list[npt.NDArray[np.float64]]:
    """The 3x3 kernels of which the composition equals a large one; see ``nn.DecomposedConv2d``.

    Args:
        weight: (out_channels, in_channels, size, size), size odd and at least 3.
        variant: ``"full"`` or ``"lean"``.

    Returns:
        (size - 1) / 2 kernels (out, in, 3, 3).

    Raises:
        ValueError: the kernel has another shape, or the variant is unknown.

    Example:
        >>> import numpy
        >>> kernels = proprelu._core.decompose_kernel(numpy.ones((1, 1, 5, 5)), "full")
        >>> [kernel.shape for kernel in kernels]
        [(9, 1, 3, 3), (1, 9, 3, 3)]
    """

def covariance_pool(x: Tensor, num_iters: int, center: bool) -> tuple[Tensor, Tensor]:
    """The root of the covariance of each image's channels; see ``proprelu.functional``.

    Args:
        x: (N, C, ...) on the CPU, float32 or bfloat16, with any strides.
        num_iters: the number of Newton-Schulz iterations.
        center: whether to subtract the means.

    Returns:
        The upper triangles (N, C (C + 1) / 2) and the covariances (N, C, C), float32.

    Raises:
        ValueError: the input is empty, or ``num_iters`` is 0.

    Example:
        >>> import torch
        >>> root, covariance = proprelu._core.covariance_pool(torch.randn(2, 3, 4, 4), 5, True)
        >>> root.shape, covariance.shape
        (torch.Size([2, 6]), torch.Size([2, 3, 3]))
    """

def covariance_pool_backward(
    grad_y: Tensor,
    x: Tensor,
    y: Tensor,
    covariance: Tensor,
    num_iters: int,
    center: bool,
) -> Tensor:
    """The gradient with respect to ``x`` of ``covariance_pool``.

    Args:
        grad_y: the gradient with respect to the triangles.
        x: the input of the forward.
        y: the triangles that the forward returned.
        covariance: the covariances that the forward returned.
        num_iters: as in the forward.
        center: as in the forward.

    Returns:
        (N, C, ...) in the dtype of ``x``, in channels-last layout.

    Raises:
        ValueError: the shapes do not match.
    """

def channel_means(x: Tensor) -> Tensor:
    """The means of each image's channels; see ``proprelu.functional``.

    Args:
        x: (N, C, ...) on the CPU, float32 or bfloat16, with any strides.

    Returns:
        (N, C), in the dtype of ``x``.

    Raises:
        ValueError: the input has fewer than three dimensions.

    Example:
        >>> import torch
        >>> proprelu._core.channel_means(torch.ones(1, 2, 3, 3))
        tensor([[1., 1.]])
    """

def scale_channels(x: Tensor, scale: Tensor) -> Tensor:
    """The channels of each image, multiplied by factors; see ``proprelu.functional``.

    Args:
        x: (N, C, ...) on the CPU, float32 or bfloat16, with any strides.
        scale: (N, C), in the dtype of ``x``.

    Returns:
        (N, C, ...), in the layout of ``x`` if that is dense, else in channels-last layout.

    Raises:
        ValueError: the scale has another shape, or the input has too few dimensions.

    Example:
        >>> import torch
        >>> scale = torch.tensor([[2.0, 3.0]])
        >>> proprelu._core.scale_channels(torch.ones(1, 2, 1, 1), scale).flatten()
        tensor([2., 3.])
    """

def scale_channels_backward(grad_y: Tensor, x: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients with respect to ``x`` and ``scale`` of ``scale_channels``.

    Args:
        grad_y: the gradient with respect to the result.
        x: as in the forward.
        scale: as in the forward.

    Returns:
        (N, C, ...) and (N, C), in the dtype of ``x``.

    Raises:
        ValueError: the shapes do not match.
    """

def plan_sites(
    blocks: Sequence[int | None],
    ratio: str | tuple[int, int] | Ratio,
    placement: str | Sequence[bool] | Sequence[int],
    bare: Sequence[bool] | None = None,
) -> SitePlan:
    """Decide which sites of a network keep their ReLU.

    Args:
        blocks: for each site, in execution order, the number of its residual block, or None.
        ratio: convolutions to ReLUs.
        placement: ``"last"``, ``"first"``, ``"even"``, ``"front"``, ``"back"``, ``"block_last"``
            (see ``proprelu.plan_for``), or a mask, or the numbers of the sites in the order in
            which their ReLUs are dropped.
        bare: for each site, whether it is a convolution without a ReLU that could be kept; a mask
            or an order covers the other sites only.

    Returns:
        The decision for each site.

    Raises:
        ValueError: an invalid ratio or placement, a mask or an order of another length, or
            ``"block_last"`` without blocks.

    Example:
        >>> plan_sites([None] * 5, "2:1", "last").keep
        [False, True, False, True, True]
    """

def cheapest_way(
    stretches: Sequence[tuple[int, int, int, float, int]], last: int, time: int, dropped: int
) -> tuple[list[int] | None, int | None]:
    """Find the cheapest way through a network that takes no longer than a budget.

    Args:
        stretches: parts of ways: from which place to which later one, their time, what the network
            loses with them, and the number of activations that they drop. The times are whole
            numbers of a unit that divides the budget into some thousands.
        last: the last place; a way begins at place 0.
        time: the time that a way may take.
        dropped: the number of activations that it may drop.

    Returns:
        The numbers of the stretches of the way, in order, and None. If no way fits: None, and the
        time of the fastest way that drops no more, or None if there is no way at all.
    """

# ---- train ----

class _Runner(Protocol):
    """Computes the steps of a model that is not captured; gradients are by parameter name."""

    def step(
        self, images: Tensor, labels: Sequence[Tensor], /
    ) -> tuple[float, Tensor, list[tuple[str, Tensor]]]: ...
    def predict(self, images: Tensor, /) -> Tensor: ...
    def evaluate(
        self, images: Tensor, labels: Sequence[Tensor], /
    ) -> tuple[float, float, Tensor]: ...

class _Batches(Protocol):
    """Batches from Python: an iterable of images and labels, or a method ``epoch(number)``.

    Labels are a tensor or a list of tensors.
    """

    def __len__(self) -> int: ...

class _Graphs(Protocol):
    """Captures the work that is launched on torch's stream into CUDA graphs."""

    def begin(self) -> None: ...
    def end(self) -> _Graph: ...
    def abandon(self) -> None: ...
    def explain(self, reason: str, /) -> None: ...

class _Graph(Protocol):
    def replay(self) -> None: ...

class _Observer(Protocol):
    """Receives the progress of a training."""

    def on_epoch_start(self, epoch: int, /) -> None: ...
    def on_step(self, event: dict[str, Any], /) -> None: ...
    def on_epoch(self, row: dict[str, Any], /) -> None: ...

@final
class EngineRunner:
    """Captured programs and the engine that runs them.

    Args:
        step: the captured training step as plain data; None for prediction only.
        inference: the captured forward as plain data.
        constants: tensors that the graphs read, by name.
        loss: called with a list of outputs and one of labels, returns the mean loss of the batch
            and its weight in the mean of several; None for cross-entropy, computed by the core.
            The outputs are the predictions, or all results of the inference if it has any.
        fallback: called with the name, overload and arguments of an operation that the core cannot
            call, and on the CPU of one that draws random numbers; returns a list of its results.
        label_smoothing: the label smoothing of the core's cross-entropy.
        left_out: the integer labels that the loss leaves out, and the accuracies with it.
        other: runs batches of other shapes than the captured ones, and all after ``outdate``;
            None to refuse them.
        conv_algorithm: the algorithm of convolutions, as in ``Trainer``.
        tune: whether to select kernels by their measured times.
        tune_file: the cache of measured choices.
        low_memory: whether the backward recomputes values instead of keeping them.
        device: the GPU that runs the programs; None for the CPU.

    Raises:
        RuntimeError: a graph cannot be lowered.
    """

    def __new__(
        cls,
        step: Mapping[str, Any] | None,
        inference: Mapping[str, Any] | None,
        constants: Sequence[tuple[str, Tensor]],
        loss: Callable[[Sequence[Tensor], Sequence[Tensor]], tuple[float, float]] | None,
        fallback: Callable[..., Sequence[Tensor | None]],
        *,
        label_smoothing: float = 0.0,
        left_out: Sequence[int] = (),
        other: _Runner | None = None,
        conv_algorithm: str = "auto",
        tune: bool = False,
        tune_file: _Path | None = None,
        low_memory: bool = False,
        device: CudaDevice | None = None,
    ) -> EngineRunner: ...
    def outdate(self) -> None:
        """Has ``other`` run everything from the next batch on; also while the programs run.

        On a GPU, where steps are launched ahead of time, those of an epoch are finished first.
        """

    def step_report(self) -> dict[str, Any] | None:
        """The program of the training step, with the time of each operation.

        It has ``rows``, ``runs``, ``planned_bytes`` and ``peak_bytes``. A row has ``op``,
        ``kernel``, ``shapes``, ``flops``, ``bytes``, and ``seconds``, the mean over the runs.
        """
    def step_listing(self) -> str | None:
        """The program of the training step as text."""
    def inference_listing(self) -> str | None:
        """The program of the inference as text."""

@final
class CompiledGraph:
    """A single captured graph, for use in other training loops.

    Args:
        graph: the graph as plain data; its ``outputs`` have ``results``.
        fallback: see ``EngineRunner``.
        conv_algorithm: the algorithm of convolutions, as in ``Trainer``.
        tune_file: the cache of kernels that are selected by measured times; None to measure none.
        device: the GPU that runs the program; None for the CPU.

    Raises:
        RuntimeError: the graph cannot be lowered.
    """

    def __new__(
        cls,
        graph: Mapping[str, Any],
        fallback: Callable[..., Sequence[Tensor | None]],
        *,
        conv_algorithm: str = "auto",
        tune_file: _Path | None = None,
        device: CudaDevice | None = None,
    ) -> CompiledGraph: ...
    def __call__(self, inputs: Sequence[Tensor], /) -> list[Tensor]:
        """Run the graph.

        Args:
            inputs: all inputs, in order.

        Returns:
            All results, in order.

        Raises:
            RuntimeError: an input has another shape than in the capture.
        """
    def listing(self) -> str:
        """The program as text."""

@final
class TrainState:
    """The state of a training: parameters, optimizer states, buffers, averages, finished epochs.

    The tensors are shared with the caller and changed in place.

    Args:
        parameters: name, dense float32 tensor, and the optimizer's settings.
        buffers: further tensors of a checkpoint: buffers and fixed parameters.
        ema: the ``decay`` of the parameters' moving averages, and whether it has a ``warmup``;
            None for no averages.

    Raises:
        ValueError: a tensor or setting is invalid.
    """

    def __new__(
        cls,
        parameters: Sequence[tuple[str, Tensor, Mapping[str, Any]]],
        buffers: Sequence[tuple[str, Tensor]],
        ema: Mapping[str, Any] | None = None,
    ) -> TrainState: ...
    def fit(
        self,
        runner: EngineRunner | _Runner,
        train: Loader | _Batches,
        val: Loader | _Batches | None,
        observer: _Observer | None,
        *,
        epochs: int,
        schedule: Mapping[str, Any],
        schedule_epochs: tuple[int, int] | None = None,
        clip_grad_norm: float | None = None,
        checkpoint: _Path | None = None,
        facts: Mapping[str, Any] | None = None,
        graphs: _Graphs | None = None,
        resident: bool = True,
        device: CudaDevice | None = None,
    ) -> None:
        """Train until ``epochs`` epochs are finished, including those of a loaded checkpoint.

        Args:
            runner: computes the steps.
            train: training batches of one size.
            val: validation batches, evaluated after each epoch.
            observer: receives the start and the end of each epoch, and about ten steps a second.
            epochs: the total number of epochs.
            schedule: the settings of the learning-rate schedule.
            schedule_epochs: the epochs between which the schedule runs; from 0 to ``epochs`` by
                default.
            clip_grad_norm: the maximum norm of all gradients together.
            checkpoint: the file in which the state is saved after each epoch.
            facts: what the checkpoint records beside the state; see ``read_facts``.
            graphs: on a GPU, captures a step as a CUDA graph; None to launch kernels one by one.
            device: the GPU that updates the parameters if the runner is not an ``EngineRunner``.
            resident: whether a loader's data is kept on the GPU.

        Raises:
            FloatingPointError: the loss is not finite.
            KeyboardInterrupt: Ctrl-C.
        """

    def evaluate(
        self, runner: EngineRunner | _Runner, data: Loader | _Batches
    ) -> dict[str, float | None]:
        """Loss and accuracies, computed with the averaged parameters if there are any."""

    def predict(self, runner: EngineRunner | _Runner, images: Tensor) -> Tensor:
        """The output for images (N, C, H, W), with the averaged parameters if there are any."""

    def save(self, path: _Path) -> None:
        """Write the full state, atomically.

        Raises:
            OSError: the file cannot be written.
        """

    def load(self, path: _Path) -> None:
        """Read a state that ``save`` or ``fit`` wrote.

        Raises:
            OSError: the file cannot be read.
            ValueError: the file is damaged, or belongs to another model or optimizer.
        """

    @staticmethod
    def read_facts(path: _Path) -> dict[str, Any]:
        """The ``facts`` of the training that wrote a checkpoint.

        Raises:
            OSError: the file cannot be read.
            ValueError: the file is damaged or no checkpoint.
        """

    def memory(self) -> tuple[dict[str, Any], list[tuple[str, Tensor]]]:
        """The counters, and the tensors of the optimizer and of the averages by name."""

    def go_on(self, counters: Mapping[str, Any], tensors: Sequence[tuple[str, Tensor]]) -> None:
        """Continue counting where another state has the given ``memory``.

        The tensors of parameters that are the same are copied; others begin anew.
        """

    def averages(self) -> list[tuple[str, Tensor]]:
        """The averaged parameters by name, sharing memory with the state."""

    def rows(self) -> list[dict[str, Any]]:
        """One row for each finished epoch."""

    @property
    def step(self) -> int:
        """The number of optimizer updates so far."""
    @property
    def epoch(self) -> int:
        """The number of finished epochs."""
