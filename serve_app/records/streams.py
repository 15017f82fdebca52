"""What requests say of quality, by lane and tenant: sums that are taken every few minutes."""

from __future__ import annotations

from dataclasses import astuple, dataclass

from serve_app.records.request_record import RequestRecord

MOST_TENANTS = 256
"""Of a lane between two takings; others count in the lane's sums alone."""

ALL = "*"
"""Stands for all tenants of a lane. No tenant has this name."""

VALID = "valid"


@dataclass(slots=True)
class _Sums:
    scored: int = 0
    score: float = 0.0
    calls: int = 0
    valid: int = 0

    def add(self, record: RequestRecord) -> None:
        if record.score is not None:
            self.scored += 1
            self.score += record.score
        outcomes = record.tool_outcomes or ()
        self.calls += len(outcomes)
        self.valid += outcomes.count(VALID)


Counts = dict[str, dict[str, tuple[int, float, int, int]]]
"""By lane and tenant: scored requests, the sum of their scores, tool calls, valid ones."""


class Streams:
    """Sums of one ingress replica; on one event loop."""

    def __init__(self) -> None:
        self._lanes: dict[str, dict[str, _Sums]] = {}

    def note(self, record: RequestRecord) -> None:
        """Count a finished request that was scored, or whose answer called tools."""
        if record.lane is None or (record.score is None and not record.tool_outcomes):
            return
        tenants = self._lanes.get(record.lane)
        if tenants is None:
            tenants = self._lanes[record.lane] = {ALL: _Sums()}
        tenants[ALL].add(record)
        own = tenants.get(record.tenant)
        if own is None and len(tenants) <= MOST_TENANTS:
            own = tenants[record.tenant] = _Sums()
        if own is not None:
            own.add(record)

    def take(self) -> Counts:
        """Return the sums since the last taking, and begin anew."""
        lanes, self._lanes = self._lanes, {}
        return {
            lane: {tenant: astuple(sums) for tenant, sums in tenants.items()}
            for lane, tenants in lanes.items()
        }
