"""What a lane replica knows of its turns, and publishes with its load."""

from __future__ import annotations

from router.placement.placement import Report
from router.placement.spilled_sessions import SpilledSessions
from router.placement.tenant_load import GroupDemand


class OpenTurns:
    """Counts the open turns of one replica by ingress and group, and keeps its spilled sessions.

    `max_spilled` sessions are remembered, each for `warm_s`, and 1,024 groups.
    """

    def __init__(self, max_spilled: int, warm_s: float) -> None:
        self._open: dict[str, int] = {}
        self._spilled = SpilledSessions(max_spilled, warm_s)
        self._demand = GroupDemand()

    def begin(
        self, ingress: str, group: str, spilled: tuple[str, int] | None, *, now: float
    ) -> None:
        """Count a turn; `spilled` is what `Placement.spilled` said of it."""
        self._open[ingress] = self._open.get(ingress, 0) + 1
        self._demand.begin(group, now=now)
        if spilled is not None:
            self._spilled.note(*spilled, now=now)

    def end(self, ingress: str, group: str, *, now: float) -> None:
        """Count one less: once for each `begin`."""
        self._demand.end(group, now=now)
        self._open[ingress] -= 1
        if not self._open[ingress]:
            del self._open[ingress]

    def report(self, kv_utilization: float, *, now: float, draining: bool = False) -> Report:
        """Return what is published now. It does not change while nothing happens."""
        return Report(
            open=dict(self._open),
            kv_utilization=round(kv_utilization, 2),
            spilled=self._spilled.numbers(now=now),
            groups=self._demand.published(now=now),
            draining=draining,
        )
