"""History: rows in, tables, CSV and pictures out."""

from __future__ import annotations

import math
import random
import sys

import pytest
from proprelu.train.report.history import COLUMNS, History
from proprelu.train.report.plot import plot_histories


def make_row(epoch, **changes):
    row = {name: random.random() for name in COLUMNS}
    return {**row, "epoch": epoch, "step": 47 * epoch, **changes}


def make_history(epochs=4, **changes):
    return History(make_row(epoch, **changes) for epoch in range(1, epochs + 1))


NO_VAL = {"val_loss": None, "val_top1": None, "val_top5": None}


def test_is_a_sequence_of_rows():
    history = make_history(3)
    assert len(history) == 3
    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert history[-1] is history.last
    assert history[1:] == History(history.rows[1:])
    assert list(history[0]) == list(history.columns)


@pytest.mark.parametrize(
    ("name", "worst_to_best"), [("val_top1", (0.1, 0.5, 0.9)), ("val_loss", (0.9, 0.5, 0.1))]
)
def test_best_is_the_highest_accuracy_and_the_lowest_loss(name, worst_to_best):
    low, middle, high = worst_to_best
    values = [middle, high, low, high]
    history = History(make_row(i, **{name: v}) for i, v in enumerate(values, start=1))
    assert history.best(name)["epoch"] == 2


@pytest.mark.parametrize("name", ["val_top1", "val_loss"])
def test_best_passes_over_nan(name):
    history = History(make_row(n, **{name: v}) for n, v in enumerate((math.nan, 0.5), start=1))
    assert history.best(name)["epoch"] == 2
    assert make_history(2, **{name: math.nan}).best(name)["epoch"] == 1


def test_best_without_values_explains_what_to_do():
    with pytest.raises(ValueError, match="call fit with val="):
        make_history(**NO_VAL).best()
    with pytest.raises(ValueError, match="expected one of epoch, step"):
        make_history().best("accuracy")
    with pytest.raises(ValueError, match="no epoch has been finished"):
        _ = History().last


def test_a_row_with_other_keys_is_refused():
    row = make_row(1)
    del row["lr"]
    with pytest.raises(ValueError, match="missing: lr; unknown: speed"):
        History([{**row, "speed": 1}])


@pytest.mark.parametrize("changes", [{}, NO_VAL, {"train_loss": math.inf, "lr": 1e-30}])
def test_csv_round_trip_is_exact(tmp_path, changes):
    history = make_history(5, **changes)
    path = tmp_path / "history.csv"
    history.to_csv(path)
    assert History.from_csv(path) == history
    assert [file.name for file in tmp_path.iterdir()] == ["history.csv"]


def test_csv_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "history.csv"
    make_history(2).to_csv(path)
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        make_history(3).to_csv(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("line", ["1,2,3", "x" + "," * 10, ",".join("abcdefghijk")])
def test_the_error_for_a_broken_csv_has_the_line_number(tmp_path, line):
    path = tmp_path / "history.csv"
    make_history(1).to_csv(path)
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(ValueError, match=r"history\.csv, line 3: "):
        History.from_csv(path)


def test_another_csv_is_refused(tmp_path):
    path = tmp_path / "other.csv"
    for text in ("", "a,b\n1,2\n"):
        path.write_text(text)
        with pytest.raises(ValueError, match="expected a first line of epoch,step"):
            History.from_csv(path)


def test_tables_show_the_columns_that_have_values():
    history = make_history(2, train_top1=0.8765, images_per_s=1234.5, **NO_VAL)
    text, page = str(history), history._repr_html_()
    for shown in (text, page):
        assert "87.65%" in shown
        assert "1,23" in shown
        assert "val" not in shown
    assert len(text.splitlines()) == 3
    assert "val loss" in str(make_history(1))
    assert repr(history) == "History(2 epochs)"


@pytest.mark.parametrize("changes", [{}, NO_VAL])
def test_plot_writes_a_picture(tmp_path, changes):
    path = tmp_path / "plot.png"
    figure = make_history(3, **changes).plot(path, compare={"2:1": make_history(1, **changes)})
    assert path.read_bytes().startswith(b"\x89PNG")
    assert figure._repr_png_().startswith(b"\x89PNG")
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[:2] == ["this run", "2:1"]


def test_repetitions_are_drawn_as_their_mean_with_a_band():
    low, high = make_history(2, val_top1=0.5), make_history(2, val_top1=0.7)
    figure = plot_histories({"1:1": [low, high], "2:1": make_history(2)})
    accuracy = figure.axes[1]
    assert list(accuracy.lines[1].get_ydata()) == pytest.approx([60, 60])
    (band,) = accuracy.collections
    extent = band.get_paths()[0].get_extents()
    assert (extent.y0, extent.y1) == pytest.approx((50, 70))


def test_a_repetition_that_ended_early_does_not_hide_the_others():
    figure = plot_histories({"1:1": [make_history(1), make_history(3)]})
    assert list(figure.axes[0].lines[1].get_xdata()) == [1, 2, 3]


def test_plot_does_not_change_the_settings_of_matplotlib(tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    plot_histories({"a": make_history()}, tmp_path / "plot.svg")
    assert dict(matplotlib.rcParams) == before


def test_plot_of_nothing_is_refused():
    with pytest.raises(ValueError, match="nothing to draw"):
        History().plot()


def test_plot_without_matplotlib_explains_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'proprelu\[plot\]'"):
        make_history().plot()
