"""Messages between ingress replicas and the ledger, about leases of tenants' limits.

Each tenant's limit has two parts. The safe capacity is divided beforehand: every ingress
replica with a *seat* has `LeaseTerms.safe_share` of the limit for itself. The rest is leased.
Each ingress replica (a *holder*) sends one report after the other, and the ledger grants:

- of tokens per second: a share of the leased part, 0 to 1;
- of tokens and requests per minute: tokens out of one bucket, handed out beforehand;
- of concurrent requests: whole permits.

**Time.** No clocks are compared. What an answer grants holds for `lease_s` from when its
report was *sent*, on the holder's clock. The ledger counts from when it *took* the report,
which is later. `DRIFT` is how much faster a clock may run than another.

**Lost messages.** A holder has one report under way. When it sends the next one, the answer
to the one before is void, whenever it comes. So each report says what is held, and which
answer was the last to count. The ledger gives a smaller share's difference to others only
when a report says that the smaller one is held, or when the lease has run out.

On the wire everything is lists, dicts, numbers and text. Readers leave out what they do not
know, because both ends may be of different versions during a rollout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

DRIFT = 0.02

IDLE_S = 10.0
"""The lease of a tenant that has sent no request for so long is given back."""


@dataclass(frozen=True)
class LeaseBounds:
    """What an operator sets of leases. `metadata` bounds what a file may say.

    Attributes:
        lease_s: how long a lease outlives the report that it answers. Without an answer
            for so long, an ingress replica has no more than its safe capacity, and lets
            its sheddable work go.
        seat_s: how long a seat, and so the safe capacity, outlives that report.
        stale_s: age from which what a peer reported does not count.

    """

    lease_s: float = field(default=10.0, metadata={"gt": 0})
    seat_s: float = field(default=60.0, metadata={"gt": 0})
    stale_s: float = field(default=0.5, metadata={"gt": 0})


@dataclass(frozen=True)
class LeaseTerms(LeaseBounds):
    """What both ends must agree on; they read the same fleet file.

    Attributes:
        seats: ingress replicas that may have a seat at a time. There are twice as many as
            ingress replicas, because old and new ones overlap in a rollout.
        safe_share: part of each limit that an ingress replica has while it has a seat.

    """

    seats: int = 4
    safe_share: float = 0.01

    def __post_init__(self) -> None:
        if not 0 < self.leased <= 1:
            raise ValueError("the safe capacities of all seats must be less than the limit")
        if not 0 < self.lease_s <= self.seat_s:
            raise ValueError("a lease is not longer than a seat")

    @property
    def leased(self) -> float:
        """Part of each limit that is leased, 0 to 1."""
        return 1.0 - self.seats * self.safe_share


# -- what an ingress replica reports ------------------------------------------


class RateDemand(NamedTuple):
    """Tokens per second."""

    held: float = 0.0  # share, 0 to 1
    demand: float = 0.0  # part of the limit, 0 to 1
    backlog: float = 0.0  # tokens that wait to be delivered


class BucketDemand(NamedTuple):
    """Tokens (or requests) per minute."""

    limit: float = 0.0  # the leased part of it
    held: float = 0.0  # tokens; negative: overdrawn
    returned: float = 0.0  # tokens given back in all; counts up
    need: float = 0.0  # tokens that requests wait for
    pace: float = 0.0  # tokens spent a second, of late
    # Epoch and number of the last answer about the bucket that counted. Epoch 0: there was
    # none; negative: what was spent since is not known.
    epoch: int = -1
    number: int = 0
    level: float = 0.0  # tokens left everywhere, as that answer said
    # The most tokens that can have been spent since the report which it answered, whichever
    # later report was taken last.
    unanswered: float = 0.0
    age_s: float = float("inf")  # of the report which it answered


class PermitDemand(NamedTuple):
    """Concurrent requests."""

    limit: int = 0  # the leased part of it
    held: int = 0  # as many as are used, at least
    used: int = 0
    wanted: int = 0  # requests that were refused for want of one


class TenantDemand(NamedTuple):
    """One tenant's demands in one ingress replica; None where it has no such limit."""

    rate: RateDemand | None = None
    tokens: BucketDemand | None = None
    requests: BucketDemand | None = None
    permits: PermitDemand | None = None


class LaneReport(NamedTuple):
    """One lane in one ingress replica."""

    sheddable: int = 0  # requests that wait or have sent nothing
    # Protected work waits for nothing but the others' sheddable work to go.
    wants_preemption: bool = False
    running: int = 0  # slots taken
    waiting: int = 0  # requests in line for slots


class Report(NamedTuple):
    """What an ingress replica tells the ledger at every heartbeat."""

    holder: str
    seq: int  # counts up
    applied: int  # `seq` of the last report whose answer counted
    epoch: int  # the highest that was heard of
    has_seat: bool
    tenants: Mapping[str, TenantDemand] = {}  # all for which something is held or wanted
    lanes: Mapping[str, LaneReport] = {}

    def to_wire(self) -> dict[str, Any]:
        return _to_wire(self)

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Report:
        """Raises KeyError, TypeError."""
        kinds = (RateDemand, BucketDemand, BucketDemand, PermitDemand)
        return cls(**_read(cls, wire, TenantDemand, kinds, LaneReport))


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
    """One tenant's grants to one ingress replica; None where it has no such limit."""

    rate: RateGrant | None = None
    tokens: BucketGrant | None = None
    requests: BucketGrant | None = None
    permits: PermitGrant | None = None


class LaneAnswer(NamedTuple):
    """What the other ingress replicas hold of a lane; None: a report of theirs is too old."""

    sheddable: int | None = None  # their requests that wait or have sent nothing
    age_s: float = 0.0  # of the oldest of what they said
    yields: bool = False  # protected work waits elsewhere for the sheddable work here to go
    running: int | None = None  # slots taken
    waiting: int = 0  # requests in line for slots


class Answer(NamedTuple):
    """What the ledger answers to one report."""

    epoch: int
    seq: int  # of the report
    has_seat: bool
    tenants: Mapping[str, TenantGrant] = {}
    lanes: Mapping[str, LaneAnswer] = {}
    number: int = 0  # counts the ledger's answers, to whichever holder

    def to_wire(self) -> dict[str, Any]:
        return _to_wire(self)

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Answer:
        """Raises KeyError, TypeError."""
        kinds = (RateGrant, BucketGrant, BucketGrant, PermitGrant)
        return cls(**_read(cls, wire, TenantGrant, kinds, LaneAnswer))


def _to_wire(message: Report | Answer) -> dict[str, Any]:
    tenants = {name: [x and list(x) for x in parts] for name, parts in message.tenants.items()}
    lanes = {name: list(lane) for name, lane in message.lanes.items()}
    return {**message._asdict(), "tenants": tenants, "lanes": lanes}


def _read(
    message: Any, wire: Mapping[str, Any], tenant: Any, kinds: Sequence[Any], lane: Any
) -> dict[str, Any]:
    tenants = {
        # A later version may have kinds that this one does not know.
        name: tenant(*(x and _cut(kind, x) for kind, x in zip(kinds, rows, strict=False)))
        for name, rows in wire["tenants"].items()
    }
    lanes = {name: _cut(lane, row) for name, row in wire["lanes"].items()}
    known = {name: wire[name] for name in message._fields if name in wire}
    return {**known, "tenants": tenants, "lanes": lanes}


def _cut(kind: Any, row: Sequence[Any]) -> Any:
    return kind(*row[: len(kind._fields)])
