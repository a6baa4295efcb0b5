"""Networks whose inference is timed. No torch here, so that `--list` is quick."""

from __future__ import annotations

from works.steps import Work

# A ratio that drops the activations inside of MobileNetV2's blocks, which become linear.
LINEAR_BLOCKS = "linear blocks"
_BATCHES = (1, 32)


def _network(name: str, model: str, size: int, ratio: str = "2:1") -> tuple[Work, ...]:
    """A network with small batches, which are run more often, and large ones."""
    return tuple(
        Work(f"{name}_b{batch}", model, size, batch, steps=1 if batch > 1 else 4, ratio=ratio)
        for batch in _BATCHES
    )


INFERENCE_WORKS = (
    *_network("mobilenet_v2", "torchvision.mobilenet_v2", 224, LINEAR_BLOCKS),
    *_network("resnet50", "torchvision.resnet50", 224),
    *_network("vgg16_bn", "torchvision.vgg16_bn", 224),
    *_network("densenet121", "torchvision.densenet121", 224),
    *_network("resnet20", "resnet20", 32),
)
