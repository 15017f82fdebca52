"""What ingress replicas and the ledger tell each other about shares of tenants' limits.

Each tenant's limit has two parts. A small one, `LeaseTerms.floors` of it, is divided
beforehand: every *seated* ingress replica has `floor` of it for itself. The rest is the
ledger's to lease, in answer to one report after the other from each ingress replica:

- tokens per second: a share of the leased part, 0 to 1;
- tokens and requests per minute: tokens out of one bucket, handed out beforehand;
- concurrent requests: whole permits.

**Time.** No clocks are compared. What an answer grants holds for `lease_s` from when its
report was *sent*, on the holder's clock; the ledger reckons from when it *took* the report,
which is later. `DRIFT` is how much faster a clock may run than another.

**Lost messages.** A holder has one report under way. When it sends the next, the answer to
the one before is void, whenever it comes. So a report says all there is to know: what is
held, and which answer was the last to count. A smaller share counts for others only when
a report says that it is held, or when the lease has run out.

On the wire everything is lists, dicts, numbers and text, and readers leave out what they
do not know: during a rollout both ends may be of different versions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

DRIFT = 0.02

IDLE_S = 10.0
"""A tenant of whom nothing was heard for so long gives its lease back."""


@dataclass(frozen=True, slots=True)
class LeaseTerms:
    """What both ends must agree on: the same fleet file on both.

    Attributes:
        lease_s: how long a lease outlives the report that it answers.
        seat_s: the same of a seat, and so of the floors.
        seats: ingress replicas that may have one at a time: twice their number, as old
            and new ones overlap in a rollout.
        floor: part of each limit that a seated ingress replica always has.
        stale_s: age at which what a peer reported counts for nothing.

    """

    lease_s: float = 10.0
    seat_s: float = 60.0
    seats: int = 4
    floor: float = 0.01
    stale_s: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.floors < 1:
            raise ValueError("the floors of all seats must be less than the limit")
        if not 0 < self.lease_s <= self.seat_s:
            raise ValueError("a lease is not longer than a seat")

    @property
    def floors(self) -> float:
        """Part of each limit that is not leased."""
        return self.seats * self.floor

    @property
    def leased(self) -> float:
        """Part of each limit that is."""
        return 1.0 - self.floors


# -- what an ingress replica reports ------------------------------------------


class RateDemand(NamedTuple):
    """Tokens per second: the share held, the part of the limit in demand, both 0 to 1.

    `backlog` are tokens that wait to be delivered.
    """

    held: float = 0.0
    demand: float = 0.0
    backlog: float = 0.0


class BucketDemand(NamedTuple):
    """Of a bucket whose leased part is `limit` a minute.

    Attributes:
        stash: tokens held; negative: overdrawn.
        returned: tokens given back in all; counts up.
        need: tokens that requests wait for.
        pace: tokens spent a second, of late.
        epoch: of the last answer about the bucket that counted; 0: there was none;
            negative: what was spent since is not known.
        number: of that answer.
        level: what it said is left everywhere.
        unanswered: tokens spent since the report that it answered: the most there were,
            whichever report after it was taken last.
        age_s: how long ago that report was made.

    """

    limit: float = 0.0
    stash: float = 0.0
    returned: float = 0.0
    need: float = 0.0
    pace: float = 0.0
    epoch: int = -1
    number: int = 0
    level: float = 0.0
    unanswered: float = 0.0
    age_s: float = float("inf")


class PermitDemand(NamedTuple):
    """Concurrent requests: permits held (as many as are used, at least), used, waited for."""

    limit: int = 0
    held: int = 0
    used: int = 0
    wanted: int = 0


class TenantDemand(NamedTuple):
    """One tenant's; None where it has no such limit."""

    rate: RateDemand | None = None
    tokens: BucketDemand | None = None
    requests: BucketDemand | None = None
    permits: PermitDemand | None = None


