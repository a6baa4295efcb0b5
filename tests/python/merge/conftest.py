import copy

import proprelu
import pytest
import torch
from torch import nn


def randomized(model, seed=0):
    """The model in evaluation mode, with statistics and biases that are not the initial ones."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
                module.running_mean.normal_(generator=generator)
                module.running_var.uniform_(0.5, 2, generator=generator)
            for name in ("weight", "bias"):
                value = getattr(module, name, None)
                if isinstance(module, nn.BatchNorm2d) and value is not None:
                    value.uniform_(0.5, 1.5, generator=generator)
    return model.eval()


@pytest.fixture(name="randomized")
def _randomized():
    return randomized


@pytest.fixture
def merges():
    """Merges a model in float64 and in float32, compares, and returns the merged one."""

    def check(model, x, least=None, **options):
        """``least``: the number of convolutions that must be left."""
        double = copy.deepcopy(model).double()
        exact = proprelu.merge(double, x.double(), cost="macs", **options)
        merged = proprelu.merge(model, x, cost="macs", **options)
        with torch.no_grad():
            expected, found = double(x.double()), exact(x.double())
            assert (found - expected).abs().max() <= 1e-10 * expected.abs().max()
            error = (merged(x).double() - expected).abs().max() / expected.abs().max()
            assert error < 1e-5
        if least is not None:
            convs = [m for m in merged.modules() if isinstance(m, nn.Conv2d)]
            assert len(convs) == least
        return merged

    return check
