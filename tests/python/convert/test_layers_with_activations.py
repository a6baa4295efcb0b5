"""Classes of users that add an activation to one of torch's layers."""

import pytest
import torch
import torch.nn.functional as F
from proprelu import Anneal, anneal_step, convert, ratio_of, revert
from proprelu.nn import TiedBlockConv2d
from torch import nn
from torch.nn.utils import parametrizations, prune


class Acts:
    """Applies a ReLU to what a layer returns, except where it was edited out."""

    off = False

    def forward(self, x):
        y = super().forward(x)
        return y if self.off else F.relu(y)


class BatchNormAct(Acts, nn.BatchNorm2d):
    pass


class SyncBatchNormAct(Acts, nn.SyncBatchNorm):
    pass


class InstanceNormAct(Acts, nn.InstanceNorm2d):
    pass


class GroupNormAct(Acts, nn.GroupNorm):
    pass


class LayerNormAct(Acts, nn.LayerNorm):
    pass


class ConvAct(Acts, nn.Conv2d):
    pass


class TransposedAct(Acts, nn.ConvTranspose2d):
    pass


class TiedAct(Acts, TiedBlockConv2d):
    pass


class PoolAct(Acts, nn.MaxPool2d):
    pass


class IdentityAct(Acts, nn.Identity):
    pass


class Named(nn.BatchNorm2d):
    """Calls the forward of its base by name."""

    off = False

    def forward(self, x):
        y = nn.BatchNorm2d.forward(self, input=x)
        return y if self.off else y.relu()


class Copied(nn.BatchNorm2d):
    """Has a copy of the body, which branches on the mode and counts the batches."""

    off = False

    def forward(self, x):
        if self.training:
            self.num_batches_tracked.add_(1)
        y = F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias,
            self.training or self.running_mean is None, self.momentum, self.eps,
        )  # fmt: skip
        return y if self.off else torch.relu(y)


class Before(nn.BatchNorm2d):
    """Applies the activation, a module, before the norm."""

    off = False

    def __init__(self, channels):
        super().__init__(channels)
        self.act = nn.ReLU()

    def forward(self, x):
        return super().forward(x if self.off else self.act(x))


class InPrivate(nn.Conv2d):
    """Overrides what the forward of its base calls."""

    off = False

    def _conv_forward(self, *args):
        y = super()._conv_forward(*args)
        return y if self.off else F.relu(y)


class LikeTorchs(nn.Module):
    off = False

    def forward(self, x):
        return x if self.off else F.relu(x)


LikeTorchs.__module__ = "torch.nn.modules.activation"


def pruned():
    layer = ConvAct(4, 4, 3)
    return prune.ln_structured(layer, "weight", 0.5, n=2, dim=0)


LAYERS = {
    "batch norm": lambda: BatchNormAct(4),
    "batch norm without statistics": lambda: BatchNormAct(4, track_running_stats=False),
    "instance norm": lambda: InstanceNormAct(4),
    "group norm": lambda: GroupNormAct(2, 4),
    "layer norm": lambda: LayerNormAct([4, 8, 8]),
    "convolution": lambda: ConvAct(4, 4, 3),
    "transposed convolution": lambda: TransposedAct(4, 4, 3),
    "tied convolution": lambda: TiedAct(4, 4, 3, num_blocks=2),
    "pooling": lambda: PoolAct(2),
    "identity": lambda: IdentityAct(),
    "named base": lambda: Named(4),
    "copied body": lambda: Copied(4),
    "before the norm": lambda: Before(4),
    "overridden part": lambda: InPrivate(4, 4, 3),
    "class in torch's namespace": lambda: LikeTorchs(),
    "weight norm": lambda: parametrizations.weight_norm(ConvAct(4, 4, 3)),
    "pruned": pruned,
    "data parallel": lambda: nn.DataParallel(ConvAct(4, 4, 3)),
}


class Net(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.a, self.layer = nn.Conv2d(3, 4, 3, padding=1), layer
        self.b, self.r = nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()

    def forward(self, x):
        return self.r(self.b(self.layer(self.a(x))))


def pair(name):
    """A network, and one with its first ReLU edited out by hand."""
    model, edited = Net(LAYERS[name]()), Net(LAYERS[name]())
    for module in edited.layer.modules():
        module.off = True
    edited.load_state_dict(model.state_dict())
    return model, edited


def results(model, x):
    """Output, gradients, and statistics afterwards."""
    x = x.clone().requires_grad_()
    y = model(x)
    gradients = torch.autograd.grad(y.square().sum(), [x, *model.parameters()])
    return [y, *gradients, *(b.clone() for b in model.buffers())]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_the_activation_of_a_layer_is_a_site(name, training):
    model, edited = pair(name)
    model.train(training)
    edited.train(training)
    x = torch.randn(2, 3, 8, 8)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    count = ratio_of(model)
    assert count.relus == 2
    converted = convert(model, "2:1", [False, True])
    assert ratio_of(converted) == (count.convs, 1)
    assert ratio_of(model, x) == count
    after = model.state_dict()
    assert list(after) == list(converted.state_dict())
    assert all(torch.equal(after[key], value) for key, value in before.items())
    reverted = revert(converted)
    assert ratio_of(reverted) == count
    torch.testing.assert_close(results(reverted, x), results(model, x))
    edited.load_state_dict(before)
    torch.testing.assert_close(results(converted, x), results(edited, x))


@pytest.mark.parametrize("name", ["batch norm", "instance norm", "copied body"])
def test_the_activation_of_a_layer_is_annealed(name):
    model, edited = pair(name)
    model.eval()
    edited.eval()
    x = torch.randn(2, 3, 8, 8)
    converted = convert(model, "1:1", [False, True], anneal=Anneal(epochs=2))
    torch.testing.assert_close(converted(x), model(x))
    anneal_step(converted)
    y = edited.layer(edited.a(x))
    torch.testing.assert_close(converted(x), model.r(model.b(0.5 * y + 0.5 * F.relu(y))))
    anneal_step(converted)
    torch.testing.assert_close(converted(x), edited(x))


def test_a_synchronized_norm_is_looked_into():
    """It runs on GPUs only; the trace finds its activation anyway."""
    assert ratio_of(Net(SyncBatchNormAct(4)), None) == (2, 2)
    assert ratio_of(convert(Net(SyncBatchNormAct(4)).eval(), "2:1")) == (2, 1)
