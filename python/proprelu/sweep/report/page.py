"""Writes the page."""

from __future__ import annotations

import json
import os
from importlib import resources
from pathlib import Path
from typing import Any

from proprelu.atomic import write_text
from proprelu.sweep.finite import finite
from proprelu.sweep.report.charts import charts_of, need_altair
from proprelu.sweep.results import SweepResults

__all__ = ["write_report"]


def write_report(results: SweepResults, path: str | os.PathLike[str]) -> None:
    """Write a page that needs nothing else; see ``SweepResults.report``."""
    alt = need_altair()
    if not results.summaries:
        raise ValueError("there is nothing to report: no run is finished")
    import jinja2
    import vl_convert

    charts = charts_of(results)
    version = ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])
    library = vl_convert.javascript_bundle(vl_version=version)  # type: ignore[call-arg]
    template = resources.files("proprelu.sweep.report").joinpath("page.html").read_text("utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    page = environment.from_string(template).render(
        title=f"Sweep of {results.settings.get('model', 'a network')}",
        summary=results.title,
        verdict=results.best().sentence,
        charts=charts,
        specs=_script({chart.name: chart.spec for chart in charts}),
        table=results.table(),
        notes=[(s.variant.name, note) for s in results.summaries for note in s.notes],
        alike=[(v.name, ", ".join(v.alike)) for v in results.variants if v.alike],
        settings=[(name, _value(value)) for name, value in results.settings.items()],
        library=library.replace("</script", "<\\/script"),
    )
    write_text(Path(path), page)


def _script(value: Any) -> str:
    """JSON that cannot end the script in which it is."""
    return json.dumps(finite(value), allow_nan=False).replace("<", "\\u003c")


def _value(value: Any) -> str:
    """A setting as text."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_value(each)}" for name, each in value.items())
    if isinstance(value, list):
        return "; ".join(map(_value, value))
    return "none" if value is None else str(value)
