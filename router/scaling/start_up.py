"""How long a replica takes from the decision to its first turn, measured by watching."""

from __future__ import annotations


class StartUp:
    """Watches replicas come.

    Attributes:
        took_s: of the last one that came; None: none has come yet.

    """

    def __init__(self) -> None:
        self.took_s: float | None = None
        self._asked_at: float | None = None
        self._ready = 0

    def see(self, ready: int, target: int, now: float) -> None:
        """Look at a lane's numbers, several times a second."""
        if ready > self._ready and self._asked_at is not None:
            self.took_s = now - self._asked_at
        if ready >= target:
            self._asked_at = None
        elif self._asked_at is None:
            self._asked_at = now
        self._ready = ready
