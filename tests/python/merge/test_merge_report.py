"""The choice by cost, the report, and the comparison."""

import json

import proprelu
import pytest
import torch
from proprelu.merge import costs, race, verify
from torch import nn


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder, and few runs."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(costs, "_ROUNDS", (1, 1))
    monkeypatch.setattr(race, "_rounds", lambda *_: [(1.0, 2.0)])  # the merged network wins
    return tmp_path / "proprelu" / "merge.json"


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"),
    ).eval()  # fmt: skip


def x(size=8):
    return torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))


def test_the_report_has_a_row_for_each_run_and_for_what_cannot_be_merged(
    randomized,
):
    report = proprelu.merge(randomized(net()), x(), cost="macs").report
    rows = [row[:4] for row in report.rows()]
    assert rows[0][:3] == ("0 ... 1", "conv 3x3, 3 to 8; norm", "conv 3x3, 3 to 8")
    assert rows[0][3].startswith("one convolution would have 1.")
    assert rows[1] == ("2", "conv 3x3, 8 to 8", "conv 3x3, 8 to 8", "")
    assert rows[2] == ("4", "", "", "its padding is reflect")
    assert report.macs_before == 64 * (27 * 8 + 8 + 72 * 8)
    assert report.macs_after == 64 * (27 * 8 + 72 * 8)
    assert (
        str(report)
        .splitlines()[0]
        .startswith("Sequential, merged for macs: 3 linear operations -> 2")
    )
    assert "<table>" in report._repr_html_()


def test_measured_times_decide_and_are_stored(cache, monkeypatch):
    measured = []
    original = costs._measured

    def counted(operations, form):
        measured.extend(operations)
        # The wide kernel is said to be the fastest.
        found = original(operations, form)
        return {op: (0.5 if op.geometry.kernel_size == (5, 5) else 1.0) for op in found}

    monkeypatch.setattr(costs, "_measured", counted)
    merged = proprelu.merge(net(), x())
    assert type(merged.get_submodule("0")).__name__ == "FramedConv2d"
    (run,) = merged.report.runs
    assert (run.ms_before, run.ms_after) == (3.0, 0.5)
    count = len(measured)
    assert len(set(measured)) == count
    assert len(json.loads(cache.read_text())["times"]) == count
    # Stored times are checked by a sample, which is all of so few.
    stored = cache.read_text()
    proprelu.merge(net(), x())
    assert len(measured) == 2 * count
    assert cache.read_text() == stored
    proprelu.merge(net(), x(12))
    assert len(json.loads(cache.read_text())["times"]) == 2 * count


def test_times_of_a_busy_machine_are_measured_again(cache, monkeypatch):
    pace = 5.0

    def measured(operations, form):
        return {op: pace * op.multiplications / 1e6 for op in operations}

    monkeypatch.setattr(costs, "_measured", measured)
    proprelu.merge(net(), x())
    busy = json.loads(cache.read_text())["times"]
    pace = 1.0
    report = proprelu.merge(net(), x()).report
    quiet = json.loads(cache.read_text())["times"]
    assert quiet == {key: pytest.approx(time / 5) for key, time in busy.items()}
    assert report.ms_after == pytest.approx(report.macs_after / 1e6)
    # A machine that has become slower does not replace what is right.
    pace = 7.0
    proprelu.merge(net(), x())
    assert json.loads(cache.read_text())["times"] == quiet


def test_real_times_are_positive_and_a_damaged_cache_is_ignored(cache):
    report = proprelu.merge(net(), x()).report
    assert report.ms_before > 0
    assert report.ms_after > 0
    cache.write_text("{")
    proprelu.merge(net(), x())
    assert json.loads(cache.read_text())["version"] == 2


def test_verify_tells_border_and_interior_apart():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1)).eval()
    merged = proprelu.merge(model, x(), cost="macs")
    (error,) = verify(model, merged, x()).errors
    assert 0 <= error.mean <= error.largest < error.allowed
    assert error.border_largest < error.allowed
    assert "border" in str(verify(model, merged, x()))


