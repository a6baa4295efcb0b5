"""``Trainer``: trains a model in the loop of the core."""

from __future__ import annotations

import os
import pathlib
import threading
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from proprelu._core import EngineRunner, Loader, TrainState
from proprelu.atomic import check_writable
from proprelu.checks import as_count, as_fraction, as_positive, as_whole
from proprelu.data.appearance import Appearance
from proprelu.data.augment import Augment
from proprelu.data.feeds import TrainFeed, eval_feed, train_feed, validation_feed
from proprelu.data.images import holds_pixels, images_of
from proprelu.data.normalization import Normalization
from proprelu.data.stream import Stream
from proprelu.graph.reading import Choice, Reading
from proprelu.train.checks import (
    check_choice,
    check_model,
    check_names,
    check_output,
    check_precision,
)
from proprelu.train.device.device import Device
from proprelu.train.device.out_of_memory import memory_explained
from proprelu.train.device.place import as_device
from proprelu.train.draws import Draws, kept_cuda_generators
from proprelu.train.facts import fingerprint, versions
from proprelu.train.predictors import Predictors
from proprelu.train.recipe.annealing import annealing
from proprelu.train.recipe.distill import Distill, as_lesson
from proprelu.train.recipe.kernels import CONV_ALGORITHMS, MEMORIES, Kernels
from proprelu.train.recipe.losses import Loss, as_loss
from proprelu.train.recipe.optimizers import (
    SGD,
    Optimizer,
    distinct,
    parameter_settings,
    warn_of_ignored,
)
from proprelu.train.recipe.schedules import Cosine, Schedule, schedule_settings
from proprelu.train.renewal import Renewal, Renewed
from proprelu.train.report.history import History
from proprelu.train.report.loggers import Logger, Loggers
from proprelu.train.report.observer import Observer
from proprelu.train.report.profile import Profile
from proprelu.train.report.progress import ProgressBar
from proprelu.train.resumption import Past, Resumption
from proprelu.train.runner import Runner, step_bytes
from proprelu.train.session import Session
from proprelu.train.state import (
    averaged_state,
    check_optimizer,
    named_buffers,
    named_parameters,
)
from proprelu.warned import warn
from proprelu.weights.files import save_state
from proprelu.weights.record import record_of

__all__ = ["Trainer"]

Path = str | os.PathLike[str]


