"""Where a training runs: devices, CUDA graphs, memory layout, out-of-memory errors."""

from proprelu.train.device.device import Cpu, Cuda, as_device

__all__ = ["Cpu", "Cuda", "as_device"]
