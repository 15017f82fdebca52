"""How much of a replica each group keeps busy: what the size of its subset follows.

Two figures a group: mean open requests (rate x duration of its turns, by Little's
law), averaged exponentially over minutes, and turns, decayed over a day. They are
published in steps of sqrt(2) and leave a step only for a value more than one step
away, so sizes derived from them do not flap.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from math import exp, expm1

OPEN_TAU_S = 300.0
TURNS_TAU_S = 86_400.0

# What is published: groups from half an open request or a thousand turns a day, the
# busiest first. Below both, a subset has its least size whatever the exact figure.
LEAST_OPEN = 0.5
LEAST_TURNS = 1_000.0
MOST_PUBLISHED = 64


class Step:
    """A value rounded down to a power of sqrt(2), with hysteresis of one step."""

    __slots__ = ("above", "below", "shown")

    def __init__(self) -> None:
        # Between the level below and the one above, which stays out, nothing changes.
        self.below, self.shown, self.above = math.inf, 0.0, 0.0

    def of(self, value: float) -> float:
        if not self.below <= value < self.above:
            self.leave(value)
        return self.shown

    def leave(self, value: float) -> None:
        """Show a value that is not between `below` and `above`."""
        if value <= 0:
            self.below, self.shown, self.above = math.inf, 0.0, 0.0
            return
        level = math.floor(2 * math.log2(value))
        self.below, self.shown, self.above = (2 ** ((level + x) / 2) for x in (-1, 0, 1))


@dataclass(slots=True)
class _Group:
    at: float
    open: int
    mean_open: float
    turns: float
    open_step: Step
    turns_step: Step

    @property
    def is_quiet(self) -> bool:
        """Return whether both figures stay too small to be published, whatever time it is."""
        least = LEAST_OPEN / 2
        return self.open < least and self.mean_open < least and self.turns < LEAST_TURNS / 2

    def advance(self, now: float) -> None:
        passed = now - self.at if now > self.at else 0.0
        self.at = now
        self.mean_open += (self.open - self.mean_open) * -expm1(-passed / OPEN_TAU_S)
        self.turns *= exp(-passed / TURNS_TAU_S)

    def steps(self, now: float) -> tuple[float, float]:
        """Return both figures as they are published now."""
        # As `advance` and `Step.of`, without a call: this is asked each second of each group.
        passed = now - self.at if now > self.at else 0.0
        self.at, mean_open = now, self.mean_open
        mean_open += (self.open - mean_open) * -expm1(-passed / OPEN_TAU_S)
        turns = self.turns * exp(-passed / TURNS_TAU_S)
        self.mean_open, self.turns = mean_open, turns
        of_open, of_turns = self.open_step, self.turns_step
        if not of_open.below <= mean_open < of_open.above:
            of_open.leave(mean_open)
        if not of_turns.below <= turns < of_turns.above:
            of_turns.leave(turns)
        return of_open.shown, of_turns.shown


class GroupDemand:
    """Figures of at most `capacity` groups, about 400 bytes each, the latest turn at the end."""

    def __init__(self, capacity: int = 1024) -> None:
        self._capacity = capacity
        self.groups: OrderedDict[str, _Group] = OrderedDict()
        # Those that may be published, in the same order: most groups are quiet.
        self._loud: dict[str, _Group] = {}

    def begin(self, group: str, *, now: float) -> None:
        known = self.groups.get(group)
        if known is None:
            known = self.groups[group] = _Group(now, 0, 0.0, 0.0, Step(), Step())
            self._drop_idle()
        self.groups.move_to_end(group)
        known.advance(now)
        known.open += 1
        known.turns += 1
        self._loud.pop(group, None)
        self._loud[group] = known

    def end(self, group: str, *, now: float) -> None:
        known = self.groups.get(group)
        if known is not None:
            known.advance(now)
            known.open = max(0, known.open - 1)

    def published(self, *, now: float) -> dict[str, tuple[float, float]]:
        """Return mean open requests and turns a day, in steps, of the busiest groups."""
        shown = []
        for name, group in list(self._loud.items()):
            if not group.open and group.is_quiet:
                # Until its next turn: what it would be brought up to is not shown.
                del self._loud[name]
                continue
            steps = group.steps(now)
            if steps[0] >= LEAST_OPEN or steps[1] >= LEAST_TURNS:
                shown.append((name, steps))
        shown.sort(key=lambda entry: entry[1], reverse=True)
        return dict(shown[:MOST_PUBLISHED])

    def _drop_idle(self) -> None:
        """Drop the group longest without a turn, one without an open request first."""
        if len(self.groups) <= self._capacity:
            return
        newest = next(reversed(self.groups))
        idle = (name for name, group in self.groups.items() if not group.open and name != newest)
        dropped = next(idle, next(iter(self.groups)))
        del self.groups[dropped]
        self._loud.pop(dropped, None)
