"""A progress bar of one line, on standard error, when a person is watching."""

import sys
import time
from typing import Self

_WIDTH = 30
_PERIOD_S = 0.2


class Progress:
    """Counts towards a total; a context manager.

    Args:
        total: in any unit.
        what: said before the bar.

    """

    def __init__(self, total: float, what: str) -> None:
        self._total = max(total, 1)
        self._what = what
        self._done = 0.0
        self._next = 0.0
        self._is_shown = sys.stderr.isatty()

    def add(self, amount: float) -> None:
        self._done += amount
        now = time.monotonic()
        if self._is_shown and now >= self._next:
            self._next = now + _PERIOD_S
            self._draw()

    def _draw(self) -> None:
        part = min(1.0, self._done / self._total)
        bar = "#" * round(_WIDTH * part)
        print(f"\r{self._what} [{bar:<{_WIDTH}}] {part:4.0%}", end="", file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_shown:
            self._draw()
            print(file=sys.stderr)
