"""`Trainer`: trains a model in the loop of the core."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from proprelu._core import Dataset, EngineRunner, Loader, TrainState
from proprelu.train.augment import Augment
from proprelu.train.checks import check_device, check_epochs, check_model, check_precision
from proprelu.train.data import as_dataset
from proprelu.train.full_batches import FullBatches
from proprelu.train.history import History
from proprelu.train.layout import channels_last
from proprelu.train.loggers import Logger
from proprelu.train.losses import Loss, as_loss, label_smoothing_of
from proprelu.train.observer import Observer
from proprelu.train.optimizers import SGD, Optimizer, parameter_settings
from proprelu.train.progress import ProgressBar
from proprelu.train.runner import EagerRunner, make_runner
from proprelu.train.schedules import Cosine, Schedule, schedule_settings
from proprelu.train.torch_batches import TorchBatches
from proprelu.train.weights import save_weights

Path = str | os.PathLike[str]


class Trainer:
    """Trains a model with a loop that runs in the core, without Python in a step.

    The model is captured once, forward, loss and backward together, and run as one program. Its
    parameters stay its own: after `fit` the model is trained, and works in plain PyTorch. A model
    that cannot be captured trains with PyTorch's own forward and backward, after one warning.

    Args:
        model: any `nn.Module` on the CPU in float32. Parameters with `requires_grad=False` stay
            as they are.
        optimizer: `SGD(...)`, `AdamW(...)`, their names in lower case, or an instance of
            `torch.optim.SGD` or `AdamW` over the model's parameters, whose settings are used.
        schedule: `Constant`, `Step`, `Cosine`, `OneCycle`; or `"constant"`, `"cosine"`,
            `"one_cycle"`.
        loss: `CrossEntropy(label_smoothing)`, `"cross_entropy"`, or any module that is called
            with the model's output and the labels and gives a scalar.
        precision: `"fp32"`, or `"bf16"`: the model under bfloat16 autocast, with parameters,
            statistics, loss and optimizer in float32.
        device: `"auto"` or `"cpu"`.
        ema_decay: keep an exponential moving average of the parameters with this decay; it is
            what is evaluated. `ema_state_dict` gives it.
        clip_grad_norm: the largest norm of all gradients together.
        seed: fixes order, augmentation and dropout.
        loggers: objects with the methods of `Logger`, such as `TensorBoard`.
        progress: whether to show a progress bar.

    Raises:
        ValueError: settings out of range, another optimizer's parameters, a wrapped model.

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
        precision: str = "fp32",
        device: str = "auto",
        ema_decay: float | None = None,
        clip_grad_norm: float | None = None,
        seed: int = 0,
        loggers: Sequence[Logger] = (),
        progress: bool = True,
    ) -> None:
        check_model(model)
        check_device(device)
        self.model = model
        self.loss = as_loss(loss)
        self.optimizer = optimizer
        self.schedule = schedule
        self.bf16 = check_precision(precision)
        self.ema_decay = ema_decay
        self.clip_grad_norm = clip_grad_norm
        self.seed = seed
        self.history = History()
        self._loggers = [*([ProgressBar()] if progress else []), *loggers]
        self._normalization: Augment | None = None
        self._averages: dict[str, Tensor] = {}
        self._runner: EngineRunner | EagerRunner | None = None
        schedule_settings(schedule)
        parameter_settings(optimizer, self._named_parameters())

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

        Returns:
            A row an epoch, those of a resumed training included.

        Raises:
            ValueError: bad data, or a checkpoint of another model.
            FloatingPointError: the loss is no longer finite; the model is as before that step and
                the last checkpoint is kept.
            KeyboardInterrupt: Ctrl-C, within one step; `trainer.history` has the finished epochs.
        """
        check_epochs(epochs)
        dataset = as_dataset(
            train, batch_size=batch_size, shuffle=True, drop_last=True, seed=self.seed
        )
        batches, images, labels = self._train_batches(dataset, batch_size, augment)
        val_batches = None
        if val is not None:
            val_batches = self._eval_batches(val, 2 * len(images), dataset.num_classes)
        mode = self.model.training
        with channels_last(self.model), torch.random.fork_rng(devices=[]):
            try:
                runner = self._make_runner(images, labels, dataset.num_classes)
                state = self._make_state()
                if resume is not None:
                    state.load(resume)
                self._run(state, runner, batches, val_batches, epochs, checkpoint)
            finally:
                self.model.train(mode)
        return self.history

    def evaluate(self, data: Any, batch_size: int = 256) -> dict[str, float | None]:
        """The mean loss and the accuracies on a set, with the averages where there are any.

        Images are normalized as in the last `fit`; without one, by their own mean and deviation.

        Returns:
            `loss`, `top1`, `top5`; accuracies are fractions of 1.
        """
        batches = self._eval_batches(data, batch_size, None)
        images = _example(batches)
        with self._evaluating():
            runner = self._predictor(torch.zeros(batch_size, *images.shape[1:]))
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
            (N, num_classes) for a classifier, float32.
        """
        if not (isinstance(images, Tensor) and images.is_floating_point()):
            images = self._normalized(images)
        with self._evaluating():
            size = min(batch_size, len(images))
            runner = self._predictor(torch.zeros(size, *images.shape[1:]))
            return self._make_state(averaged=False).predict(runner, images.float())

    def save_weights(self, path: Path) -> None:
        """Write the weights as safetensors, the averaged ones where there are any."""
        save_weights(self.ema_state_dict() or self.model.state_dict(), path)

    def ema_state_dict(self) -> dict[str, Tensor]:
        """The model's `state_dict` with the averaged parameters; empty without `ema_decay`."""
        if not self._averages:
            return {}
        return {**self.model.state_dict(), **self._averages}

    @property
    def program(self) -> str | None:
        """The captured training step as text, an operation a line; `None` if it runs in eager."""
        return self._runner.step if isinstance(self._runner, EngineRunner) else None

    def _run(
        self,
        state: TrainState,
        runner: EngineRunner | EagerRunner,
        batches: Loader | FullBatches,
        val: Loader | TorchBatches | None,
        epochs: int,
        checkpoint: Path | None,
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
                )
        finally:
            self._averages = {name: tensor.clone() for name, tensor in state.averages()}

    def _train_batches(
        self, dataset: Dataset | TorchBatches, batch_size: int, augment: Augment | None
    ) -> tuple[Loader | FullBatches, Tensor, Tensor]:
        """The batches, and an example of one."""
        if isinstance(dataset, TorchBatches):
            if augment is not None:
                raise ValueError(
                    "augment works on images in memory; a torch Dataset or DataLoader has its "
                    "own transforms: put the augmentation there"
                )
            batches = FullBatches(dataset)
            return batches, *batches.example
        fitted = (augment or Augment()).fitted(dataset)
        self._normalization = fitted.evaluation()
        count, height, width, channels = dataset.shape
        loader = Loader(
            dataset,
            min(batch_size, count),
            shuffle=True,
            drop_last=True,
            seed=self.seed,
            augment=fitted.to_json(),
        )
        images = torch.zeros(min(batch_size, count), channels, height, width)
        labels = torch.zeros(len(images), dtype=torch.int64)
        return loader, images, labels

    def _eval_batches(
        self, data: Any, batch_size: int, num_classes: int | None
    ) -> Loader | TorchBatches:
        if isinstance(data, (Dataset, TorchBatches)):
            num_classes = None
        dataset = as_dataset(data, num_classes=num_classes, batch_size=batch_size)
        if isinstance(dataset, TorchBatches):
            return dataset
        normalization = self._normalization or Augment().fitted(dataset).evaluation()
        return Loader(dataset, batch_size, augment=normalization.to_json())

    def _normalized(self, images: Any) -> Tensor:
        labels = torch.zeros(len(images), dtype=torch.int64)
        batches = self._eval_batches((images, labels), len(images), None)
        (batch, _), *_ = batches
        return torch.as_tensor(batch).permute(0, 3, 1, 2)

    def _make_runner(
        self, images: Tensor, labels: Tensor, num_classes: int | None
    ) -> EngineRunner | EagerRunner:
        classes = num_classes if label_smoothing_of(self.loss) is not None else None
        return make_runner(
            self.model,
            self.loss,
            images,
            labels,
            eval_batch_size=2 * len(images),
            bf16=self.bf16,
            num_classes=classes,
        )

    def _predictor(self, images: Tensor) -> EngineRunner | EagerRunner:
        return make_runner(
            self.model, self.loss, images, None, eval_batch_size=len(images), bf16=self.bf16
        )

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
    def _evaluating(self) -> Iterator[None]:
        """The averages in the place of the parameters, NHWC, and everything back afterwards."""
        mode = self.model.training
        own = {name: p.data for name, p in self._named_parameters() if name in self._averages}
        parameters = dict(self._named_parameters())
        try:
            for name in own:
                parameters[name].data = self._averages[name]
            with channels_last(self.model):
                yield
        finally:
            for name, data in own.items():
                parameters[name].data = data
            self.model.train(mode)


def _example(batches: Loader | TorchBatches) -> Tensor:
    images, _ = next(iter(batches))
    if isinstance(images, Tensor):
        return images
    return torch.as_tensor(images).permute(0, 3, 1, 2)
