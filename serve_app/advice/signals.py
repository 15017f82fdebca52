"""Two scrapes of a deployment to one point of each signal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from router.advice.table import FLEET
from serve_app.advice.decoding import token_s
from serve_app.advice.exposition import Counted, Scrape
from simulator.model.profile import Profile

Key = tuple[str, str]
"""A signal and its subject: a lane, or the fleet."""

Values = dict[Key, tuple[float, float]]
"""Total and weight of each (`router.advice.series`)."""

FEW_DECODING = 5
"""Sequences a replica up to which 12 ms a token can be asked for: the FP8 guide's table has 9 ms
at a batch of 8 and 16 at 16, and tokens come in larger batches than there are on average. Where
the lane has a profile, that is asked instead."""

WELL_WITHIN_S = 0.008
"""Expected time between tokens up to which 12 ms are out of the way."""

FEW_TOKENS = 100
"""Under it a step's mean time between tokens says nothing of the card."""

HEAVY_REASONS = ("hardware_slowdown", "hw_", "thermal", "power")
"""Parts of the reasons of throttling that mean heat or power; an idle card 'throttles', too."""

NO_ROOM = frozenset({"shed", "tenant_concurrency", "deadline_exceeded", "no_replica"})
"""Codes of requests that were refused for want of room."""


@dataclass(frozen=True, slots=True)
class LaneShape:
    """What the signals of a lane are relative to.

    Attributes:
        slots: sequences of one replica; `window`: tokens.
        profile: what its engine behaves like; None: unknown.
        prefill_chunk: most tokens of one prompt in a step.
        follow_load: the replicas are scaled, up to so many.

    """

    replicas: int
    slots: int
    window: int
    profile: Profile | None = None
    prefill_chunk: int = 4096
    follow_load: bool = False


@dataclass(frozen=True, slots=True)
class _Pace:
    """Tokens of a step, the time between them, and the replicas' seconds that it had."""

    tokens: float
    took_s: float
    replica_s: float

    @property
    def mean_s(self) -> float:
        return self.took_s / self.tokens if self.tokens else 0.0

    @property
    def batch(self) -> float:
        """Sequences that decoded at once, by Little's law: over the step, not when it was asked."""
        return self.took_s / self.replica_s

    def expected_s(self, shape: LaneShape, asked: float, read: float) -> float | None:
        """Return the time between tokens by the profile, for as many requests and their prompts."""
        if shape.profile is None:
            return None
        # A long prompt is read in several steps.
        steps = max(asked, read / shape.prefill_chunk)
        # Requests come by chance, so the batch that a token is in is larger by one than the mean
        # over time (of a Poisson number), and nothing happens while nobody is there.
        busy_s = self.replica_s * -math.expm1(-self.batch)
        return token_s(
            shape.profile.timing,
            self.batch + 1,
            prefills_per_s=steps / busy_s if busy_s else 0.0,
            read_per_s=read / busy_s if busy_s else 0.0,
        )

    def is_fast(self, expected_s: float | None) -> bool:
        """Whether tokens should come well within 12 ms."""
        if expected_s is None:
            return self.batch <= FEW_DECODING
        return expected_s <= WELL_WITHIN_S


