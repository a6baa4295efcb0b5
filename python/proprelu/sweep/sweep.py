"""``sweep``: trains a network at several ratios with several seeds."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

import torch
from torch import nn

from proprelu.checks import as_count, as_fraction, as_number, as_whole
from proprelu.convert.parts import Ratios
from proprelu.convert.plan import Placement
from proprelu.data.augment import Augment
from proprelu.graph import RECTIFIERS
from proprelu.graph.reading import Choice
from proprelu.sweep.executor import LocalThreads
from proprelu.sweep.halving import check_budget
from proprelu.sweep.networks import Build, Networks
from proprelu.sweep.results import SweepResults
from proprelu.sweep.runs import Runs
from proprelu.sweep.statistics import need_scipy
from proprelu.sweep.store import Store
from proprelu.sweep.training import Training, held
from proprelu.sweep.variants import variants_of
from proprelu.train import SGD
from proprelu.train.device.place import as_device
from proprelu.train.recipe.losses import Loss
from proprelu.train.recipe.optimizers import Optimizer
from proprelu.train.recipe.schedules import Schedule

__all__ = ["sweep"]

RATIOS = ("1:1", "3:2", "2:1", "3:1", "4:1")
# What SQLite and torch take.
_LARGEST_SEED = 2**63 - 1
# More runs at a time would need more memory than they save time.
_MOST_WORKERS = 8
_Value = TypeVar("_Value")


def sweep(
    model: nn.Module | Build,
    train: Any,
    val: Any,
    *,
    ratios: Sequence[Ratios] = RATIOS,
    placements: Sequence[Placement] = ("last",),
    seeds: int | Sequence[int] = 5,
    epochs: int = 10,
    batch_size: int = 128,
    optimizer: Optimizer = SGD(),  # noqa: B008  frozen
    schedule: Schedule = "cosine",
    loss: Loss = "cross_entropy",
    output: Choice = None,
    augment: Augment | None = None,
    precision: str = "fp32",
    ema_decay: float | None = None,
    clip_grad_norm: float | None = None,
    activations: Collection[str] = RECTIFIERS,
    device: str | torch.device = "auto",
    budget: int | None = None,
    target: float | None = None,
    example_input: object = None,
    file: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> SweepResults:
    """Find the ratio that suits a network and its data, and whether it is better than 1:1.

    Trains the network at each ratio with several seeds. The runs of a seed start from the same
    weights and see the same batches, so that they are compared in pairs, and the result says how
    sure each difference is. 1:1 is always among the ratios.

    Args:
        model: a function without arguments that makes the network; it is called with the generators
            of torch, NumPy and Python seeded, so that each seed has first weights of its own. Or a
            network, for example a trained one: then every run starts from its weights, and seeds
            differ by the order of the data and the augmentation only.
        train: images and labels of any kind that ``Trainer.fit`` takes.
        val: likewise; the accuracy after the last epoch on these is what is compared.
        ratios: what is compared; see ``plan_for``.
        placements: each ratio is tried with each of these; see ``plan_for``. Ratios and placements
            that come to the same network are trained once.
        seeds: how many, from 0 on; or the seeds themselves.
        epochs: the epochs of each run.
        batch_size: images in a step.
        optimizer: see ``Trainer``; settings, not an optimizer of torch.
        schedule: see ``Trainer``.
        loss: see ``Trainer``. Where there are no classes, losses are compared.
        output: see ``Trainer``.
        augment: augmentation of training images in memory; see ``Trainer.fit``.
        precision: see ``Trainer``.
        ema_decay: see ``Trainer``; the averaged network is the one that is compared.
        clip_grad_norm: see ``Trainer``.
        activations: see ``plan_for``.
        device: see ``Trainer``.
        budget: the number of runs in all. Then all ratios get few seeds, and only the better half
            of them gets more, again and again: sequential halving. By default every ratio gets
            every seed.
        target: the accuracy that ``epochs_to_target`` counts to; by default what every run of 1:1
            has reached in the end.
        example_input: a batch as it will come in use, for which the merged networks are timed; by
            default one image.
        file: an SQLite file of the results. A call with a file that exists continues what was
            interrupted, keeps all finished runs, and may ask for more seeds, ratios and placements.
            By default the results are kept in memory only.
        workers: the runs at a time, which share the threads of torch; by default one for each
            thread, up to 8, and one on a GPU or if data are read by torch.
        progress: whether to show progress bars, and in Jupyter a plot that grows.

    Returns:
        The results: a table, ``best()``, ``plot()``, ``report("page.html")``.

    Raises:
        ImportError: SciPy is not installed.
        OSError: the file cannot be written; finished runs are kept.
        TypeError: ``model`` is neither a network nor a function.
        ValueError: no seeds, a ratio that the network cannot reach, a function that makes another
            network each time, a file of another sweep or one in use; or see ``Trainer.fit``.
        KeyboardInterrupt: Ctrl-C; the same call continues.

    Example:
        >>> import proprelu
        >>> from functools import partial
        >>> data = proprelu.datasets.fashion_mnist_small("test").subset(range(256))
        >>> build = partial(proprelu.models.create, "resnet20", in_channels=1, width=4)
        >>> results = sweep(build, data, data, ratios=["2:1"], seeds=2, epochs=1, progress=False)
        >>> [summary.variant.name for summary in results.summaries]
        ['1:1', '2:1 last']

    Reference:
        Zhao et al., "Rethink ReLU to Training Better CNNs", arXiv 1709.06247.
    """
    need_scipy()
    chosen = _seeds(seeds)
    ratios, placements = _several("ratios", ratios), _several("placements", placements)
    path = None if file is None else _path(file)
    if isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(
            "optimizer must be settings such as SGD(lr=0.1), because each run has other "
            f"parameters, got {type(optimizer).__name__}"
        )
    batch_size = as_count("batch_size", batch_size)
    options = {
        "optimizer": optimizer,
        "schedule": schedule,
        "loss": loss,
        "output": output,
        "precision": precision,
        "ema_decay": ema_decay,
        "clip_grad_norm": clip_grad_norm,
        "device": device,
    }
    training = Training(
        held("train", train, batch_size),
        held("val", val, batch_size),
        as_count("epochs", epochs),
        batch_size,
        options,
        augment,
        example_input,
        [activations] if isinstance(activations, str) else list(activations),
    )
    warned = training.warned_of()
    for text in warned:
        warnings.warn(text, stacklevel=2)
    networks = Networks(model)
    weights = {seed: networks.check(seed) for seed in chosen}
    first = networks.of(chosen[0])
    variants = variants_of(first, ratios, placements, example_input, training.activations)
    if budget is not None:
        budget = as_count("budget", budget)
        check_budget(variants, budget)
    workers = _workers(workers, training, first)
    settings = training.settings(first)
    target = _target(target, settings["val"]["classes"])
    with Store(path) as store:
        store.begin(settings, variants, weights)
        runs = Runs(store, networks, training, LocalThreads(workers), progress)
        with warnings.catch_warnings():
            for text in warned:  # once is enough
                warnings.filterwarnings("ignore", re.escape(text))
            runs.make(variants, chosen, budget)
        runs.measure(variants, chosen[0])
        return SweepResults.of(store, target)


def _seeds(seeds: int | Iterable[int]) -> list[int]:
    # An array or a tensor without dimensions is one number.
    if _are_several(seeds) and getattr(seeds, "shape", None) != ():
        chosen = [as_whole("seeds", seed, 0, _LARGEST_SEED) for seed in seeds]
        if not chosen or len(set(chosen)) < len(chosen):
            raise ValueError(f"seeds must be at least one number, none twice, got {seeds!r}")
        return chosen
    return list(range(as_count("seeds", seeds)))


def _several(name: str, values: Iterable[_Value]) -> list[_Value]:
    example = {"ratios": '["1:1", "2:1"]', "placements": '["last"]'}[name]
    found = list(values) if _are_several(values) else []
    if not found:
        raise ValueError(f"{name} must be a list such as {example}, got {values!r}")
    return found


def _are_several(values: object) -> TypeGuard[Iterable[Any]]:
    return isinstance(values, Iterable) and not isinstance(values, (str, bytes, Mapping))


def _path(file: str | os.PathLike[str]) -> Path:
    name = os.fspath(file) if isinstance(file, (str, os.PathLike)) else None
    if not isinstance(name, str) or not name or "\0" in name:
        raise TypeError(f'file must be a path such as "sweep.sqlite", got {file!r}')
    return Path(name)


def _target(target: float | None, classes: int | None) -> float | None:
    if target is None:
        return None
    return as_number("target", target) if classes is None else as_fraction("target", target)


def _workers(workers: int | None, training: Training, model: nn.Module) -> int:
    """How many runs there are at a time."""
    on_gpu = as_device(training.options["device"], model).device.type == "cuda"
    if workers is not None:
        workers = as_count("workers", workers)
        if workers > 1 and training.draws:
            raise ValueError(
                "workers must be 1 for data that torch reads, because they draw from generators "
                f"that all runs share, got {workers}"
            )
        return workers
    return 1 if on_gpu or training.draws else min(torch.get_num_threads(), _MOST_WORKERS)
