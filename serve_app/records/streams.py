"""What requests say of quality, by lane and tenant: sums that are taken every few minutes."""

from __future__ import annotations

from collections.abc import Sequence
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

    def add_score(self, score: float) -> None:
        self.scored += 1
        self.score += score

    def add_calls(self, outcomes: Sequence[str]) -> None:
        self.calls += len(outcomes)
        self.valid += outcomes.count(VALID)


Counts = dict[str, dict[str, tuple[int, float, int, int]]]
"""By lane and tenant: scored requests, the sum of their scores, tool calls, valid ones."""


class Streams:
    """Sums of one ingress replica; on one event loop."""

    def __init__(self) -> None:
        self._lanes: dict[str, dict[str, _Sums]] = {}

    def note(self, record: RequestRecord, routed: str | None = None) -> None:
        """Count a finished request that was scored, or whose answer called tools.

        `routed`: the lane that routing chose, where an experiment sent it to another one. Its
        score is of that lane: an experiment that begins is no drift of scores or shares.
        """
        if record.lane is None:
            return
        if record.score is not None:
            for sums in self._of(routed or record.lane, record.tenant):
                sums.add_score(record.score)
        if record.tool_outcomes:
            for sums in self._of(record.lane, record.tenant):
                sums.add_calls(record.tool_outcomes)

    def _of(self, lane: str, tenant: str) -> list[_Sums]:
        """The sums of a lane, and of a tenant on it."""
        tenants = self._lanes.get(lane)
        if tenants is None:
            tenants = self._lanes[lane] = {ALL: _Sums()}
        own = tenants.get(tenant)
        if own is None and len(tenants) <= MOST_TENANTS:
            own = tenants[tenant] = _Sums()
        return [tenants[ALL]] if own is None else [tenants[ALL], own]

    def take(self) -> Counts:
        """Return the sums since the last taking, and begin anew."""
        lanes, self._lanes = self._lanes, {}
        return {
            lane: {tenant: astuple(sums) for tenant, sums in tenants.items()}
            for lane, tenants in lanes.items()
        }
