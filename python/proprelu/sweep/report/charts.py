"""The charts of a report, by Altair. They take their color for text from the page around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from proprelu.figures import COLORS
from proprelu.sweep.results import SweepResults
from proprelu.sweep.statistics import mean_interval

__all__ = ["Chart", "charts_of", "need_altair"]

_HEIGHT = 260
# Taken from the style of the page, so that it is readable on light and on dark.
_INK = "currentColor"


class Chart(NamedTuple):
    """A chart with its text.

    Attributes:
        name: a word for it, which is unique on the page.
        title: its heading.
        text: what it shows, in words.
        spec: what Vega-Lite draws.
    """

    name: str
    title: str
    text: str
    spec: dict[str, Any]


def need_altair() -> Any:
    """Altair.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import altair
        import vl_convert  # noqa: F401
    except ImportError:
        raise ImportError(
            "a report needs Altair, which is not installed: pip install 'proprelu[sweep]'"
        ) from None
    return altair


def charts_of(results: SweepResults) -> list[Chart]:
    """The charts of a report; those without anything to show are left out."""
    found = [_accuracy(results), _difference(results), _curves(results), _gap(results)]
    return [chart for chart in [*found, _latency(results)] if chart is not None]


def _accuracy(results: SweepResults) -> Chart:
    alt = need_altair()
    scale, title = _unit(results)
    rows, points = [], []
    for summary in results.summaries:
        values = [scale * value for value in summary.values]
        low, high = mean_interval(values)
        name = summary.variant.name
        rows.append({"ratio": name, "mean": scale * summary.mean, "low": low, "high": high})
        points += [
            {"ratio": name, "value": value, "seed": seed}
            for seed, value in zip(summary.seeds, values, strict=True)
        ]
    x, color = _by_ratio(alt, results)
    y = alt.Y("value:Q", title=title, scale=alt.Scale(zero=False))
    seeds = (
        alt.Chart(alt.Data(values=points))
        .mark_circle(size=36, opacity=0.45)
        .encode(x=x, y=y, color=color, tooltip=["ratio:N", "seed:O", _number(alt, "value", title)])
    )
    base = alt.Chart(alt.Data(values=rows))
    tips = ["ratio:N", *(_number(alt, name, name) for name in ("mean", "low", "high"))]
    means = base.mark_point(size=110, filled=True, shape="diamond").encode(
        x=x, y=alt.Y("mean:Q", title=title), color=color, tooltip=tips
    )
    spans = base.mark_rule(strokeWidth=2).encode(
        x=x, y=alt.Y("low:Q", title=title), y2="high:Q", color=color, tooltip=tips
    )
    layers = (
        [spans, seeds, means] if any(row["low"] is not None for row in rows) else [seeds, means]
    )
    return Chart(
        "accuracy",
        f"{_word(results)} against ratio",
        "Each circle is a run, the diamond their mean, and the line its 95% confidence interval "
        "over seeds. Runs of one seed belong together, which this chart does not show: the next "
        "one does.",
        _spec(alt, alt.layer(*layers)),
    )


def _difference(results: SweepResults) -> Chart | None:
    alt = need_altair()
    scale, _ = _unit(results)
    rows = [
        {
            "ratio": summary.variant.name,
            "mean": scale * summary.difference.mean,
            "low": None if summary.difference.low is None else scale * summary.difference.low,
            "high": None if summary.difference.high is None else scale * summary.difference.high,
        }
        for summary in results.summaries
        if summary.difference is not None
    ]
    if not rows:
        return None
    x, color = _by_ratio(alt, results, [str(row["ratio"]) for row in rows])
    unit = "loss" if results.measure == "loss" else "points"
    tips = ["ratio:N", *(_number(alt, name, name) for name in ("mean", "low", "high"))]
    base = alt.Chart(alt.Data(values=rows))
    means = base.mark_point(size=110, filled=True, shape="diamond").encode(
        x=x, y=alt.Y("mean:Q", title=f"difference to 1:1, {unit}"), color=color, tooltip=tips
    )
    spans = base.mark_rule(strokeWidth=2).encode(
        x=x, y="low:Q", y2="high:Q", color=color, tooltip=tips
    )
    zero = alt.Chart(alt.Data(values=[{"zero": 0}])).mark_rule(strokeDash=[5, 4], color=_INK)
    better = "below" if results.measure == "loss" else "above"
    return Chart(
        "difference",
        "Difference to 1:1",
        "The mean difference between runs of the same seed, with its 95% confidence interval. "
        f"A ratio is better than 1:1 if the whole interval is {better} the dashed line; one that "
        "crosses it is no evidence of a difference.",
        _spec(alt, alt.layer(zero.encode(y=alt.Y("zero:Q")), spans, means)),
    )


def _curves(results: SweepResults) -> Chart | None:
    alt = need_altair()
    scale, title = _unit(results)
    name = f"val_{results.measure}"
    rows = []
    for summary in results.summaries:
        by_epoch: dict[float, list[float]] = {}
        for run in results.runs:
            if run.variant == summary.variant:
                for row in run.rows:
                    value, epoch = row[name], row["epoch"]
                    if value is not None and epoch is not None:
                        by_epoch.setdefault(epoch, []).append(scale * value)
        rows += [
            {"ratio": summary.variant.name, "epoch": epoch, "mean": sum(some) / len(some)}
            for epoch, some in sorted(by_epoch.items())
        ]
    if not rows:
        return None
    _, color = _by_ratio(alt, results, legend=True)
    chosen = alt.selection_point(fields=["ratio"], bind="legend")
    chart = (
        alt.Chart(alt.Data(values=rows))
        .mark_line(point=alt.OverlayMarkDef(size=24), strokeWidth=2)
        .encode(
            x=alt.X("epoch:Q", title="epoch", axis=_whole_numbers(alt, rows)),
            y=alt.Y("mean:Q", title=title, scale=alt.Scale(zero=False)),
            color=color,
            opacity=alt.condition(chosen, alt.value(1.0), alt.value(0.15)),
            tooltip=["ratio:N", "epoch:Q", _number(alt, "mean", title)],
        )
        .add_params(chosen)
    )
    return Chart(
        "curves",
        "Learning curves",
        "The mean over seeds on the validation data after each epoch. A click on a name in the "
        "legend shows it alone; a double click shows all again.",
        _spec(alt, chart),
    )


