"""The heartbeats of one ingress replica to the ledger.

Each is one call with everything that is held and wanted. The answer is applied when it
comes. Only a request that would be refused although the tenant's whole limit has room waits
for the next answers, for a few heartbeats at most.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from router.errors import Rejected, RejectReason
from router.leases.holder import LeaseHolder
from router.leases.messages import Answer, Report
from router.limits.ceiling import TenantCeiling
from serve_app.admission.admission import Admission
from serve_app.config.admission import LedgerConfig
from serve_app.leases.metrics import LedgerMetrics

logger = logging.getLogger("ray.serve")

Exchange = Callable[[dict[str, Any]], Awaitable[dict[str, Any] | None]]
"""Gives the ledger a report and returns its answer; None: another ledger has replaced it."""

ANSWER_WITHIN_S = 0.5
LEAST_GAP_S = 0.01
HURRY_S = 0.05
"""Pause between heartbeats while protected work waits for sheddable work to go."""

WAIT_BEATS = 4
"""Heartbeats that a request waits for a larger lease: one to say what it needs, one until
another holder has heard that it must give, one until it has given, one to get it."""

# What may be refused for want of a lease.
LEASED = {RejectReason.REQUEST_RATE, RejectReason.TOKEN_RATE, RejectReason.TENANT_CONCURRENCY}


class LeaseSync:
    """Keeps a `LeaseHolder` in step with the ledger, and lanes in step with their peers.

    Attributes:
        is_pressed: heartbeats hurry, as protected work waits for sheddable work elsewhere to go.

    """

    def __init__(
        self,
        holder: LeaseHolder,
        admission: Admission,
        exchange: Exchange,
        config: LedgerConfig,
        metrics: LedgerMetrics,
    ) -> None:
        self._holder = holder
        self._admission = admission
        self._exchange = exchange
        self._config = config
        self._metrics = metrics
        self._hurry = asyncio.Event()
        self._answered = asyncio.Condition()
        self._is_failing = False
        self.is_pressed = False

    async def run(self) -> None:
        while True:
            try:
                await self.beat()
            except Exception:
                # This task must outlive whatever goes wrong, or leases run down.
                logger.exception("ledger: a heartbeat failed")
            await asyncio.sleep(LEAST_GAP_S)
            pause = HURRY_S if self.is_pressed else self._config.heartbeat_s
            try:
                async with asyncio.timeout(pause - LEAST_GAP_S):
                    await self._hurry.wait()
            except TimeoutError:
                pass
            self._hurry.clear()

    async def beat(self) -> bool:
        """Send a report and take its answer; return whether that counted."""
        begun = time.monotonic()
        # Lanes come last, because what is said of them must be fresh.
        report = (await self._draft(begun))._replace(lanes=self._admission.lane_reports())
        counts = False
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                wire = await self._exchange(report.to_wire())
            counts = wire is not None and await self._take(Answer.from_wire(wire))
        except Exception as error:  # noqa: BLE001 - whatever it is, leases run down meanwhile
            self._note_failure(error)
        else:
            self._is_failing = False
        self._metrics.beat(counts=counts, seconds=time.monotonic() - begun)
        self._tell_lanes()
        async with self._answered:
            self._answered.notify_all()
        return counts

    async def _draft(self, now: float) -> Report:
        """Return the next report, without lanes; streams go on between its slices."""
        report: Report
        for report in self._holder.draft({}, now=now):  # noqa: B007
            await asyncio.sleep(0)
        return report

    async def _take(self, answer: Answer) -> bool:
        """Take an answer, in slices too; return whether it counts."""
        now = time.monotonic()
        if not self._holder.accepts(answer, now=now):
            return False
        for _ in self._holder.adopt(answer, now=now):
            await asyncio.sleep(0)
        return True

    def _note_failure(self, error: Exception) -> None:
        if not self._is_failing:
            logger.warning("ledger: no answer; leases run down: %s", type(error).__name__)
        self._is_failing = True

    def _tell_lanes(self) -> None:
        now = time.monotonic()
        self.is_pressed = False
        for lane, report in self._admission.lane_reports().items():
            yields = self._holder.yields(lane, now=now)
            self._admission.yield_to_protected(lane, yields=yields)
            self.is_pressed |= report.wants_preemption or (yields and report.sheddable > 0)

    def refresh_gauges(self) -> None:
        """Bring the gauges that are read on demand up to date."""
        now, holder, metrics = time.monotonic(), self._holder, self._metrics
        metrics.epoch.set(holder.epoch)
        metrics.has_session.set(holder.has_session(now))
        metrics.answer_age.set(holder.answer_age_s(now))
        for lane, count in self._admission.unconfirmed().items():
            metrics.unconfirmed.labels(lane).set(count)

    # -- for requests ---------------------------------------------------------------

    async def may_grow(
        self,
        ceiling: TenantCeiling,
        refused: Rejected,
        tokens: int,
        since: float,
        *,
        is_counted: bool = False,
    ) -> bool:
        """Wait for an answer of the ledger; return whether it is worth trying again.

        Args:
            ceiling: the one that refused.
            refused: what it said.
            tokens: what the request reserves.
            since: when it was first refused, on the monotonic clock.
            is_counted: the request is one of the minute's already.

        """
        if refused.reason not in LEASED:
            return False
        now = time.monotonic()
        left = since + WAIT_BEATS * self._config.heartbeat_s - now
        is_short = left > 0 and ceiling.is_short(tokens, now=now, is_counted=is_counted)
        if not is_short or self._is_failing:
            return False
        self._hurry.set()
        try:
            async with asyncio.timeout(left), self._answered:
                await self._answered.wait()
        except TimeoutError:
            return False
        return True
