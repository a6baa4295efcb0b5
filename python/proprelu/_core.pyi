"""The compiled core. These are its names and types, with the documentation."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypedDict, final

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
    cpu_features: list[str]

def build_info() -> _BuildInfo:
    """What the extension was built for, and what it finds on this machine.

    `version` of proprelu; the full version of the `torch` and of the `rustc` it was built with;
    `target`; whether it is a `debug` build; `cpu_features` of this processor that kernels may use.
    """

# ---- data ----

_Path = str | os.PathLike[str]
_MeanStd = tuple[Sequence[float], Sequence[float]]

class Dataset:
    """Labeled images of one size in memory: uint8 or float32, NHWC.

    Made by its static methods, by :mod:`proprelu.datasets` and by
    :func:`proprelu.train.as_dataset`. Immutable.
    """

    @staticmethod
    def from_u8(
        images: npt.NDArray[np.uint8],
        labels: npt.NDArray[np.int64],
        num_classes: int | None = None,
        mean_std: _MeanStd | None = None,
    ) -> Dataset:
        """Copies uint8 images (n, h, w, c) and labels (n,).

        Args:
            images: 0 to 255.
            labels: in ``0..num_classes``.
            num_classes: None for the largest label + 1.
            mean_std: what :meth:`mean_std` is to give instead of measuring; of the images as 0..1.

        Raises:
            ValueError: no images, another number of labels, a label out of range.
            TypeError: arrays of another dtype or number of axes.
        """

    @staticmethod
    def from_f32(
        images: npt.NDArray[np.float32],
        labels: npt.NDArray[np.int64],
        num_classes: int | None = None,
        mean_std: _MeanStd | None = None,
    ) -> Dataset:
        """As :meth:`from_u8`, for float32 images in any units."""

    @staticmethod
    def read_idx(images_path: _Path, labels_path: _Path, num_classes: int | None = None) -> Dataset:
        """Reads IDX files of unsigned bytes, gzipped or plain: (n, h, w) images as one channel.

        Raises:
            OSError: a file can't be read.
            ValueError: a file is damaged, or they do not belong together.
        """

    @staticmethod
    def read_cifar(paths: Sequence[_Path], num_classes: int) -> Dataset:
        """Reads CIFAR's binary files: of CIFAR-10 or, with 100 classes, of CIFAR-100 (fine labels).

        Raises:
            OSError: a file can't be read.
            ValueError: a file is damaged, or ``num_classes`` is neither 10 nor 100.
        """

    @staticmethod
    def parse_cifar(files: Sequence[tuple[str, bytes]], num_classes: int) -> Dataset:
        """As :meth:`read_cifar`, from (name, content) in memory; the name is for the errors."""

    def subset(self, indices: Sequence[int]) -> Dataset:
        """A copy of the images at ``indices``, in that order.

        Raises:
            ValueError: an index out of range, or none at all.
        """

    def mean_std(self) -> tuple[list[float], list[float]]:
        """Mean and (population) standard deviation of each channel, of uint8 images as 0..1.

        The stated ones, if the dataset was made with them. The deviation of a constant channel is
        given as 1.
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
        """What the images take in memory."""

    @property
    def num_classes(self) -> int:
        """Labels are in ``0..num_classes``."""

    def __len__(self) -> int: ...
    def __getitem__(
        self, index: int
    ) -> tuple[npt.NDArray[np.uint8] | npt.NDArray[np.float32], int]:
        """Image (h, w, c) and label; negative indices count from the end."""