def _gap(results: SweepResults) -> Chart | None:
    alt = need_altair()
    scale, title = _unit(results)[0], _unit(results)[1].removeprefix("Validation ").capitalize()
    rows = []
    for summary in results.summaries:
        own = [run for run in results.runs if run.variant == summary.variant]
        for kind in ("train", "val"):
            values = [getattr(run, f"{kind}_{results.measure}") for run in own]
            known = [scale * value for value in values if value is not None]
            if known:
                words = {"train": "training data", "val": "validation data"}[kind]
                row = {"ratio": summary.variant.name, "data": words}
                rows.append({**row, "mean": sum(known) / len(known)})
    if not rows:
        return None
    x, _ = _by_ratio(alt, results)
    base = alt.Chart(alt.Data(values=rows))
    y = alt.Y("mean:Q", title=title, scale=alt.Scale(zero=False))
    lines = base.mark_line(color=_INK, opacity=0.5).encode(x=x, y=y, detail="ratio:N")
    marks = base.mark_point(size=90, filled=True).encode(
        x=x,
        y=y,
        shape=alt.Shape("data:N", legend=_legend(alt)),
        color=alt.Color("data:N", scale=alt.Scale(range=[COLORS[4], COLORS[0]]), title=None),
        tooltip=["ratio:N", "data:N", _number(alt, "mean", title)],
    )
    return Chart(
        "gap",
        "Training and validation",
        "The trained networks on the images that they were trained on, without augmentation, and "
        "on the validation data: the distance is the generalization gap.",
        _spec(alt, alt.layer(lines, marks)),
    )


def _latency(results: SweepResults) -> Chart | None:
    alt = need_altair()
    scale, title = _unit(results)
    rows = [
        {
            "ratio": summary.variant.name,
            "mean": scale * summary.mean,
            "milliseconds": summary.costs.milliseconds,
        }
        for summary in results.summaries
        if summary.costs is not None
    ]
    if not rows:
        return None
    _, color = _by_ratio(alt, results, legend=True)
    chart = (
        alt.Chart(alt.Data(values=rows))
        .mark_point(size=130, filled=True, shape="diamond")
        .encode(
            x=alt.X("milliseconds:Q", title="latency, ms", scale=alt.Scale(zero=False)),
            y=alt.Y("mean:Q", title=title, scale=alt.Scale(zero=False)),
            color=color,
            tooltip=[
                "ratio:N",
                _number(alt, "mean", title),
                _number(alt, "milliseconds", "latency, ms"),
            ],
        )
    )
    return Chart(
        "latency",
        f"{_word(results)} against latency",
        "Each network merged as far as its ratio allows, and timed in turn with the others on the "
        "machine of the sweep.",
        _spec(alt, chart),
    )


def _unit(results: SweepResults) -> tuple[float, str]:
    """The factor and the title of what is compared."""
    if results.measure == "loss":
        return 1.0, "Validation loss"
    return 100.0, "Validation accuracy, %"


def _word(results: SweepResults) -> str:
    return "Loss" if results.measure == "loss" else "Accuracy"


def _by_ratio(
    alt: Any, results: SweepResults, names: Sequence[str] | None = None, legend: bool = False
) -> tuple[Any, Any]:
    """The axis of ratios, in their order, and their colors, which are the same in all charts."""
    every = [summary.variant.name for summary in results.summaries]
    colors = [COLORS[number % len(COLORS)] for number in range(len(every))]
    axis = alt.Axis(labelAngle=0 if len(every) < 6 else -40)
    x = alt.X("ratio:N", sort=list(names or every), title="ratio", axis=axis)
    scale = alt.Scale(domain=every, range=colors)
    return x, alt.Color("ratio:N", scale=scale, legend=_legend(alt) if legend else None)


def _whole_numbers(alt: Any, rows: Sequence[Mapping[str, Any]]) -> Any:
    """The axis of epochs; where there are few, Vega would put ticks between them."""
    epochs = sorted({row["epoch"] for row in rows})
    few = {"values": epochs} if len(epochs) <= 10 else {}
    return alt.Axis(format="d", **few)


def _legend(alt: Any) -> Any:
    return alt.Legend(orient="bottom", columns=3, title=None)


def _number(alt: Any, name: str, title: str) -> Any:
    return alt.Tooltip(f"{name}:Q", title=title, format=".4~g")


def _spec(alt: Any, chart: Any) -> dict[str, Any]:
    """The chart as Vega-Lite, as wide as the page."""
    ink = {"labelColor": _INK, "titleColor": _INK}
    whole = chart.properties(width="container", height=_HEIGHT, background="transparent")
    whole = whole.configure_view(strokeOpacity=0).configure_legend(**ink)
    whole = whole.configure_axis(
        **ink, gridColor=_INK, gridOpacity=0.15, domainColor=_INK, tickColor=_INK, labelFontSize=12
    )
    spec: dict[str, Any] = whole.to_dict()
    return spec
