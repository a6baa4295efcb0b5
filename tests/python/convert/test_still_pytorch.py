"""Converted models work with the other tools of PyTorch, and give the same results."""

import copy
import warnings
from contextlib import contextmanager

import pytest
import torch
import torchvision
from proprelu import convert, ratio_of
from proprelu.nn import ProportionalBlock
from torch import nn
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint

NUM_CLASSES = 10


def blocks():
    return nn.Sequential(
        ProportionalBlock(3, 8, ratio="3:2"),
        ProportionalBlock(8, 16, ratio="3:2", stride=2, residual=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, NUM_CLASSES),
    )


ORIGINALS = {
    "resnet18": lambda: torchvision.models.resnet18(num_classes=NUM_CLASSES),
    # Without random layers, so that two runs can be compared.
    "mobilenet_v2": lambda: torchvision.models.mobilenet_v2(num_classes=NUM_CLASSES, dropout=0.0),
    "blocks": blocks,
}


@pytest.fixture(scope="module", params=ORIGINALS)
def converted(request):
    """A model that all tests share; none of them changes it."""
    torch.manual_seed(0)
    return convert(ORIGINALS[request.param](), "2:1", inplace=True)


@pytest.fixture
def model(converted):
    torch._dynamo.reset()
    yield copy.deepcopy(converted)
    torch._dynamo.reset()


@pytest.fixture
def x():
    return torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@contextmanager
