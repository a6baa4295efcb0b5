"""Where a training runs: devices, CUDA graphs, memory layout, out-of-memory errors."""

from proprelu.train.device.device import Cpu, Cuda, Device
from proprelu.train.device.place import as_device

__all__ = ["Cpu", "Cuda", "Device", "as_device"]
