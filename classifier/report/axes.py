"""Axes of the charts: from values to places in [0, 1], with ticks and units."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import ArrayLike

from classifier.heads import Floats

MAX_TICKS = 7
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_TIME_STEPS = tuple(
    [n * _MINUTE for n in (1, 2, 5, 10, 20, 30)]
    + [n * _HOUR for n in (1, 2, 3, 6, 12)]
    + [n * _DAY for n in (1, 2, 7, 14, 28, 84, 364, 3640, 36_400)]
)


@dataclass(frozen=True, slots=True)
class Axis:
    """A range of values, its label with the unit, and its ticks: value and text."""

    label: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    is_log: bool = False

    def place(self, values: ArrayLike) -> Floats:
        """Where values stand, 0 to 1; those outside stand at the edge."""
        inside: Floats = np.clip(np.asarray(values, np.float64), self.low, self.high)
        low, high = self.low, self.high
        if self.is_log:
            inside, low, high = np.log10(inside), math.log10(low), math.log10(high)
        return (inside - low) / (high - low)


def linear_axis(label: str, low: float, high: float) -> Axis:
    """Round ticks from the first at or below `low` to the last at or above `high`."""
    span = high - low if high > low else 1.0
    step = _round_step(span / (MAX_TICKS - 1))
    first, last = math.floor(low / step + 1e-9), math.ceil((low + span) / step - 1e-9)
    values = [number * step for number in range(first, last + 1)]
    digits = max(0, -math.floor(math.log10(step) + 1e-9) + (_has_half(step)))
    ticks = tuple((value, f"{value:.{digits}f}") for value in values)
    return Axis(label, values[0], values[-1], ticks)


def _has_half(step: float) -> bool:
    """Whether a step is 2.5 times a power of ten, which needs one more digit."""
    power = 10.0 ** math.floor(math.log10(step) + 1e-9)
    return math.isclose(step, 2.5 * power)


def _round_step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * n for n in (1, 2, 2.5, 5, 10) if power * n >= least * (1 - 1e-9))


def log_axis(label: str, low_power: int, high_power: int) -> Axis:
    """Powers of ten; each tick is ten times the one before."""
    ticks = tuple((10.0**n, f"{10.0**n:g}") for n in range(low_power, high_power + 1))
    return Axis(label, 10.0**low_power, 10.0**high_power, ticks, is_log=True)


def time_axis(seconds: Sequence[float]) -> Axis:
    """A time axis in UTC over seconds since 1970; not empty."""
    low, high = min(seconds), max(seconds)
    span = max(high - low, float(_MINUTE))
    step = next((n for n in _TIME_STEPS if span / n <= MAX_TICKS), _TIME_STEPS[-1])
    first = math.ceil(low / step) * step
    form = "%Y-%m-%d" if step >= _DAY else "%m-%d %H:%M" if span > _DAY / 2 else "%H:%M"
    times = np.arange(first, low + span, step).tolist()
    ticks = tuple((t, datetime.fromtimestamp(t, UTC).strftime(form)) for t in times)
    day = datetime.fromtimestamp(low, UTC).strftime("%Y-%m-%d")
    return Axis(f"time (UTC, from {day})", low, low + span, ticks)
