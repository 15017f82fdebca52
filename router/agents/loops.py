"""Loops: an agent that makes the same tool calls again and learns nothing from them.

Theory of operation. Only the newest turn is looked at, and only its end: a user who writes
again begins anew, and a loop that the model has left is none. Four kinds:

- *repeat*: the same call with the same arguments and the same result, `repeats` times in a
  row.
- *cycle*: a sequence of up to `max_period` calls, all with the results they had before,
  `cycle` times in a row. Calls that wander without a period among a few that bring nothing
  new count, too, once they are as many.
- *changing*: the same calls whose results do change, as in polling or after a clock in
  their output. It takes `changing` rounds, because work that waits looks the same.
- *near*: one tool, called with small changes of its arguments, whose results were all seen
  before in this turn, `near` steps in a row. Calls of one step are one guess: a model that
  makes ten directories at once is not searching. Where the results are no failures it takes
  `PATIENCE` times as many: a model that labels one mail after another gets an "ok" for each.

Whatever brings something new (a call not made yet, another result) ends a repeat, a cycle
and a near run. So reading page after page is no loop, nor is running the same tests after
each edit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from router.agents.task import Call, Result, Step

MAX_CALLS = 2000
"""Of a longer turn, the older calls are not looked at."""

PATIENCE = 3

MAX_NAME_CHARS = 64
"""Of a tool's name that is repeated to the client or the model."""


class LoopKind(StrEnum):
    """A closed set: the values are metric labels."""

    REPEAT = "repeat"
    CYCLE = "cycle"
    CHANGING = "changing"
    NEAR = "near"


