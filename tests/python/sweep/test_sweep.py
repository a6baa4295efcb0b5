"""Sweeps: paired, resumable, and honest about their input."""

from __future__ import annotations

import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import proprelu
import pytest
import torch
from proprelu.sweep import SweepResults, sweep
from proprelu.sweep.progress import as_time
from proprelu.train import runner
from torch import Tensor, nn
from torch.utils.data import DataLoader

CLASSES = 3


def images(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images of which a small network learns something."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    noise = torch.randn(count, 1, 8, 8, generator=generator)
    return noise + labels.view(-1, 1, 1, 1) - 1, labels


def build() -> nn.Module:
    layers: list[nn.Module] = []
    for width in (1, 6, 6, 6):
        layers += [nn.Conv2d(width, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, CLASSES))


def small(**changes: Any) -> SweepResults:
    """A sweep that takes a second."""
    options: dict[str, Any] = {
        "ratios": ["1:1", "2:1"],
        "seeds": 2,
        "epochs": 2,
        "batch_size": 32,
        "optimizer": proprelu.SGD(lr=0.05),
        "workers": 1,
        "progress": False,
    }
    train, val = changes.pop("train", images(96)), changes.pop("val", images(48, seed=1))
    model = changes.pop("model", build)
    return sweep(model, train, val, **{**options, **changes})


def outcome(results: SweepResults) -> list[tuple[Any, ...]]:
    """What has to be the same each time: all but times."""
    timed = ("seconds", "images_per_s")
    return [
        (
            run.variant.name,
            run.seed,
            run.val_loss,
            run.val_top1,
            run.train_loss,
            run.train_top1,
            [{k: v for k, v in row.items() if k not in timed} for row in run.rows],
        )
        for run in results.runs
    ]


def test_a_sweep_is_what_trainings_by_hand_are() -> None:
    results = small(placements=["last", "first"], augment=proprelu.Augment(pad=1, flip=True))
    assert [variant.name for variant in results.variants] == ["1:1", "2:1 last", "2:1 first"]
    assert [(run.variant.name, run.seed) for run in results.runs] == [
        (name, seed) for name in ("1:1", "2:1 last", "2:1 first") for seed in (0, 1)
    ]
    for run in results.runs:
        torch.manual_seed(run.seed)
        model = build()
        if not run.variant.is_baseline:
            model = proprelu.convert(model, run.variant.ratio, run.variant.placement)
        trainer = proprelu.Trainer(model, proprelu.SGD(lr=0.05), seed=run.seed, progress=False)
        augment = proprelu.Augment(pad=1, flip=True)
        history = trainer.fit(
            images(96), images(48, seed=1), epochs=2, batch_size=32, augment=augment
        )
        assert run.rows[-1]["train_loss"] == history.last["train_loss"]
        assert run.val_top1 == history.last["val_top1"]
        assert run.train_loss == trainer.evaluate(images(96))["loss"]


@pytest.mark.parametrize("workers", [1, 3])
def test_a_sweep_is_repeatable_with_any_number_of_workers(workers: int) -> None:
    before = torch.get_rng_state(), random.getstate(), torch.get_num_threads()
    assert outcome(small(workers=workers)) == outcome(small())
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (random.getstate(), torch.get_num_threads()) == before[1:]


def test_runs_of_a_seed_begin_with_the_same_weights_and_other_seeds_with_others() -> None:
    results = small(epochs=1, optimizer=proprelu.SGD(lr=0.0, weight_decay=0.0))
    losses = {(run.variant.name, run.seed): run.rows[0]["train_loss"] for run in results.runs}
    assert losses["1:1", 0] != losses["1:1", 1]
    trained = build()
    fixed = small(model=trained, epochs=1, optimizer=proprelu.SGD(lr=0.0, weight_decay=0.0))
    values = {run.val_loss for run in fixed.runs if run.variant.is_baseline}
    assert len({round(value or 0, 5) for value in values}) <= 2  # the norms see other batches


def test_a_network_that_is_given_is_not_changed() -> None:
    model = build()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    small(model=model, epochs=1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_the_statistics_are_those_of_the_runs() -> None:
    results = small(seeds=3)
    base, half = results.summaries
    values = {(run.variant.name, run.seed): run.val_top1 for run in results.runs}
    assert half.mean == pytest.approx(np.mean([values["2:1 last", seed] for seed in range(3)]))
    assert half.difference is not None
    differences = [values["2:1 last", seed] - values["1:1", seed] for seed in range(3)]
    assert half.difference.mean == pytest.approx(np.mean(differences))
    assert base.difference is None
    assert half.costs is not None
    assert half.costs.milliseconds > 0
    assert half.variant.relus == 2
    text = str(results)
    assert "2:1 last" in text
    assert "95% interval" in text
    assert "<table>" in results._repr_html_()
    assert results.best().ratio in ("1:1", "2:1")
    assert "seeds" in results.best().sentence or "gains" in results.best().sentence


def test_the_runs_of_a_variant_share_its_captured_step(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []
    capture = runner.capture_step
    monkeypatch.setattr(
        runner, "capture_step", lambda step, *batch: steps.append(step) or capture(step, *batch)
    )
    small(seeds=3, epochs=1)
    assert len(steps) == 2


def test_other_activations_and_outputs_are_compared_with_averages_and_clipped_gradients() -> None:
    class Smooth(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layers = [nn.SiLU() if isinstance(each, nn.ReLU) else each for each in build()]
            self.layers = nn.Sequential(*layers)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"size": x.mean(), "logits": self.layers(x)}

    options: dict[str, Any] = {
        "model": Smooth, "activations": "silu", "output": "logits", "ema_decay": 0.9,
        "clip_grad_norm": 0.5, "loss": Of("logits"),
    }  # fmt: skip
    results = small(**options)
    assert [summary.variant.relus for summary in results.summaries] == [4, 2]
    assert results.settings["activations"] == ["silu"]
    assert results.settings["ema"]["decay"] == 0.9
    assert results.settings["clip_grad_norm"] == 0.5
    assert outcome(results) == outcome(small(**options))
    assert outcome(results) != outcome(small(**{**options, "ema_decay": None}))
    with pytest.raises(ValueError, match=r"activations must be among .*, got 'gelu2'"):
        small(**{**options, "activations": ["gelu2"]})


class Of(nn.Module):
    """The cross-entropy of one of several outputs."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, output: dict[str, Tensor], labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(output[self.name], labels)


def test_one_seed_shows_nothing() -> None:
    assert "One seed cannot show" in small(seeds=1, epochs=1).best().sentence


def test_regressions_are_compared_by_their_loss() -> None:
    def model() -> nn.Module:
        return nn.Sequential(*list(build().children())[:-1], nn.Linear(6, 1))

    x, y = images(64)
    data = x, y.float().view(-1, 1)
    results = small(model=model, train=data, val=data, loss=nn.MSELoss(), epochs=1)
    assert results.measure == "loss"
    assert all(run.val_top1 is None for run in results.runs)
    assert "loss" in str(results)
    assert results.best().sentence


def test_data_that_torch_reads_come_in_the_same_order_for_each_variant() -> None:
    seen: list[list[int]] = []

    class Noted(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
        def __init__(self) -> None:
            self.x, self.y = images(64)

        def __len__(self) -> int:
            return 64

        def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
            seen[-1].append(index)
            return self.x[index] + 0.01 * torch.randn(1), self.y[index]

    def model() -> nn.Module:
        seen.append([])
        return build()

    seen.append([])
    loader = DataLoader(Noted(), 32, shuffle=True, drop_last=True)
    results = small(model=model, train=loader, val=images(32), workers=None, epochs=1)
    again = small(model=model, train=loader, val=images(32), workers=None, epochs=1)
    assert outcome(results) == outcome(again)
    orders = {tuple(order[:64]) for order in seen if len(order) > 64}
    assert len(orders) == 2, "one order for each seed"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"seeds": 0}, ValueError, "seeds must be a whole number >= 1, got 0"),
        ({"seeds": []}, ValueError, "seeds must be at least one"),
        ({"seeds": [1, 1]}, ValueError, "none twice"),
        ({"epochs": 0}, ValueError, "epochs must be"),
        ({"ratios": ["9:1"]}, ValueError, "ratios must be within the reach of Sequential.* 4 act"),
        ({"ratios": ["1:2"]}, ValueError, "1:2"),
        ({"ratios": "2:1"}, ValueError, "ratios must be a list"),
        ({"ratios": []}, ValueError, "ratios must be a list"),
        ({"placements": "last"}, ValueError, "placements must be a list"),
        ({"placements": ["middle"]}, ValueError, "middle"),
        ({"budget": 1}, ValueError, "budget must be at least 2"),
        ({"workers": 0}, ValueError, "workers must be"),
        ({"precision": "fp8"}, ValueError, "precision"),
        ({"model": 3}, TypeError, "model must be a module, or a function"),
        ({"model": lambda: 3}, TypeError, "model must make a module, got int"),
        ({"train": images(0)}, ValueError, "empty|at least one"),
        ({"val": None}, ValueError, "val must be images with labels"),
        ({"val": 3}, TypeError, "val: data must be images with labels"),
        ({"val": images(0)}, ValueError, "val: a dataset needs at least one image"),
        ({"val": (images(9)[0][..., :4], images(9)[1])}, ValueError, "shape of the training im"),
        ({"seeds": [2**63]}, ValueError, "seeds must be a whole number >= 0 and <= 92"),
        ({"ratios": [2]}, TypeError, 'ratios must be "convs:relus".*got int'),
        ({"ratios": 2}, ValueError, "ratios must be a list"),
        ({"placements": [None]}, TypeError, "placements must be names, masks or rankings"),
        ({"target": 70}, ValueError, "target must be between 0 and 1, got 70"),
        ({"target": "0.7"}, ValueError, "target must be"),
        ({"model": lambda x: x}, TypeError, "model must be called without arguments.*'x'"),
        # Found by the first run.
        ({"train": (images(96)[0], images(96)[1] + 5)}, ValueError, "the data have 8 classes"),
    ],
)
def test_bad_input_is_refused_before_any_training(
    tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        small(**changes, file=tmp_path / "a.sqlite")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("file", [3, "", b"a", "a\0b"])
def test_a_file_that_is_no_path_is_refused(file: Any) -> None:
    with pytest.raises(TypeError, match="file must be a path"):
        small(file=file)


def test_a_file_is_a_file_whatever_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = small(file=":memory:", epochs=1)
    assert outcome(SweepResults.load(":memory:")) == outcome(made)


@pytest.mark.parametrize("seeds", [np.arange(2), {0, 1}, iter([0, 1]), torch.tensor(2)])
def test_seeds_of_any_kind(seeds: Any) -> None:
    assert sorted({run.seed for run in small(seeds=seeds, epochs=1).runs}) == [0, 1]


def test_ratios_and_placements_that_can_be_read_once() -> None:
    results = small(ratios=iter(["2:1"]), placements=iter(["last", "first"]), epochs=1)
    assert [each.name for each in results.variants] == ["1:1", "2:1 last", "2:1 first"]


def test_masks_are_compared_with_the_whole_network() -> None:
    masks = [[True, False, True, True], [True, True, False, True]]
    results = small(placements=masks, ratios=["1:1"], seeds=1, epochs=1)
    assert [each.name for each in results.variants] == ["1:1", "1:1 mask", "1:1 mask-2"]
    assert results.best().ratio == "1:1"


def test_a_function_that_returns_one_network_again_is_refused() -> None:
    model, layer = build(), nn.Conv2d(1, 6, 3, padding=1)
    for again in (lambda: model, lambda: nn.Sequential(layer, *list(build().children())[1:])):
        with pytest.raises(ValueError, match="must make a new network each time"):
            small(model=again)


def test_a_sweep_without_a_finished_run_may_begin_anew(tmp_path: Path) -> None:
    file = tmp_path / "a.sqlite"
    calls = 0

    def interrupting() -> nn.Module:
        nonlocal calls
        calls += 1
        if calls > 5:
            raise KeyboardInterrupt
        return build()

    with pytest.raises(KeyboardInterrupt):
        small(model=interrupting, file=file)
    assert not SweepResults.load(file).runs
    assert outcome(small(file=file, epochs=1)) == outcome(small(epochs=1))


def test_an_optimizer_over_one_model_is_refused() -> None:
    optimizer = torch.optim.SGD(build().parameters(), lr=0.1)
    with pytest.raises(TypeError, match="optimizer must be settings"):
        small(optimizer=optimizer)


def test_a_function_that_makes_another_network_each_time_is_refused() -> None:
    generator = torch.Generator().manual_seed(0)
    count = iter(range(100))

    def other_weights() -> nn.Module:
        model = build()
        nn.init.normal_(model[0].weight, generator=generator)  # type: ignore[arg-type]
        return model

    def other_shapes() -> nn.Module:
        return nn.Sequential(nn.Conv2d(1, 2 + next(count), 3), nn.ReLU())

    def other_classes() -> nn.Module:
        return nn.Sequential(build(), nn.Dropout(0.1 * next(count)))

    for model, words in (
        (other_weights, "other values in 0.weight"),
        (other_shapes, "0.weight of shape"),
        (other_classes, "another structure"),
    ):
        with pytest.raises(ValueError, match=f"must make the same network each time.*{words}"):
            small(model=model)


def test_numpy_and_python_are_seeded_too() -> None:
    def model() -> nn.Module:
        made = build()
        with torch.no_grad():
            made[0].weight.mul_(float(np.random.rand()) + random.random())  # type: ignore[operator]
        return made

    assert outcome(small(model=model, epochs=1)) == outcome(small(model=model, epochs=1))


def test_a_run_that_diverges_is_a_result() -> None:
    results = small(optimizer=proprelu.SGD(lr=1e30), epochs=1)
    assert all(run.note for run in results.runs)
    assert "not finite" in results.summaries[0].notes[0] or results.summaries[0].notes[0]
    assert results.best().ratio == "1:1"


def test_a_second_call_makes_only_what_is_missing(tmp_path: Path) -> None:
    file = tmp_path / "a.sqlite"
    first = small(file=file)
    again = small(file=file)
    assert [run.seconds for run in again.runs] == [run.seconds for run in first.runs]
    grown = small(file=file, seeds=3, ratios=["1:1", "2:1", "4:1"])
    assert len(grown.runs) == 9
    kept = {(run.variant, run.seed): run.seconds for run in grown.runs}
    assert all(kept[run.variant, run.seed] == run.seconds for run in first.runs)
    assert outcome(SweepResults.load(file)) == outcome(small(seeds=3, ratios=["2:1", "4:1"]))
    assert [path.name for path in tmp_path.iterdir()] == ["a.sqlite"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 3}, "epochs must be 2 as in"),
        ({"batch_size": 48}, "batch_size must be 32 as in"),
        ({"train": images(96, seed=5)}, "data must be"),
        ({"val": images(48, seed=5)}, "val must be"),
        ({"optimizer": proprelu.SGD(lr=0.1)}, "optimizer must be"),
        ({"model": lambda: nn.Sequential(build())}, "first weights"),
    ],
)
def test_another_sweep_in_the_same_file_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    file = tmp_path / "a.sqlite"
    before = small(file=file)
    with pytest.raises(ValueError, match=message):
        small(file=file, **changes)
    assert outcome(SweepResults.load(file)) == outcome(before)


def test_an_interrupted_sweep_keeps_its_runs_and_continues(tmp_path: Path) -> None:
    file = tmp_path / "a.sqlite"
    calls = 0

    def interrupting() -> nn.Module:
        nonlocal calls
        calls += 1
        if calls > 9:
            raise KeyboardInterrupt
        return build()

    with pytest.raises(KeyboardInterrupt):
        small(model=interrupting, file=file, seeds=3)
    kept = SweepResults.load(file)
    assert 0 < len(kept.runs) < 6
    assert outcome(small(file=file, seeds=3)) == outcome(small(seeds=3))


def test_a_budget_gives_the_better_ratios_more_seeds() -> None:
    results = small(ratios=["2:1", "3:1", "4:1", "3:2"], seeds=6, budget=14, epochs=1)
    counts = [len(summary.seeds) for summary in results.summaries]
    assert sum(counts) <= 14
    assert min(counts) < max(counts)
    assert counts[0] == max(counts)


_PROGRAM = """
import sys
sys.path.insert(0, {folder!r})
from test_sweep import small
from pathlib import Path
small(file=Path({file!r}), seeds=4, epochs=4, workers=2)
"""


def _started(file: Path) -> subprocess.Popen[bytes]:
    program = _PROGRAM.format(folder=str(Path(__file__).parent), file=str(file))
    return subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)


@pytest.mark.slow
def test_a_sweep_that_is_killed_ten_times_ends_with_the_same_runs(tmp_path: Path) -> None:
    alone, killed = tmp_path / "alone.sqlite", tmp_path / "killed.sqlite"
    start = time.perf_counter()
    assert _started(alone).wait() == 0
    seconds = time.perf_counter() - start
    draw = random.Random(0)
    for _ in range(10):
        process = _started(killed)
        time.sleep(draw.uniform(0.3, 1.0) * seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert _started(killed).wait() == 0
    assert outcome(SweepResults.load(killed)) == outcome(SweepResults.load(alone))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone.sqlite", "killed.sqlite"]


def test_data_are_warned_of_once() -> None:
    with pytest.warns(UserWarning, match="each epoch leaves out") as caught:
        results = small(train=images(60), epochs=1)
    assert len(results.runs) == 4
    assert [warning.filename for warning in caught] == [__file__]


def test_a_file_gets_a_line_for_each_run_with_the_time_left(
    capfd: pytest.CaptureFixture[str],
) -> None:
    small(progress=True, epochs=1)
    first, *lines = capfd.readouterr().err.splitlines()
    assert first == "4 runs of 1 epoch, 0 finished already"
    assert len(lines) == 4
    for number, line in enumerate(lines, start=1):
        left = "" if number == 4 else r", about \d+ s left"
        assert re.fullmatch(
            r"(1:1|2:1 last), seed [01]: accuracy [\d.]+%, validation loss [\d.]+, \d+ s; "
            rf"{number} of 4 runs{left}",
            line,
        )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (89, "89 s"), (120, "2 min"), (3599, "1 h 0 min"), (12000, "3 h 20 min")],
)
def test_times_in_words(seconds: float, words: str) -> None:
    assert as_time(seconds) == words
