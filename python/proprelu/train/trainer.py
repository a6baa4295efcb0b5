"""``Trainer``: trains a model in the loop of the core."""

from __future__ import annotations

import pathlib
from collections.abc import Collection
from functools import partial
from typing import Any

from proprelu.atomic import check_writable
from proprelu.checks import as_count
from proprelu.data.appearance import Appearance
from proprelu.data.augment import Augment
from proprelu.data.feeds import TrainFeed, train_feed, validation_feed
from proprelu.train.facts import facts_of
from proprelu.train.loop import Loop
from proprelu.train.recipe.schedules import schedule_settings
from proprelu.train.renewal import Renewal
from proprelu.train.report.history import History
from proprelu.train.resumption import Resumption
from proprelu.train.trained import Path, Trained

__all__ = ["Trainer"]


class Trainer(Trained):
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
            on, or for losses of ``torch.nn`` the first tensor. A model that trains with one tensor
            as its output has no parts; in evaluation mode such a tensor is the predictions.
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
            ``"amx"``: kernels for the tiles of AMX wherever possible in bf16, an error on a machine
            without; ``"torch"``: torch's.
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
        progress: whether to show a progress bar, and in Jupyter a plot that grows.

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
                dropped, data, batch size, augmentation, precision, loss, teacher, optimizer,
                schedule and seed. Of a loss the classes and the attributes that are plain values
                are compared, of a teacher the class and the number of parameters; what their
                forwards compute cannot be.
            override: which of these may differ: ``"plan"``, ``"data"``, ``"batch_size"``,
                ``"steps_per_epoch"``, ``"augment"``, ``"precision"``, ``"optimizer"``,
                ``"schedule"``, ``"clip_grad_norm"``, ``"loss"``, ``"teacher"``, ``"ema"``,
                ``"seed"``.
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
            OSError: the checkpoint cannot be written, which is tried at the start, or the one to
                resume cannot be read.
            TypeError: ``output`` chooses among parts that the model's output does not have, or
                ``override`` is no collection of names.
            ValueError: bad data, labels of which no loss is finite, a checkpoint of another model
                or training, or an error of the model or loss.
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
            state = session.state(self.optimizer, self.ema_settings)
            if resume is None and self._past is not None:
                epochs += self._past.restore(state)
            needed = checkpoint is not None or resume is not None
            facts = self._facts(feed, augment) if needed else {}
            schedule = schedule_settings(self.schedule)
            facts["schedule_epochs"] = resumption.begin(state, facts, epochs, schedule)
            renewal = Renewal(self.model, self.loss, runner, lambda: capture()[0])
            self.history = History(state.rows())
            loop = Loop(
                session,
                feed,
                val_batches,
                epochs=epochs,
                schedule=schedule,
                clip_grad_norm=self.clip_grad_norm,
                checkpoint=checkpoint,
                facts=facts,
                stream=stream,
                loggers=self._loggers,
            )
            try:
                loop.run(state, renewal, self.history)
            finally:
                self._keep(state, renewal.runner)
        return self.history

    def _facts(self, feed: TrainFeed, augment: Augment | None) -> dict[str, Any]:
        return facts_of(self, feed, augment, ema=self.ema_settings, lesson=self._lesson)
