"""Values of a label that others choose, in a bounded number."""

from __future__ import annotations

OTHER = "other"


class BoundedLabels:
    """Gives the first so many values a label of their own; those after them share `other`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()

    def label(self, value: str) -> str:
        if value in self._known:
            return value
        if len(self._known) < self._most:
            self._known.add(value)
            return value
        return OTHER
