"""Progress bars of measurements and searches."""

from importlib.util import find_spec

from rich.console import Console
from rich.progress import Progress


def progress_bar(shown: bool) -> Progress:
    """Make a progress bar on standard error; in Jupyter, rich needs ipywidgets to show one."""
    console = Console(stderr=True)
    can = not console.is_jupyter or find_spec("ipywidgets") is not None
    return Progress(console=console, disable=not (shown and can))
