"""What the autoscaling policy is told of a lane, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class ScalingTerms:
    """A lane's bounds and marks.

    A *full* replica has all its sequence slots taken, or its KV cache at `kv_full`.

    Attributes:
        min_replicas, max_replicas: the target never leaves these bounds.
        standby: replicas to have beyond the need: the warm pool.
        slots: sequences that one replica runs at once; None: unknown, KV alone tells.
        ttft_s: the objective for the first token; a queue that takes longer means that the
            lane is full.
        high: share of the replicas' capacity in use above which more are wanted.
        low: share in use that the rest may have after a scale-down. Less than `high`, so that
            one step down never asks for the step up again.
        kv_full: KV utilization, 0 to 1, that counts as a full replica: beyond it vLLM preempts.
        calm_s: how long fewer replicas must have been enough before any goes.
        trend_s: shortest window over which the rise of the load is measured.
        stale_s: age from which figures say nothing.
        start_up_s: time to a warm replica, until one has been measured.

    """

    min_replicas: int
    max_replicas: int
    standby: int = 0
    slots: int | None = None
    ttft_s: float = 0.8
    high: float = 0.85
    low: float = 0.75
    kv_full: float = 0.9
    calm_s: float = 600.0
    trend_s: float = 60.0
    stale_s: float = 15.0
    start_up_s: float = 60.0

    def __post_init__(self) -> None:
        if not 1 <= self.min_replicas <= self.max_replicas:
            raise ValueError("min_replicas is 1 at least, and max_replicas at least min_replicas")
        if not 0 < self.low < self.high <= 1:
            raise ValueError("low must be less than high, both in (0, 1]")


@dataclass(frozen=True, slots=True)
class LaneLoad:
    """What is known of a lane at one moment. GPU utilization is not among it.

    Attributes:
        ready: replicas that serve.
        starting: replicas that were asked for and do not serve yet.
        reporting: ready replicas whose figures are here.
        age_s: age of these figures, seconds; None: there are none.
        running: sequences that run on the reporting replicas.
        kv_utilization: mean of the reporting replicas, 0 to 1.
        queued_tokens: prompt and expected answer tokens of the requests that wait, before the
            engines and in them.
        offered_tokens_per_s: tokens that were asked for, prompts and expected answers, refused
            requests included; None: unknown.
        tokens_per_s: what one full replica gets through, prompt and answer tokens; None: not
            measured yet.
        start_up_s: measured time from the decision to a warm replica; None: not measured yet.
        cards_free: replicas that the free cards have room for; None: unknown.

    """

    ready: int
    starting: int = 0
    reporting: int = 0
    age_s: float | None = None
    running: float = 0.0
    kv_utilization: float = 0.0
    queued_tokens: float = 0.0
    offered_tokens_per_s: float | None = None
    tokens_per_s: float | None = None
    start_up_s: float | None = None
    cards_free: int | None = None

    @property
    def replicas(self) -> int:
        """All that there are or will be; those that still start count as capacity."""
        return self.ready + self.starting


class Reason(StrEnum):
    """Why the target is what it is."""

    STEADY = "steady"
    BOUNDS = "bounds"
    """`min` or `max` were changed."""
    LOAD = "load"
    KV = "kv"
    QUEUE = "queue"
    RAMP = "ramp"
    """Not yet, but by the time a replica has started, as the load rises."""
    FORECAST = "forecast"
    STARTING = "starting"
    """Replicas that were asked for will do."""
    NO_CARD = "no_card"
    AT_MAX = "at_max"
    STALE = "stale"
    """The figures are old or missing: nothing changes."""
    CALMING = "calming"
    """Fewer would do, but not for long enough yet."""
    SPARE = "spare"
    """The rest can take it: fewer."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer.

    Attributes:
        target: replicas to have, those that start among them.
        reason: what decided.
        demand: replicas' worth of work, as reckoned; None: unknown.

    """

    target: int
    reason: Reason
    demand: float | None = None

    def within_cards(self, have: int, free: int | None) -> Decision:
        """Return it with no more replicas than there are cards for; None: nobody knows."""
        if free is None or self.target <= have + free:
            return self
        return replace(self, target=have + free, reason=Reason.NO_CARD)
