"""A training in a process of its own: `child.py SYSTEM SEED RECIPE`, the last two as JSON.

Prints the epochs as a JSON list, or {"skip": why}.
"""

from __future__ import annotations

import json
import sys
import time

import proprelu
import torch
from side_by_side.proprelu_steps import cannot_run
from side_by_side.systems import system_named
from side_by_side.talk import Talk

from fashion import ours, theirs
from fashion.recipe import Recipe


def main() -> None:
    talk = Talk()
    system, seed = system_named(sys.argv[1]), int(sys.argv[2])
    recipe = Recipe(**json.loads(sys.argv[3]))
    reason = cannot_run(system) if system.is_ours else None
    if reason is not None:
        talk.say(skip=reason)
        return
    torch.manual_seed(seed)
    model = proprelu.models.create("resnet20", ratio="2:1", in_channels=1)
    start = time.perf_counter()
    epochs = list((ours if system.is_ours else theirs).train(model, system, recipe, seed))
    total = time.perf_counter() - start
    talk.say(epochs=epochs, total_seconds=total, torch=torch.__version__)


if __name__ == "__main__":
    main()