class Loader:
    """Batches of a dataset, made ahead of time by a thread.

    Iterating runs the epochs 0, 1, 2, ... in turn; :meth:`epoch` runs a certain one. The same seed
    and epoch give the same batches: images (n, h, w, c), float32, normalized, and labels (n,),
    int64.

    Args:
        dataset: what to batch.
        batch_size: images in a batch.
        shuffle: a new order every epoch.
        drop_last: leave out the last batch if it is not full.
        seed: fixes orders and augmentation.
        augment: :meth:`proprelu.train.Augment.to_json`; by default uint8 images become 0..1.

    Raises:
        ValueError: a batch size of 0, or larger than the dataset with ``drop_last``; settings that
            do not fit the images.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        *,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int = 0,
        augment: str = "{}",
    ) -> None: ...
    def epoch(self, epoch: int) -> Batches:
        """The batches of one epoch, counted from 0."""

    def __iter__(self) -> Batches: ...
    def __len__(self) -> int:
        """Batches in an epoch."""

class Batches(Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]]):
    """The batches of one epoch; leaving them early ends their thread."""

    def __iter__(self) -> Batches: ...
    def __next__(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]: ...

# ---- cuda ----

def cuda_sources() -> list[str]:
    """The names of the sources of CUDA kernels."""

def cuda_source(name: str) -> tuple[str, list[str]]:
    """A source's text, as the compiler gets it, and the names of its kernels.

    Raises:
        ValueError: there is no such source.
    """

def cuda_compile(name: str, major: int, minor: int, folder: _Path | None = None) -> bytes:
    """Machine code (a cubin) of a source for a compute capability, by NVRTC. Needs no GPU.

    Args:
        name: of :func:`cuda_sources`.
        major, minor: of the compute capability: 9 and 0 for sm_90.
        folder: where machine code is kept and looked for; None for neither.

    Raises:
        ValueError: there is no such source.
        RuntimeError: no NVRTC is to be found, it does not know the architecture, or it finds fault
            with the source.
    """

def cuda_host_text(name: str) -> str:
    """What a C++ compiler makes a library for :meth:`CudaDevice.on_host` from, but for `host.h`."""

@final
class CudaDevice:
    """One GPU, where programs run and single kernels.

    Args:
        ordinal: its number.
        stream: torch's, as ``torch.cuda.Stream.cuda_stream``; has to outlive the device.
        folder: where machine code is kept.

    Raises:
        RuntimeError: no driver, no such GPU, or one that is too old.
    """

    def __new__(cls, ordinal: int, stream: int, folder: _Path) -> CudaDevice: ...
    @staticmethod
    def on_host(folder: _Path, multiprocessors: int) -> CudaDevice:
        """The CPU in the place of a GPU, for tests: ``<source>.so`` of each source in a folder.

        As unsafe as ``ctypes``: they have to be of this version's :func:`cuda_host_text`.
        """

    @property
    def architecture(self) -> str:
        """Such as ``sm_90``."""

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
        """Have a kernel of a source run; does not wait for it.

        As unsafe as ``ctypes``: each argument is a parameter's value as C lays it out.

        Raises:
            ValueError: an argument of more than 16 bytes.
            RuntimeError: the driver refuses.
        """

# ---- ratio ----

@final
class Ratio:
    """Convolutions to ReLUs, ``convs >= relus >= 1``.

    Equal and hashable by its two numbers, which are not reduced: ``4:2`` is not ``2:1``, as the
    first one is the length of the groups that the ratio is kept in.

    Args:
        convs: the number of convolutions; or the whole ratio as text ``"2:1"``, as a pair
            ``(2, 1)`` or as another Ratio.
        relus: the number of ReLUs among them.

    Raises:
        ValueError: not ``convs >= relus >= 1``, or a text that can't be read.
        TypeError: something else than the above.

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
        """A ratio from whatever may stand for one."""
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
    """The decision over a list of sites, in execution order."""

    @property
    def ratio(self) -> Ratio: ...
    @property
    def placement(self) -> str:
        """The placement's name, ``"mask"`` for an explicit one."""
    @property
    def keep(self) -> list[bool]:
        """For each site, whether its ReLU stays."""
    @property
    def groups(self) -> list[int]:
        """For each site, the number of its group, from 0."""
    @property
    def reasons(self) -> list[str]:
        """For each site, why it is kept or dropped."""
    @property
    def kept(self) -> int:
        """How many stay."""
    @property
    def achieved(self) -> str:
        """Sites to kept ReLUs, not reduced: ``"19:10"``."""

def decompose_kernel(
    weight: npt.NDArray[np.float64], variant: str
) -> list[npt.NDArray[np.float64]]:
    """The 3x3 kernels that one after the other make a large one; see `nn.DecomposedConv2d`.

    Args:
        weight: (out_channels, in_channels, size, size), size odd and 3 or larger.
        variant: `"full"` or `"lean"`.

    Returns:
        (size - 1) / 2 kernels (out, in, 3, 3).

    Raises:
        ValueError: another kernel or variant.

    Example:
        >>> import numpy
        >>> kernels = proprelu._core.decompose_kernel(numpy.ones((1, 1, 5, 5)), "full")
        >>> [kernel.shape for kernel in kernels]
        [(9, 1, 3, 3), (1, 9, 3, 3)]
    """

