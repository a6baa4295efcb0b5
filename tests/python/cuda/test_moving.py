"""The model is moved to the device and stays there; nothing else changes."""

import pytest
import torch
from cuda_trainings import arrays, assert_close, small, tensors, trainer
from proprelu import Trainer
from proprelu.train.device.device import Cpu, Cuda, Device
from proprelu.train.device.place import as_device
from torch import nn

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


def test_the_model_is_moved_to_the_device_and_stays(device: Device) -> None:
    model, (images, _) = small(), arrays(16)
    parameters = dict(model.named_parameters())
    modes = [module.training for module in model.eval().modules()]
    training = trainer(model, device, ema_decay=0.5)
    training.fit(arrays(16), epochs=1, batch_size=8)
    for state in (model.state_dict(), training.ema_state_dict()):
        assert {tensor.device for tensor in state.values()} == {device.device}
    for name, parameter in model.named_parameters():
        assert parameter is parameters[name]
        assert parameter.is_leaf
        assert parameter.is_contiguous()
        assert parameter.grad is None
    assert [module.training for module in model.modules()] == modes
    assert training.predict(images).device.type == "cpu"


def test_the_global_random_states_are_not_changed(device: Device) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(192, 4))
    torch.manual_seed(11)
    before = [torch.get_rng_state(), *map(torch.cuda.get_rng_state, device.generators)]
    training = trainer(model, device)
    training.fit(arrays(16), arrays(8), epochs=1, batch_size=8)
    training.predict(tensors(3)[0])
    after = [torch.get_rng_state(), *map(torch.cuda.get_rng_state, device.generators)]
    assert all(map(torch.equal, before, after))


@needs_gpu
def test_auto_is_the_device_of_the_model() -> None:
    assert type(as_device("auto", small())) is Cpu
    assert as_device("auto", small().cuda()).device == torch.device("cuda", 0)
    ours, theirs = small().cuda(), small()
    Trainer(ours, progress=False).fit(arrays(), epochs=1, batch_size=8)
    Trainer(theirs, progress=False).fit(arrays(), epochs=1, batch_size=8)
    assert {tensor.device.type for tensor in ours.state_dict().values()} == {"cuda"}
    assert_close(ours.state_dict(), theirs.state_dict(), 0.01)


@needs_gpu
@pytest.mark.parametrize("device", ["cuda", "cuda:0", torch.device("cuda", 0)], ids=str)
@pytest.mark.parametrize("cuda_graph", [True, False])
def test_a_gpu_by_name(device: str | torch.device, cuda_graph: bool) -> None:
    found = as_device(device, small(), cuda_graph)
    assert isinstance(found, Cuda)
    assert found.device == torch.device("cuda", 0)
    assert (found.graphs() is not None) == cuda_graph


@needs_gpu
def test_a_missing_gpu() -> None:
    count = torch.cuda.device_count()
    with pytest.raises(RuntimeError, match=f"and there are {count}, numbered from") as caught:
        Trainer(small(), device=f"cuda:{count}")
    assert "\n" not in str(caught.value)
