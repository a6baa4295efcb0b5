"""The child of the systems that need torch: PyTorch's, ours, and the floor."""

from __future__ import annotations

import sys
from pathlib import Path

from side_by_side.systems import system_named
from side_by_side.talk import Talk
from side_by_side.works import work_named


def main() -> None:
    talk = Talk()
    work = work_named(sys.argv[1])
    if sys.argv[2] == "floor":
        from side_by_side import floor

        floor.serve(work, Path(sys.argv[3]), talk)
        return
    system = system_named(sys.argv[2])
    if system.is_ours and not system.compiled:
        from side_by_side import proprelu_steps as steps
    else:
        from side_by_side import torch_steps as steps
    steps.serve(work, system, talk)


if __name__ == "__main__":
    main()
