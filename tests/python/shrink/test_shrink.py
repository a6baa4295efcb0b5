"""A trained network is made faster in one call, and a run that was interrupted is continued."""

import copy
import json
import sys

import proprelu
import pytest
import torch
from proprelu.shrink import shrink
from torch import nn


class Interrupting:
    """A logger that ends the training after an epoch."""

    def on_fit_start(self, total_epochs, steps_per_epoch): ...

    def on_step(self, event): ...

    def on_epoch(self, row):
        raise KeyboardInterrupt

    def on_fit_end(self): ...


def network():
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU()]
    layers += [nn.Conv2d(8, 48, 1), nn.BatchNorm2d(48), nn.ReLU()]
    layers += [nn.Conv2d(48, 8, 1), nn.BatchNorm2d(8), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 10))


DATA = proprelu.datasets.fashion_mnist_small("test")
OPTIONS = {"budget": 0.6, "objective": "macs", "epochs": 2, "batch_size": 64, "progress": False}


@pytest.fixture(scope="module")
def trained():
    model = network()
    trainer = proprelu.Trainer(model, proprelu.SGD(lr=0.05), progress=False)
    trainer.fit(DATA.subset(range(512)), epochs=2, batch_size=64)
    return model


@pytest.fixture(scope="module")
def train():
    return DATA.subset(range(512))


@pytest.fixture(scope="module")
def val():
    return DATA.subset(range(512, 768))


@pytest.fixture(scope="module")
def small(trained, train, val):
    return shrink(trained, train, val, **OPTIONS)


def test_the_result_meets_the_budget_and_computes_what_was_trained(small, val):
    assert small.after.macs <= 0.6 * small.before.macs
    assert not small.plan.keep[1]
    x = torch.randn(5, 1, 28, 28)
    torch.testing.assert_close(small.model(x), small.trained.eval()(x), rtol=1e-4, atol=1e-4)
    assert small.after.top1 == pytest.approx(small.history.last["val_top1"])
    assert proprelu.ratio_of(small.trained).relus == 3 - small.plan.dropped


def test_the_original_is_measured_and_not_changed(small, trained, train, val):
    images = proprelu.data.Augment().fitted(train)
    found = proprelu.Trainer(trained, progress=False).evaluate(val, normalize=images)
    assert small.before.top1 == pytest.approx(found["top1"])
    assert proprelu.ratio_of(trained).relus == 3
    assert small.before.parameters > small.after.parameters


def test_it_is_shown_as_a_table_and_a_picture(small, tmp_path):
    text = str(small)
    for word in ("accuracy", "latency", "MACs", "parameters", "of 3 activations dropped"):
        assert word in text
    small.plot(tmp_path / "small.png")
    assert (tmp_path / "small.png").read_bytes().startswith(b"\x89PNG")
    assert "<table>" in small._repr_html_()


