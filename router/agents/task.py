"""A conversation as an agent's task: its tool calls, what they brought, and its turns.

Clients send the whole conversation each time, so nothing is stored. A *step* is one
answer of the model's that calls tools, one or several at once. A *turn* begins with a
message of the user's that is no tool result. Everything here is read from one request,
so every ingress replica finds the same, and a restart changes nothing.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias


class Result(NamedTuple):
    """What a tool call brought.

    Attributes:
        size_bytes: of its text, in UTF-8.
        digest: of all of it.
        is_futile: whether it is an error, or says that nothing was found.

    """

    size_bytes: int
    digest: bytes
    is_futile: bool = False


class Call(NamedTuple):
    """One tool call.

    Attributes:
        arguments: in a canonical form, the same for arguments that mean the same.
        result: None while it waits for one, or when its result never came.

    """

    id: str
    name: str
    arguments: str
    result: Result | None = None


Step: TypeAlias = tuple[Call, ...]


@dataclass(frozen=True, slots=True)
class Task:
    """The steps of a conversation.

    Attributes:
        turn_start: index of the newest turn's first step.
        turn_id: the same in each request of a turn, and another one in the next turn.

    """

    steps: tuple[Step, ...] = ()
    turn_start: int = 0
    turn_id: str = ""

    @property
    def turn(self) -> tuple[Step, ...]:
        """The steps of the newest turn."""
        return self.steps[self.turn_start :]

    @property
    def depth(self) -> int:
        return len(self.steps)

    @property
    def turn_depth(self) -> int:
        return len(self.steps) - self.turn_start


class TaskBuilder:
    """Puts a task together from a conversation's calls and results, in their order.

    It takes any order: a result goes to the oldest call of its id that waits for one. A
    result whose id no call has goes to the newest step's oldest waiting call, and is left
    out when there is none.
    """

    def __init__(self) -> None:
        self._steps: list[list[Call]] = []
        self._is_open = False
        self._turn_start = 0
        self._turns = 0
        self._opening = ""
        self._waiting: dict[str, deque[tuple[int, int]]] = {}
        # No call of the newest step before this one waits.
        self._oldest = 0

    def begin_turn(self, opening: str) -> None:
        """Begin a turn. `opening` stands for its text in the turn's id."""
        self.end_step()
        self._turn_start = len(self._steps)
        self._turns += 1
        self._opening = opening

    def add_call(self, call: Call) -> None:
        """Add a call to the open step, or to a new one."""
        if not self._is_open:
            self._steps.append([])
            self._is_open = True
            self._oldest = 0
        step = self._steps[-1]
        self._waiting.setdefault(call.id, deque()).append((len(self._steps) - 1, len(step)))
        step.append(call)

    def end_step(self) -> None:
        self._is_open = False

    def add_result(self, call_id: str, result: Result) -> None:
        self.end_step()
        place = self._place_of(call_id)
        if place is not None:
            index, number = place
            step = self._steps[index]
            step[number] = step[number]._replace(result=result)

    def _place_of(self, call_id: str) -> tuple[int, int] | None:
        waiting = self._waiting.get(call_id)
        if waiting is None:
            return self._oldest_of_newest_step()
        while waiting:
            index, number = waiting.popleft()
            if self._steps[index][number].result is None:
                return index, number
        return None

    def _oldest_of_newest_step(self) -> tuple[int, int] | None:
        # Never backwards: a step may have thousands of calls, and as many such results.
        newest = len(self._steps) - 1
        while newest >= 0 and self._oldest < len(self._steps[newest]):
            if self._steps[newest][self._oldest].result is None:
                return newest, self._oldest
            self._oldest += 1
        return None

    def build(self) -> Task:
        return Task(
            steps=tuple(map(tuple, self._steps)),
            turn_start=self._turn_start,
            turn_id=f"{self._turns}:{self._opening}",
        )
