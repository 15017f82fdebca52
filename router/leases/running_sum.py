"""A sum over holders that is kept, so that one report does not cost a look at all of them."""

from __future__ import annotations

RENEWED_AFTER = 256
"""Changes after which the sum is made anew: each leaves a rounding error of the sum's last bit."""


class RunningSum:
    """Values by holder, and what they come to. Of whole numbers it is exact.

    Attributes:
        total: of all values; 0 exactly where all of them are.

    """

    __slots__ = ("_changes", "_present", "_values", "total")

    def __init__(self) -> None:
        self.total: float = 0
        self._values: dict[str, float] = {}
        # How many values are not 0.
        self._present = 0
        self._changes = 0

    def __len__(self) -> int:
        return len(self._values)

    def put(self, holder: str, value: float) -> None:
        """Have a holder's value be this one."""
        before = self._values.get(holder, 0)
        self._values[holder] = value
        self._present += bool(value) - bool(before)
        self._changes += 1
        if not self._present:
            self.total = 0
        elif self._changes % RENEWED_AFTER == 0:
            self.total = sum(self._values.values())
        else:
            self.total += value - before

    def drop(self, holder: str) -> None:
        """Forget a holder, if it is known."""
        if holder in self._values:
            self.put(holder, 0)
            del self._values[holder]

    def besides(self, holder: str) -> float:
        """Return what all others come to; 0 exactly where all of theirs are."""
        mine = self._values.get(holder, 0)
        return self.total - mine if self._present > bool(mine) else 0
