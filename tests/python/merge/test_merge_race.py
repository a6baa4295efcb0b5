"""A merged network that is slower as a whole than one with folded norms is not handed over."""

import proprelu
import pytest
import torch
from proprelu.merge import costs, race
from torch import nn

X = torch.randn(2, 3, 9, 8)


@pytest.fixture(autouse=True)
def wide_kernels_seem_fast(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    times = {(5, 5): 0.5}
    monkeypatch.setattr(
        costs,
        "_measured",
        lambda all_, _: {op: times.get(op.geometry.kernel_size, 1.0) for op in all_},
    )


def net(randomized):
    class Residual(nn.Sequential):
        def forward(self, x):
            return x + super().forward(x)

    return randomized(
        nn.Sequential(
            nn.BatchNorm2d(3), nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8),
            nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
            Residual(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)), nn.ReLU(),
        )
    )  # fmt: skip


def raced(monkeypatch, rounds):
    monkeypatch.setattr(race, "_rounds", lambda *_: rounds)


def kernels(merged):
    return [conv.kernel_size for conv in merged.modules() if isinstance(conv, nn.Conv2d)]


def test_the_folded_network_is_handed_over_if_it_is_faster(monkeypatch, randomized, tmp_path):
    raced(monkeypatch, [(2e-3, 1e-3)] * 6 + [(1e-2, 2e-2)] * 2)
    model = net(randomized)
    result = proprelu.merge(model, X)
    assert [kind.__name__ for kind in map(type, result.children())][:3] == [
        "BatchNorm2d", "Conv2d", "Conv2d"
    ]  # fmt: skip
    assert kernels(result) == [(3, 3), (3, 3), (1, 1)]
    assert "add" in result.code
    report = result.report
    assert report.note == ("only norms are folded, since the whole took 2.00 ms merged and 1.00 so")
    assert report.note in report.title
    assert report.comparison.worst < 1e-5
    assert [run.after for run in report.runs][-1] == "sum"
    proprelu.save_merged(result, model, tmp_path / "a.safetensors")
    assert torch.equal(proprelu.load(tmp_path / "a.safetensors", model, X)(X), result(X))


@pytest.mark.parametrize(
    "rounds",
    [
        [(1.0, 2.0)] * 8,
        [(2.0, 1.0)] * 5 + [(1.0, 2.0)] * 3,  # too few for a certain answer
        [(2.0, 1.9)] * 7 + [(1.8, 1.9)],  # the merged one has the shortest time
    ],
    ids=["faster", "disturbed", "shortest"],
)
def test_otherwise_the_merged_network_is_handed_over(monkeypatch, randomized, rounds):
    raced(monkeypatch, rounds)
    merged = proprelu.merge(net(randomized), X)
    assert (5, 5) in kernels(merged)
    assert merged.report.note == ""


def test_nothing_is_raced_without_need(monkeypatch, randomized):
    def fail(*_):
        raise AssertionError("a race")

    monkeypatch.setattr(race, "_rounds", fail)
    folded = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    proprelu.merge(randomized(folded), X)
    proprelu.merge(net(randomized), X, cost="macs")


def test_both_run_equally_often_on_copies_of_the_input(monkeypatch):
    class Overwriting(nn.Module):
        runs = 0

        def forward(self, x, factor):
            self.runs += 1
            assert torch.equal(x, X)
            return x.mul_(factor)

    monkeypatch.setattr(race, "_ROUNDS", (3, 3))
    one, other = Overwriting(), Overwriting()
    rounds = race._rounds(one, other, (X, 0.5), torch.device("cpu"))
    assert len(rounds) == 3
    assert min(map(min, rounds)) > 0
    assert one.runs == other.runs == 4  # the first one is not counted