@dataclass(frozen=True, slots=True)
class LoopRules:
    """From when on a loop is one; None: never.

    Attributes:
        repeats: times that one call is made, its result unchanged.
        cycle: rounds of several calls, their results unchanged.
        changing: rounds of the same calls, their results changing.
        near: steps that call one tool with small changes and without a new result, all of
            them failures; `PATIENCE` times as many where they are none.
        max_period: calls of a round, at most.

    """

    repeats: int | None = 5
    cycle: int | None = 3
    changing: int | None = 20
    near: int | None = 10
    max_period: int = 12

    def __post_init__(self) -> None:
        numbers = (self.repeats, self.cycle, self.changing, self.near)
        if any(number is not None and number <= 1 for number in numbers):
            raise ValueError("a loop has two rounds or more")
        if self.max_period < 1:
            raise ValueError("max_period >= 1 is required")

    @property
    def least(self) -> float:
        """Calls of the shortest loop; infinity where nothing is one."""
        numbers = (self.repeats, self.cycle, self.changing, self.near)
        return min((number for number in numbers if number is not None), default=math.inf)


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop that goes on at the end of a turn.

    Attributes:
        tools: names of the tools that are called, each once.
        rounds: how often at least.

    """

    kind: LoopKind
    tools: tuple[str, ...]
    rounds: int

    @property
    def sentence(self) -> str:
        """What is the matter, without what to do."""
        names = ", ".join(f"'{name[:MAX_NAME_CHARS]}'" for name in self.tools)
        return _SAID[self.kind].format(names=names, rounds=self.rounds)


_SAID = {
    LoopKind.REPEAT: "{names} was called {rounds} times in a row with the same arguments, and "
    "each time the result was the same.",
    LoopKind.CYCLE: "The same calls of {names} were made {rounds} times over with the same "
    "arguments, and each time the results were the same.",
    LoopKind.CHANGING: "The same calls of {names} were made {rounds} times over with the same "
    "arguments.",
    LoopKind.NEAR: "{names} was called {rounds} times in a row with small changes, and none of "
    "the results was new.",
}


def find_loop(turn: Sequence[Step], rules: LoopRules) -> Loop | None:
    """The loop at the end of a turn, or None.

    Time: linear in the newest calls of the turn, `MAX_CALLS` at most, and in `max_period`
    times the largest rule.
    """
    turn = _newest(turn)
    calls = [call for step in turn for call in step]
    if len(calls) < rules.least:
        return None
    return (
        _same_results(calls, rules)
        or _wandering(calls, rules)
        or _changing(calls, rules)
        or _near(turn, rules)
    )


def _newest(turn: Sequence[Step]) -> Sequence[Step]:
    """The newest steps, of `MAX_CALLS` calls together; of a larger step, its last ones."""
    left, start = MAX_CALLS, len(turn)
    while start and left >= len(turn[start - 1]):
        start -= 1
        left -= len(turn[start])
    return turn[start:] or [step[-MAX_CALLS:] for step in turn[-1:]]


def _key(call: Call) -> tuple[str, str]:
    return call.name, call.arguments


def _tools(calls: Sequence[Call]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(call.name for call in calls))


def _same_results(calls: list[Call], rules: LoopRules) -> Loop | None:
    whole = [(*_key(call), call.result) for call in calls]
    for period in range(1, rules.max_period + 1):
        rounds = rules.repeats if period == 1 else rules.cycle
        if rounds is not None and _ends_with_rounds(whole, period, rounds):
            kind = LoopKind.REPEAT if period == 1 else LoopKind.CYCLE
            return Loop(kind, _tools(calls[-period:]), rounds)
    return None


def _changing(calls: list[Call], rules: LoopRules) -> Loop | None:
    if rules.changing is None:
        return None
    keys = [_key(call) for call in calls]
    for period in range(1, rules.max_period + 1):
        if _ends_with_rounds(keys, period, rules.changing):
            return Loop(LoopKind.CHANGING, _tools(calls[-period:]), rules.changing)
    return None


def _ends_with_rounds(values: Sequence[object], period: int, rounds: int) -> bool:
    """Whether the last `rounds * period` values have this period.

    A shorter period is one of its multiples, too; it is asked for first.
    """
    size = len(values)
    if size < rounds * period:
        return False
    return all(
        values[index] == values[index - period]
        for index in range(size - 1, size - 1 - (rounds - 1) * period, -1)
    )


def _wandering(calls: list[Call], rules: LoopRules) -> Loop | None:
    """A run of calls that were all made before with the same result, in any order."""
    if rules.cycle is None:
        return None
    known: dict[tuple[str, str], Result | None] = {}
    stale: list[Call] = []
    for call in calls:
        key = _key(call)
        if key in known and known[key] == call.result:
            stale.append(call)
        else:
            stale.clear()
        known[key] = call.result
    distinct = len({_key(call) for call in stale})
    if 1 < distinct <= rules.max_period and len(stale) >= distinct * (rules.cycle - 1):
        return Loop(LoopKind.CYCLE, _tools(stale), rules.cycle)
    return None


def _near(turn: Sequence[Step], rules: LoopRules) -> Loop | None:
    if rules.near is None:
        return None
    seen: dict[str, set[Result | None]] = {}
    length, is_futile, last = 0, True, None
    for step in turn:
        known = seen.setdefault(step[0].name, set())
        results = {call.result for call in step}
        is_near = last is not None and all(_is_near(call, last) for call in step)
        if not (is_near and results <= known):
            length, is_futile = 0, True
        length += 1
        is_futile = is_futile and all(x is not None and x.is_futile for x in results)
        known |= results
        last = step[-1]
    if last is not None and length >= rules.near * (1 if is_futile else PATIENCE):
        return Loop(LoopKind.NEAR, (last.name,), length)
    return None


def _is_near(call: Call, last: Call) -> bool:
    """Whether it is a call of the same tool whose arguments share half of their text."""
    one, other = call.arguments, last.arguments
    if call.name != last.name:
        return False
    longest = max(len(one), len(other))
    head = _shared(one, other, min(len(one), len(other)))
    tail = _shared(one[::-1], other[::-1], min(len(one), len(other)) - head)
    return 2 * (head + tail) >= longest


def _shared(one: str, other: str, most: int) -> int:
    """How many characters two texts begin with in common, `most` at most."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if one[:middle] == other[:middle]:
            low = middle
        else:
            high = middle - 1
    return low
