"""``proprelu inspect``: shows the sites and the ratio of a model."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console

from proprelu.cli.sources import model_by_name
from proprelu.convert import Plan, plan_for

ModelName = Annotated[
    str, typer.Argument(metavar="MODEL", help="A model of proprelu.models or of torchvision.")
]
Placement = Annotated[
    str,
    typer.Option(help="Which ReLUs stay: last, first, even, front, back or block_last."),
]

Group = Annotated[str, typer.Option(help="Form groups within the network, a stage or a block.")]
Skip = Annotated[
    list[str] | None,
    typer.Option(help="Sites to leave unchanged, by path, with * and ?. Can be repeated."),
]


def inspect(
    model: ModelName,
    ratio: Annotated[str, typer.Option(help="Show what this ratio would keep and drop.")] = "1:1",
    placement: Placement = "last",
    group: Group = "network",
    skip: Skip = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """Show the ReLUs of a model, and which of them a ratio would keep.

    A *site* is one use of a ReLU after a convolution; sites are in execution order. Nothing is
    trained or downloaded.

    Examples:

    - `proprelu inspect resnet20`

    - `proprelu inspect mobilenet_v2 --ratio 3:1 --placement even`

    - `proprelu inspect resnet50 --ratio 3:1 --group block --skip layer1`

    - `proprelu inspect resnet18 --ratio 2:1 --json | jq .achieved`
    """
    plan = plan_for(model_by_name(model), ratio, placement, skip=skip or (), group=group)
    if as_json:
        print(json.dumps(plan_as_dict(plan), indent=2))
    else:
        show_plan(plan)


def show_plan(plan: Plan) -> None:
    """Print a plan: fitted into a terminal, or as plain unbroken lines elsewhere."""
    console = Console()
    if console.is_terminal:
        console.print(plan)
    else:
        print(plan)


def plan_as_dict(plan: Plan) -> dict[str, Any]:
    """A plan as JSON types."""
    return {
        "model": plan.model,
        "ratio": plan.asked,
        "placement": plan.placement,
        "achieved": plan.achieved,
        "convs": plan.convs,
        "relus": plan.kept,
        "keep": plan.keep,
        "sites": [asdict(site) for site in plan.sites],
    }
