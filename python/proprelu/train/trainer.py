"""`Trainer`: trains a model in the loop of the core."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from proprelu._core import EngineRunner, Loader, TrainState
from proprelu.data.augment import Augment
from proprelu.data.feeds import (
    TrainFeed,
    eval_batches,
    example_images,
    normalized,
    train_feed,
)
from proprelu.data.full_batches import FullBatches
from proprelu.data.torch_batches import TorchBatches
from proprelu.graph.mode import kept_modes
from proprelu.train.checks import (
    check_choice,
    check_count,
    check_fraction,
    check_model,
    check_names,
    check_positive,
    check_precision,
    check_seed,
    check_shape,
)
from proprelu.train.device.device import Cpu, as_device, on_cpu
from proprelu.train.device.layout import channels_last
from proprelu.train.device.out_of_memory import memory_explained
from proprelu.train.recipe.annealing import annealing
from proprelu.train.recipe.distill import Distill, as_lesson
from proprelu.train.recipe.kernels import CONV_ALGORITHMS, MEMORIES, Kernels
from proprelu.train.recipe.losses import Loss, as_loss, label_smoothing_of
from proprelu.train.recipe.optimizers import SGD, Optimizer, parameter_settings
from proprelu.train.recipe.schedules import Cosine, Schedule, schedule_settings
from proprelu.train.report.history import History
from proprelu.train.report.loggers import Logger
from proprelu.train.report.observer import Observer
from proprelu.train.report.profile import Profile
from proprelu.train.report.progress import ProgressBar
from proprelu.train.runner import EagerRunner, make_runner
from proprelu.train.weights import save_weights

Path = str | os.PathLike[str]


class Trainer:
    """Trains a model with a loop that runs in the core, without Python in a step.

    The model is captured once, forward, loss and backward together, and run as one program. Its
    parameters stay its own: after `fit` the model is trained, and works in plain PyTorch. A model
    that cannot be captured trains with PyTorch's own forward and backward, after one warning.

    Args:
        model: any `nn.Module` in float32, on the CPU or on one GPU. Parameters with
            `requires_grad=False` stay as they are.
        optimizer: `SGD(...)`, `AdamW(...)`, their names in lower case, or an instance of
            `torch.optim.SGD` or `AdamW` over the model's parameters, whose settings are used.
        schedule: `Constant`, `Step`, `Cosine`, `OneCycle`; or `"constant"`, `"cosine"`,
            `"one_cycle"`.
        loss: `CrossEntropy(label_smoothing)`, `"cross_entropy"`, or any module that is called
            with the model's output and the labels and gives a scalar. Of a model that returns a
            tuple or dict, an evaluation gives it the first tensor alone.
        teacher: a network to learn from besides, any `nn.Module` on any device; its predictions
            have the shape of the model's. A copy of it, in evaluation mode and float32 (under
            autocast with `"bf16"`), is part of the program; it itself is left as it is, and not
            in checkpoints. Training losses are then the mixed ones, those of evaluations plain.
        distill: how to learn from the teacher: `Distill(temperature, weight)`.
        precision: `"fp32"`, or `"bf16"`: the model under bfloat16 autocast, with parameters,
            statistics, loss and optimizer in float32.
        device: `"cpu"`, `"cuda"`, `"cuda:1"`, or `"auto"`: where the model lies. For a training on
            a GPU the model is moved there, and stays.
        ema_decay: keep an exponential moving average of the parameters with this decay, 0 to 1;
            it is what is evaluated. `ema_state_dict` gives it.
        conv_algorithm: who convolves. `"auto"`: whoever is fastest; `"direct"`: our direct kernels
            wherever they can, whose sums are as exact as torch's; `"winograd"`: the kernels after
            Winograd wherever they can, whose numbers are rounded twice in bf16; `"torch"`: torch's.
        autotune: time the kernels that come into question, once for each shape; what won is kept
            in proprelu's cache folder. Without it ours are taken. The environment variable
            `PROPRELU_AUTOTUNE=0` turns it off for all trainers.
        cuda_graph: on a GPU, capture a step into one CUDA graph and replay it; else every kernel
            is launched by itself.
        memory: `"normal"` keeps the results of batch norms for the backward, `"low"` computes them
            again there, to the same bits. `"auto"`: `"low"` on the CPU, where whoever reads such a
            result finds it in the cache, so that it takes no longer, and `"normal"` on a GPU.
        clip_grad_norm: the largest norm of all gradients together, above 0.
        seed: a whole number >= 0; fixes order, augmentation and dropout.
        loggers: objects with the methods of `Logger`, such as `TensorBoard`.
        progress: whether to show a progress bar.

    Raises:
        TypeError: the teacher is no module, or `distill` no `Distill`.
        ValueError: settings out of range, another optimizer's parameters, a wrapped model, a
            teacher with parameters of the model.

    Example:
        >>> import proprelu
        >>> model = proprelu.models.create("resnet20", ratio="2:1", in_channels=1)
        >>> trainer = proprelu.Trainer(model, proprelu.SGD(lr=0.1), progress=False)
        >>> data = proprelu.datasets.fashion_mnist_small("test").subset(range(256))
        >>> history = trainer.fit(data, epochs=1)
        >>> len(history)
        1
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer = SGD(),  # noqa: B008  frozen
        schedule: Schedule = Cosine(),  # noqa: B008  frozen
        loss: Loss = "cross_entropy",
        teacher: nn.Module | None = None,
        distill: Distill | None = None,
        precision: str = "fp32",
        device: str | torch.device | Cpu = "auto",
        ema_decay: float | None = None,
        clip_grad_norm: float | None = None,
        conv_algorithm: str = "auto",
        autotune: bool = True,
        memory: str = "auto",
        cuda_graph: bool = True,
        seed: int = 0,
        loggers: Sequence[Logger] = (),
        progress: bool = True,
    ) -> None:
        check_model(model)
        self.model = model
        self.loss = as_loss(loss)
        self._lesson = as_lesson(teacher, distill, model)
        self._device = as_device(device, model, cuda_graph)
        self.optimizer = optimizer
        self.schedule = schedule
        self.bf16 = check_precision(precision)
        self.ema_decay = check_fraction("ema_decay", ema_decay)
        self.clip_grad_norm = check_positive("clip_grad_norm", clip_grad_norm)
        self.conv_algorithm = check_choice("conv_algorithm", conv_algorithm, CONV_ALGORITHMS)
        self.autotune = autotune
        self.memory = check_choice("memory", memory, MEMORIES)
        self.seed = check_seed(seed)
        self.history = History()
        self._loggers = [*([ProgressBar()] if progress else []), *loggers]
        self._normalization: Augment | None = None
        self._averages: dict[str, Tensor] = {}
        self._runner: EngineRunner | EagerRunner | None = None
        self._busy = threading.Lock()
        schedule_settings(schedule)
        check_names(name for name, _ in (*self._named_parameters(), *self._named_buffers()))
        self._make_state(averaged=False)

    def fit(
        self,
        train: Any,
        val: Any = None,
        *,
        epochs: int,
        batch_size: int = 128,
        augment: Augment | None = None,
        checkpoint: Path | None = None,
        resume: Path | None = None,
        stream: bool | None = None,
    ) -> History:
        """Train for a number of epochs.

        Args:
            train: images and labels of any kind that `as_dataset` takes. Only full batches are
                used, since a program holds for one shape.
            val: likewise, evaluated after every epoch, with the averages where there are any.
            epochs: the epoch to stop after, those of a resumed training counted in.
            batch_size: images in a step; a `DataLoader` keeps its own.
            augment: what is done to training images; by default they are normalized only.
            checkpoint: a file for the full state, written atomically after every epoch.
            resume: a checkpoint to go on from; on the CPU with the same number of threads the
                training continues bit for bit.
            stream: on a GPU, whether images in memory are sent there batch by batch, and augmented
                here; by default only where they would take half of the GPU's free memory. Else
                they lie on the GPU and are augmented there.

        Returns:
            A row an epoch, those of a resumed training included.

        Raises:
            ValueError: bad data, or a checkpoint of another model.
            torch.OutOfMemoryError: a step needs more memory than the GPU has; the message says
                which batch would fit.
            FloatingPointError: the loss is no longer finite; the model is as before that step and
                the last checkpoint is kept.
            KeyboardInterrupt: Ctrl-C, within one step; `trainer.history` has the finished epochs.
        """
        check_count("epochs", epochs)
        check_count("batch_size", batch_size)
        with self._alone(), self._device.active(), channels_last(self.model):
            feed = train_feed(train, batch_size, augment, self.seed)
            self._normalization = feed.normalization
            val_batches = None
            if val is not None:
                size = 2 * len(feed.images)
                val_batches = eval_batches(val, size, feed.normalization, feed.num_classes)
                check_shape("validation", example_images(val_batches), feed.images)
            runner = self._make_runner(feed)
            self._move()
            if isinstance(runner, EagerRunner):
                runner.to(self._device.device)
            state = self._make_state()
            if resume is not None:
                state.load(resume)
            stream = not self._device.holds(feed.nbytes) if stream is None else stream
            place, needed = self._device, lambda: _step_bytes(runner)
            explained = memory_explained(place.device, len(feed.images), needed, place.free_bytes)
            with explained, annealing(self.model, len(feed.batches)):
                self._run(state, runner, feed.batches, val_batches, epochs, checkpoint, stream)
        return self.history

    def evaluate(self, data: Any, batch_size: int = 256) -> dict[str, float | None]:
        """The mean loss and the accuracies on a set, with the averages where there are any.

        Images are normalized as in the last `fit`; without one, by their own mean and deviation.

        Returns:
            `loss`, `top1`, `top5`; accuracies are fractions of 1.
        """
        check_count("batch_size", batch_size)
        with self._evaluating():
            batches = eval_batches(data, batch_size, self._normalization)
            images = example_images(batches)
            runner = self._predictor(torch.zeros(batch_size, *images.shape[1:]))
            self._move()
            metrics: dict[str, float | None] = json.loads(
                self._make_state(averaged=False).evaluate(runner, batches)
            )
        return metrics

    def predict(self, images: Any, batch_size: int = 256) -> Tensor:
        """The model's output in evaluation mode, with the averages where there are any.

        Args:
            images: (N, C, H, W) float tensor, used as it is; or uint8 or float arrays as
                `as_dataset` takes them, normalized as in the last `fit`.

        Returns:
            (N, num_classes) for a classifier, float32, on the CPU.
        """
        check_count("batch_size", batch_size)
        if not (isinstance(images, Tensor) and images.is_floating_point()):
            images = normalized(images, self._normalization)
        if len(images) == 0:
            raise ValueError("images must be one at least, got none")
        with self._evaluating():
            size = min(batch_size, len(images))
            runner = self._predictor(torch.zeros(size, *images.shape[1:]))
            self._move()
            return self._make_state(averaged=False).predict(runner, images.float())

    def save_weights(self, path: Path) -> None:
        """Write the weights as safetensors, the averaged ones where there are any."""
        save_weights(self.ema_state_dict() or self.model.state_dict(), path)

    def ema_state_dict(self) -> dict[str, Tensor]:
        """The model's `state_dict` with the averaged parameters; empty without `ema_decay`."""
        if not self._averages:
            return {}
        state = self.model.state_dict()
        return {name: self._averages.get(name, tensor) for name, tensor in state.items()}

    @property
    def program(self) -> str | None:
        """The captured training step as text; `None` before `fit`, or if it runs in eager.

        A line an operation: who computes it, the bytes it reads and writes at the least, its
        multiplications and additions, and the types of what it reads and gives.
        """
        return self._runner.step_listing() if isinstance(self._runner, EngineRunner) else None

    def profile(self) -> Profile:
        """Where the time of a training step goes, from the steps of the last `fit`.

        Returns:
            A table when printed or shown in Jupyter; `plot()` draws it. Each operation stands
            beside its floor. Data, metrics and the optimizer are not in it.

        Raises:
            RuntimeError: no captured step has run, or it ran on a GPU, where operations are only
                launched: there `torch.profiler` sees the kernels.

        Example:
            >>> import proprelu
            >>> model = proprelu.models.create("resnet20", in_channels=1)
            >>> trainer = proprelu.Trainer(model, progress=False)
            >>> data = proprelu.datasets.fashion_mnist_small("test").subset(range(128))
            >>> history = trainer.fit(data, epochs=1)
            >>> trainer.profile().runs
            1
        """
        if self._device.kernels is not None:
            raise RuntimeError("profile times a CPU; on a GPU use torch.profiler around fit")
        runner = self._runner
        report = runner.step_report() if isinstance(runner, EngineRunner) else None
        if report is None:
            raise RuntimeError("no captured step has run: call fit with a model that is captured")
        return Profile.of_report(json.loads(report))

    def _run(
        self,
        state: TrainState,
        runner: EngineRunner | EagerRunner,
        batches: Loader | FullBatches,
        val: Loader | TorchBatches | None,
        epochs: int,
        checkpoint: Path | None,
        stream: bool,
    ) -> None:
        self._runner = runner
        self.history = History(json.loads(state.rows()))
        observer = Observer(self._loggers, self.history, epochs, len(batches))
        try:
            with observer:
                state.fit(
                    runner,
                    batches,
                    val,
                    observer,
                    epochs=epochs,
                    schedule=schedule_settings(self.schedule),
                    seed=self.seed,
                    clip_grad_norm=self.clip_grad_norm,
                    checkpoint=checkpoint,
                    graphs=self._device.graphs(),
                    resident=not stream,
                    device=self._device.kernels,
                )
        finally:
            # An interrupt may come between the end of an epoch and its row.
            for row in json.loads(state.rows())[len(self.history) :]:
                self.history.append(row)
            self._averages = {name: tensor.clone() for name, tensor in state.averages()}

    def _make_runner(self, feed: TrainFeed) -> EngineRunner | EagerRunner:
        classes = feed.num_classes if label_smoothing_of(self.loss) is not None else None
        with on_cpu(self.model, self.loss):
            return make_runner(
                self.model,
                self.loss,
                feed.images,
                feed.labels,
                eval_batch_size=2 * len(feed.images),
                kernels=self._kernels(),
                bf16=self.bf16,
                num_classes=classes,
                lesson=self._lesson,
                device=self._device.kernels,
            )

    def _predictor(self, images: Tensor) -> EngineRunner | EagerRunner:
        with on_cpu(self.model, self.loss):
            return make_runner(
                self.model,
                self.loss,
                images,
                None,
                eval_batch_size=len(images),
                kernels=self._kernels(),
                bf16=self.bf16,
                device=self._device.kernels,
            )

    def _move(self) -> None:
        self.model.to(self._device.device)
        self.loss.to(self._device.device)

    def _kernels(self) -> Kernels:
        return Kernels(self.conv_algorithm, self.autotune, self.memory)

    def _make_state(self, averaged: bool = True) -> TrainState:
        parameters = list(self._named_parameters())
        settings = parameter_settings(self.optimizer, parameters)
        fixed = [(name, p) for name, p in parameters if name not in settings]
        return TrainState(
            [(name, p.detach(), settings[name]) for name, p in parameters if name in settings],
            [(name, b.detach()) for name, b in (*fixed, *self._named_buffers())],
            self.ema_decay if averaged else None,
        )

    def _named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        yield from self.model.named_parameters()
        for name, parameter in self.loss.named_parameters():
            yield f"loss.{name}", parameter

    def _named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        yield from self.model.named_buffers()
        for name, buffer in self.loss.named_buffers():
            yield f"loss.{name}", buffer

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One thing at a time; modes and torch's random numbers are as before afterwards."""
        if not self._busy.acquire(blocking=False):
            raise RuntimeError("the trainer is busy: wait until fit, evaluate or predict returns")
        try:
            with torch.random.fork_rng(devices=self._device.generators), kept_modes(self.model):
                yield
        finally:
            self._busy.release()

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """The averages in the place of the parameters, NHWC, and everything back afterwards."""
        with self._alone():
            parameters = dict(self._named_parameters())
            own = {name: parameters[name].data for name in self._averages}
            try:
                for name, average in self._averages.items():
                    parameters[name].data = average
                with self._device.active(), channels_last(self.model):
                    yield
            finally:
                for name, data in own.items():
                    parameters[name].data = data


def _step_bytes(runner: EngineRunner | EagerRunner) -> int:
    """What the values of a step take, as far as that is known."""
    report = runner.step_report() if isinstance(runner, EngineRunner) else None
    return int(json.loads(report)["peak_bytes"]) if report else 0