def test_images_that_depend_on_each_other_are_compared_as_a_batch():
    class Centered(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.up = nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 2, 2)

        def forward(self, images):
            y = self.conv(images)
            y = y - y.mean(0, keepdim=True)
            return self.up(y), self.conv(images[0])

    model = Centered().eval()
    images = torch.randn(3, 3, 7, 7)
    first, second = verify(model, model, images).errors
    assert max(first.original, second.original) < 1e-5


@pytest.mark.parametrize("where", ["border", "interior"])
def test_a_wrong_network_is_not_handed_over(where):
    class Off(nn.Module):
        def forward(self, y):
            y = y.clone()
            y[..., 0 if where == "border" else 3, 3] += 1e-2
            return y

    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1)).eval()
    with pytest.raises(RuntimeError, match=r"output 0 that differs by .* please report it"):
        verify(model, nn.Sequential(model, Off()).eval(), x())


def test_several_outputs_are_compared_one_by_one():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 4, 1), nn.Linear(4, 2)

        def forward(self, x):
            y = self.conv(x)
            return {"image": y, "logits": self.fc(y.mean((2, 3)))}

    model = Two().eval()
    comparison = proprelu.merge(model, x(), cost="macs").report.comparison
    assert [error.border_mean is None for error in comparison.errors] == [False, True]


def test_outputs_that_are_not_finite_cannot_be_compared():
    model = nn.Sequential(nn.Conv2d(3, 4, 1)).eval()
    nn.init.constant_(model[0].weight, torch.inf)
    with pytest.raises(RuntimeError, match="must have finite outputs to be compared"):
        proprelu.merge(model, x(), cost="macs")


def test_a_model_that_insists_on_its_dtype_is_compared_with_itself():
    class Single(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

        def forward(self, x):
            return self.norm(self.conv(x.float()))

    assert proprelu.merge(Single().eval(), x(), cost="macs").report.comparison.worst < 1e-5


class Noisy(nn.Module):
    """Draws other numbers in float64 than in its own dtype."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x):
        y = self.norm(self.conv(x))
        return y + torch.randn_like(y)


def test_a_network_that_draws_random_numbers_is_compared_with_the_same_ones():
    model = Noisy().eval()
    merged = proprelu.merge(model, x(), cost="macs")
    assert merged.report.comparison.worst < 1e-5
    merged.conv.weight.data.mul_(1.01)
    with pytest.raises(RuntimeError, match="must give what the original gives"):
        verify(model, merged, x())


def test_what_cannot_be_compared_is_refused_in_one_line():
    model = nn.Sequential(nn.Conv2d(3, 4, 1)).eval()
    merged = proprelu.merge(model, x(), cost="macs")
    other = nn.Sequential(nn.Conv2d(3, 5, 1)).eval()
    cases = [
        (TypeError, "model must be a torch.nn.Module, got str", "net", merged, x()),
        (TypeError, "merged must be a torch.nn.Module, got NoneType", model, None, x()),
        (ValueError, r"must be in evaluation mode, .* call model\.eval\(\)", Noisy(), merged, x()),
        (ValueError, "x must be what .* got NoneType", model, merged, None),
        (ValueError, r"x must be what .* got torch.float32 \(1, 1, 4, 4\)", model, merged, image()),
        (RuntimeError, r"outputs of the shapes \[\(1, 5, .*, got \[\(1, 4", other, merged, x()),
    ]
    for kind, message, first, second, images in cases:
        with pytest.raises(kind, match=message) as caught:
            verify(first, second, images)
        assert "\n" not in str(caught.value)


def image():
    return torch.randn(1, 1, 4, 4)


def test_merging_works_in_any_surroundings():
    for around in (torch.no_grad, torch.inference_mode):
        with around():
            merged = proprelu.merge(net(), x(), cost="macs")
        assert not merged.get_submodule("0").weight.is_inference()
