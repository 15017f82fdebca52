"""What a lane's load will be at a time of day, from what it was at that time before.

People come back at the same hours, so the load of tomorrow at nine is known today, and replicas
that take minutes to start can be started before it comes. Three seasons are tried on the history
itself, and the one that would have foretold it best is taken: every day alike, working days and
weekends apart, every weekday on its own. Where none of them beats saying "as an hour ago",
there is no season, and no forecast.

Times are seconds since 1970; days are those of UTC, or of the zone that `offset_s` says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

DAY_S = 86400
STEP_S = 300
"""Width of a slot: the history keeps points of five minutes for two weeks."""

SLOTS = DAY_S // STEP_S
LEAST_DAYS = 2
"""Days of history under which nothing repeats yet."""

DECAY = 0.8
"""What a day counts for against the day after it; a season's habits change within weeks."""

LEVEL_S = 3 * 3600.0
"""How fast today's difference from other days is forgotten: half of it after two hours."""

_SATURDAY = 5
_LEVEL_OVER = 3600 // STEP_S
_LEAST_LEVEL, _MOST_LEVEL = 0.5, 2.0
_JUDGED_DAYS = 3
_AHEAD = _LEVEL_OVER
_MARGIN_QUANTILE = 0.9

Kind = Callable[[int], int]


def _is_weekend(day: int) -> int:
    # Day 0, the first of January 1970, was a Thursday.
    return int((day + 3) % 7 >= _SATURDAY)


SEASONS: Mapping[str, Kind] = {
    "daily": lambda _: 0,
    "workdays": _is_weekend,
    "weekly": lambda day: (day + 3) % 7,
}
"""Days that are taken together have the same number."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """The load of the 24 hours after `made_at`.

    Attributes:
        made_at: when the newest point ended.
        season: the name of the season that foretold the history best.
        values: expected load in each slot of five minutes, the next one first.
        margin: what was over the expected load in one slot of ten, as a share of it.
        error: mean absolute error on the judged days, as a share of their mean load.
        error_as_now: the same for "as an hour ago".

    """

    made_at: float
    season: str
    values: tuple[float, ...]
    margin: float
    error: float
    error_as_now: float

    def peak(self, after: float, until: float) -> float | None:
        """Return the highest load to be ready for between two times, the margin with it.

        None: the forecast does not reach that far.
        """
        first = max(0, math.floor((after - self.made_at) / STEP_S))
        last = math.floor((until - self.made_at) / STEP_S)
        if last < 0 or last >= len(self.values):
            return None
        return max(self.values[min(first, last) : last + 1]) * (1 + self.margin)


def foretell(points: Sequence[tuple[float, float]], *, offset_s: int = 0) -> Forecast | None:
    """Return the forecast that a history allows.

    Args:
        points: (end of its five minutes, load), oldest first; load in any unit that adds up,
            such as requests in progress. Gaps are no load of zero: they are left out.
        offset_s: local time less UTC.

    None: less than two days of points, no season, or no load at all.

    """
    slots = {round((at + offset_s) / STEP_S) - 1: max(0.0, load) for at, load in points}
    if not slots:
        return None
    newest = max(slots)
    judged = [slot for slot in slots if slot > newest - _JUDGED_DAYS * SLOTS]
    is_short = newest - min(slots) < LEAST_DAYS * SLOTS or len(judged) < SLOTS
    if is_short or not any(slots.values()):
        return None
    as_now = _error(slots, judged, lambda slot: slots.get(slot - _AHEAD))
    found = [(_error(slots, judged, _teller(slots, kind)), name) for name, kind in SEASONS.items()]
    error, season = min(found)
    if not error < as_now:
        return None
    tell = _teller(slots, SEASONS[season])
    level = _level(slots, newest, tell)
    values = []
    for ahead in range(1, SLOTS + 1):
        usual = tell(newest + ahead)
        today = 1 + (level - 1) * math.exp(-ahead * STEP_S / LEVEL_S)
        values.append((usual if usual is not None else slots[newest]) * today)
    return Forecast(
        made_at=(newest + 1) * STEP_S - offset_s,
        season=season,
        values=tuple(values),
        margin=_margin(slots, judged, tell),
        error=error,
        error_as_now=as_now,
    )


def _teller(slots: Mapping[int, float], kind: Kind) -> Callable[[int], float | None]:
    """What a season says of a slot: the weighted mean of the same slot on days of its kind.

    The neighbouring slots count, too: five minutes of a few requests are mostly chance.
    """
    first_day = min(slots) // SLOTS

    def tell(slot: int) -> float | None:
        day, at = divmod(slot, SLOTS)
        total = weight = 0.0
        for before in range(day - 1, first_day - 1, -1):
            if kind(before) != kind(day):
                continue
            counts = DECAY ** (day - 1 - before)
            for near in (-1, 0, 1):
                load = slots.get(before * SLOTS + at + near)
                if load is not None:
                    total += counts * load
                    weight += counts
        return total / weight if weight else None

    return tell


def _error(
    slots: Mapping[int, float], judged: Sequence[int], tell: Callable[[int], float | None]
) -> float:
    """Mean absolute error over mean load; infinity where most of the slots are not foretold."""
    wrong = load = 0.0
    told = 0
    for slot in judged:
        expected = tell(slot)
        if expected is not None:
            wrong += abs(slots[slot] - expected)
            load += slots[slot]
            told += 1
    return wrong / load if told * 2 > len(judged) and load else math.inf


def _level(slots: Mapping[int, float], newest: int, tell: Callable[[int], float | None]) -> float:
    """How much more the last hour had than it usually has, within bounds."""
    had = usual = 0.0
    for slot in range(newest - _LEVEL_OVER + 1, newest + 1):
        expected = tell(slot)
        if slot in slots and expected is not None:
            had += slots[slot]
            usual += expected
    return min(max(had / usual, _LEAST_LEVEL), _MOST_LEVEL) if usual else 1.0


def _margin(
    slots: Mapping[int, float], judged: Sequence[int], tell: Callable[[int], float | None]
) -> float:
    over = []
    for slot in judged:
        expected = tell(slot)
        if expected:
            over.append(max(0.0, slots[slot] / expected - 1))
    over.sort()
    return over[int(_MARGIN_QUANTILE * len(over))] if over else 0.0