def covariance_pool(x: Tensor, num_iters: int, center: bool) -> tuple[Tensor, Tensor]:
    """The root of the covariance of each image's channels; see `proprelu.functional`.

    Args:
        x: (N, C, ...) on the CPU, float32 or bfloat16, of any strides.
        num_iters: Newton-Schulz updates.
        center: whether the means are taken off.

    Returns:
        The upper triangles (N, C (C + 1) / 2) and the covariances (N, C, C), float32.

    Raises:
        ValueError: nothing to pool, no iteration.

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
    """The gradient of `x`, from what `covariance_pool` got and gave.

    Args:
        grad_y: the gradient of the triangles.
        x: as before, like all others.
        y: the triangles.
        covariance: the covariances.
        num_iters: as before.
        center: as before.

    Returns:
        (N, C, ...) in the type of `x`, with the channel innermost in memory.

    Raises:
        ValueError: shapes that do not belong together.
    """

def channel_means(x: Tensor) -> Tensor:
    """The means of each image's channels; see `proprelu.functional`.

    Args:
        x: (N, C, ...) on the CPU, float32 or bfloat16, of any strides.

    Returns:
        (N, C), in the type of `x`.

    Raises:
        ValueError: an input of fewer dimensions.

    Example:
        >>> import torch
        >>> proprelu._core.channel_means(torch.ones(1, 2, 3, 3))
        tensor([[1., 1.]])
    """

def scale_channels(x: Tensor, scale: Tensor) -> Tensor:
    """Channels times a number of each image; see `proprelu.functional`.

    Args:
        x: (N, C, ...) on the CPU, float32 or bfloat16, of any strides.
        scale: (N, C), of the type of `x`.

    Returns:
        (N, C, ...), laid out as `x` where its elements follow one another, else with the channel
        innermost in memory.

    Raises:
        ValueError: another scale, fewer dimensions.

    Example:
        >>> import torch
        >>> scale = torch.tensor([[2.0, 3.0]])
        >>> proprelu._core.scale_channels(torch.ones(1, 2, 1, 1), scale).flatten()
        tensor([2., 3.])
    """

def scale_channels_backward(grad_y: Tensor, x: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of `x` and `scale`, from what `scale_channels` got.

    Args:
        grad_y: the gradient of the result.
        x: as before.
        scale: as before.

    Returns:
        (N, C, ...) and (N, C), in the type of `x`.

    Raises:
        ValueError: shapes that do not belong together.
    """

def plan_sites(
    blocks: Sequence[int | None],
    ratio: str | tuple[int, int] | Ratio,
    placement: str | Sequence[bool] | Sequence[int],
    bare: Sequence[bool] | None = None,
) -> SitePlan:
    """Decide which of a network's sites keep their ReLU.

    Args:
        blocks: for each site, in execution order, the number of its residual block, or None.
        ratio: what is asked for.
        placement: ``"last"``, ``"first"``, ``"even"``, ``"front"``, ``"back"``, ``"block_last"``
            (see :func:`proprelu.plan_for`), or the mask itself, or the sites' numbers in the order
            in which their ReLUs go.
        bare: for each site, whether it is a convolution that never has a ReLU; a mask or an order
            is over the others.

    Raises:
        ValueError: a ratio or placement that can't be, a mask or an order of another length,
            ``"block_last"`` without blocks.

    Example:
        >>> plan_sites([None] * 5, "2:1", "last").keep
        [False, True, False, True, True]
    """

# ---- train ----

class _Runner(Protocol):
    """What computes a step where the model is not captured; gradients by parameter name."""

    def step(
        self, images: Tensor, labels: Tensor, /
    ) -> tuple[float, Tensor, list[tuple[str, Tensor]]]: ...
    def predict(self, images: Tensor, /) -> Tensor: ...
    def loss(self, predictions: Tensor, labels: Tensor, /) -> float: ...

class _Batches(Protocol):
    """Batches from Python: images and labels, as an iterable or by a method `epoch(number)`."""

    def __len__(self) -> int: ...

class _Graphs(Protocol):
    """Who captures what is launched on torch's stream."""

    def begin(self) -> None: ...
    def end(self) -> _Graph: ...
    def abandon(self) -> None: ...
    def explain(self, reason: str, /) -> None: ...

class _Graph(Protocol):
    def replay(self) -> None: ...

class _Observer(Protocol):
    """Who is told of a training, in JSON."""

    def on_step(self, event: str, /) -> None: ...
    def on_epoch(self, row: str, /) -> None: ...

