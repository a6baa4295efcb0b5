"""Covariance pooling, compared with its formulas and autograd in float64."""

import copy
import warnings

import pytest
import torch
from proprelu import plan_for
from proprelu._core import covariance_pool as in_the_core
from proprelu.functional import covariance_pool
from proprelu.nn import CovariancePool2d
from torch import nn


def by_definition(x, num_iters, gaussian=False):
    """The formulas in plain PyTorch, differentiated by autograd."""
    x = x.double().flatten(2)
    n, d, pixels = x.shape
    mean = x.mean(2)
    center = torch.eye(pixels, dtype=x.dtype) / pixels - 1.0 / pixels**2
    s = x @ center @ x.mT
    if gaussian:
        s = s + mean[:, :, None] * mean[:, None]
        below = torch.cat([mean, torch.ones(n, 1, dtype=x.dtype)], 1)[:, None]
        s = torch.cat([torch.cat([s, mean[:, :, None]], 2), below], 1)
        d += 1
    trace = s.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
    y, z = s / trace, torch.eye(d, dtype=x.dtype).expand(n, d, d)
    for _ in range(num_iters):
        t = (3 * torch.eye(d, dtype=x.dtype) - z @ y) / 2
        y, z = y @ t, t @ z
    rows, columns = torch.triu_indices(d, d)
    return (trace.sqrt() * y)[:, rows, columns]


def full(triangle, d):
    rows, columns = torch.triu_indices(d, d)
    matrix = triangle.new_zeros(len(triangle), d, d)
    matrix[:, rows, columns] = triangle
    matrix[:, columns, rows] = triangle
    return matrix


def features(*shape, channels_last=False):
    x = 2 * torch.randn(shape, generator=torch.Generator().manual_seed(0)) + 1
    return x.contiguous(memory_format=torch.channels_last) if channels_last else x


