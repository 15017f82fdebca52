"""What daily replays found, a line of JSON each: the trend, and what has fallen."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

FILE_NAME = "replay_history.jsonl"
"""In the state directory."""

STALE_S = 2 * 24 * 3600.0
"""A result that is older says nothing of today: two runs were missed."""

FALL = 0.05
"""A tool's F1 has fallen when it is so much under the median of the days before."""

DAYS_BEFORE = 7


@dataclass(frozen=True, slots=True)
class Day:
    """One replay's result.

    Attributes:
        at: when it ended, in seconds since 1970.
        day: whose traffic was replayed, `2026-11-30`.
        lane: the candidate.
        against: `gold` where all cases were; else the incumbent's name.
        calls_wanted: by the cases that say which calls are right.
        selection_f1, call_f1: micro; None: no case had calls.
        answers: mean score of the final answers.
        verdicts: of the gates, by what they are about.
        tools: F1 of selection by tool.

    """

    at: float
    day: str
    lane: str
    against: str
    cases: int = 0
    calls_wanted: int = 0
    selection_f1: float | None = None
    rare_selection_f1: float | None = None
    call_f1: float | None = None
    answers: float | None = None
    verdicts: Mapping[str, str] = field(default_factory=dict)
    tools: Mapping[str, float] = field(default_factory=dict)

    def line(self) -> str:
        """Return it as a line of the history's file."""
        return json.dumps(asdict(self), ensure_ascii=False) + "\n"


def days_of(lines: Iterable[str]) -> list[Day]:
    """Read a history, oldest first; a line that cannot be read is passed over."""
    found = []
    for line in lines:
        try:
            found.append(_day(json.loads(line)))
        except (ValueError, TypeError, AttributeError):
            # A disk that was full has cut it, or another release has written it.
            continue
    return sorted(found, key=lambda x: x.at)


def _day(told: Any) -> Day:
    names = set(Day.__dataclass_fields__)
    day = Day(**{name: value for name, value in told.items() if name in names})
    if not isinstance(day.at, int | float) or not isinstance(day.lane, str):
        raise TypeError
    return day


def newest_f1(days: Sequence[Day], lane: str, now: float) -> tuple[float, int] | None:
    """Return a lane's newest F1 of tool selection against gold, and the calls it is made of.

    None: there is none, or it is older than `STALE_S`. Agreement with an incumbent's traces is
    passed over: a lane agrees with its own answers, whatever they are worth.
    """
    for day in reversed(days):
        if day.lane == lane and day.against == "gold" and day.selection_f1 is not None:
            return (day.selection_f1, day.calls_wanted) if now - day.at <= STALE_S else None
    return None


def alike(days: Iterable[Day], newest: Day) -> list[Day]:
    """Return the days that compare with one: the same lane against the same, that one last.

    Of a day that was replayed again (a job that was tried twice) the later result counts.
    """
    found: dict[str, Day] = {}
    for day in days:
        if (day.lane, day.against) == (newest.lane, newest.against):
            found.pop(day.day, None)
            found[day.day] = day
    return list(found.values())


def fallen(days: Sequence[Day]) -> dict[str, tuple[float, float]]:
    """Return the tools whose F1 fell on the last day: what it was in the median, and what it is."""
    if len(days) < 2:
        return {}
    before, today = days[-1 - DAYS_BEFORE : -1], days[-1]
    found = {}
    for tool, f1 in today.tools.items():
        then = [day.tools[tool] for day in before if tool in day.tools]
        if then and f1 < median(then) - FALL:
            found[tool] = (median(then), f1)
    return found
