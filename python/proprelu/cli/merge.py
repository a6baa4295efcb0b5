"""``proprelu merge``: writes a merged network, for inference."""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from torch import Tensor, nn

from proprelu.atomic import check_writable, written_whole
from proprelu.cli.convert import loaded
from proprelu.cli.inspect import ModelName
from proprelu.cli.sources import model_by_name
from proprelu.merge import MergeReport
from proprelu.merge import merge as apply
from proprelu.weights.files import check_suffix, save_merged


def merge(
    model: ModelName,
    weights: Annotated[
        Path | None,
        typer.Option(help="A .safetensors file, or one of torch.save. Default: random weights."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the weights, .safetensors.")] = None,
    onnx: Annotated[Path | None, typer.Option(help="Write the network as ONNX.")] = None,
    cost: Annotated[str, typer.Option(help="What to minimize: latency or macs.")] = "latency",
    batch_size: Annotated[int, typer.Option(min=1, help="Images of a batch.")] = 1,
    size: Annotated[int, typer.Option(min=1, help="Height and width of the images.")] = 224,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of a measurement. Default: torch's.")
    ] = None,
    num_classes: Annotated[int, typer.Option(min=1, help="Outputs of the model.")] = 1000,
    in_channels: Annotated[int, typer.Option(min=1, help="Channels of the images.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Merge the linear operations of a model, for inference.

    Batch norms are folded, and convolutions without an activation between become one where that
    is cheaper, as measured on this machine. The result computes the same, which is checked. In
    Python, `proprelu.load(path, model, example_input)` merges the original model likewise and loads
    the weights.

    Examples:

    - `proprelu merge mobilenet_v2 --weights mobilenet-3x1.safetensors --out merged.safetensors`

    - `proprelu merge resnet20 --size 32 --num-classes 10 --cost macs --onnx merged.onnx`
    """
    if out is not None:
        check_suffix("out", out)
        check_writable(out)
    check_onnx(onnx)
    if threads is not None:
        torch.set_num_threads(threads)
    network = model_by_name(model, num_classes=num_classes, in_channels=in_channels)
    if weights is not None:
        network = loaded(network, weights)
    x = torch.randn(batch_size, in_channels, size, size)
    merged = apply(network.eval(), x, cost=cost)
    report = merged.report
    assert isinstance(report, MergeReport)
    if out is not None:
        save_merged(merged, network, out, {"model": model})
    if onnx is not None:
        export(merged, x, onnx)
    if as_json:
        print(json.dumps(_as_dict(report, out, onnx), indent=2))
        return
    console = Console()
    if console.is_terminal:
        console.print(report)
    else:
        print(report)
    for path in filter(None, (out, onnx)):
        print(f"saved {path}")


def check_onnx(path: Path | None) -> None:
    """Check that ONNX can be written, if a path is given, before anything is measured.

    Raises:
        ImportError: torch's exporter is not complete.
        OSError: the file cannot be written.
    """
    if path is None:
        return
    try:
        import onnxscript  # noqa: F401
    except ImportError:
        raise ImportError(
            "onnx needs the exporter of torch, which needs onnxscript: pip install onnx onnxscript"
        ) from None
    check_writable(path)


def export(merged: nn.Module, x: Tensor, path: Path) -> None:
    """Write a network as ONNX, for inputs of the example's shape.

    Raises:
        ImportError: torch's exporter is not complete.
        OSError: the file cannot be written.
    """
    check_onnx(path)
    with written_whole(path) as part, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's, about itself
        torch.onnx.export(merged, (x,), part, dynamo=True, verbose=False, external_data=False)


def _as_dict(report: MergeReport, out: Path | None, onnx: Path | None) -> dict[str, Any]:
    """A report as JSON types."""
    assert report.comparison is not None
    return {
        "model": report.model,
        "cost": report.cost,
        "macs": [report.macs_before, report.macs_after],
        "ms": [report.ms_before, report.ms_after] if report.cost == "latency" else None,
        "error": report.comparison.worst,
        "runs": [asdict(run) for run in report.runs],
        "note": report.note,
        "left": dict(report.left),
        "out": None if out is None else str(out),
        "onnx": None if onnx is None else str(onnx),
    }
