"""A progress bar of one line, on standard error, when a person is watching."""

from typing import Any

from tqdm import tqdm


def progress(total: float, what: str) -> Any:
    """A context manager whose `update` counts towards a total in any unit."""
    bar = "{desc} [{bar:30}] {percentage:4.0f}%"
    return tqdm(total=total, desc=what, bar_format=bar, ascii=" #", mininterval=0.2, disable=None)
