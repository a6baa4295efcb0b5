"""The child of all that runs on the GPU.

Its arguments: a system or a word for what else, what that needs, perhaps "dry", and how many
seconds it has until its first answer; an alarm ends it then.
"""

from __future__ import annotations

import signal
import sys
from typing import Any

from side_by_side.talk import Talk

from gpu.systems import gpu_system
from gpu.works import work_named


class ReadyTalk(Talk):
    """A conversation whose first answer turns the alarm off."""

    def __init__(self) -> None:
        super().__init__()
        self.answered = False

    def say(self, **answer: Any) -> None:
        signal.alarm(0)
        self.answered = True
        super().say(**answer)


def main() -> None:
    talk = ReadyTalk()
    what, *arguments, seconds = sys.argv[1:]
    signal.alarm(int(seconds))
    try:
        _serve(what, arguments, talk)
    except Exception as error:
        # The first answer may be this: the parent leaves a system out that cannot run.
        if talk.answered:
            raise
        lines = str(error).strip().splitlines() or [""]
        talk.say(skip=f"{type(error).__name__}: {lines[0][:300]}")


def _serve(what: str, arguments: list[str], talk: ReadyTalk) -> None:
    if what == "time":
        from gpu import time_child

        time_child.serve(arguments, talk)
        return
    from gpu import device

    place = device.chosen(dry="dry" in arguments)
    if what == "machine":
        talk.say(**device.machine(place))
        return
    work = work_named(arguments[0], dry="dry" in arguments)
    if what == "floor":
        from gpu import floor

        floor.serve(work, talk, place)
        return
    system = gpu_system(what)
    if system.ours:
        from gpu import proprelu_steps

        proprelu_steps.serve(work, system, talk, place)
    else:
        from gpu import torch_steps

        torch_steps.serve(work, system, talk, place)
