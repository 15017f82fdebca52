"""Stop strings over an answer that one engine began and another goes on with.

The second engine does not know the text of the first, so a stop string across the seam
would escape it. `StopMatcher` watches from the seam on, by vLLM's rules: the string that
is complete first wins, and the last characters are kept back while they may begin one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Passed:
    """Text that may be passed on, and the stop string that ends it."""

    text: str
    stop: str | None = None


class StopMatcher:
    """Watches the text of one answer after what the client was `given`.

    `includes`: whether the stop string itself is passed on.
    """

    def __init__(self, stops: Sequence[str], given: str, *, includes: bool) -> None:
        self._stops = [stop for stop in stops if stop]
        self._includes = includes
        longest = max(map(len, self._stops), default=1)
        self._hold = 0 if includes else longest - 1
        # What a stop string across the seam can reach back to.
        self._text = given[len(given) - min(len(given), longest - 1) :]
        self._passed = len(self._text)
        self._keep = longest - 1

    def feed(self, text: str, *, counts: bool = True) -> Passed:
        """Take new text; `counts`: whether the answer is long enough to be stopped."""
        before = len(self._text)
        self._text += text
        if counts and text and (found := self._first(before)) is not None:
            start, stop = found
            return Passed(self._up_to(start + len(stop) if self._includes else start), stop)
        return Passed(self._up_to(len(self._text) - self._hold))

    def flush(self) -> str:
        """Return what was kept back of an answer that has ended by itself."""
        return self._up_to(len(self._text))

    def _first(self, before: int) -> tuple[int, str] | None:
        """Return the stop string that is complete first, and where it begins."""
        found = []
        for stop in self._stops:
            at = self._text.find(stop, max(0, before - len(stop) + 1))
            if at >= 0:
                found.append((at, stop))
        return min(found, key=lambda hit: hit[0] + len(hit[1]), default=None)

    def _up_to(self, end: int) -> str:
        end = max(end, self._passed)
        out, self._passed = self._text[self._passed : end], end
        drop = min(self._passed, len(self._text) - self._keep)
        if drop > 0:
            self._text, self._passed = self._text[drop:], self._passed - drop
        return out