class LaneReport(NamedTuple):
    """One lane in one ingress replica.

    Attributes:
        free: free requests that wait or have sent nothing.
        needs: whether paid work waits for nothing but the others' free work to go.
        running: slots taken.
        waiting: requests in line for slots.

    """

    free: int = 0
    needs: bool = False
    running: int = 0
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """From an ingress replica, every heartbeat.

    Attributes:
        holder: the ingress replica.
        seq: counts up.
        applied: the last report whose answer counted.
        epoch: the highest that was heard of.
        has_seat: whether it holds one.
        tenants: all that hold or want anything; others hold nothing.

    """

    holder: str
    seq: int
    applied: int
    epoch: int
    has_seat: bool
    tenants: Mapping[str, TenantDemand] = field(default_factory=dict)
    lanes: Mapping[str, LaneReport] = field(default_factory=dict)

    def to_wire(self) -> dict[str, Any]:
        return {
            "holder": self.holder,
            "seq": self.seq,
            "applied": self.applied,
            "epoch": self.epoch,
            "has_seat": self.has_seat,
            "tenants": {name: _plain(x) for name, x in self.tenants.items()},
            "lanes": {name: list(x) for name, x in self.lanes.items()},
        }

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Report:
        """Raises KeyError, TypeError."""
        return cls(
            wire["holder"],
            wire["seq"],
            wire["applied"],
            wire["epoch"],
            wire["has_seat"],
            {name: TenantDemand(*_made(x, _DEMANDS)) for name, x in wire["tenants"].items()},
            {name: _cut(LaneReport, x) for name, x in wire["lanes"].items()},
        )


# -- what the ledger answers ---------------------------------------------------


class RateGrant(NamedTuple):
    """The share to hold, and tokens that wait at the other ingress replicas."""

    share: float = 0.0
    backlog_elsewhere: float = 0.0


class BucketGrant(NamedTuple):
    """Tokens to add, the most to keep (None: all), and what is left everywhere."""

    add: float = 0.0
    keep: float | None = None
    level: float = 0.0


class PermitGrant(NamedTuple):
    """Permits to hold, and those that are used elsewhere."""

    permits: int = 0
    used_elsewhere: int = 0


class TenantGrant(NamedTuple):
    """One tenant's; None where it has no such limit."""

    rate: RateGrant | None = None
    tokens: BucketGrant | None = None
    requests: BucketGrant | None = None
    permits: PermitGrant | None = None


class LaneAnswer(NamedTuple):
    """What the other ingress replicas hold of a lane.

    Attributes:
        free: their free requests that wait or have sent nothing; None: one of them has
            not said for long.
        age_s: of the oldest of what they said.
        yields: paid work waits elsewhere for the free work here to go.
        running: slots taken.
        waiting: requests in line for slots.

    """

    free: int | None = None
    age_s: float = 0.0
    yields: bool = False
    running: int | None = None
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """From the ledger, to one report; `number` counts its answers to all."""

    epoch: int
    seq: int
    has_seat: bool
    tenants: Mapping[str, TenantGrant] = field(default_factory=dict)
    lanes: Mapping[str, LaneAnswer] = field(default_factory=dict)
    number: int = 0

    def to_wire(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch,
            "seq": self.seq,
            "has_seat": self.has_seat,
            "tenants": {name: _plain(x) for name, x in self.tenants.items()},
            "lanes": {name: list(x) for name, x in self.lanes.items()},
            "number": self.number,
        }

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Answer:
        """Raises KeyError, TypeError."""
        return cls(
            wire["epoch"],
            wire["seq"],
            wire["has_seat"],
            {name: TenantGrant(*_made(x, _GRANTS)) for name, x in wire["tenants"].items()},
            {name: _cut(LaneAnswer, x) for name, x in wire["lanes"].items()},
            wire.get("number", 0),
        )


_DEMANDS = (RateDemand, BucketDemand, BucketDemand, PermitDemand)
_GRANTS = (RateGrant, BucketGrant, BucketGrant, PermitGrant)

_Row = TypeVar("_Row", bound=tuple[Any, ...])


def _plain(parts: Sequence[tuple[Any, ...] | None]) -> list[list[Any] | None]:
    return [None if part is None else list(part) for part in parts]


def _made(rows: Sequence[Sequence[Any] | None], kinds: Sequence[Any]) -> list[Any]:
    # A later version may have kinds and fields that this one does not know.
    pairs = zip(rows, kinds, strict=False)
    return [None if row is None else _cut(kind, row) for row, kind in pairs]


def _cut(kind: type[_Row], row: Sequence[Any]) -> _Row:
    names: Sequence[str] = kind._fields  # type: ignore[attr-defined]
    return kind(*row[: len(names)])
