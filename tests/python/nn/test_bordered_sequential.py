import copy
import io
import pickle
import warnings

import pytest
import torch
import torch._inductor.config
from proprelu.nn import BorderedConv2d, BorderedSequential
from torch import nn

SIZE = (9, 10)


def layers():
    """A bordered, a plain and a bordered convolution, with random numbers."""
    torch.manual_seed(0)
    convs = [
        BorderedConv2d(3, 4, 3, stride=2, padding=1),
        nn.Conv2d(4, 6, (3, 1), padding=(1, 0), groups=2, bias=False),
        BorderedConv2d(6, 5, 3, padding=(1, 2), dilation=(1, 2)),
    ]
    for conv in convs:
        for parameter in conv.parameters():
            nn.init.normal_(parameter)
        conv.requires_grad_(False)
    return convs


def build():
    return BorderedSequential(*layers(), size=SIZE).eval()


def one_by_one(net, x):
    """What the layers compute, each with the correction of its own border."""
    for layer in net:
        x = layer(x)
    return x


def close(found, expected):
    scale = float(expected.detach().abs().max())
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * scale)


def image(*size):
    return torch.randn(2, 3, *(size or SIZE), generator=torch.Generator().manual_seed(1))


def changed(net):
    """Change all weights in place."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(-0.7)
    return net


def test_the_stored_correction_is_exact_and_is_used():
    net, x = build().double(), image().double()
    net.eval()
    torch.testing.assert_close(net(x), one_by_one(net, x), rtol=0, atol=1e-11)
    correction = net.correction
    assert correction.dtype == torch.double
    assert correction.shape == one_by_one(net, x).shape[1:]
    assert not correction[..., 2:-2, 4:-4].any()  # away from the border
    net.correction = correction + 1
    torch.testing.assert_close(net(x), one_by_one(net, x) + 1, rtol=0, atol=1e-11)


@pytest.mark.parametrize("size", [(9, 9), (10, 10), (18, 20), (3, 2)], ids=str)
def test_other_sizes_are_corrected_layer_by_layer(size):
    net = build()
    assert torch.equal(net(image(*size)), one_by_one(net, image(*size)))


def test_a_single_image_without_a_batch():
    net = build()
    assert torch.equal(net(image()[0]), one_by_one(net, image()[0]))


def test_it_survives_torch_transforms(survives_torch_transforms):
    survives_torch_transforms(build(), image())


def test_the_training_mode_has_no_correction_and_passes_gradients_to_all():
    net = build().train().requires_grad_()
    assert net.correction is None
    net(image()).sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    close(changed(net).eval()(image()), one_by_one(net, image()))


def test_eval_and_load_state_dict_make_the_correction_anew():
    net = changed(build())
    with torch.inference_mode():
        assert net.eval()(image()).is_inference()
    assert not net.correction.is_inference()
    close(net(image()), one_by_one(net, image()))
    other = build()
    for assign in (False, True):
        other.load_state_dict(net.state_dict(), assign=assign)
        assert torch.equal(other(image()), net(image()))
    # A correction is of a size, and a state is not.
    assert not [key for key in net.state_dict() if "correction" in key]
    small = BorderedSequential(*layers(), size=(5, 6)).eval()
    small.load_state_dict(net.state_dict())
    close(small(image(5, 6)), one_by_one(net, image(5, 6)))


def test_copies_and_pickles_keep_the_correction():
    net = build()
    file = io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    copies = [
        copy.deepcopy(net), pickle.loads(pickle.dumps(net)), torch.load(file, weights_only=False)
    ]  # fmt: skip
    for each in copies:
        assert torch.equal(each.correction, net.correction)
        assert torch.equal(each(image()), net(image()))
        changed(each).load_state_dict(net.state_dict())
        assert torch.equal(each(image()), net(image()))


def append(net):
    net.append(nn.Conv2d(5, 2, 3, padding=1))


def extend(net):
    net += nn.Sequential(BorderedConv2d(5, 5, 3, padding=1), nn.ReLU())


def insert(net):
    net.insert(0, nn.Conv2d(3, 3, 3, padding=1))


def replace(net):
    net[1] = nn.Conv2d(4, 6, 1)


def delete(net):
    del net[2]


def parametrize(net):
    nn.utils.parametrizations.weight_norm(net[0])


def hook(net):
    net[0].register_forward_hook(lambda module, args, output: 2 * output)


@pytest.mark.parametrize(
    "change", [append, extend, insert, replace, delete, parametrize, hook], ids=lambda f: f.__name__
)
def test_other_layers_do_not_get_the_correction_of_the_former_ones(change):
    net = build()
    change(net)
    assert torch.equal(net(image()), one_by_one(net, image()))
    net.eval()
    assert (net.correction is None) == (change in (extend, parametrize, hook))
    close(net(image()), one_by_one(net, image()))
    for each in (copy.deepcopy(net), net[:]):
        close(each(image()), one_by_one(net, image()))


def test_slices_and_sums_correct_each_border():
    net = build()
    assert net[1] is next(iter(net[1:]))
    close(net[1:](net[:1](image())), net(image()))
    close((net[:2] + net[2:])(image()), net(image()))
    assert list(net[::2]) == [net[0], net[2]]
    stored = BorderedSequential(*net[:2], size=SIZE).eval()
    close(stored(image()), net[:2](image()))


def test_without_layers_it_returns_its_input():
    assert torch.equal(BorderedSequential(size=SIZE).eval()(image()), image())


@pytest.mark.parametrize("size", [9, (9,), (9, 0), (9.0, 9.0), "99", None], ids=str)
def test_a_size_that_is_none_is_refused(size):
    with pytest.raises(ValueError, match="size must be the height and the width of the images"):
        BorderedSequential(*layers(), size=size)


def test_the_correction_follows_dtype_and_memory_format():
    net = build().to(memory_format=torch.channels_last)
    assert net.correction.stride()[0] == 1
    assert net.bfloat16().correction.dtype == torch.bfloat16
    for made in (build().to(memory_format=torch.channels_last).eval(), build()):
        x = image().contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            close(made(x), one_by_one(made, image()))
    assert build().half().eval().correction.dtype == torch.half


def test_an_export_with_open_sizes_fixes_none():
    net = build()
    sizes = {2: torch.export.Dim("height", min=4), 3: torch.export.Dim("width", min=4)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        exported = torch.export.export(net, (image(),), dynamic_shapes=(sizes,)).module()
    for size in (SIZE, (12, 7)):
        close(exported(image(*size)), one_by_one(net, image(*size)))


def test_a_script_trace_fixes_no_size():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(build(), image(), check_trace=False)
    close(traced(image(12, 7)), one_by_one(build(), image(12, 7)))


def test_onnx_with_fixed_and_open_sizes(tmp_path):
    import onnxruntime

    net = build()
    sizes = {2: torch.export.Dim("height", min=4), 3: torch.export.Dim("width", min=4)}
    for number, shapes in enumerate((None, (sizes,))):
        file = tmp_path / f"{number}.onnx"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                net, (image(),), file, dynamo=True, verbose=False, dynamic_shapes=shapes
            )
        session = onnxruntime.InferenceSession(file)
        for size in (SIZE, (12, 7))[: 1 + number]:
            x = image(*size)
            (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
            close(torch.from_numpy(found), one_by_one(net, x))


def test_a_compiled_one_takes_other_sizes():
    torch._dynamo.reset()
    net = build()
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    for size in (SIZE, (12, 7), (14, 8), SIZE):
        close(compiled(image(*size)), one_by_one(net, image(*size)))
    torch._dynamo.reset()


@pytest.mark.slow  # a compilation to machine code
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch itself
def test_a_compiled_network_with_frozen_weights_computes_the_same_again():
    layers = [BorderedConv2d(4, 4, 3, padding=1) for _ in range(2)]
    for layer in layers:
        torch.nn.init.normal_(layer.border)
    net = BorderedSequential(*layers, size=(9, 9)).eval()
    x = torch.randn(1, 4, 9, 9)
    with torch.no_grad(), torch._inductor.config.patch(freezing=True):
        expected = net(x)
        compiled = torch.compile(net)
        for _ in range(3):
            torch.testing.assert_close(compiled(x), expected, rtol=1e-4, atol=1e-4)
