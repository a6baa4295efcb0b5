"""Covariance pooling, squeeze-and-excitation and tied blocks on a GPU match the core's."""

import pytest
import torch
from proprelu.functional import channel_means, covariance_pool, scale_channels, tied_conv2d

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


@pytest.mark.parametrize("method", ["newton_schulz", "eigh"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_results_and_gradients(dtype, method):
    x = torch.randn(3, 17, 6, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
    results = []
    for device in ("cpu", "cuda"):
        own = x.to(device).requires_grad_()
        with torch.autocast(device, torch.bfloat16, enabled=dtype == torch.bfloat16):
            out = covariance_pool(own, method=method, gaussian=True)
        out.square().sum().backward()
        results.append((out.detach().cpu(), own.grad.float().cpu()))
    for mine, theirs in zip(*results, strict=True):
        assert ((mine - theirs).norm() / theirs.norm()).item() < 2e-2


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_tied_convolutions(layout):
    x, weight = torch.randn(2, 8, 7, 5), torch.randn(6, 4, 3, 3)
    expected = tied_conv2d(x, weight, padding=1)
    on_gpu = x.cuda().contiguous(memory_format=layout)
    found = tied_conv2d(on_gpu, weight.cuda(), padding=1)
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_means_and_scales_of_channels(dtype, layout):
    x = torch.randn(3, 17, 6, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
    results = []
    for device in ("cpu", "cuda"):
        own = x.to(device).contiguous(memory_format=layout).requires_grad_()
        out = scale_channels(own, channel_means(own).sigmoid())
        assert out.is_contiguous(memory_format=layout)
        out.square().sum().backward()
        results.append((out.detach().float().cpu(), own.grad.float().cpu()))
    for mine, theirs in zip(*results, strict=True):
        assert ((mine - theirs).norm() / theirs.norm()).item() < 2e-2