class Signals:
    """Makes the points of a deployment, scrape by scrape."""

    def __init__(self) -> None:
        self._counted = Counted()

    def take(self, scrape: Scrape, step_s: float, lanes: Mapping[str, LaneShape]) -> Values:
        """Return each signal's sums over the `step_s` since the last scrape.

        Empty after the first scrape: what counters grew by is not known yet.
        """
        self._counted.take(scrape)
        if not self._counted.has_begun:
            return {}
        values: Values = {}
        for name, shape in lanes.items():
            values |= _load(scrape, name, shape)
            values |= _cards(scrape, name)
            values |= self._serving(scrape, name, shape, step_s)
            values |= self._prompts(name, shape, step_s)
            values |= self._agents(name)
        values |= self._tenants(scrape)
        return values

    def _serving(self, scrape: Scrape, lane: str, shape: LaneShape, step_s: float) -> Values:
        grown = self._counted
        replicas = max(1, len(scrape.values("vllm:num_requests_running", lane=lane)))
        values = {
            ("ttft_over_1s", lane): grown.over("vllm:time_to_first_token_seconds", 1.0, lane=lane),
            ("preemptions", lane): (
                grown.growth("vllm:num_preemptions_total", lane=lane),
                replicas * step_s / 60,
            ),
        }
        by_level = grown.growth_by("pointsman_prompt_tokens_total", "level", lane=lane)
        found = by_level.get("device", 0.0) + by_level.get("host", 0.0)
        values["cached_tokens", lane] = found, sum(by_level.values())
        asked = grown.growth("vllm:time_to_first_token_seconds_count", lane=lane)
        pace = self._pace(lane, step_s * replicas)
        expected_s = pace.expected_s(shape, asked, by_level.get("recomputed", 0.0))
        slow = grown.over("pointsman_inter_token_latency_seconds", 0.012, lane=lane)
        values["token_over_12ms", lane] = slow if pace.is_fast(expected_s) else (0.0, 0.0)
        is_known = expected_s is not None and pace.tokens >= FEW_TOKENS
        ratio = pace.mean_s / expected_s if is_known and expected_s else 0.0
        values["decode_ratio", lane] = ratio, float(ratio > 0)
        return values

    def _pace(self, lane: str, replica_s: float) -> _Pace:
        gaps = "vllm:inter_token_latency_seconds"
        return _Pace(
            tokens=self._counted.growth(f"{gaps}_count", lane=lane),
            took_s=self._counted.growth(f"{gaps}_sum", lane=lane),
            replica_s=replica_s,
        )

    def _prompts(self, lane: str, shape: LaneShape, step_s: float) -> Values:
        grown, name = self._counted, "pointsman_request_prompt_tokens"
        half = shape.window // 2
        return {
            ("prompts_over_4k", lane): grown.over(name, 4096, lane=lane),
            ("prompts_over_32k", lane): grown.over(name, 32_000, lane=lane),
            ("prompts_over_half", lane): grown.over(name, half, lane=lane),
            ("requests", lane): (grown.growth(f"{name}_count", lane=lane), step_s),
        }

    def _agents(self, lane: str) -> Values:
        grown = self._counted
        turns = grown.over("pointsman_turn_seconds", 5.0, lane=lane)
        # Counted under the lane that was asked for the call, while turns are the workhorse's.
        mended = grown.growth("pointsman_tool_repairs_total", step="fallback", outcome="mended")
        failed = _failed_fallbacks(grown, mended)
        fallbacks = mended + failed
        calls = grown.growth_by("pointsman_tool_calls_total", "outcome", lane=lane)
        return {
            ("turn_over_5s", lane): turns,
            ("fallback", lane): (min(fallbacks, turns[1]), turns[1]),
            ("fallback_failed", lane): (min(failed, turns[1]), turns[1]),
            ("invalid_calls", lane): (
                sum(calls.values()) - calls.get("valid", 0.0),
                sum(calls.values()),
            ),
            ("refused", lane): self._refused(lane),
        }

    def _refused(self, lane: str) -> tuple[float, float]:
        codes = self._counted.growth_by("pointsman_requests_total", "code", lane=lane)
        return sum(codes.get(code, 0.0) for code in NO_ROOM), sum(codes.values())

    def _tenants(self, scrape: Scrape) -> Values:
        """The share of the largest of several tenants while requests wait; else nothing.

        Of the answers' tokens: they are the time in the batch that a tenant takes.
        """
        waits = sum(scrape.values("vllm:num_requests_waiting"))
        waits += sum(scrape.values("pointsman_queue_depth"))
        tokens = self._counted.growth_by("pointsman_tokens_total", "tenant", kind="completion")
        used = [x for x in tokens.values() if x > 0]
        counts = waits >= 1 and len(used) > 1
        return {("largest_tenant", FLEET): (max(used) / sum(used) if counts else 0.0, 1.0)}


def _failed_fallbacks(grown: Counted, mended: float) -> float:
    """Calls that no lane could make: of the lane that fails most, what none after it mended."""
    by_lane = grown.growth_by(
        "pointsman_tool_repairs_total", "lane", step="fallback", outcome="failed"
    )
    return max(0.0, max(by_lane.values(), default=0.0) - mended)


def _load(scrape: Scrape, lane: str, shape: LaneShape) -> Values:
    running = scrape.values("vllm:num_requests_running", lane=lane)
    replicas = len(running)
    if not replicas:
        # Nobody answered: nothing is known, and that is no idle lane.
        return {}
    waiting = sum(scrape.values("vllm:num_requests_waiting", lane=lane))
    waiting += sum(scrape.values("pointsman_queue_depth", lane=lane))
    busy = sum(running) + waiting
    # Of a lane that is scaled, those that are there now: its bounds say nothing of them.
    of = replicas if shape.follow_load else shape.replicas
    sessions = sum(scrape.values("pointsman_active_sessions", lane=lane))
    values: Values = {
        ("kv_use", lane): (max(scrape.values("vllm:kv_cache_usage_perc", lane=lane)), 1.0),
        ("waiting", lane): (waiting / replicas, 1.0),
        ("concurrent", lane): (busy, 1.0),
        ("active_sessions", lane): (sessions / replicas, 1.0),
        ("lane_sessions", lane): (sessions, 1.0),
        ("load", lane): (busy / (shape.slots * of), 1.0),
    }
    if shape.replicas > 1 and not shape.follow_load:
        left = shape.slots * (shape.replicas - 1)
        values["load_with_one_less", lane] = busy / left, 1.0
    shares = scrape.values("pointsman_escalation_share", lane=lane)
    if shares:
        # Each ingress replica has the deployment's, as far as it has heard.
        values["escalation_share", lane] = max(shares), 1.0
    return values


def _cards(scrape: Scrape, lane: str) -> Values:
    values: Values = {}
    for signal, name in (
        ("card_temperature", "pointsman_card_temperature_celsius"),
        ("card_power", "pointsman_card_power_watts"),
    ):
        found = scrape.values(name, lane=lane)
        if found:
            values[signal, lane] = max(found), 1.0
    used = scrape.values("pointsman_card_memory_used_bytes", lane=lane)
    total = scrape.values("pointsman_card_memory_total_bytes", lane=lane)
    if used and len(used) == len(total):
        shares = (a / b for a, b in zip(used, total, strict=True) if b)
        values["card_memory", lane] = max(shares, default=0.0), 1.0
    throttled = [
        x for x in scrape.samples("pointsman_card_throttled") if x.labels.get("lane") == lane
    ]
    if throttled:
        heavy = any(x.value and _is_heavy(x.labels.get("reason", "")) for x in throttled)
        values["card_throttled", lane] = float(heavy), 1.0
    return values


def _is_heavy(reason: str) -> bool:
    return any(part in reason for part in HEAVY_REASONS)
