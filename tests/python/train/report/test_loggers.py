"""ProgressBar in a terminal, in a file and in Jupyter; TensorBoard's event file."""

from __future__ import annotations

import io
import sys

import pytest
from proprelu.train.report.history import COLUMNS
from proprelu.train.report.loggers import Logger, TensorBoard
from proprelu.train.report.progress import ProgressBar
from rich.console import Console

ROW = {
    **dict.fromkeys(COLUMNS, 0.5),
    "epoch": 1,
    "step": 20,
    "train_loss": 1.25,
    "val_top1": 0.8125,
    "images_per_s": 1234.0,
}


def run(logger, first_step=1, epochs=2, steps=20):
    logger.on_fit_start(epochs, steps)
    for step in range(first_step, epochs * steps + 1):
        epoch = (step - 1) // steps + 1
        event = {"step": step, "epoch": epoch, "loss": 1.5, "top1": 0.25, "images_per_s": 900.0}
        logger.on_step(event)
        if step % steps == 0:
            logger.on_epoch({**ROW, "epoch": epoch, "step": step})
    logger.on_fit_end()


def console(**options):
    return Console(file=io.StringIO(), width=120, highlight=False, **options)


def test_a_file_gets_one_line_an_epoch():
    output = console(force_terminal=False)
    run(ProgressBar("2:1", output))
    lines = output.file.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("2:1 epoch 1/2  train loss 1.250")
    assert "top-1 81.2%" in lines[0]
    assert "1,234 images/s" in lines[0]


@pytest.mark.parametrize("options", [{"force_terminal": False}, {"_environ": {"TERM": "dumb"}}])
def test_a_pipe_and_a_dumb_terminal_get_plain_lines(options):
    output = console(**{"force_terminal": True, **options})
    run(ProgressBar("[2:1]", output))
    lines = output.file.getvalue().split("\n")
    assert [line[:15] for line in lines] == ["[2:1] epoch 1/2", "[2:1] epoch 2/2", ""]
    assert "\x1b" not in output.file.getvalue()


def test_a_terminal_gets_a_live_line_too():
    output = console(force_terminal=True, force_jupyter=False)
    run(ProgressBar(console=output))
    text = output.file.getvalue()
    for word in ("epoch 2/2", "loss 1.500", "top-1 25.0%", "900 images/s", "0:00 left"):
        assert word in text


def test_the_remaining_time_of_a_resumed_run_is_measured_on_its_own_steps():
    now = 0.0
    output = console(force_terminal=True, force_jupyter=False, get_time=lambda: now)
    bar = ProgressBar(console=output)
    bar.on_fit_start(10, 10)
    for step in (91, 92, 93):
        bar.on_step({"step": step, "epoch": 10, "loss": 1.0, "top1": 0.5, "images_per_s": 1.0})
        now += 2.0
    assert "00:14 left" in output.file.getvalue()
    bar.on_fit_end()


def test_jupyter_gets_html():
    output = console(force_jupyter=True)
    bar = ProgressBar("<2:1>", output)
    shown = []

    class Handle:
        def update(self, page):
            shown.append(page.data)

    import IPython.display

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(IPython.display, "display", lambda *a, **k: Handle())
        run(bar)
    assert " left" in shown[0]
    assert " left" not in shown[-1]
    assert shown[-1].count("&lt;2:1&gt; epoch") == 2


def test_nothing_breaks_when_fit_fails_before_it_starts():
    ProgressBar(console=console()).on_fit_end()


def test_both_are_loggers(tmp_path):
    assert isinstance(ProgressBar(), Logger)
    assert isinstance(TensorBoard(tmp_path), Logger)


@pytest.mark.filterwarnings("default::DeprecationWarning")
def test_tensorboard_reads_the_event_file(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(TensorBoard(tmp_path / "log"))
    events = EventAccumulator(str(tmp_path / "log"))
    events.Reload()
    tags = set(events.Tags()["scalars"])
    assert {"loss/train", "loss/val", "top1/val", "lr", "images_per_s", "loss/running"} <= tags
    assert [(e.step, e.value) for e in events.Scalars("loss/train")] == [(20, 1.25), (40, 1.25)]


def test_without_tensorboard_it_explains_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match=r"pip install 'proprelu\[tensorboard\]'"):
        TensorBoard(tmp_path)
