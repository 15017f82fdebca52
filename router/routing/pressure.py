"""Two slow controls that bend the share of one stronger lane.

**ShareFeedback** holds the realised share at its target. `slack` counts, in
requests, how far the escalations are behind the share (negative: ahead). It bends
the share that the threshold is made for at once, and drives a slow gain. Both only
push upwards when too few requests *score* high enough: requests that score enough
and are refused by a budget, or by a yielding lane, wind nothing up.

**YieldController** takes load off a lane that is full. It turns load observations
into a yield fraction y: only the top (1 - y) of the lane's share still goes up, so
the borderline cases yield first. It is made not to oscillate around a queue, which
answers late and goes on being long while it drains:

- y rises only while some signal is over its high threshold *and* load is not falling: a
  queue that drains by itself needs no more yielding;
- y falls only when every known signal is under its low threshold. Between the two it
  rests, and with `running` under 75 % as a condition there is a wide band of y in
  which the lane is busy, has no queue, and nothing moves;
- rising is as fast as load is far over its threshold, falling slow, each by bounded steps;
- signals are smoothed over a few observations.

Without fresh observations y falls to 0 at the slow rate: better a full lane than
one left idle by a dead sensor.
"""

from __future__ import annotations

from math import exp

from router.types import record

# What may be saved up or owed, in scored requests' worth of a share. At 3 % that
# is 15 escalations, and noise of the feedback bends the share by a fifth.
SAVED_REQUESTS = 500

# With SAVED_REQUESTS = 500 the gain must be slower than 1 / 2000 a request for the
# loop not to overshoot (critical damping); half of that.
GAIN_PER_REQUEST = 1 / 4000

# Least and greatest factor on a share.
GAIN_MIN = 0.3
GAIN_MAX = 3.0

# Demand beyond the share is remembered for 100 requests only, so that it is soon
# seen to have gone.
EXCESS_SHARE = 0.2

# Load falls when it is under its mean over three times the smoothing.
TREND = 3

# One late observation must not make up for all that were missed.
MAX_STEP_S = 5.0

# How far over its high threshold (in multiples of it) load makes y rise at full speed. Random
# bursts of a busy lane reach 4 or 5: they move y by little.
FULL_RISE = 8.0

# Fastest rise, when load is nine times its high threshold: 0 to 1 in 20 s.
RISE_PER_S = 0.05

# 1 to 0 in 200 s.
FALL_PER_S = 0.005

# Time constant of the smoothing: a few observations.
SMOOTH_S = 4.0

# Age at which the last observation counts for nothing.
STALE_S = 10.0


class ShareFeedback:
    """How far one level is from its share of the scored requests, and what corrects it.

    The threshold is to be made for `wanted_share`.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._depth = max(2.0, SAVED_REQUESTS * share)
        # Half of it is lent to the first tenants, whose own buckets are empty.
        self.slack = self._depth / 2
        self._demand = 0.0
        self._gain = 1.0
        self.wanted_share = share

    def count(self, *, wanted: bool, escalated: bool) -> None:
        """Count a scored request: whether it scored high enough, whether it went up."""
        share, depth = self._share, self._depth
        self.slack = _between(-depth, self.slack + share - escalated, depth)
        demand = self._demand + share - (wanted or escalated)
        self._demand = _between(-EXCESS_SHARE * depth, demand, depth)
        self._set_wanted()

    def integrate(self, requests: int) -> None:
        """Move the gain by what `requests` scored requests are worth."""
        self._gain = _within(self._gain * (1 + self._error() * requests * GAIN_PER_REQUEST))
        self._set_wanted()

    def _set_wanted(self) -> None:
        self.wanted_share = self._share * _within(self._gain * (1 + self._error()))

    def _error(self) -> float:
        """Return a value in [-1, 1]; positive when more should go up and too few ask to."""
        demand = self._demand if self._demand > 0 else 0.0
        return (min(demand, self.slack)) / self._depth


def _within(gain: float) -> float:
    return _between(GAIN_MIN, gain, GAIN_MAX)


def _between(least: float, value: float, most: float) -> float:
    if value > most:
        return most
    return max(least, value)


@record
class LoadObservation:
    """The load of a lane, averaged over its replicas; None where it is not known.

    Attributes:
        waiting: requests that wait, per replica.
        running: running requests over `max_num_seqs`, 0 to 1.
        kv_utilization: 0 to 1.
        ttft: time to first token over its objective; 1 is just met. None when no
            request got its first token lately: an old figure would never improve.

    """

    waiting: float | None = None
    running: float | None = None
    kv_utilization: float | None = None
    ttft: float | None = None


# Low and high threshold of each signal: over the high one it asks to yield, under the low one
# it allows to stop.
_THRESHOLDS = {
    # A few waiting requests are the scheduler's normal state.
    "waiting": (1.0, 4.0),
    # Full is no fault while nothing waits: it never exceeds 1, so it only keeps y from falling.
    "running": (0.75, 1.0),
    # vLLM preempts when it is out of blocks.
    "kv_utilization": (0.8, 0.95),
    # Over 1 the objective is missed.
    "ttft": (0.7, 1.0),
}


class YieldController:
    """The yield fraction of one lane, from 0 (none) to 1 (nothing new goes up)."""

    def __init__(self, *, now: float) -> None:
        self._fraction = 0.0
        self._at = now
        self._smooth: dict[str, float] = {}
        # The load, smoothed over a longer time: what it rises or falls against.
        self._trend = 0.0

    def observe(self, observation: LoadObservation, *, now: float) -> float:
        """Take an observation, every second or two, and return the yield fraction."""
        given = ((name, getattr(observation, name)) for name in _THRESHOLDS)
        known = {name: value for name, value in given if value is not None}
        if known and now > self._at:
            self._fraction = self.fraction(now=now)
            step_s = min(now - self._at, MAX_STEP_S)
            self._at = now
            keep = exp(-step_s / SMOOTH_S)
            self._smooth = {
                name: keep * self._smooth.get(name, value) + (1 - keep) * value
                for name, value in known.items()
            }
            self._move(step_s)
        return self.fraction(now=now)

    def fraction(self, *, now: float) -> float:
        """Return the yield fraction; it falls slowly while observations are missing."""
        missing_s = max(0.0, now - self._at - STALE_S)
        return max(0.0, self._fraction - missing_s * FALL_PER_S)

    def _move(self, step_s: float) -> None:
        # 1 is the high threshold of the signal that is furthest towards its own.
        load = max(value / _THRESHOLDS[name][1] for name, value in self._smooth.items())
        keep = exp(-step_s / (TREND * SMOOTH_S))
        self._trend = keep * self._trend + (1 - keep) * load
        if load > max(1.0, self._trend):
            step = RISE_PER_S * step_s * min(1.0, (load - 1) / FULL_RISE)
            self._fraction = min(1.0, self._fraction + step)
        elif all(value < _THRESHOLDS[name][0] for name, value in self._smooth.items()):
            self._fraction = max(0.0, self._fraction - FALL_PER_S * step_s)
