"""Whether a trigger fires, by its signal's points.

A trigger *holds* when the window that ends now is beyond the limit, has been watched for most of
its time, and has readings enough. It *clears* when a window as long is on the other side of
`clear`. It fires from when it first held until it clears, or until `keep_s` has passed without
its holding: a signal that nobody feeds any more is no reason to fire for ever.

So whether it fires depends on the last `memory_s` alone. A process that begins anew and goes
through that much of the history comes to the same answer, and two do that side by side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum

from router.advice.series import Point, Series, pooled
from router.advice.trigger import Pool, Trigger

LEAST_COVERAGE = 0.75
"""Share of a window that must have been watched."""

LEAST_BEYOND = 0.8
"""Share of the points of a mean that must be beyond the limit themselves: one tall reading among
small ones is not 'sustained'."""

THIRDS = 3
"""A share must be beyond its limit in each third of the window by itself: one bad half minute
among ten good ones is not 'sustained' either."""

LEAST_SURE = 0.9
"""Chance that a share is truly beyond its limit, not by the luck of the few events seen."""


class State(StrEnum):
    """What can be said of a trigger and its subject."""

    FIRING = "firing"
    CLEAR = "clear"
    TOO_LITTLE = "too_little_data"


@dataclass(frozen=True, slots=True)
class Standing:
    """What is remembered of a trigger and its subject; seconds since 1970.

    Attributes:
        since: when the window began in which it first held; None: it does not fire.
        held_at: when it held last.

    """

    since: float | None = None
    held_at: float = -math.inf


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer.

    Attributes:
        value: of the window, not a number without data.
        coverage: share of the window that was watched, 0 to 1.
        samples: readings or events in the window.
        sure: how sure it is that the value is beyond the limit, 0 to 1.
        since: when it began; None: it does not fire.

    """

    state: State
    value: float
    coverage: float
    samples: float
    sure: float
    since: float | None


@dataclass(frozen=True, slots=True)
class _Window:
    value: float
    coverage: float
    sum: Point
    beyond: float


def judge(
    trigger: Trigger, series: Series, now: float, standing: Standing
) -> tuple[Verdict, Standing]:
    """Judge the window that ends now; `standing` is what the last judging returned."""
    window = _look(trigger, series, now)
    enough = window.coverage >= LEAST_COVERAGE and window.sum.weight >= trigger.least
    enough = enough and not math.isnan(window.value)
    sure = _sureness(trigger, window) if enough else 0.0
    holds = enough and trigger.is_beyond(window.value, trigger.limit)
    if trigger.pool is Pool.MEAN:
        holds = holds and window.beyond >= LEAST_BEYOND
    elif trigger.pool is Pool.SHARE:
        holds = holds and sure >= LEAST_SURE and window.beyond == 1.0
    if holds:
        since = now - trigger.hold_s if standing.since is None else standing.since
        standing = Standing(since, now)
    elif standing.since is not None:
        clears = enough and not trigger.is_beyond(window.value, trigger.clear)
        if clears or now - standing.held_at > trigger.keep_s:
            standing = Standing()
    if standing.since is not None:
        state = State.FIRING
    else:
        state = State.CLEAR if enough else State.TOO_LITTLE
    found = Verdict(state, window.value, window.coverage, window.sum.weight, sure, standing.since)
    return found, standing


def replay(trigger: Trigger, series: Series, now: float) -> Standing:
    """Return the standing after what the series has: what a process that begins anew knows."""
    standing = Standing()
    for at in series.ends:
        if now - trigger.memory_s < at <= now:
            _, standing = judge(trigger, series, at, standing)
    return standing


def kept_since(standing: Standing, since: float | None) -> Standing:
    """Return a standing that fires with the earlier beginning that was written down, if any."""
    if standing.since is None or since is None or since >= standing.since:
        return standing
    return replace(standing, since=since)


def _look(trigger: Trigger, series: Series, now: float) -> _Window:
    points = series.window(now - trigger.hold_s, now)
    expected = max(1, round(trigger.hold_s / series.step_s))
    coverage = min(1.0, len(points) / expected)
    values = [point.value for point in points if point.weight]
    parts = _thirds(trigger, points, now) if trigger.pool is Pool.SHARE else values
    beyond = sum(trigger.is_beyond(value, trigger.limit) for value in parts)
    whole = pooled(points)
    return _Window(
        value=_value(trigger.pool, values, whole),
        coverage=coverage,
        sum=whole,
        beyond=beyond / len(parts) if parts else 0.0,
    )


def _thirds(trigger: Trigger, points: list[Point], now: float) -> list[float]:
    """Return the share in each third of the window that has events."""
    begin, width = now - trigger.hold_s, trigger.hold_s / THIRDS
    parts: list[list[Point]] = [[] for _ in range(THIRDS)]
    for point in points:
        # A point belongs where its step ended.
        parts[min(THIRDS - 1, int((point.at - begin) / width - 1e-9))].append(point)
    sums = [pooled(part) for part in parts]
    return [x.value for x in sums if x.weight]


def _value(pool: Pool, values: list[float], whole: Point) -> float:
    if not values:
        return math.nan
    if pool is Pool.PEAK:
        return _quantile(values, 0.99)
    if pool is Pool.SWING:
        high = _quantile(values, 0.99)
        # A night without a request is a hundredth, not nothing.
        return high / max(_quantile(values, 0.05), high / 100) if high > 0 else 1.0
    return whole.value


def _quantile(values: list[float], q: float) -> float:
    return sorted(values)[max(0, math.ceil(q * len(values)) - 1)]


def _sureness(trigger: Trigger, window: _Window) -> float:
    """How sure it is that the window is beyond the limit.

    For a share: by the normal approximation of the number of bad events, were the true share at
    the limit. For readings: the share of the window that was watched, for none is drawn by lot.
    """
    if trigger.pool is not Pool.SHARE:
        return window.coverage
    count, limit = window.sum.weight, trigger.limit
    deviation = math.sqrt(count * limit * (1.0 - limit))
    distance = (window.sum.total - count * limit) / deviation
    distance = distance if trigger.is_above else -distance
    return 0.5 * (1.0 + math.erf(distance / math.sqrt(2.0)))
