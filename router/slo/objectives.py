"""What a deployment promises, by lane and tier.

The latency objectives are 95th percentiles: of the requests that an objective judges, 95 % keep
its limit, and the other 5 % are its error budget. The failures objective has the share of
requests that may fail as its budget.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

LATE_RATIO = 0.05
"""Share of requests that may be over the limit of a 95th percentile."""

DAY_S = 86_400.0


class Objective(StrEnum):
    """What is promised; the value is its label in metrics."""

    TTFT = "ttft"
    FIRST_TOKENS = "first_tokens"
    ANSWER = "answer"
    FAILURES = "failures"


@dataclass(frozen=True, slots=True)
class Targets:
    """What requests of one lane and tier are promised. None: that objective is off.

    Attributes:
        ttft_p95_s: from the request's arrival to the first token of its stream.
        first_tokens_p95_s: to the thirtieth.
        answer_p95_s: to the end of the answer, streamed or whole.
        failures_ratio: share of requests that may fail.
        answer_tokens: longer answers are not judged by `answer_p95_s`; None: all are.

    """

    ttft_p95_s: float | None = None
    first_tokens_p95_s: float | None = None
    answer_p95_s: float | None = None
    failures_ratio: float | None = None
    answer_tokens: int | None = None

    def limit_s(self, objective: Objective) -> float | None:
        """Return the limit of a latency objective, in seconds."""
        if objective is Objective.TTFT:
            return self.ttft_p95_s
        if objective is Objective.FIRST_TOKENS:
            return self.first_tokens_p95_s
        return self.answer_p95_s if objective is Objective.ANSWER else None

    def allowed_ratio(self, objective: Objective) -> float | None:
        """Return the share of requests that may miss the objective; None: it is off."""
        if objective is Objective.FAILURES:
            return self.failures_ratio
        return None if self.limit_s(objective) is None else LATE_RATIO

    def target(self, objective: Objective) -> float | None:
        """Return the figure that the operator wrote: seconds, or the share that may fail."""
        return self.failures_ratio if objective is Objective.FAILURES else self.limit_s(objective)


Override = Mapping[str, float | int | None]
"""Fields of `Targets` that are other ones somewhere; a field that is absent stays."""


@dataclass(frozen=True)
class SloPolicy:
    """What is promised to whom; the most exact word counts.

    That of a tier within a lane goes before the tier's, the tier's before the lane's (a
    tier is what somebody was promised), and the lane's before what holds everywhere.

    Attributes:
        base: where nothing else is said.
        period_s: of the error budget.
        min_bad_events: with fewer, nothing burns.

    """

    base: Targets
    lanes: Mapping[str, Override] = field(default_factory=dict)
    tiers: Mapping[str, Override] = field(default_factory=dict)
    lane_tiers: Mapping[tuple[str, str], Override] = field(default_factory=dict)
    period_s: float = 28 * DAY_S
    min_bad_events: int = 5
    _known: dict[tuple[str, str], Targets] = field(default_factory=dict, compare=False)

    def of(self, lane: str, tier: str) -> Targets:
        """Return the targets of a lane's requests of one tier."""
        known = self._known.get((lane, tier))
        if known is None:
            known = self._known[lane, tier] = self._resolved(lane, tier)
        return known

    def _resolved(self, lane: str, tier: str) -> Targets:
        found = self.base
        for override in (
            self.lanes.get(lane),
            self.tiers.get(tier),
            self.lane_tiers.get((lane, tier)),
        ):
            if override:
                found = replace(found, **dict(override))  # type: ignore[arg-type]
        return found
