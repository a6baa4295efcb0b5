"""What a training leaves, and what is done with it: evaluate, predict, save and profile."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any

from torch import Tensor

from proprelu._core import EngineRunner, TrainState
from proprelu.checks import as_count
from proprelu.data.appearance import Appearance
from proprelu.data.augment import Augment
from proprelu.data.feeds import eval_feed
from proprelu.data.images import holds_pixels, images_of
from proprelu.data.normalization import Normalization
from proprelu.graph.reading import Reading
from proprelu.train.report.history import History
from proprelu.train.report.profile import Profile
from proprelu.train.resumption import Past
from proprelu.train.runner import Runner
from proprelu.train.settings import Settings
from proprelu.train.state import averaged_state
from proprelu.warned import warn
from proprelu.weights.files import save_state

__all__ = ["Trained"]

Path = str | os.PathLike[str]


class Trained(Settings):
    """A model with what the trainings so far have left besides its weights."""

    _fitted: bool = False
    _appearance: Appearance | None = None
    _normalization: Normalization | None = None
    _reading: Reading | None = None
    _averages: Mapping[str, Tensor] = MappingProxyType({})
    _past: Past | None = None
    _runner: Runner | None = None

    @cached_property
    def history(self) -> History:
        """A row for each epoch of all trainings so far."""
        return History()

    def __getstate__(self) -> dict[str, Any]:
        # A program is captured anew.
        return {name: value for name, value in super().__getstate__().items() if name != "_runner"}

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

    def _keep(self, state: TrainState, runner: Runner) -> None:
        """Keep what a training has reached, also if it was stopped."""
        self._runner = runner
        # An interrupt may come between the end of an epoch and its row.
        for row in state.rows()[len(self.history) :]:
            self.history.append(row)
        self._past = Past.of(state)
        self._averages = {name: tensor.clone() for name, tensor in state.averages()}