class Trainer:
    """Trains a model with a loop that runs in the core, without Python in a step.

    The model is captured once, forward, loss and backward together, and run as one program. The
    program trains the model's own parameters: after ``fit`` the model is trained and works in
    plain PyTorch. A model that cannot be captured trains with PyTorch's own forward and backward,
    after one warning.

    Args:
        model: any ``nn.Module`` in float32, on the CPU or on one GPU. Parameters with
            ``requires_grad=False`` are not changed.
        optimizer: ``SGD(...)``, ``AdamW(...)``, ``"sgd"``, ``"adamw"``, or an instance of
            ``torch.optim.SGD`` or ``AdamW`` over the model's parameters, to use its groups and
            settings. Its state is not used, and it must have no scheduler: pass ``schedule``.
        schedule: ``Constant``, ``Step``, ``Cosine``, ``OneCycle``; or ``"constant"``,
            ``"cosine"``, ``"one_cycle"``.
        loss: ``CrossEntropy(label_smoothing)``, ``"cross_entropy"``, or any module that is called
            with the model's output and the labels, whatever they are, and returns a scalar. If
            the model returns a tuple or dict, losses of ``torch.nn`` get the predictions and any
            other module the whole output.
        output: which part of a tuple or dict that the model returns the predictions are: a key, an
            index, or a function of the output. By default the first tensor that the loss depends
            on, or for losses of ``torch.nn`` the first tensor.
        teacher: a network to distill from, any ``nn.Module`` on any device, with predictions of
            the same shape as the model's. The program contains a copy of it in evaluation mode and
            float32 (under autocast with ``"bf16"``); the teacher itself is not changed and not
            saved in checkpoints. Training losses are then the mixed ones; evaluation losses are
            those of the labels alone.
        distill: how to learn from the teacher: ``Distill(temperature, weight)``.
        precision: ``"fp32"``, or ``"bf16"``: the model under bfloat16 autocast, with parameters,
            statistics, loss and optimizer in float32.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, or ``"auto"`` for the device that holds the
            model. To train on a GPU the model is moved there, and stays there.
        ema_decay: keep an exponential moving average of the parameters with this decay, 0 to 1,
            and use it in evaluations. ``ema_state_dict`` returns it. Buffers, such as the
            statistics of batch norms, are not averaged: those of the model are used.
        ema_warmup: whether the decay rises to its value, as
            ``min(ema_decay, (1 + step) / (10 + step))``; otherwise the averages of a short
            training are still near to the first weights.
        conv_algorithm: which kernels compute convolutions. ``"auto"``: the fastest; ``"direct"``:
            the direct kernels wherever possible, with sums as exact as torch's;
            ``"winograd"``: Winograd kernels wherever possible, which round twice in bf16;
            ``"torch"``: torch's.
        autotune: time the candidate kernels once for each shape and keep the results in the cache
            folder. Otherwise proprelu's own kernels are used wherever possible. The environment
            variable ``PROPRELU_AUTOTUNE=0`` turns autotuning off for all trainers.
        cuda_graph: on a GPU, capture a step into one CUDA graph and replay it; otherwise every
            kernel is launched separately.
        memory: ``"normal"`` keeps the results of batch norms for the backward; ``"low"`` computes
            them again there, with identical results. ``"auto"``: ``"low"`` on the CPU, where it
            takes no longer because the results are still in the cache when they are read, and
            ``"normal"`` on a GPU.
        clip_grad_norm: the maximum norm of all gradients together, above 0.
        seed: a whole number >= 0; fixes dropout, ``augment``, and the order of images in memory
            and of a torch ``Dataset``. What the data draw themselves, the shuffling of a
            ``DataLoader`` and random transforms, comes from the caller's generators as in a plain
            loop: it is different in each ``fit``, and ``torch.manual_seed`` fixes it.
        loggers: objects with the methods of ``Logger``, such as ``TensorBoard``.
        progress: whether to show a progress bar.

    Raises:
        TypeError: the teacher is not a module, or ``distill`` is not a ``Distill``.
        ValueError: settings out of range, an optimizer over other parameters, a wrapped model, a
            teacher that shares parameters with the model.

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
        output: Choice = None,
        teacher: nn.Module | None = None,
        distill: Distill | None = None,
        precision: str = "fp32",
        device: str | torch.device | Device = "auto",
        ema_decay: float | None = None,
        ema_warmup: bool = True,
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
        self.output = check_output(output)
        self._lesson = as_lesson(teacher, distill, model)
        self._device = as_device(device, model, cuda_graph)
        self.optimizer = optimizer
        self.schedule = schedule
        self.bf16 = check_precision(precision)
        self.ema_decay = None if ema_decay is None else as_fraction("ema_decay", ema_decay)
        self.ema_warmup = bool(ema_warmup)
        self.clip_grad_norm = clip_grad_norm
        if clip_grad_norm is not None:
            self.clip_grad_norm = as_positive("clip_grad_norm", clip_grad_norm)
        self.conv_algorithm = check_choice("conv_algorithm", conv_algorithm, CONV_ALGORITHMS)
        self.autotune = autotune
        self.memory = check_choice("memory", memory, MEMORIES)
        self.seed = as_whole("seed", seed, 0, 2**64 - 1)
        self.history = History()
        self._loggers = Loggers([*([ProgressBar()] if progress else []), *loggers])
        self._fitted = False
        self._appearance: Appearance | None = None
        self._normalization: Normalization | None = None
        self._reading: Reading | None = None
        self._averages: dict[str, Tensor] = {}
        self._past: Past | None = None
        self._runner: Runner | None = None
        self._draws = Draws(self.seed, self._device.generators)
        self._predictors = Predictors()
        self._busy = threading.Lock()
        schedule_settings(schedule)
        tensors = (named_parameters(model, self.loss), named_buffers(model, self.loss))
        check_names(name for named in tensors for name, _ in named)
        check_optimizer(model, self.loss, optimizer)
        warn_of_ignored(optimizer)

    def __getstate__(self) -> dict[str, Any]:
        # Programs and locks are made anew.
        made_anew = ("_runner", "_predictors", "_busy")
        return {name: value for name, value in self.__dict__.items() if name not in made_anew}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._runner = None
        self._predictors = Predictors()
        self._busy = threading.Lock()

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
        override: Collection[str] = (),
        schedule_epochs: int | None = None,
        stream: bool | None = None,
        steps_per_epoch: int | None = None,
    ) -> History:
        """Train for a number of epochs.

        A second call goes on: the epochs are counted further, ``history`` keeps its rows, and the
        optimizer and the averages continue. The schedule begins again, over the new epochs.

        Args:
            train: images and labels of any kind that ``as_dataset`` takes. Images in memory are
                used in full batches, in a new order each epoch; a ``DataLoader`` decides by
                its ``drop_last``.
            val: likewise, evaluated after every epoch, with averaged parameters if ``ema_decay``
                is set.
            epochs: the epochs to train; with ``resume`` those of the checkpoint count.
            batch_size: images in a step, at most all; a ``DataLoader`` keeps its own.
            augment: augmentation of training images in memory; by default they are only
                normalized.
            checkpoint: a file for the full state, written atomically after every epoch.
            resume: a checkpoint to continue from; on the CPU with the same number of threads the
                training continues bit for bit. It has to be of the same training: which ReLUs are
                dropped, data, batch size, augmentation, precision, optimizer, schedule and seed.
            override: which of these may differ: ``"plan"``, ``"data"``, ``"batch_size"``,
                ``"steps_per_epoch"``, ``"augment"``, ``"precision"``, ``"optimizer"``,
                ``"schedule"``, ``"clip_grad_norm"``, ``"ema"``, ``"seed"``.
            schedule_epochs: the epochs over which the schedule runs, if the training will be
                resumed later; by default ``epochs``, or those of the resumed training.
            stream: on a GPU, whether images in memory are augmented on the CPU and copied batch by
                batch; by default only if they would take half of the GPU's free memory. Otherwise
                all images are copied once and augmented on the GPU.
            steps_per_epoch: the batches of an epoch of a ``Dataset`` or ``DataLoader``; by default
                all. Data without a length are read once before the training, to count them, if
                it is not given.

        The model trains in training mode, except for parts that are in evaluation mode while the
        model as a whole is in training mode: these are frozen and stay so, as batch norms after
        ``model[1].eval()``. A logger may change modes, ``requires_grad``, attributes and hooks of
        the model during the training; the next step follows on the CPU, the next epoch on a GPU.

        Returns:
            One row for each epoch, including those of a resumed training.

        Raises:
            OSError: the checkpoint cannot be written, which is tried at the start.
            ValueError: bad data, a checkpoint of another model or training, or an error of the
                model or loss.
            RuntimeError: a logger replaces a parameter or buffer, or wants one trained that
                was frozen when the training began.
            torch.OutOfMemoryError: a step needs more memory than the GPU has; the message contains
                the batch size that would fit.
            FloatingPointError: the loss is no longer finite; the model is as before that step and
                the last checkpoint is kept.
            KeyboardInterrupt: Ctrl-C, within one step; ``trainer.history`` has the finished epochs.
        """
        epochs = as_count("epochs", epochs)
        batch_size = as_count("batch_size", batch_size)
        if steps_per_epoch is not None:
            steps_per_epoch = as_count("steps_per_epoch", steps_per_epoch)
        resumption = Resumption(resume, override, schedule_epochs)
        if checkpoint is not None:
            check_writable(pathlib.Path(checkpoint))
        session = self._session()
        with session.training():
            feed = train_feed(
                train,
                batch_size,
                augment,
                self.seed,
                steps=steps_per_epoch,
                one_shape=self._device.kernels is not None,
            )
            val_batches = None if val is None else validation_feed(val, feed).batches
            capture = partial(
                session.capture,
                feed.images,
                feed.labels,
                training=True,
                num_classes=feed.num_classes,
            )
            runner, self._reading = capture()
            self._fitted, self._normalization = True, feed.normalization
            self._appearance = Appearance.of(feed.images)
            state = session.state(self.optimizer, self._ema())
            if resume is None and self._past is not None:
                epochs += self._past.restore(state)
            needed = checkpoint is not None or resume is not None
            facts = self._facts(feed, augment) if needed else {}
            schedule = schedule_settings(self.schedule)
            facts["schedule_epochs"] = resumption.begin(state, facts, epochs, schedule)
            if stream is None:
                stream = not self._device.holds(feed.nbytes)
            renewal = Renewal(self.model, self.loss, runner, lambda: capture()[0])
            self._run(state, renewal, feed, val_batches, epochs, checkpoint, facts, stream)
        return self.history

    def evaluate(
        self, data: Any, batch_size: int = 256, *, normalize: bool | Augment = True
    ) -> dict[str, float | None]:
        """The mean loss and the accuracies on a data set.

        The averaged parameters are used if ``ema_decay`` is set. What the last ``fit`` normalized
        is normalized likewise here, in whatever form it comes: see ``normalize``.

        Args:
            data: images and labels of any kind that ``as_dataset`` takes.
            batch_size: images in a batch; a ``DataLoader`` keeps its own.
            normalize: apply the mean and deviation that the last ``fit`` measured or was given, to
                arrays, data sets and loaders alike, after transforms of their own. If there was no
                ``fit``, or its data came from a torch ``Dataset`` or ``DataLoader``, there are
                none: the images are used as they are, uint8 scaled to 0..1. An ``Augment`` with
                ``mean`` and ``std`` states others; ``False`` uses the images as they are.

        Returns:
            ``loss``, ``top1``, ``top5``; accuracies are fractions of 1, or ``None`` unless the
            labels are integers (N,) and the predictions (N, num_classes).
        """
        batch_size = as_count("batch_size", batch_size)
        session = self._session()
        with session.evaluating(self._averages):
            feed = eval_feed(data, batch_size, self._normalization_of(data, normalize))
            self._notice(feed.images, normalize)
            runner, self._reading = session.evaluator(feed, self._reading)
            return session.fixed_state().evaluate(runner, feed.batches)

    def predict(
        self, images: Any, batch_size: int = 256, *, normalize: bool | Augment = True
    ) -> Tensor:
        """The model's predictions in evaluation mode.

        The averaged parameters are used if ``ema_decay`` is set.

        Args:
            images: images of any kind that ``as_dataset`` takes, with or without labels: a tensor
                (N, C, H, W), an array, a list of images, a data set or a loader.
            batch_size: images in a batch.
            normalize: as in ``evaluate``.

        Returns:
            (N, num_classes) for a classifier, float32, on the CPU.
        """
        batch_size = as_count("batch_size", batch_size)
        tensor = images_of(images, self._normalization_of(images, normalize), batch_size)
        self._notice(tensor[:batch_size], normalize)
        if len(tensor) == 0:
            raise ValueError("predict needs at least one image, got none")
        session = self._session()
        with session.evaluating(self._averages):
            return session.predict(tensor, batch_size, self._reading)

    def save_weights(self, path: Path, *, ratio: str | None = None) -> None:
        """Write the weights as safetensors; the averaged ones if ``ema_decay`` is set.

        The file records which ReLUs are dropped; see ``proprelu.save_weights``.

        Args:
            path: the file, ``.safetensors``.
            ratio: the ratio that was asked for, for the record.
        """
        state = self.ema_state_dict() or self.model.state_dict()
        save_state(self.model, state, path, ratio=ratio)

    def ema_state_dict(self) -> dict[str, Tensor]:
        """The model's ``state_dict`` with averaged parameters; empty without ``ema_decay``."""
        if not self._averages:
            return {}
        return averaged_state(self.model, self._averages)

    @property
    def program(self) -> str | None:
        """The captured training step as text; ``None`` before ``fit``, or if it runs in eager.

        Each line is an operation: the kernel that computes it, the bytes that it reads and writes
        at least, its multiplications and additions, and the types of its inputs and outputs.
        """
        return self._runner.step_listing() if isinstance(self._runner, EngineRunner) else None

    def profile(self) -> Profile:
        """Where the time of a training step goes, from the steps of the last ``fit``.

        Returns:
            A table when printed or shown in Jupyter; ``plot()`` draws it. Each operation is shown
            with its lower bound. Data, metrics and the optimizer are not included.

        Raises:
            RuntimeError: no captured step has run, or it ran on a GPU, where the host only
                launches operations; use ``torch.profiler`` there.

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
        return Profile.of_report(report)

    def _session(self) -> Session:
        return Session(
            self.model,
            self.loss,
            self._lesson,
            self._device,
            Kernels(self.conv_algorithm, self.autotune, self.memory),
            self.bf16,
            self.output,
            self._draws,
            self._predictors,
            self._busy,
        )

    def _normalization_of(self, data: Any, normalize: bool | Augment) -> Normalization | None:
        """What an evaluation normalizes by."""
        if isinstance(normalize, Augment):
            return Normalization.given_by(normalize)
        if normalize and not self._fitted and holds_pixels(data):
            warn(
                "there was no fit that measured a mean and deviation, so uint8 images are only "
                "scaled to 0..1; pass normalize=Augment(mean=..., std=...) to state them, or False"
            )
        return self._normalization if normalize else None

    def _notice(self, images: Tensor, normalize: bool | Augment) -> None:
        """Warn of images in other units than those of the last ``fit``."""
        appearance = Appearance.of(images)
        if normalize is True and appearance is not None and self._appearance is not None:
            appearance.warn_unless_like(self._appearance)

    def _ema(self) -> dict[str, Any] | None:
        if self.ema_decay is None:
            return None
        return {"decay": self.ema_decay, "warmup": self.ema_warmup}

    def _facts(self, feed: TrainFeed, augment: Augment | None) -> dict[str, Any]:
        """What a checkpoint records about the training."""
        record = record_of(self.model)
        parameters = parameter_settings(
            self.optimizer, list(named_parameters(self.model, self.loss))
        )
        return {
            "plan": None if record is None else record.to_dict(),
            "data": fingerprint(feed),
            "batch_size": len(feed.images),
            "steps_per_epoch": len(feed.batches),
            "augment": (augment or Augment()).to_dict(),
            "precision": "bf16" if self.bf16 else "fp32",
            "optimizer": distinct(parameters.values()),
            "schedule": schedule_settings(self.schedule),
            "clip_grad_norm": self.clip_grad_norm,
            "ema": self._ema(),
            "seed": self.seed,
            "versions": versions(),
        }

    def _run(
        self,
        state: TrainState,
        renewal: Renewal,
        feed: TrainFeed,
        val: Loader | Stream | None,
        epochs: int,
        checkpoint: Path | None,
        facts: Mapping[str, Any],
        stream: bool,
    ) -> None:
        """Run the loop of the core, and store what it measured."""
        self.history = History(state.rows())
        observer = Observer(
            self._loggers,
            self.history,
            epochs,
            len(feed.batches),
            self._draws.start,
            renewal.watching,
        )
        explained = memory_explained(
            self._device.device,
            len(feed.images),
            needed=lambda: step_bytes(renewal.runner),
            free=self._device.free_bytes,
        )
        try:
            generators = kept_cuda_generators(self._device.generators)
            slopes = annealing(self.model, len(feed.batches))
            with explained, generators, slopes, observer:
                while True:
                    renewal.renew()
                    try:
                        state.fit(
                            renewal.runner,
                            feed.batches,
                            val,
                            observer,
                            epochs=epochs,
                            schedule=schedule_settings(self.schedule),
                            schedule_epochs=facts["schedule_epochs"],
                            facts=facts,
                            clip_grad_norm=self.clip_grad_norm,
                            checkpoint=checkpoint,
                            graphs=self._device.graphs(),
                            resident=not stream,
                            device=self._device.kernels,
                        )
                        break
                    except Renewed:
                        continue
        finally:
            self._runner = renewal.runner
            # An interrupt may come between the end of an epoch and its row.
            for row in state.rows()[len(self.history) :]:
                self.history.append(row)
            self._past = Past.of(state)
            self._averages = {name: tensor.clone() for name, tensor in state.averages()}