@final
class EngineRunner:
    """Captured programs and the engine that runs them.

    Args:
        step: the captured training step as JSON, None to only predict.
        inference: the captured forward as JSON.
        constants: tensors that the graphs refer to, by name.
        loss: called with predictions and labels, gives a number; None for cross-entropy, computed
            by the core.
        fallback: called with an operation's name, overload and arguments where the core cannot
            call it; gives its results in a list.
        label_smoothing: of the core's cross-entropy.
        device: where the programs run; None for the CPU.

    Raises:
        RuntimeError: a graph that can't be lowered.
    """

    def __new__(
        cls,
        step: str | None,
        inference: str | None,
        constants: Sequence[tuple[str, Tensor]],
        loss: Callable[[Tensor, Tensor], float] | None,
        fallback: Callable[..., Sequence[Tensor | None]],
        *,
        label_smoothing: float = 0.0,
        conv_algorithm: str = "auto",
        tune: bool = False,
        tune_file: str | None = None,
        low_memory: bool = False,
        device: CudaDevice | None = None,
    ) -> EngineRunner: ...
    def step_report(self) -> str | None:
        """The program of the training step as JSON: `rows`, `runs`, `planned_bytes`, `peak_bytes`.

        A row has `op`, `kernel`, `shapes`, `flops`, `bytes`, and `seconds`, the mean of the runs.
        """
    def step_listing(self) -> str | None:
        """The program of the training step as text."""
    def inference_listing(self) -> str | None:
        """The program of the inference as text."""

@final
class CompiledGraph:
    """A captured graph by itself, for somebody else's loop.

    Args:
        graph: as JSON; its `outputs` have `results`.
        fallback: as :class:`EngineRunner`'s.
        conv_algorithm: who convolves, as for `Trainer`.
        tune_file: where the winners of races among kernels are kept; None for no races.
        device: where it runs; None for the CPU.

    Raises:
        RuntimeError: a graph that can't be lowered.
    """

    def __new__(
        cls,
        graph: str,
        fallback: Callable[..., Sequence[Tensor | None]],
        *,
        conv_algorithm: str = "auto",
        tune_file: str | None = None,
        device: CudaDevice | None = None,
    ) -> CompiledGraph: ...
    def __call__(self, inputs: Sequence[Tensor], /) -> list[Tensor]:
        """All that the graph gives, for all its inputs in their order.

        Raises:
            RuntimeError: inputs of other shapes than it was captured with.
        """
    def listing(self) -> str:
        """The program as text."""

@final
class TrainState:
    """What a training changes: parameters with their optimizers' states, buffers, averages, rows.

    The tensors are the caller's own and are changed in place.

    Args:
        parameters: name, dense float32 tensor, and the optimizer's settings as JSON.
        buffers: what is kept in a checkpoint besides: buffers and fixed parameters.
        ema_decay: of the averages of the parameters; None for none.

    Raises:
        ValueError: tensors or settings that can't be.
    """

    def __new__(
        cls,
        parameters: Sequence[tuple[str, Tensor, str]],
        buffers: Sequence[tuple[str, Tensor]],
        ema_decay: float | None = None,
    ) -> TrainState: ...
    def fit(
        self,
        runner: EngineRunner | _Runner,
        train: Loader | _Batches,
        val: Loader | _Batches | None,
        observer: _Observer | None,
        *,
        epochs: int,
        schedule: str,
        seed: int,
        clip_grad_norm: float | None = None,
        checkpoint: _Path | None = None,
        graphs: _Graphs | None = None,
        resident: bool = True,
        device: CudaDevice | None = None,
    ) -> None:
        """Train until `epochs` are finished, those of a loaded checkpoint counted in.

        Args:
            runner: computes a step.
            train: training batches of one size.
            val: validation batches, evaluated after each epoch.
            observer: told of steps, some ten times a second, and of epochs.
            epochs: when to stop.
            schedule: of the learning rate, as JSON.
            seed: of what is random in the program.
            clip_grad_norm: the largest norm of all gradients together.
            checkpoint: where the state is saved after each epoch.
            graphs: on a GPU, who captures a step; None to launch every kernel by itself.
            device: on a GPU, who updates where the runner is no :class:`EngineRunner`.
            resident: on a GPU, whether a loader's data lie there.

        Raises:
            FloatingPointError: the loss is not finite.
            KeyboardInterrupt: Ctrl-C.
        """

    def evaluate(self, runner: EngineRunner | _Runner, data: Loader | _Batches) -> str:
        """Loss and accuracies as JSON, with the averages where there are any."""

    def predict(self, runner: EngineRunner | _Runner, images: Tensor) -> Tensor:
        """The model's output on images (N, C, H, W), with the averages where there are any."""

    def save(self, path: _Path) -> None:
        """Write the full state, atomically.

        Raises:
            OSError: the file can't be written.
        """

    def load(self, path: _Path) -> None:
        """Read what `save` or `fit` wrote.

        Raises:
            OSError: the file can't be read.
            ValueError: it is damaged, or of another model or optimizer.
        """

    def averages(self) -> list[tuple[str, Tensor]]:
        """The averaged parameters by name, sharing memory with the state."""

    def rows(self) -> str:
        """The finished epochs as a JSON list."""

    @property
    def step(self) -> int:
        """Optimizer updates so far."""
    @property
    def epoch(self) -> int:
        """Finished epochs."""
