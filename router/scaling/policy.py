"""How many replicas a lane should have, from queue, KV and slots; pure and without a clock.

The load is reckoned in replicas, absolutely: what runs over what a replica can run, what is
offered over what a full replica gets through, what waits over what clears it in time. Rules
that multiply what there is by an error ratio (Ray Serve's, Kubernetes' HPA) ask for more again
while replicas start; an absolute need is the same a second later, and replicas that start
count towards it.

More are wanted as soon as the need at `now + start-up` is over `high` of the capacity, as it
would be if the load went on rising as it does, or as a forecast has it. Fewer are kept once the
rest would have stayed under `low` of its capacity at every moment of the last `calm_s`.
Figures that are old or missing change nothing, and neither does a number of cards that nobody
knows.

GPU utilization is not looked at: a card that decodes a single sequence shows 100 %.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from router.scaling.lane_load import Decision, LaneLoad, Reason, ScalingTerms
from router.scaling.trend import Peak, Trend

ExpectedLoad = Callable[[float], float | None]
"""Replicas' worth of work that is expected at a time; None: no forecast."""

LOOKS_AHEAD = 8
"""Moments at which a forecast is asked before replicas go."""

MOST_RISE = 0.5
"""The rise that is carried on is at most half of the load again: a step is no ramp."""

SMOOTH_S = 20.0
"""The need is a mean over this, unless requests wait for longer than the objective."""

_EPSILON = 1e-9


def unknown(_: float) -> None:
    """No forecast."""


@dataclass(frozen=True, slots=True)
class _Need:
    """Replicas' worth of work, and what made it so.

    At this moment, as a mean up to now, and at a new replica's first turn; what waits then.
    """

    moment: float
    now: float
    then: float
    backlog: float
    reason: Reason


class LaneScaler:
    """One lane's policy and the little that it remembers."""

    def __init__(self, terms: ScalingTerms) -> None:
        self.terms = terms
        self._trend = Trend()
        self._peak = Peak(terms.calm_s)

    def decide(self, load: LaneLoad, now: float, expected_load: ExpectedLoad = unknown) -> Decision:
        """Return how many replicas to have from `now` on, seconds of any one clock."""
        terms = self.terms
        if load.age_s is None or load.age_s > terms.stale_s or not load.reporting:
            # Not idle: unknown. What was seen before the gap proves nothing for after it.
            self._trend.clear()
            self._peak.clear()
            target = self._bounded(load.replicas)
            return Decision(target, Reason.STALE)
        need = self._need(load, now, expected_load)
        self._peak.note(now, ceil(need.now / terms.low - _EPSILON))
        wanted = max(1, self._replicas_for(need)) + terms.standby
        target = self._bounded(wanted)
        if target > load.replicas:
            # The need is met where only the lower bound is not.
            reason = need.reason if wanted > load.replicas else Reason.BOUNDS
        elif terms.max_replicas < load.replicas:
            target, reason = terms.max_replicas, Reason.BOUNDS
        elif wanted > terms.max_replicas:
            target, reason = load.replicas, Reason.AT_MAX
        else:
            target, reason = self._fewer(load, target, need, now, expected_load)
        decision = Decision(target, reason, need.now)
        return decision.within_cards(load.replicas, load.cards_free)

    def _need(self, load: LaneLoad, now: float, expected_load: ExpectedLoad) -> _Need:
        terms, full = self.terms, load.tokens_per_s
        by_slots = load.running / load.reporting / terms.slots if terms.slots else 0.0
        by_kv = load.kv_utilization / terms.kv_full
        # Ready replicas that have not reported are taken to be as busy as the others.
        need = load.ready * max(by_slots, by_kv)
        reason = Reason.KV if by_kv > by_slots else Reason.LOAD
        offered = load.offered_tokens_per_s
        if full and offered is not None and offered / full > need:
            need, reason = offered / full, Reason.LOAD
        lead_s = load.start_up_s or terms.start_up_s
        backlog = 0.0
        # Until a replica was full nobody knows what one gets through: then what came since the
        # objective's time ago stands for it (Little's law). At any moment something waits for the
        # next step, and that is no queue.
        through = full * load.ready if full else offered or 0.0
        if load.queued_tokens > through * terms.ttft_s:
            # The last in line waits beyond the objective: what there is is full.
            need, reason = max(need, float(load.ready)), Reason.QUEUE
            backlog = self._backlog(load, lead_s)
        # Over less than twice the lead, a slope is chance more than trend.
        window_s = max(terms.trend_s, 2 * lead_s)
        self._trend.note(now, moment := need, window_s)
        if not backlog:
            # What a request or two more make of a moment is chance, and so is a queue that goes
            # before a replica could come.
            need = self._trend.mean(SMOOTH_S)
        rise = max(0.0, self._trend.slope(window_s)) * lead_s
        then = need + min(rise, MOST_RISE * need)
        if then / terms.high > load.replicas >= need / terms.high:
            reason = Reason.RAMP
        expected = expected_load(now + lead_s)
        if expected is not None and expected > then:
            then, reason = expected, Reason.FORECAST
        return _Need(moment, need, then, backlog, reason)

    @staticmethod
    def _backlog(load: LaneLoad, lead_s: float) -> float:
        """Return the replicas that clear in `lead_s` what will wait in `lead_s`."""
        full, offered = load.tokens_per_s, load.offered_tokens_per_s
        if not full:
            return 0.0
        growth = 0.0 if offered is None else offered - full * (load.ready + load.starting)
        return max(0.0, load.queued_tokens + growth * lead_s) / (full * lead_s)

    def _replicas_for(self, need: _Need) -> int:
        """Return the replicas that serve it under the high mark; what waits fills the margin."""
        most = max(need.now, need.then)
        return ceil(max(most / self.terms.high, need.now + need.backlog) - _EPSILON)

    def _fewer(
        self, load: LaneLoad, target: int, need: _Need, now: float, expected_load: ExpectedLoad
    ) -> tuple[int, Reason]:
        """Let those go that the others were never short of; one look is not enough."""
        peak, terms = self._peak.highest(now), self.terms
        most = max(peak or 0, ceil(need.moment / terms.low - _EPSILON))
        enough = max(target, self._bounded(most + terms.standby))
        if enough >= load.replicas:
            return load.replicas, Reason.STARTING if load.starting else Reason.STEADY
        if peak is None or load.starting or load.reporting < load.ready or need.backlog:
            return load.replicas, Reason.CALMING
        by_forecast = self._for_forecast(load, now, expected_load)
        if by_forecast >= load.replicas:
            return load.replicas, Reason.FORECAST
        return max(enough, by_forecast), Reason.SPARE

    def _for_forecast(self, load: LaneLoad, now: float, expected_load: ExpectedLoad) -> int:
        """Return what the forecast asks for until what goes now could be back."""
        ahead_s = self.terms.calm_s + (load.start_up_s or self.terms.start_up_s)
        asked = (expected_load(now + ahead_s * x / LOOKS_AHEAD) for x in range(LOOKS_AHEAD + 1))
        most = max((x for x in asked if x is not None), default=0.0)
        needed = ceil(most / self.terms.low - _EPSILON)
        return self._bounded(needed + self.terms.standby)

    def _bounded(self, replicas: int) -> int:
        return min(max(replicas, self.terms.min_replicas), self.terms.max_replicas)
