"""Circuit breakers: which replicas of a lane are left alone for a while.

A replica is *closed* (in use) until it fails some times in a row, or once in a way that
says it is gone. Then it is *open* for a back-off that doubles with every ejection, with
jitter by its name so that ingress replicas agree and replicas do not return together.
After it, one request at a time may try it (*half-open*): an answer closes it, a fault
opens it again, silence gives the trial to the next.

Whose requests fail matters: faults of one tenant alone eject nothing while the lane
answers others, which would lose a replica for no reason of theirs. They do where no other tenant
is there to tell, where nothing answers at the address, and once such a request was answered
by another replica (`confirm`): then it was not the reason.

At most a share of a lane's replicas is open at once: past it, the ones that failed
longest ago are used again. With one replica none is ever left alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from hashlib import blake2b

TRIAL_S = 10.0
"""How long a trial may take before another is allowed."""

MEMORY_S = 300.0
"""Replicas that nothing was heard of for so long are forgotten."""

NONE: frozenset[str] = frozenset()

WITNESS_S = 30.0
"""How long an answer to another tenant speaks for the lane."""


@dataclass(frozen=True)
class BreakerConfig:
    """When replicas are ejected and for how long. `metadata` bounds what a file may say.

    Attributes:
        eject_after: faults in a row that eject.
        eject_s: first time left alone; doubles up to `eject_max_s`.
        eject_share: share of a lane's replicas that may be ejected at once.

    """

    eject_after: int = field(default=3, metadata={"ge": 1})
    eject_s: float = field(default=1.0, metadata={"gt": 0})
    eject_max_s: float = field(default=30.0, metadata={"gt": 0})
    eject_share: float = field(default=0.5, metadata={"ge": 0, "lt": 1})


@dataclass(slots=True)
class Breaker:
    """Of one replica.

    Attributes:
        blamed: the tenant of the last fault.
        is_confirmed: the faults in a row are not one tenant's requests' doing.

    """

    heard_at: float
    faults: int = 0
    blamed: str = ""
    is_confirmed: bool = False
    ejections: int = 0
    opened_at: float = 0.0
    until: float = 0.0
    is_open: bool = False
    trial_until: float = 0.0

    def note_fault(self, tenant: str) -> None:
        if self.faults and self.blamed != tenant:
            self.is_confirmed = True
        self.faults += 1
        self.blamed = tenant


class Breakers:
    """The breakers of one lane's `replicas`, by id. `now` is in seconds on the caller's clock."""

    def __init__(self, config: BreakerConfig) -> None:
        self.config = config
        self.replicas: dict[str, Breaker] = {}
        # The tenant last answered, and the last one before it that was another; when.
        self._answered = self._answered_before = ("", -math.inf)

    def avoided(self, *, now: float) -> frozenset[str]:
        if not any(breaker.is_open for breaker in self.replicas.values()):
            return NONE
        self._forget(now)
        shut = [
            (breaker.opened_at, replica)
            for replica, breaker in self.replicas.items()
            if breaker.is_open and (now < breaker.until or now < breaker.trial_until)
        ]
        most = math.floor(self.config.eject_share * len(self.replicas))
        return frozenset(replica for _, replica in sorted(shut, reverse=True)[:most])

    def note_chosen(self, replica: str, *, now: float) -> None:
        """Count a request to this replica: its trial, when its back-off has passed."""
        breaker = self._of(replica, now)
        if breaker.is_open and now >= breaker.until and now >= breaker.trial_until:
            breaker.trial_until = now + TRIAL_S

    def note_success(self, replica: str, tenant: str = "", *, now: float) -> None:
        """Count an answer to a tenant that came whole."""
        breaker = self._of(replica, now)
        breaker.heard_at = now
        breaker.faults, breaker.is_confirmed = 0, False
        if self._answered[0] != tenant:
            self._answered_before = self._answered
        self._answered = (tenant, now)
        if breaker.is_open:
            breaker.is_open, breaker.trial_until = False, 0.0
        elif now - breaker.until > self.config.eject_max_s:
            breaker.ejections = 0

    def note_fault(
        self, replica: str, tenant: str = "", *, now: float, is_gone: bool = False
    ) -> bool:
        """Count a fault under a tenant's request; return whether it ejects the replica.

        `is_gone`: nothing answers at its address, or it says that its engine is dead.
        """
        breaker = self._of(replica, now)
        breaker.note_fault(tenant)
        breaker.heard_at = now
        if breaker.is_open:
            if now < breaker.until:
                # Of a request that was under way before: says nothing new.
                return False
        elif not is_gone and not self._is_enough(breaker, now):
            return False
        self._open(replica, breaker, now)
        return True

    def confirm(self, replica: str, *, now: float) -> bool:
        """Note that what failed there was answered elsewhere; return whether it ejects."""
        breaker = self._of(replica, now)
        breaker.is_confirmed = True
        if breaker.is_open or not self._is_enough(breaker, now):
            return False
        self._open(replica, breaker, now)
        return True

    def _open(self, replica: str, breaker: Breaker, now: float) -> None:
        breaker.is_open, breaker.opened_at, breaker.trial_until = True, now, 0.0
        breaker.until = now + self._backoff_s(replica, breaker.ejections)
        breaker.ejections += 1

    def _is_enough(self, breaker: Breaker, now: float) -> bool:
        if breaker.faults < self.config.eject_after:
            return False
        is_other = self._answered[0] != breaker.blamed
        _, answered_at = self._answered if is_other else self._answered_before
        return breaker.is_confirmed or now - answered_at > WITNESS_S

    def _of(self, replica: str, now: float) -> Breaker:
        breaker = self.replicas.get(replica)
        if breaker is None:
            self._forget(now)
            breaker = self.replicas[replica] = Breaker(heard_at=now)
        return breaker

    def _forget(self, now: float) -> None:
        limit = now - MEMORY_S
        for replica in [r for r, b in self.replicas.items() if b.heard_at < limit]:
            del self.replicas[replica]

    def _backoff_s(self, replica: str, ejections: int) -> float:
        """Return three quarters of the doubled time, or more, up to all of it."""
        config = self.config
        whole = min(config.eject_max_s, config.eject_s * 2.0 ** min(ejections, 32))
        drawn = blake2b(f"{replica}\0{ejections}".encode(), digest_size=1).digest()[0] / 255
        return whole * (0.75 + 0.25 * drawn)
