"""A training step of JAX, in an interpreter that needs jax alone.

A jitted step of the ResNet of `proprelu.models` from the start that `works/start.py` wrote; NHWC,
with donated weights. In bf16 the convolutions and what is between them are bfloat16, while
parameters, statistics, loss and optimizer stay float32.
"""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from harness.system import System
from harness.talk import Talk
from jax import Array, lax

_WIDTH = 16
_LAYOUT = ("NHWC", "HWIO", "NHWC")


class Weights:
    """Takes parameters from one flat array, in the order of torch's `named_parameters`."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values

    def take(self, *shape: int) -> np.ndarray:
        count = int(np.prod(shape))
        taken, self._values = self._values[:count], self._values[count:]
        return taken.reshape(shape)

    def conv(self, outputs: int, inputs: int, kernel: int) -> dict[str, Any]:
        """A convolution and its batch norm."""
        weight = self.take(outputs, inputs, kernel, kernel).transpose(2, 3, 1, 0)
        scale, shift = self.take(outputs), self.take(outputs)
        return {"weight": weight, "scale": scale, "shift": shift}


def parameters_of(weights: Weights, sites: int) -> dict[str, Any]:
    per_stage = (sites - 1) // 6
    stem, blocks, channels = weights.conv(_WIDTH, 3, 3), [], _WIDTH
    for index in range(3 * per_stage):
        to = 2 * channels if index and index % per_stage == 0 else channels
        block = {"conv1": weights.conv(to, channels, 3), "conv2": weights.conv(to, to, 3)}
        if to != channels:
            block["shortcut"] = weights.conv(to, channels, 1)
        blocks.append(block)
        channels = to
    linear = {"weight": weights.take(10, channels).T, "bias": weights.take(10)}
    return {"stem": stem, "blocks": blocks, "linear": linear}


def conv_norm(
    layer: dict[str, Array], x: Array, stride: int, statistics: list[tuple[Array, Array]]
) -> Array:
    """A convolution and a batch norm, which adds the statistics of the batch to the list."""
    weight = layer["weight"].astype(x.dtype)
    pad = weight.shape[0] // 2
    x = lax.conv_general_dilated(
        x, weight, (stride, stride), [(pad, pad)] * 2, dimension_numbers=_LAYOUT
    )
    wide = x.astype(jnp.float32)
    mean, variance = wide.mean((0, 1, 2)), wide.var((0, 1, 2))
    statistics.append((mean, variance))
    scale = layer["scale"] * lax.rsqrt(variance + 1e-5)
    return (wide * scale + (layer["shift"] - mean * scale)).astype(x.dtype)


def loss_of(
    parameters: dict[str, Any], images: Array, labels: Array, keep: tuple[bool, ...], dtype: Any
) -> tuple[Array, list[tuple[Array, Array]]]:
    statistics: list[tuple[Array, Array]] = []
    site = iter(keep)

    def relu(x: Array) -> Array:
        return jnp.maximum(x, 0) if next(site) else x

    x = relu(conv_norm(parameters["stem"], images.astype(dtype), 1, statistics))
    for block in parameters["blocks"]:
        stride = 2 if "shortcut" in block else 1
        out = relu(conv_norm(block["conv1"], x, stride, statistics))
        out = conv_norm(block["conv2"], out, 1, statistics)
        if "shortcut" in block:
            x = conv_norm(block["shortcut"], x, stride, statistics)
        x = relu(out + x)
    linear = parameters["linear"]
    logits = x.astype(jnp.float32).mean((1, 2)) @ linear["weight"] + linear["bias"]
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1)
    return -chosen.mean(), statistics


def make_step(settings: dict[str, Any], dtype: Any) -> Any:
    keep = tuple(settings["keep"])
    lr, momentum, decay = (settings[name] for name in ("lr", "momentum", "weight_decay"))

    @partial(jax.jit, donate_argnums=0)
    def step(state: Any, images: Array, labels: Array) -> tuple[Any, Array]:
        parameters, velocities, running = state
        graded = jax.value_and_grad(loss_of, has_aux=True)
        (loss, statistics), gradients = graded(parameters, images, labels, keep, dtype)
        velocities = jax.tree.map(
            lambda v, g, p: momentum * v + g + decay * p, velocities, gradients, parameters
        )
        parameters = jax.tree.map(lambda p, v: p - lr * v, parameters, velocities)
        running = jax.tree.map(lambda r, s: 0.9 * r + 0.1 * s, running, statistics)
        return (parameters, velocities, running), loss

    return step


def running_statistics(parameters: dict[str, Any]) -> list[tuple[Array, Array]]:
    """Zeros and ones, in the order in which the network runs."""
    layers = [parameters["stem"]]
    for block in parameters["blocks"]:
        layers += [block[name] for name in ("conv1", "conv2", "shortcut") if name in block]
    sizes = [len(layer["scale"]) for layer in layers]
    return [(jnp.zeros(size), jnp.ones(size)) for size in sizes]


def serve(talk: Talk, system: System, folder: str, **others: Any) -> None:
    """Check, then answer requests."""
    start = Path(folder)
    dtype = jnp.bfloat16 if system.precision == "bf16" else jnp.float32
    settings = json.loads((start / "start.json").read_text())
    weights = Weights(np.fromfile(start / "weights.f32", "<f4"))
    parameters = jax.tree.map(jnp.asarray, parameters_of(weights, len(settings["keep"])))
    velocities = jax.tree.map(jnp.zeros_like, parameters)
    state: Any = (parameters, velocities, running_statistics(parameters))
    labels = jnp.asarray(settings["labels"])
    size = settings["size"]
    images = np.fromfile(start / "images.f32", "<f4").reshape(len(labels), 3, size, size)
    images = jnp.asarray(images.transpose(0, 2, 3, 1))
    step = make_step(settings, dtype)
    losses = []
    for _ in range(settings["steps"]):
        state, loss = step(state, images, labels)
        losses.append(float(loss))
    talk.send(losses=losses, version=jax.__version__)
    for warm, steps in talk.requests():
        for _ in range(warm):
            state, loss = step(state, images, labels)
        jax.block_until_ready((state, loss))
        begin = time.perf_counter()
        for _ in range(steps):
            state, loss = step(state, images, labels)
        jax.block_until_ready((state, loss))
        talk.send(ms=1e3 * (time.perf_counter() - begin) / steps)
