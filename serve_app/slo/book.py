"""The events of one ingress replica, by objective, lane and tier."""

from __future__ import annotations

import time
from typing import Any

from prometheus_client import Counter

from router.slo.judging import judged
from router.slo.objectives import Objective, SloPolicy
from router.slo.windows import MAX_PERIOD_S, History
from serve_app.metrics import Metrics
from serve_app.request.call import Call
from serve_app.slo.ending import ended_of

MAX_SERIES = 1024
"""At 18 KiB each. Lanes and tiers are the operator's, who may rename them at run time: of
more, the ones that were noted longest ago are forgotten."""

Series = tuple[Objective, str, str]
"""An objective, a lane and a tier."""

OUTCOMES = "bad", "good"


class SloBook:
    """Judges requests once, when they have ended."""

    def __init__(self) -> None:
        self._histories: dict[Series, History] = {}
        self._events: dict[Series, tuple[Counter, Counter]] = {}

    def settle(self, call: Call, metrics: Metrics) -> None:
        """Count what a call's end says of the objectives that it began under."""
        policy, lane, tier = call.policies.slo, call.lane, call.tenant.tier_name
        if call.served.first_tokens_s is not None:
            metrics.first_tokens.labels(lane, tier).observe(call.served.first_tokens_s)
        if policy is None:
            return
        ended, now = ended_of(call, time.perf_counter()), time.monotonic()
        for objective, is_good in judged(ended, policy.of(lane, tier)):
            series = objective, lane, tier
            self._counters(series, metrics)[is_good].inc()
            self.history(series, now).note(is_good=is_good, now=now)

    def _counters(self, series: Series, metrics: Metrics) -> tuple[Counter, Counter]:
        """Return the counters of a series, bad and good, which begin together.

        Prometheus sees no increase in a counter that is 1 when it first appears.
        """
        found = self._events.get(series)
        if found is None:
            bad, good = (metrics.slo_events.labels(*series, x) for x in OUTCOMES)
            found = self._events[series] = bad, good
        return found

    def history(self, series: Series, now: float) -> History:
        """Return the events of a series, which are none when it is new."""
        found = self._histories.get(series)
        if found is None:
            self._forget(now)
            found = self._histories[series] = History(now=now)
        return found

    def histories(self) -> dict[Series, History]:
        """Return all of them, as they are."""
        return dict(self._histories)

    def _forget(self, now: float) -> None:
        """Make room for a new series: what the longest period has no event of goes."""
        for series, history in self.histories().items():
            if now - history.latest > MAX_PERIOD_S:
                del self._histories[series]
        if len(self._histories) >= MAX_SERIES:
            oldest = min(self._histories, key=lambda x: self._histories[x].latest)
            del self._histories[oldest]

    def export(self, policy: SloPolicy | None) -> list[dict[str, Any]]:
        """Return the events of every window as plain data, for the replica that sums them."""
        if policy is None:
            return []
        now = time.monotonic()
        return [
            {
                "objective": objective.value,
                "lane": lane,
                "tier": tier,
                "windows": history.tallies(policy.period_s, now=now),
            }
            for (objective, lane, tier), history in self.histories().items()
        ]
