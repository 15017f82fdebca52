"""What tasks have used so far, where one request cannot say it: time and tokens.

Each ingress replica has a table of its own, which a restart empties. So what is found
here is never more than a task has used: a loss, or a task whose requests reach several
ingress replicas, only lengthens a budget. Depth and loops need no table.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field

MAX_TURNS = 16
"""Turns of one task that are known at once: each sub-agent under a task's id has its own."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What a task has used: seconds since its turn and itself began, and tokens."""

    turn_s: float = 0.0
    task_s: float = 0.0
    tokens: int = 0


@dataclass(slots=True)
class _Entry:
    begun: float
    seen: float
    tokens: int = 0
    turns: OrderedDict[str, float] = field(default_factory=OrderedDict)


class TaskTable:
    """Tasks by a key of the caller's: tenant and task id, or tenant and session.

    Args:
        max_tasks: over it, the task that was seen longest ago is forgotten.
        idle_s: a task that is not seen for this long is forgotten.

    """

    def __init__(self, max_tasks: int = 10_000, idle_s: float = 3600.0) -> None:
        self._max_tasks = max_tasks
        self._idle_s = idle_s
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def see(self, key: Hashable, turn_id: str, now: float) -> Spent:
        """Note a request of a task, and say what the task had used before it."""
        entry = self._touch(key, now)
        begun = entry.turns.setdefault(turn_id, now)
        entry.turns.move_to_end(turn_id)
        if len(entry.turns) > MAX_TURNS:
            entry.turns.popitem(last=False)
        return Spent(now - begun, now - entry.begun, entry.tokens)

    def spend(self, key: Hashable, tokens: int, now: float) -> None:
        """Add the tokens of a request that has ended, prompt and answer."""
        self._touch(key, now).tokens += tokens

    def _touch(self, key: Hashable, now: float) -> _Entry:
        self._forget_idle(now)
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = _Entry(begun=now, seen=now)
            if len(self._entries) > self._max_tasks:
                self._entries.popitem(last=False)
        entry.seen = now
        self._entries.move_to_end(key)
        return entry

    def _forget_idle(self, now: float) -> None:
        while self._entries:
            key, oldest = next(iter(self._entries.items()))
            if now - oldest.seen < self._idle_s:
                return
            del self._entries[key]
