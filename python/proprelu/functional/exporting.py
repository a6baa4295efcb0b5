"""Whether a model is being exported, for operations that an exported program cannot have."""

import torch


def is_exporting() -> bool:
    """Whether ``torch.export`` is tracing.

    Inside of ``torch.compile`` the function of torch with this name always says yes; this does not.
    """
    return bool(getattr(torch.compiler, "_is_exporting_flag", False))
