"""The shipped policy, Ray Serve's default and two of KEDA's kind, behind one interface."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from benchmarks.support.scaling_lane import (
    FULL_TOKENS_PER_S,
    LEAST,
    MOST,
    SLOTS,
    TOKENS,
    TTFT_S,
    Look,
)
from router.scaling.lane_load import LaneLoad, ScalingTerms
from router.scaling.policy import ExpectedLoad, LaneScaler, unknown


class Shipped:
    """`router.scaling`, told what a deployment tells it.

    Its throughput is known from the first full replica on.
    """

    def __init__(self, start_up_s: float, standby: int = 0, forecast: ExpectedLoad = unknown):
        terms = ScalingTerms(LEAST, MOST, standby, slots=SLOTS, ttft_s=TTFT_S)
        self._scaler, self._start_up_s, self._forecast = LaneScaler(terms), start_up_s, forecast
        self._full: float | None = None

    def target(self, look: Look) -> int:
        if look.running >= 0.9 * look.ready * SLOTS:
            self._full = FULL_TOKENS_PER_S
        load = LaneLoad(
            look.ready,
            look.starting,
            reporting=look.ready,
            age_s=1.0,
            running=look.running,
            kv_utilization=0.0,
            queued_tokens=float(look.waiting * TOKENS),
            offered_tokens_per_s=look.offered * TOKENS,
            tokens_per_s=self._full,
            start_up_s=self._start_up_s,
        )
        return self._scaler.decide(load, look.at, self._forecast).target


class RayDefault:
    """Ray Serve 2.60's `replica_queue_length_autoscaling_policy` with its default delays.

    The mean of 30 s of ongoing requests over `target_ongoing_requests`; up after 30 s in which
    more were wanted, down after 600 s. It is let see the requests that do not pass through
    Serve here, and its target is what fills 80 % of a replica, not Ray's default of 2.
    """

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()
        self._wanted = 0
        self._since = 0.0

    def target(self, look: Look) -> int:
        self._seen.append((look.at, look.running + look.waiting))
        while self._seen[0][0] < look.at - 30:
            self._seen.popleft()
        mean = sum(x for _, x in self._seen) / len(self._seen)
        have = look.ready + look.starting
        wanted = min(MOST, max(LEAST, math.ceil(mean / (0.8 * SLOTS))))
        direction = (wanted > have) - (wanted < have)
        if direction != self._wanted:
            self._wanted, self._since = direction, look.at
        delay_s = 30 if direction > 0 else 600
        return wanted if direction and look.at - self._since >= delay_s else have


class Keda:
    """A Prometheus trigger of KEDA on a Kubernetes HPA, with what these two do by default.

    Every 15 s the sum over a threshold, with a tolerance of 10 %; up by as many as there are or
    by four, whichever is more, at once; down to the most of the last 300 s.
    """

    def __init__(self, measure: Callable[[Look], float], threshold: float) -> None:
        self._measure, self._threshold = measure, threshold
        self._wished: deque[tuple[float, int]] = deque()
        self._next, self._target = 0.0, LEAST

    def target(self, look: Look) -> int:
        if look.at < self._next:
            return self._target
        self._next = look.at + 15
        have = look.ready + look.starting
        ratio = self._measure(look) / (self._threshold * have)
        wish = have if abs(ratio - 1) <= 0.1 else math.ceil(self._measure(look) / self._threshold)
        wish = min(MOST, max(LEAST, wish))
        self._wished.append((look.at, wish))
        while self._wished[0][0] < look.at - 300:
            self._wished.popleft()
        if wish > have:
            self._target = min(wish, max(2 * have, have + 4))
        else:
            self._target = min(have, max(x for _, x in self._wished))
        return self._target


def keda_queue() -> Keda:
    """The example of vLLM's production-stack: 5 of `vllm:num_requests_waiting` a replica."""
    return Keda(lambda look: look.waiting, 5)


def keda_requests() -> Keda:
    """What its users come to: running and waiting requests, at 80 % of the slots."""
    return Keda(lambda look: look.running + look.waiting, 0.8 * SLOTS)