def quiet():
    """Ignores the deprecation warnings of exporters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def gradients(model, run, x):
    """The gradients of all parameters, after one backward through ``run``."""
    model.zero_grad()
    run(x).square().mean().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


def assert_same_gradients(found, expected, tolerance=1e-3):
    assert found.keys() == expected.keys()
    for name, wanted in expected.items():
        # The gradient of a bias before a batch norm consists of rounding errors only.
        error = (found[name] - wanted).norm() / wanted.norm().clamp_min(1e-3)
        assert error <= tolerance, f"{name}: {error}"


def alike(a, b):
    """The cosine similarity of two results, to compare different precisions."""
    return torch.cosine_similarity(a.float().flatten(), b.float().flatten(), dim=0)


def test_compile_finds_one_graph(model, x):
    plain = copy.deepcopy(model)
    run = torch.compile(model, backend="aot_eager", fullgraph=True)
    assert_same_gradients(gradients(model, run, x), gradients(plain, plain, x))
    torch.testing.assert_close(run(x), plain(x), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("converted", ["blocks"], indirect=True)
def test_inductor(model, x):
    # Its backward crashes on a CPU for strided 1x1 convolutions (torch 2.11).
    model.eval()
    with quiet(), torch.no_grad():
        found = torch.compile(model, backend="inductor", fullgraph=True)(x)
        torch.testing.assert_close(found, model(x), rtol=1e-3, atol=1e-4)


def test_our_backend_trains_as_eager_does(model, x):
    target = torch.arange(len(x)) % NUM_CLASSES
    plain = copy.deepcopy(model)
    losses = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="torch runs a graph that proprelu cannot")
        for own in (model, plain):
            run = own if own is plain else torch.compile(own, backend="proprelu")
            # small steps, because the difference of rounding errors grows with each step
            optimizer = torch.optim.SGD(own.parameters(), lr=1e-4, momentum=0.9)
            losses[own] = []
            for _ in range(3):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(run(x), target)
                loss.backward()
                optimizer.step()
                losses[own].append(loss.item())
    assert losses[model] == pytest.approx(losses[plain], rel=1e-3)
    for (name, mine), theirs in zip(model.named_parameters(), plain.parameters(), strict=True):
        error = (mine - theirs).norm() / theirs.norm().clamp_min(1e-2)
        assert error < 1e-3, f"{name}: {error}"


def test_export(model, x):
    program = torch.export.export(model.eval(), (x,))
    torch.testing.assert_close(program.module()(x), model(x))


def test_onnx(model, x, tmp_path):
    import onnxruntime

    file = tmp_path / "model.onnx"
    with quiet():
        torch.onnx.export(model.eval(), (x,), file, dynamo=True, verbose=False)
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    (out,) = session.run(None, {given.name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(out), model(x), rtol=1e-3, atol=1e-4)


def test_trace(model, x):
    with quiet():
        traced = torch.jit.trace(model.eval(), x)
    torch.testing.assert_close(traced(x), model(x))


def test_saving_all_of_it(model, x, tmp_path):
    torch.save(model, tmp_path / "model.pt")
    loaded = torch.load(tmp_path / "model.pt", weights_only=False)
    assert loaded.training
    assert torch.equal(loaded.eval()(x), model.eval()(x))
    assert ratio_of(loaded) == ratio_of(model)


def test_saving_its_state(model, converted, tmp_path):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01)
    torch.save(model.state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    for other in (copy.deepcopy(converted), convert(converted, "1:1")):
        other.load_state_dict(state, strict=True)
        assert all(map(torch.equal, other.parameters(), model.parameters()))


def test_a_copy_is_another_model(model, x):
    twin = copy.deepcopy(model).eval()
    assert torch.equal(twin(x), model.eval()(x))
    assert ratio_of(twin) == ratio_of(model)
    assert not {id(p) for p in twin.parameters()} & {id(p) for p in model.parameters()}


def test_autocast(model, x):
    plain = copy.deepcopy(model)
    with torch.autocast("cpu", torch.bfloat16):
        out = model(x)
    assert out.dtype == torch.bfloat16
    out.float().square().mean().backward()
    assert all(p.grad.dtype == torch.float32 for p in model.parameters())
    assert alike(out, plain(x)) > 0.99


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision(model, x, dtype):
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.momentum = 1.0
    model.train()(x)  # without statistics the activations become too small for float16
    expected = model.eval()(x)
    lower = model.half() if dtype == torch.float16 else model.bfloat16()
    with torch.no_grad():
        out = lower(x.to(dtype))
    assert out.dtype == dtype
    assert alike(out, expected) > 0.99


def test_channels_last(model, x):
    expected, layouts = model.eval()(x), []
    model.to(memory_format=torch.channels_last)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(
                lambda m, args, out: layouts.append(
                    out.is_contiguous(memory_format=torch.channels_last)
                )
            )
    out = model(x.contiguous(memory_format=torch.channels_last))
    assert layouts
    assert all(layouts)
    torch.testing.assert_close(out, expected, rtol=1e-3, atol=1e-4)


def test_functional_call(model, x):
    other = copy.deepcopy(model).eval()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.01)
    given = {**dict(other.named_parameters()), **dict(other.named_buffers())}
    assert torch.equal(torch.func.functional_call(model.eval(), given, (x,)), other(x))
    assert not torch.equal(model(x), other(x))


def test_distributed(model, x, tmp_path):
    plain = copy.deepcopy(model)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1
    )
    try:
        wrapped = nn.parallel.DistributedDataParallel(model)
        found = gradients(model, wrapped, x)
    finally:
        torch.distributed.destroy_process_group()
    assert_same_gradients(found, gradients(plain, plain, x))


def test_checkpointing(model, x):
    plain = copy.deepcopy(model)
    found = gradients(model, lambda x: checkpoint(model, x, use_reentrant=False), x)
    assert_same_gradients(found, gradients(plain, plain, x))


def test_hooks_on_layers_run(model, x):
    seen = []
    layers = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.BatchNorm2d, nn.Linear))]
    for layer in layers:
        layer.register_forward_pre_hook(lambda m, args: seen.append(m))
        layer.register_forward_hook(lambda m, args, out: seen.append(m))
    model(x)
    assert len(seen) == 2 * len(layers)
    assert set(seen) == set(layers)


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


def test_a_parametrized_weight(model, x):
    expected = copy.deepcopy(model).eval()
    name = next(name for name, m in model.named_modules() if isinstance(m, nn.Conv2d))
    with torch.no_grad():
        expected.get_submodule(name).weight.mul_(2)
    parametrize.register_parametrization(model.get_submodule(name), "weight", Doubled())
    assert torch.equal(model.eval()(x), expected(x))
    model(x).sum().backward()
    assert model.get_submodule(name).parametrizations.weight.original.grad is not None


def test_weight_norm(model, x):
    expected = model.eval()(x)
    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    for conv in convs:
        nn.utils.parametrizations.weight_norm(conv)
    torch.testing.assert_close(model(x), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["resnet18", "resnet26"])
def test_a_model_of_timm(name, x):
    with quiet():
        import timm
    torch.manual_seed(0)
    original = timm.create_model(name, pretrained=False, num_classes=NUM_CLASSES).eval()
    model = convert(original, "2:1")
    model.load_state_dict(original.state_dict(), strict=True)
    assert torch.equal(convert(model, "1:1")(x), original(x))
    assert torch.equal(convert(original, "1:1")(x), original(x))
