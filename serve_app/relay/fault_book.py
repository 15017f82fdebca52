"""What one ingress replica remembers of faults: whose they were, and what may be tried.

Three books, each decided in `router`: breakers of the replicas, retries of the tenants,
and requests under which replicas were lost.
"""

from __future__ import annotations

import logging
import time

from router.errors import Rejected, RejectReason
from router.recovery.breaker import Breakers
from router.recovery.retry_budget import RetryBudget
from router.recovery.suspects import MAX_LOSSES, Suspects
from serve_app.config.serving import RecoveryConfig
from serve_app.metrics import Metrics
from serve_app.relay.attempts import RequestAttempts
from serve_app.relay.fault_log import FAILED, GONE, LOST, FaultLog

logger = logging.getLogger("ray.serve")


class FaultBook:
    """The books of one ingress replica."""

    def __init__(self, metrics: Metrics, config: RecoveryConfig) -> None:
        self._metrics = metrics
        self.config = config
        self._budget = RetryBudget(config, now=time.monotonic())
        self._breakers: dict[str, Breakers] = {}
        self.suspects = Suspects()
        self.log = FaultLog()

    def apply(self, config: RecoveryConfig) -> None:
        if config is not self.config and config != self.config:
            self.config = config
            self._budget.apply(config)
            for breakers in self._breakers.values():
                breakers.config = config

    def breakers(self, lane: str) -> Breakers:
        made = self._breakers.get(lane)
        if made is None:
            made = self._breakers[lane] = Breakers(self.config)
        return made

    def ejected(self) -> dict[str, list[str]]:
        """The replicas that are left alone now, by lane; lanes without any are left out."""
        now = time.monotonic()
        shut = {lane: sorted(x.avoided(now=now)) for lane, x in self._breakers.items()}
        return {lane: replicas for lane, replicas in shut.items() if replicas}

    # -- requests -----------------------------------------------------------

    def begin(self, attempts: RequestAttempts) -> Rejected | None:
        """Note a request; refuse one that must not cost another replica now."""
        self._budget.note_request(attempts.tenant)
        if not self.suspects:
            return None
        now = time.monotonic()
        wait_s = self.suspects.try_begin(attempts.digest, now=now)
        if wait_s:
            return _suspicion(wait_s)
        attempts.losses = self.suspects.losses(attempts.digest, now=now)
        return None

    def may_try(self, attempts: RequestAttempts) -> bool:
        """Return whether another attempt is allowed; the budget is charged then."""
        config = self.config
        # Who could not be reached is dead, and Serve has not noticed yet: it cost no replica any
        # work. Another one may be just starting in its place.
        tried = attempts.faults - attempts.unreached
        if tried >= config.attempts or attempts.failovers > config.max_failovers:
            return False
        return self._budget.try_spend(attempts.tenant, now=time.monotonic())

    def note_answer(self, attempts: RequestAttempts, replica: str) -> None:
        """Note that a replica answered: it is well, and so is the request.

        Those that failed on it before are not: they failed where this one did not.
        """
        lane, now = attempts.plan.lane, time.monotonic()
        for failed in attempts.objectors:
            self.tell_breaker(lane, failed, attempts.tenant)
        for failed in attempts.avoid - {replica}:
            if self.breakers(lane).confirm(failed, now=now):
                self._note_ejection(lane, failed)
        self.breakers(lane).note_success(replica, attempts.tenant, now=now)
        if self.suspects:
            self.suspects.note_answer(attempts.digest)

    # -- faults -------------------------------------------------------------

    def note_fault(
        self,
        attempts: RequestAttempts,
        replica: str,
        *,
        is_gone: bool = False,
        is_loss: bool = False,
    ) -> None:
        """Count a replica's fault. `is_gone`: for good; `is_loss`: perhaps under this request."""
        self.log.note(attempts, replica, GONE if is_gone else LOST if is_loss else FAILED)
        self.tell_breaker(attempts.plan.lane, replica, attempts.tenant, is_gone=is_gone)
        if not attempts.note_fault(replica, is_loss=is_loss):
            return
        now = time.monotonic()
        self.suspects.note_loss(attempts.digest, attempts.losses, now=now)
        if attempts.losses >= MAX_LOSSES:
            attempts.verdict = _lost(self.suspects.wait_s(attempts.digest, now=now))

    def tell_breaker(self, lane: str, replica: str, tenant: str, *, is_gone: bool = False) -> None:
        now = time.monotonic()
        if self.breakers(lane).note_fault(replica, tenant, now=now, is_gone=is_gone):
            self._note_ejection(lane, replica)

    def _note_ejection(self, lane: str, replica: str) -> None:
        self._metrics.breakers_opened.labels(lane).inc()
        logger.warning("lane '%s': replica %s fails; others are preferred", lane, replica)


def _lost(wait_s: float) -> Rejected:
    """Refuse, but not as of a lane that is down: no sheddable work has to go for this request."""
    return Rejected(
        RejectReason.REQUEST_RATE,
        f"{MAX_LOSSES} replicas of the model were lost while they read this request; "
        "it is not tried on another now.",
        retry_after_s=wait_s,
    )


def _suspicion(wait_s: float) -> Rejected:
    """Refuse for a while: whether the request was the reason, nobody knows."""
    return Rejected(
        RejectReason.REQUEST_RATE,
        "Replicas of the model were lost each time they read this very request. If it is not "
        f"the reason, send it again in {wait_s:.0f} seconds.",
        retry_after_s=wait_s,
    )
