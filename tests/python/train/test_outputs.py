"""Models that return tuples or dicts: what the loss gets, and where the predictions are."""

import copy
from typing import Any

import pytest
import torch
from proprelu import SGD, Trainer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

IMAGES = torch.randn(12, 3, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(12) % 5


class Net(nn.Module):
    """Returns features and logits in a certain form."""

    def __init__(self, form: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 6, 3)
        self.fc = nn.Linear(6, 5)
        self.form = form

    def forward(self, x: Tensor) -> Any:
        features = F.relu(self.conv(x)).mean((2, 3))
        logits = self.fc(features)
        forms: dict[str, Any] = {
            "dict": {"features": features, "logits": logits},
            "first": (logits, features),
            "second": (features, None, logits),
            "nested": {"features": features, "heads": [logits, 3]},
            "scalar": (logits, features.square().mean()),
            "by_mode": (logits, features) if self.training else logits,
        }
        return forms[self.form]


def _logits(output: Any) -> Tensor:
    if isinstance(output, Tensor):
        return output
    if isinstance(output, dict):
        return output["logits"] if "logits" in output else output["heads"][0]
    return output[0] if output[0].shape[1] == 5 else output[2]


class Loss(nn.Module):
    """Reads the logits, and of some forms another part too."""

    def forward(self, output: Any, labels: Tensor) -> Tensor:
        loss = F.cross_entropy(_logits(output), labels)
        if isinstance(output, tuple) and len(output) == 2:
            loss = loss + 0.1 * output[1].square().mean()
        return loss


def _plain(model: nn.Module, loss: Any) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.train()
    for images, labels in zip(IMAGES.split(5), LABELS.split(5), strict=True):
        optimizer.zero_grad()
        loss(model(images), labels).backward()
        optimizer.step()


def _fit(model: nn.Module, **settings: Any) -> Trainer:
    trainer = Trainer(
        model,
        SGD(lr=0.1, momentum=0.0, weight_decay=0.0),
        schedule="constant",
        progress=False,
        **settings,
    )
    loader = DataLoader(TensorDataset(IMAGES, LABELS), 5)
    trainer.fit(loader, loader, epochs=1)
    assert trainer.program is not None
    return trainer


def _check(trainer: Trainer, twin: nn.Module, loss: Any) -> None:
    for name, tensor in trainer.model.state_dict().items():
        torch.testing.assert_close(tensor, twin.state_dict()[name], rtol=1e-4, atol=1e-5)
    row = trainer.history.last
    with torch.no_grad():
        output = twin.eval()(IMAGES)
        parts = [
            (loss(twin(images), labels).item(), len(images))
            for images, labels in zip(IMAGES.split(5), LABELS.split(5), strict=True)
        ]
    expected = sum(value * count for value, count in parts) / len(IMAGES)
    assert row["val_loss"] == pytest.approx(expected, rel=1e-4)
    scores = _logits(output)
    assert row["val_top1"] == pytest.approx((scores.argmax(1) == LABELS).float().mean().item())
    torch.testing.assert_close(trainer.predict(IMAGES), scores, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", ["dict", "first", "second", "nested", "scalar", "by_mode"])
def test_a_loss_gets_the_whole_output_and_shows_where_the_predictions_are(form: str) -> None:
    model = Net(form)
    twin = copy.deepcopy(model)
    trainer = _fit(model, loss=Loss())
    _plain(twin, Loss())
    _check(trainer, twin, Loss())


@pytest.mark.parametrize(
    ("form", "output"),
    [
        ("first", None),
        ("dict", "logits"),
        ("second", 2),
        ("second", -1),
        ("nested", lambda output: output["heads"][0]),
    ],
)
def test_losses_of_torch_get_the_predictions(form: str, output: Any) -> None:
    model = Net(form)
    twin = copy.deepcopy(model)
    trainer = _fit(model, output=output)
    theirs = lambda out, labels: F.cross_entropy(_logits(out), labels)  # noqa: E731
    _plain(twin, theirs)
    _check(trainer, twin, theirs)


def test_predictions_that_fit_no_labels_have_no_accuracy() -> None:
    class OfFeatures(nn.Module):
        def forward(self, output: Any, labels: Tensor) -> Tensor:
            return output["maps"].square().mean()

    class Maps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 6, 3)

        def forward(self, x: Tensor) -> Any:
            return {"maps": self.conv(x)}

    row = _fit(Maps(), loss=OfFeatures()).history.last
    assert row["train_top1"] is row["val_top1"] is None


@pytest.mark.parametrize("output", [5, "scores", True, 1.5, lambda output: "nothing"])
def test_a_choice_that_is_not_there(output: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="output") as caught:
        _fit(Net("dict"), output=output)
    assert "\n" not in str(caught.value)


def test_a_model_whose_predictions_are_not_said() -> None:
    class Odd(Net):
        def forward(self, x: Tensor) -> Any:
            return {"many": [super().forward(x)]}

    with pytest.raises(TypeError, match=r"must return a tensor.*keys 'many'.*output="):
        _fit(Odd("dict"))


class Returning(nn.Module):
    """A loss that returns something made of the cross-entropy."""

    def __init__(self, form: Any) -> None:
        super().__init__()
        self.form = form

    def forward(self, output: Tensor, labels: Tensor) -> Any:
        return self.form(F.cross_entropy(output[0], labels))


@pytest.mark.parametrize(
    ("form", "got"),
    [
        (lambda loss: loss.item(), "got float"),
        (lambda loss: (loss, loss), "got tuple"),
        (lambda loss: loss.expand(3), r"got one of shape \(3,\)"),
        (lambda loss: loss.detach(), "depends on no parameter with a gradient"),
    ],
)
def test_a_loss_that_is_no_scalar_of_the_parameters(form: Any, got: str) -> None:
    trainer = Trainer(Net("first"), loss=Returning(form), progress=False)
    with pytest.raises(ValueError, match=f"the loss must return a scalar tensor .*{got}"):
        trainer.fit((IMAGES, LABELS), epochs=1, batch_size=4)
