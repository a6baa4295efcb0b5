"""Convolutions in a row get one correction of their borders."""

import proprelu
import pytest
import torch
from proprelu.merge.borders import gather_borders
from proprelu.merge.evaluation import evaluation_graph
from proprelu.nn import BorderedConv2d, BorderedSequential
from torch import nn

X = torch.randn(2, 4, 9, 8, dtype=torch.double, generator=torch.Generator().manual_seed(0))


def plain(**options):
    return nn.Conv2d(4, 4, 3, padding=1, **options)


def bordered():
    conv = BorderedConv2d(4, 4, 3, padding=1)
    nn.init.normal_(conv.border)
    return conv


@pytest.fixture
def gathered():
    """Gathers the borders of a model, compares, and returns the kinds of the layers in each row."""

    def gather(model):
        model = model.double().eval()
        net = evaluation_graph(model, X)
        gather_borders(net)
        net.recompile()
        for x in (X, torch.randn(1, 4, 5, 7, dtype=torch.double)):
            torch.testing.assert_close(net(x), model(x), rtol=1e-9, atol=1e-9)
        return {
            name: "".join("b" if type(layer) is BorderedConv2d else "c" for layer in row)
            for name, row in net.named_modules()
            if isinstance(row, BorderedSequential)
        }

    return gather


def test_a_row_is_from_the_first_border_to_the_last(gathered):
    rows = [plain(), bordered(), plain(), bordered(), plain(), nn.ReLU(), plain(), bordered()]
    assert gathered(nn.Sequential(*rows)) == {"1": "bcb", "7": "b"}


def test_without_a_border_nothing_is_gathered(gathered):
    assert gathered(nn.Sequential(plain(), plain(), nn.ReLU(), plain())) == {}


def test_layers_that_do_more_end_a_row(gathered):
    hooked = plain()
    hooked.register_forward_hook(lambda module, args, y: y + 1)
    rows = [bordered(), plain(padding_mode="circular"), bordered(), hooked, bordered(), bordered()]
    assert gathered(nn.Sequential(*rows)) == {"0": "b", "2": "b", "4": "bb"}


def test_a_value_with_two_readers_ends_a_row(gathered):
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.third = bordered(), bordered(), bordered()

        def forward(self, x):
            x = self.first(x)
            return self.third(self.second(x)) + x

    assert gathered(Residual()) == {"first": "b", "second": "bb"}


def test_a_layer_that_is_used_twice_corrects_its_own_border(gathered):
    shared = bordered()
    assert gathered(nn.Sequential(bordered(), shared, bordered(), shared)) == {"0": "b", "2": "b"}


def test_a_file_is_loaded_for_images_of_another_size(randomized, tmp_path):
    def block():
        return nn.Sequential(nn.Conv2d(4, 24, 1), nn.Conv2d(24, 4, 3, padding=1))

    net = randomized(nn.Sequential(block(), block()))
    merged = proprelu.merge(net, X.float(), cost="macs")
    assert any(isinstance(module, BorderedSequential) for module in merged.modules())
    proprelu.save_merged(merged, net, tmp_path / "a.safetensors")
    small = torch.randn(1, 4, 5, 6)
    other = proprelu.load(tmp_path / "a.safetensors", net, small)
    for x in (small, X.float()):
        torch.testing.assert_close(other(x), net(x), rtol=1e-4, atol=1e-4)