def error(found, expected):
    return ((found.double() - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("gaussian", [False, True])
@pytest.mark.parametrize("num_iters", [1, 2, 3, 5])
@pytest.mark.parametrize(
    ("shape", "dtype", "channels_last"),
    [
        ((2, 5, 3, 3), torch.float64, False),
        ((3, 17, 7, 5), torch.float32, False),
        ((2, 64, 4, 4), torch.float32, True),
        ((1, 16, 9, 9), torch.bfloat16, True),
        ((2, 3, 8, 6), torch.bfloat16, False),
        ((2, 6, 50), torch.float32, False),
    ],
)
def test_it_is_the_formula(shape, dtype, channels_last, num_iters, gaussian):
    x = features(*shape, channels_last=channels_last).to(dtype).requires_grad_()
    found = covariance_pool(x, num_iters, gaussian=gaussian)
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    grad = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad(found, x, grad.to(found.dtype))
    assert gradient.dtype == dtype
    expected = by_definition(x, num_iters, gaussian)
    (wanted,) = torch.autograd.grad(expected, x, grad.double())
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-4, torch.bfloat16: 1e-4}[dtype]
    assert error(found, expected) < tolerance
    assert error(gradient, wanted.double()) < max(1e-2 * (dtype == torch.bfloat16), 10 * tolerance)


@pytest.mark.parametrize("num_iters", [1, 2, 3, 5])
@pytest.mark.parametrize("gaussian", [False, True])
def test_finite_differences(num_iters, gaussian):
    x = features(2, 4, 3, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: covariance_pool(x, num_iters, gaussian=gaussian), x)


@pytest.mark.parametrize("gaussian", [False, True])
def test_from_the_eigenvalues(gaussian):
    x = features(2, 4, 5, 3).double().requires_grad_()
    root = full(covariance_pool(x, method="eigh", gaussian=gaussian), 4 + gaussian)
    exact = full(covariance_pool(x, 30, gaussian=gaussian), 4 + gaussian)
    torch.testing.assert_close(root, exact)
    assert torch.linalg.eigvalsh(root).min() > 0
    assert torch.autograd.gradcheck(
        lambda x: covariance_pool(x, method="eigh", gaussian=gaussian), x
    )


def test_more_iterations_come_nearer_to_the_root():
    x = features(2, 6, 20, 20)
    x[:, 3] *= 3
    rows = x.double().flatten(2) - x.double().flatten(2).mean(2, keepdim=True)
    s = rows @ rows.mT / 400
    errors = []
    for num_iters in (1, 3, 5, 9):
        root = full(covariance_pool(x, num_iters).double(), 6)
        errors.append(error(root @ root, s))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-5


@pytest.mark.parametrize("method", ["newton_schulz", "eigh"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(
    "x",
    [
        torch.full((2, 5, 3, 3), 0.7),
        torch.zeros(2, 5, 3, 3),
        features(2, 5, 1, 1),
        features(2, 9, 2, 2),
        features(2, 4, 5, 5) * 1e-30,
        features(1, 4, 2, 2).expand(2, 4, 2, 2) * 1e6,
    ],
    ids=["constant", "zero", "a pixel", "fewer pixels than channels", "tiny", "large"],
)
def test_what_is_finite_stays_finite(x, dtype, method):
    x = x.to(dtype).clone().requires_grad_()
    out = covariance_pool(x, method=method)
    out.square().sum().backward()
    assert out.isfinite().all()
    assert x.grad.isfinite().all()
    if (x == x[:, :, :1, :1]).all() and dtype != torch.bfloat16:
        assert out.abs().max() < 1e-3
    if x[0, 0].numel() == 1:
        assert not out.any()
        assert not x.grad.any()


@pytest.mark.parametrize("method", ["newton_schulz", "eigh"])
def test_nan_propagates_or_raises(method):
    x = features(2, 4, 3, 3)
    x[0, 1, 2, 0] = float("nan")
    out = covariance_pool(x, method=method)
    assert out[0].isnan().all()
    assert out[1].isfinite().all()
    pool = CovariancePool2d(4, dim=None, method=method, anomaly=True)
    assert pool(x[1:]).isfinite().all()
    with pytest.raises(FloatingPointError, match="not finite"):
        pool(x)


def test_opcheck():
    for x in (features(2, 3, 4, 4), features(2, 3, 2, 3).double()):
        x.requires_grad_()
        for center in (False, True):
            torch.library.opcheck(torch.ops.proprelu.covariance_pool, (x, 3, center, False))
        triangle, covariance = torch.ops.proprelu.covariance_pool(x.detach(), 3, True, False)
        inputs = (torch.randn_like(triangle), x.detach(), triangle, covariance, 3, True)
        torch.library.opcheck(torch.ops.proprelu.covariance_pool_backward, inputs)
        s = covariance.requires_grad_()
        torch.library.opcheck(
            torch.ops.proprelu.symmetric_root,
            (s, False),
            test_utils=("test_schema", "test_faketensor", "test_autograd_registration"),
        )


LAYERS = {
    "reduced": lambda: CovariancePool2d(8, dim=4),
    "gaussian": lambda: CovariancePool2d(8, dim=None, gaussian=True),
    "eigh": lambda: CovariancePool2d(8, dim=4, method="eigh"),
}


@pytest.mark.parametrize("name", LAYERS)
def test_it_survives_torch_transforms(name, survives_torch_transforms):
    torch.manual_seed(0)
    survives_torch_transforms(LAYERS[name](), features(2, 8, 6, 5), tolerance=1e-4)


@pytest.mark.parametrize("name", ["reduced", "gaussian"])
def test_exported_programs_need_only_torch(name, tmp_path):
    import onnxruntime

    layer, x = LAYERS[name]().eval(), features(2, 8, 6, 5)
    program = torch.export.export(layer, (x,))
    assert "proprelu" not in str(program.graph)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations in the exporter
        torch.onnx.export(layer, (x,), tmp_path / "layer.onnx", dynamo=True, verbose=False)
        session = onnxruntime.InferenceSession(tmp_path / "layer.onnx")
    (out,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(out), layer(x), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_it_trains_as_one_program(name, bf16, trains_alike):
    torch.manual_seed(0)
    pool = LAYERS[name]()
    stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, padding=1), nn.BatchNorm2d(8), nn.ReLU())
    trains_alike(nn.Sequential(stem, pool, nn.Linear(pool.out_features, 4)), bf16=bf16)


def test_the_reduction_is_a_site():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), CovariancePool2d(8, dim=4))
    assert [site.conv for site in plan_for(net, "2:1").sites] == ["0", "2.reduce.0"]


def test_the_sizes_are_the_formulas():
    assert CovariancePool2d(64).out_features == 32896
    assert CovariancePool2d(64, dim=8, gaussian=True).out_features == 45
    assert sum(p.numel() for p in CovariancePool2d(64, dim=8).parameters()) == 64 * 8 + 2 * 8
    assert copy.deepcopy(CovariancePool2d(5, dim=None)).out_features == 15


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: covariance_pool(torch.ones(2, 3)), r"needs an input .* got \(2, 3\), 5 and"),
        (lambda: covariance_pool(torch.ones(2, 3, 4, 4), 0), r"num_iters >= 1 .* 0 and"),
        (lambda: covariance_pool(torch.ones(2, 3, 4, 4), method="svd"), "got .* 'svd'"),
        (lambda: CovariancePool2d(0), "at least 1, got 0, 256 and 5"),
        (lambda: CovariancePool2d(4, method="svd"), 'method must be "newton_schulz"'),
        (lambda: in_the_core(torch.ones(2, 3, 1, 4), 0, True), "needs an image, a pixel"),
        (lambda: in_the_core(torch.ones(2), 5, True), r"a tensor of \[2\]"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
