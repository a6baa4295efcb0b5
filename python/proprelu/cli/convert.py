"""``proprelu convert``: writes the weights of a model and the plan of its conversion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import nn

from proprelu.cli.inspect import Group, ModelName, Placement, Skip, plan_as_dict, show_plan
from proprelu.cli.sources import model_by_name
from proprelu.convert import convert as apply
from proprelu.convert import plan_for
from proprelu.weights.files import check_suffix, load, save_weights


def convert(
    model: ModelName,
    ratio: Annotated[str, typer.Argument(help="Convolutions to ReLUs, for example 2:1.")],
    out: Annotated[Path, typer.Option(help="The file to write, .safetensors.")],
    placement: Placement = "last",
    group: Group = "network",
    skip: Skip = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="A .safetensors file, or one of torch.save. Default: random weights."),
    ] = None,
    num_classes: Annotated[int, typer.Option(min=1, help="Outputs of the model.")] = 1000,
    in_channels: Annotated[int, typer.Option(min=1, help="Channels of the images.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """Convert a model to a ratio; save its weights and the plan.

    A conversion changes no weights: the file has the names and values of the original, and records
    which ReLUs are dropped. In Python, `proprelu.load(path, model)` converts the original model
    likewise and loads the weights.

    Examples:

    - `proprelu convert resnet18 2:1 --weights resnet18.pth --out resnet18-2x1.safetensors`

    - `proprelu convert vgg16 3:2 --placement even --num-classes 10 --out vgg.safetensors`
    """
    check_suffix("out", out)
    network = model_by_name(model, num_classes=num_classes, in_channels=in_channels)
    if weights is not None:
        network = loaded(network, weights)
    plan = plan_for(network, ratio, placement, skip=skip or (), group=group)
    notes = {**plan_as_dict(plan), "model": model, "out": str(out)}
    converted = apply(network, "1:1", plan.keep, inplace=True)
    save_weights(converted, out, {"model": model, "placement": plan.placement}, ratio=plan.asked)
    if as_json:
        print(json.dumps(notes, indent=2))
        return
    show_plan(plan)
    print(f"saved {out}")


def loaded(network: nn.Module, path: Path) -> nn.Module:
    """The network with the weights of a safetensors file, or of one that torch.save wrote."""
    if not path.is_file():
        what = "is no regular file" if path.exists() else "does not exist"
        raise ValueError(f"weights must be a file, got {path}, which {what}")
    if path.suffix == ".safetensors":
        return load(path, network)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception:
        # The advice in torch's own message is to load the file in an unsafe way.
        raise ValueError(
            f"{path} must hold a state_dict and nothing else, and be whole; "
            "write it with torch.save(model.state_dict(), path)"
        ) from None
    try:
        network.load_state_dict(state)
    except Exception as error:
        why = " ".join(str(error).split())[:200]
        raise ValueError(f"{path} must hold the state_dict of this model: {why}") from None
    return network
