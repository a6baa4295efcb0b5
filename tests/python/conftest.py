"""Settings of all tests, and checks that every layer and network has to pass."""

import copy
import io
import os
import signal
from collections.abc import Iterator

import proprelu
import pytest
import torch
from torch import nn
from torch.nn import functional as F

# Autotuning depends on the load of the machine. Child processes inherit the variable.
os.environ["PROPRELU_AUTOTUNE"] = "0"


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """One thread, because synchronizing threads takes longer than computing on small tensors."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _interruptible() -> Iterator[None]:
    """Ctrl-C interrupts; a shell makes background processes ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def _few_images_are_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Predictions of few images run as programs too, which otherwise only many do."""
    monkeypatch.setattr("proprelu.train.session.WORTH_CAPTURING", 0)
    monkeypatch.setattr("proprelu.train.session.LEAST_BATCH", 0)


@pytest.fixture
def survives_torch_transforms():
    """Checks that a layer returns the same when compiled, exported, copied, loaded or cast."""

    def check(layer, x, tolerance=1e-5):
        layer.eval()
        expected = layer(x)
        close = {"rtol": tolerance, "atol": tolerance * float(expected.detach().abs().max())}
        torch._dynamo.reset()
        compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
        torch.testing.assert_close(compiled(x), expected, **close)
        torch._dynamo.reset()
        exported = torch.export.export(layer, (x,)).module()
        torch.testing.assert_close(exported(x), expected, **close)
        assert torch.equal(copy.deepcopy(layer)(x), expected)
        file = io.BytesIO()
        torch.save(layer.state_dict(), file)
        file.seek(0)
        other = copy.deepcopy(layer)
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.zero_()
        other.load_state_dict(torch.load(file, weights_only=True), strict=True)
        assert torch.equal(other(x), expected)
        last = x.contiguous(memory_format=torch.channels_last)
        moved = copy.deepcopy(layer).to(memory_format=torch.channels_last)
        torch.testing.assert_close(moved(last), expected, **close)
        with torch.autocast("cpu", torch.bfloat16):
            lower = layer(x)
        error = (lower.float() - expected).norm() / expected.norm()
        assert error < 0.05
        double = copy.deepcopy(layer).double()(x.double())
        torch.testing.assert_close(double.float(), expected, **close)

    return check


@pytest.fixture
def trains_alike():
    """Checks that a captured training and a plain PyTorch loop have the same losses."""

    def check(model, shape=(3, 16, 16), classes=4, lr=0.02, bf16=False):
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(32, *shape, generator=generator)
        labels = torch.randint(classes, (32,), generator=generator)
        plain = copy.deepcopy(model).to(memory_format=torch.channels_last).train()
        optimizer = torch.optim.SGD(plain.parameters(), lr=lr, momentum=0.9)
        expected = []
        for _ in range(3):
            losses = []
            for batch, wanted in zip(images.split(8), labels.split(8), strict=True):
                batch = batch.contiguous(memory_format=torch.channels_last)
                with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                    predictions = plain(batch)
                loss = F.cross_entropy(predictions.float(), wanted)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
            expected.append(sum(losses) / len(losses))
        trainer = proprelu.Trainer(
            model,
            proprelu.SGD(lr, momentum=0.9, weight_decay=0.0),
            schedule="constant",
            precision="bf16" if bf16 else "fp32",
            progress=False,
        )
        data = torch.utils.data.TensorDataset(images, labels)
        history = trainer.fit(torch.utils.data.DataLoader(data, batch_size=8), epochs=3)
        assert trainer.program is not None
        found = [row["train_loss"] for row in history]
        assert found == pytest.approx(expected, rel=0.03 if bf16 else 1e-3)

    return check


def classifier(channels, *layers, classes=4):
    """A network with the layers between a stem and a classifier."""
    stem = nn.Sequential(nn.Conv2d(3, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU())
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(classes))
    model = nn.Sequential(stem, *layers, head)
    model(torch.zeros(2, 3, 16, 16))
    return model


@pytest.fixture(name="classifier")
def _classifier():
    return classifier
