"""A training in a process of its own: SYSTEM SEED RECIPE DATA, with the recipe as JSON.

Answers with its epochs: seconds of training, seconds from the start of the clock to the end of the
evaluation, and the test accuracy.
"""

from __future__ import annotations

import json
import time

import torch
from side_by_side.talk import Talk

from gpu import time_ours, time_theirs
from gpu.device import chosen
from gpu.systems import gpu_system
from gpu.time_data import make_model, splits
from gpu.time_recipe import GpuRecipe


def serve(arguments: list[str], talk: Talk) -> None:
    name, seed, settings, data, *rest = arguments
    dry = "dry" in rest
    system, recipe, place = gpu_system(name), GpuRecipe(**json.loads(settings)), chosen(dry)
    training, test = splits(recipe, data, dry)
    torch.manual_seed(int(seed))
    model = make_model(recipe)
    start = time.perf_counter()
    if system.ours:
        epochs = time_ours.train(model, recipe, int(seed), training, test, place, start)
    else:
        epochs = time_theirs.train(model, system, recipe, training, test, place, start)
    talk.say(epochs=epochs, total_seconds=time.perf_counter() - start, torch=torch.__version__)
