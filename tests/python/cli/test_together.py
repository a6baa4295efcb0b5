import io
import threading

import pytest
import torch
from proprelu.cli.together import Job, train_together
from proprelu.train import History
from rich.console import Console


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=200)


def test_histories_are_in_the_order_of_the_jobs(console):
    second_is_done = threading.Event()

    def first(logger):
        assert second_is_done.wait(30)
        return History([row(1)])

    def second(logger):
        second_is_done.set()
        return History([row(2)])

    with at_least_two_threads():
        histories = train_together([Job("a", first), Job("b", second)], console)
    assert [history.last["epoch"] for history in histories] == [1, 2]


def test_threads_of_torch_are_divided_and_given_back(console):
    before = torch.get_num_threads()
    seen = []

    def job(logger):
        seen.append(torch.get_num_threads())
        return History([row(1)])

    train_together([Job(str(n), job) for n in range(before + 1)], console)
    assert set(seen) == {1}
    assert torch.get_num_threads() == before


def test_an_error_ends_the_other_jobs(console):
    started = threading.Event()

    def endless(logger):
        logger.on_fit_start(1, 1)
        started.set()
        while True:
            logger.on_step({"step": 1, "loss": 0.0})

    def failing(logger):
        assert started.wait(30)
        raise ValueError("no such data")

    with at_least_two_threads(), pytest.raises(ValueError, match="no such data"):
        train_together([Job("endless", endless), Job("failing", failing)], console)


def test_each_epoch_is_a_line_with_the_name_of_its_job(console):
    def job(logger):
        logger.on_fit_start(1, 2)
        logger.on_step({"step": 1, "loss": 0.5})
        logger.on_epoch(row(1))
        logger.on_fit_end()
        return History([row(1)])

    train_together([Job("2:1 seed 0", job)], console)
    (line,) = console.file.getvalue().splitlines()
    assert line.startswith("2:1 seed 0, epoch 1: training loss 0.250, validation loss 0.500")


class at_least_two_threads:
    def __enter__(self):
        self.before = torch.get_num_threads()
        torch.set_num_threads(max(2, self.before))

    def __exit__(self, *_):
        torch.set_num_threads(self.before)


def row(epoch):
    values = {"epoch": epoch, "step": 10 * epoch, "lr": 0.1, "images_per_s": 100.0, "seconds": 1.0}
    losses = {"train_loss": 0.25, "val_loss": 0.5}
    tops = {f"{split}_top{k}": 0.75 for split in ("train", "val") for k in (1, 5)}
    return {**values, **losses, **tops}