def test_an_interrupted_run_is_continued(trained, train, val, small, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        shrink(trained, train, val, folder=tmp_path, loggers=[Interrupting()], **OPTIONS)
    kept = json.loads((tmp_path / "plan.json").read_text())
    assert [site["keep"] for site in kept["plan"]["sites"]] == small.plan.keep
    again = shrink(trained, train, val, folder=tmp_path, **OPTIONS)
    assert again.plan == small.plan
    assert again.history.column("train_loss") == small.history.column("train_loss")
    for name, value in again.model.state_dict().items():
        assert torch.equal(value, small.model.state_dict()[name])


@pytest.mark.parametrize("stage", ["sensitivity", "convert", "measure"])
def test_a_run_that_was_interrupted_in_any_stage_is_continued(
    stage, trained, train, val, small, tmp_path, monkeypatch
):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(sys.modules["proprelu.shrink.shrink"], stage, interrupt)
        with pytest.raises(KeyboardInterrupt):
            shrink(trained, train, val, folder=tmp_path, **OPTIONS)
    again = shrink(trained, train, val, folder=tmp_path, **OPTIONS)
    assert again.plan == small.plan
    for name, value in again.model.state_dict().items():
        assert torch.equal(value, small.model.state_dict()[name])


def test_frozen_parts_stay_as_they_are(trained, train):
    model = copy.deepcopy(trained).train()
    model[0].requires_grad_(False)
    model[1].eval().requires_grad_(False)
    found = shrink(model, train, **{**OPTIONS, "epochs": 1}).trained
    for number in (0, 1):
        for name, value in model[number].state_dict().items():
            assert torch.equal(found[number].state_dict()[name], value)
    assert not torch.equal(found[4].running_mean, model[4].running_mean)
    assert [m.training for m in model[:3]] == [True, False, True]


def test_a_folder_of_another_run_is_refused(trained, train, tmp_path):
    shrink(trained, train, folder=tmp_path, **{**OPTIONS, "epochs": 1})
    with pytest.raises(ValueError, match=r"budget must be 0\.6 as in the run"):
        shrink(trained, train, folder=tmp_path, **{**OPTIONS, "budget": 0.7})
    for other in ({"epochs": 2}, {"seed": 1}, {"optimizer": proprelu.SGD(lr=0.1)}):
        words = rf"{next(iter(other))} must be .* as in the run"
        with pytest.raises(ValueError, match=words):
            shrink(trained, train, folder=tmp_path, **{**OPTIONS, "epochs": 1, **other})
    with pytest.raises(ValueError, match=r"must be Sequential with the weights .* as in the"):
        shrink(network(), train, folder=tmp_path, **{**OPTIONS, "epochs": 1})
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        shrink(trained, train, folder=tmp_path, **OPTIONS)


class Residual(nn.Module):
    """A residual block in which nothing can be merged for a gain."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += x
        return self.relu(out)


def residual_network():
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU()]
    layers += [Residual(), Residual(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 10)]
    return nn.Sequential(*layers)


def test_layers_are_removed_where_merging_cannot_help(train, val, tmp_path):
    model = residual_network()
    proprelu.Trainer(model, proprelu.SGD(lr=0.05), progress=False).fit(
        train, epochs=1, batch_size=64
    )
    found = shrink(model, train, val, folder=tmp_path, **OPTIONS)
    assert found.plan.removed
    assert found.after.macs <= 0.6 * found.before.macs
    assert "convolutions removed" in str(found)
    x = torch.randn(3, 1, 28, 28)
    torch.testing.assert_close(found.model(x), found.trained.eval()(x), rtol=1e-4, atol=1e-4)
    proprelu.save_merged(found.model, found.trained, tmp_path / "small.safetensors")
    loaded = proprelu.load(tmp_path / "small.safetensors", residual_network(), x)
    torch.testing.assert_close(loaded(x), found.model(x))
    exported = torch.export.export(found.model, (x,)).module()
    torch.testing.assert_close(exported(x), found.model(x))
    again = shrink(model, train, val, folder=tmp_path, **OPTIONS)
    assert again.plan == found.plan
    with pytest.raises(ValueError, match="layers must be True as in the run"):
        shrink(model, train, val, folder=tmp_path, layers=False, **OPTIONS)
    with pytest.raises(ValueError, match="budget cannot be met"):
        shrink(model, train, val, layers=False, **OPTIONS)


def test_without_validation_there_is_no_accuracy(trained, train):
    found = shrink(trained, train, **{**OPTIONS, "epochs": 1})
    assert found.before.top1 is None
    assert "accuracy" not in str(found)


def test_it_learns_from_the_original_too(trained, train, val):
    distill = proprelu.Distill()
    found = shrink(trained, train, val, distill=distill, **{**OPTIONS, "epochs": 1})
    plain = shrink(trained, train, val, **{**OPTIONS, "epochs": 1})
    assert found.history.last["train_loss"] != plain.history.last["train_loss"]


def test_a_budget_that_cannot_be_met_is_refused_before_the_training(trained, train):
    with pytest.raises(ValueError, match="budget must be at least"):
        shrink(trained, train, **{**OPTIONS, "budget": 0.05})


def test_torch_data_are_taken(trained):
    images = torch.rand(96, 1, 28, 28)
    data = torch.utils.data.TensorDataset(images, torch.randint(0, 10, (96,)))
    loader = torch.utils.data.DataLoader(data, batch_size=32)
    found = shrink(trained, loader, loader, **{**OPTIONS, "epochs": 1})
    assert found.after.top1 is not None


def test_wrong_arguments_are_refused_before_anything_is_measured(
    trained, train, val, tmp_path, monkeypatch
):
    def refuse(*_, **__):
        raise AssertionError("must not be measured")

    monkeypatch.setattr(sys.modules["proprelu.shrink.shrink"], "sensitivity", refuse)
    file = tmp_path / "file"
    file.write_text("")
    wrong = torch.rand(8, 3, 28, 28), torch.zeros(8, dtype=torch.long)
    frozen = copy.deepcopy(trained).requires_grad_(False)
    cases = [
        (ValueError, "batch_size must be", trained, val, {"batch_size": 0}),
        (ValueError, "ratio must have convs >= relus", trained, val, {"ratio": "1:2"}),
        (ValueError, "precision must be", trained, val, {"precision": "fp16"}),
        (ValueError, "schedule must be", trained, val, {"schedule": "sine"}),
        (TypeError, "distill must be", trained, val, {"distill": True}),
        (TypeError, "augment must be", trained, val, {"augment": "flip"}),
        (ValueError, "budget must be .*, got True", trained, val, {"budget": True}),
        (ValueError, "images must have 1 channels", trained, wrong, {}),
        (ValueError, "no parameter that requires a gradient", frozen, val, {}),
        (ValueError, "must be float32", copy.deepcopy(trained).double(), val, {}),
        (
            ValueError,
            r"shrink the model inside \(model.module\)",
            nn.DataParallel(trained),
            val,
            {},
        ),
        (TypeError, "got str", "resnet18", val, {}),
        (NotADirectoryError, "cannot write", trained, val, {"folder": file}),
    ]
    for kind, message, model, validation, options in cases:
        with pytest.raises(kind, match=message):
            shrink(model, train, validation, **{**OPTIONS, **options})
    with pytest.raises(ValueError, match=r"budget must be the part .*, got 60"):
        shrink(trained, None, **{**OPTIONS, "budget": 60})
    with pytest.raises(ValueError, match="objective must be"):
        shrink(trained, None, **{**OPTIONS, "objective": "speed"})
    with pytest.raises(TypeError, match="ranking must be the result"):
        shrink(trained, None, ranking="sensitivity", **OPTIONS)
