"""How deep, how long and how large a task may become.

The defaults are 5 steps a turn and 25 a task. A request whose answer can call no
tool is never over a bound: that answer ends the turn, which is what the bounds are for.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from router.agents.task import Task
from router.agents.task_table import Spent
from router.errors import Rejected, RejectReason


class Limit(StrEnum):
    """The bounds, by the names of their settings."""

    TURN_DEPTH = "turn_depth"
    TASK_DEPTH = "task_depth"
    TURN_S = "turn_s"
    TASK_S = "task_s"
    TASK_TOKENS = "task_tokens"


_SAID = {
    Limit.TURN_DEPTH: "This turn has called tools {found:g} times in a row; {allowed:g} steps "
    "are allowed",
    Limit.TASK_DEPTH: "This task has called tools in {found:g} steps; {allowed:g} are allowed",
    Limit.TURN_S: "This turn began {found:.0f} seconds ago; {allowed:g} are allowed",
    Limit.TASK_S: "This task began {found:.0f} seconds ago; {allowed:g} are allowed",
    Limit.TASK_TOKENS: "This task has used {found:g} tokens; {allowed:g} are allowed",
}
FINISH = (
    "Send the conversation without 'tools', or with a 'tool_choice' of none, to have the model "
    "answer with what it has found"
)
_THEN = {
    Limit.TURN_DEPTH: ", or begin a new turn with a user message.",
    Limit.TURN_S: ", or begin a new turn with a user message.",
    Limit.TASK_DEPTH: ", or begin a new conversation.",
    Limit.TASK_S: ", or begin a new task.",
    Limit.TASK_TOKENS: ", or begin a new task.",
}


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of one tier; None: no bound.

    Attributes:
        turn_depth: steps of a turn.
        task_depth: steps of a whole conversation.
        turn_s: seconds since the turn's first request.
        task_s: seconds since the task's first request.
        task_tokens: prompt and answer tokens of the task's requests together.

    """

    turn_depth: int | None = 5
    task_depth: int | None = 25
    turn_s: float | None = None
    task_s: float | None = None
    task_tokens: int | None = None

    @property
    def need_table(self) -> bool:
        """Whether the task must be looked up in a `TaskTable`."""
        return not (self.turn_s is None and self.task_s is None and self.task_tokens is None)


@dataclass(frozen=True, slots=True)
class Exceeded:
    """A bound that is reached, and what was found."""

    limit: Limit
    found: float
    allowed: float

    @property
    def sentence(self) -> str:
        """What is the matter, without what to do."""
        return _SAID[self.limit].format(found=self.found, allowed=self.allowed) + "."

    def refusal(self) -> Rejected:
        """A 400 that says what to do."""
        return Rejected(
            RejectReason.TOOL_DEPTH_EXCEEDED,
            f"{self.sentence} {FINISH}{_THEN[self.limit]}",
            param="tools",
        )


def find_exceeded(bounds: Bounds, task: Task, spent: Spent, *, finishes: bool) -> Exceeded | None:
    """The first bound that is reached by a request whose answer may call tools.

    Where a turn at its bound `finishes` with an answer without tools, the answer after the
    last allowed step is that one. Otherwise that answer may call tools, because it need
    not; only if it did is the next request over the bound.
    """
    spare = 1 if finishes else 0
    used = (
        (Limit.TURN_DEPTH, task.turn_depth + spare, bounds.turn_depth),
        (Limit.TASK_DEPTH, task.depth + spare, bounds.task_depth),
        (Limit.TURN_S, spent.turn_s, bounds.turn_s),
        (Limit.TASK_S, spent.task_s, bounds.task_s),
        (Limit.TASK_TOKENS, spent.tokens, bounds.task_tokens),
    )
    for limit, found, allowed in used:
        if allowed is not None and found > allowed:
            real = found - spare if limit in (Limit.TURN_DEPTH, Limit.TASK_DEPTH) else found
            return Exceeded(limit, real, allowed)
    return None
