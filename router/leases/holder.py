"""The leases that one ingress replica holds, and what it knows of the others' lanes.

At every heartbeat it sends a report and takes the answer. It has one report under way: when
the next is made, the answer to the one before is void. Requests do not wait for this, except
for a refusal that the next answer may spare.

Without an answer for `lease_s` its session is over. Its leases are void; safe capacities last
for `seat_s`. What the other ingress replicas hold is not known. Its own sheddable work yields,
so that protected work elsewhere waits for it no longer than a lease.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from router.leases.expiry import LeaseExpiry
from router.leases.leased_ceiling import LeasedCeiling
from router.leases.messages import (
    DRIFT,
    IDLE_S,
    Answer,
    LaneAnswer,
    LaneReport,
    LeaseTerms,
    Report,
    TenantDemand,
)
from router.limits.ceiling import CeilingConfig

SLICE = 100
"""Tenants that are reported, or given their leases, at one go; that takes 2 ms or so."""


class LeaseHolder:
    """The leases of one ingress replica.

    Args:
        name: never used by another ingress replica.

    Attributes:
        epoch: of the last answer that counted; 0: there was none.
        ceilings: of all tenants that have sent a request.

    """

    def __init__(self, name: str, terms: LeaseTerms) -> None:
        self.name = name
        self.terms = terms
        self.epoch = 0
        self.expiry = LeaseExpiry()
        self.ceilings: dict[str, LeasedCeiling] = {}
        # Tenants that the ledger is told of, and when each was last in use.
        self._active: dict[str, float] = {}
        self._seq = 0
        self._applied = 0
        self._sent_at = float("-inf")
        self._reported: frozenset[str] = frozenset()
        self._giving_up: frozenset[str] = frozenset()
        self._lanes: Mapping[str, LaneAnswer] = {}
        self._answered_at = float("-inf")

    def ceiling(self, tenant: str, config: CeilingConfig, *, now: float) -> LeasedCeiling:
        """Return the tenant's ceilings here, for a request that comes now."""
        ceiling = self.ceilings.get(tenant)
        if ceiling is None:
            ceiling = LeasedCeiling(config, self.terms, self.expiry, now=now)
            self.ceilings[tenant] = ceiling
        elif ceiling.config != config:
            ceiling.configure(config, now=now)
        if not ceiling.limits_nothing:
            self._active[tenant] = now
        return ceiling

    def report(self, lanes: Mapping[str, LaneReport], *, now: float) -> Report:
        """Return the next report; the answer to the last one is void from now on."""
        *_, report = self.draft(lanes, now=now)
        return report

    def draft(self, lanes: Mapping[str, LaneReport], *, now: float) -> Iterator[Report]:
        """Make the next report in slices, between which requests may go on.

        It is complete when it is yielded for the last time. Each tenant is reported as it is
        when its turn comes. That is safe, because only answers add to what is held, and none
        counts while the next report is made.
        """
        self._seq += 1
        self._sent_at = now
        self._retire(now)
        self._reported = frozenset(self._active)
        demands: dict[str, TenantDemand] = {}
        has_seat = self.expiry.has_seat(now)
        report = Report(self.name, self._seq, self._applied, self.epoch, has_seat, demands, lanes)
        for number, name in enumerate(self._reported, 1):
            gives_up = name in self._giving_up
            demands[name] = self.ceilings[name].report(gives_up=gives_up, now=now)
            if number % SLICE == 0:
                yield report
        yield report

    def _retire(self, now: float) -> None:
        """Give up the leases of idle tenants; once the ledger knows, report them no more."""
        unused = set()
        for name, at in self._active.items():
            if not self.ceilings[name].is_quiet(now):
                self._active[name] = now
            elif now - at > IDLE_S:
                unused.add(name)
        is_known = self._applied == self._seq - 1
        for name in unused & self._giving_up if is_known else ():
            if not self.ceilings[name].holds_tokens:
                self.ceilings[name].release(now=now)
                del self._active[name]
        self._giving_up = frozenset(unused & self._active.keys())

    def apply(self, answer: Answer, *, now: float) -> bool:
        """Take an answer; return whether it counts."""
        counts = self.accepts(answer, now=now)
        if counts:
            for _ in self.adopt(answer, now=now):
                pass
        return counts

    def accepts(self, answer: Answer, *, now: float) -> bool:
        """Return whether an answer counts: it is the last report's, and of no older ledger.

        If so, leases hold for longer from now on, and its grants must be taken by `adopt`.
        """
        is_void = answer.seq != self._seq or answer.seq == self._applied
        if is_void or answer.epoch < self.epoch:
            return False
        self.epoch, self._applied, self._answered_at = answer.epoch, answer.seq, now
        self.expiry.renew(self.terms, self._sent_at, has_seat=answer.has_seat, now=now)
        self._lanes = answer.lanes
        return True

    def adopt(self, answer: Answer, *, now: float) -> Iterator[None]:
        """Take the grants of an answer that counts, in slices.

        A tenant whose turn is yet to come holds what it held before. The ledger counts the
        larger of the two until the next report.
        """
        for number, name in enumerate(self._reported & answer.tenants.keys(), 1):
            ceiling, grant = self.ceilings[name], answer.tenants[name]
            ceiling.apply(grant, epoch=answer.epoch, number=answer.number, now=now)
            if number % SLICE == 0:
                yield

    # -- what is known --------------------------------------------------------------

    def has_session(self, now: float) -> bool:
        """Return whether the ledger has answered within `lease_s`."""
        return self.expiry.has_lease(now)

    def peers(self, lane: str, *, now: float) -> int | None:
        """Return the sheddable requests that the others hold of a lane; None: not known.

        These wait, or have sent nothing yet.
        """
        answer = self._lanes.get(lane)
        # Their age counts from when the report was sent, as the ledger looked at them later.
        sent_at = self.expiry.lease_until - self.terms.lease_s * (1 - DRIFT)
        if answer is None or answer.age_s + now - sent_at > self.terms.stale_s:
            return None
        return answer.sheddable

    def running_elsewhere(self, lane: str, *, now: float) -> int | None:
        """Return the slots of a lane that the others have taken; None: not known."""
        answer = self._lanes.get(lane)
        # Requests run for much longer than a second or two, so that age does not matter.
        return answer.running if answer is not None and self.has_session(now) else None

    def demand_elsewhere(self, lane: str, *, now: float) -> int | None:
        """Return what runs and waits of a lane at the others; None: not known."""
        running = self.running_elsewhere(lane, now=now)
        return None if running is None else running + self._lanes[lane].waiting

    def yields(self, lane: str, *, now: float) -> bool:
        """Return whether sheddable work here must yield to protected work elsewhere."""
        answer = self._lanes.get(lane)
        return not self.has_session(now) or (answer is not None and answer.yields)

    def answer_age_s(self, now: float) -> float:
        """Return the seconds since the last answer; `inf`: there was none."""
        return now - self._answered_at

    def status(self, *, now: float) -> dict[str, object]:
        has_session = self.has_session(now)
        return {
            "epoch": self.epoch,
            "has_session": has_session,
            "has_seat": self.expiry.has_seat(now),
            "lease_left_s": max(0.0, self.expiry.lease_until - now) if has_session else 0.0,
            "answer_age_s": self.answer_age_s(now) if self.epoch else None,
            "tenants": len(self._active),
        }
