"""The background task that judges this ingress replica's refusals of protected work.

Each replica judges its own, so a violation is counted once, by the one that refused. It
asks the others for their logs only while it has something to judge; nothing in the hot path
waits for it. What cannot be judged at once (a replica did not answer, or answered too
early) is tried again for `WAIT_S`, then counted as unverified: neither a violation nor
in order.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections import Counter, deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from router.admission.shed_order import AdmissionLog, Held, Refusal, Verdict, judge
from serve_app.metrics import Metrics
from serve_app.transport.beat import beat
from serve_app.transport.broadcast import Broadcast

logger = logging.getLogger("ray.serve")

PERIOD_S = 0.5
WAIT_S = 6.0
"""Two broadcasts that time out. Logs keep more than that (`router.admission.shed_order.KEEP_S`)."""

MAX_PENDING = 20_000
SHOWN = 20


class ShedOrderWatch:
    """Counts violations of the shed order by one ingress replica, of so many `replicas`.

    `broadcast` calls a method on every ingress replica, this one included.
    """

    def __init__(
        self, log: AdmissionLog, metrics: Metrics, broadcast: Broadcast, replica: str, replicas: int
    ) -> None:
        self._log = log
        self._metrics = metrics
        self._broadcast = broadcast
        self._replica = replica
        self._replicas = replicas
        self._clock = clock_id()
        self._pending: deque[Refusal] = deque()
        self._counts: Counter[str] = Counter()
        self._seen: deque[dict[str, Any]] = deque(maxlen=SHOWN)

    async def run(self) -> None:
        while True:
            await beat(PERIOD_S)
            try:
                await self.check()
            except Exception:
                # It must outlive whatever a peer answers.
                logger.exception("shed order: a round of judging failed")

    def export(self) -> dict[str, Any]:
        exported = self._log.export(time.monotonic())
        return {"replica": self._replica, "clock": self._clock, **exported}

    async def check(self) -> None:
        """Judge what was refused since the last time, and what was left over."""
        taken, lost = self._log.take_refusals()
        self._pending.extend(taken)
        while len(self._pending) > MAX_PENDING:
            self._pending.popleft()
            lost += 1
        self._count_unverified(lost)
        if not self._pending:
            return
        logs = await self._logs()
        now = time.monotonic()
        for _ in range(len(self._pending)):
            refusal = self._pending.popleft()
            verdict, holder = judge(refusal, logs, self._replicas)
            if verdict is Verdict.VIOLATION:
                self._note_violation(refusal, holder)
            elif verdict is Verdict.CLEAR:
                self._counts["in_order"] += 1
            elif now - refusal.at > WAIT_S:
                self._count_unverified(1)
            else:
                self._pending.append(refusal)

    async def _logs(self) -> list[Held]:
        """Everybody's logs that can be had, each replica's once, in our time."""
        asked = time.monotonic()
        others = await self._broadcast("shed_order_export") if self._replicas > 1 else []
        answered = time.monotonic()
        logs = {}
        for exported in (*others, self.export()):
            log = self._read(exported, asked, answered)
            if log is not None:
                logs[log.replica] = log
        return list(logs.values())

    def _read(self, exported: Any, asked: float, answered: float) -> Held | None:
        if not isinstance(exported, Mapping):
            return None
        try:
            shift = skew = 0.0
            if exported["clock"] != self._clock:
                # It read its clock at some moment between our asking and its answer.
                shift = (asked + answered) / 2 - exported["until"]
                skew = (answered - asked) / 2
            return Held.read(exported["replica"], exported, shift, skew)
        except (KeyError, TypeError, ValueError):
            return None

    def _count_unverified(self, count: int) -> None:
        self._counts["unverified"] += count
        self._metrics.shed_order_unverified.inc(count)

    def _note_violation(self, refusal: Refusal, holder: str | None) -> None:
        self._counts["violations"] += 1
        self._metrics.shed_order_violations.inc()
        seen = {
            "lane": refusal.lane,
            "tier": refusal.tier,
            "code": refusal.code,
            "free_held_by": holder,
        }
        self._seen.append({**seen, "monotonic_s": round(refusal.at, 3)})
        logger.warning("shed order: protected work was refused before sheddable work: %s", seen)

    def status(self) -> dict[str, Any]:
        return {
            **{name: self._counts[name] for name in ("violations", "in_order", "unverified")},
            "pending": len(self._pending),
            "latest": list(self._seen),
        }


def clock_id() -> str:
    """The same in all processes that read the same monotonic clock: this boot's id."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return uuid.uuid4().hex
