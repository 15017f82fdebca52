"""Virtual time: what is to happen, in order."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Protocol, runtime_checkable

Action = Callable[[float], None]

ALLOCATIONS = 50_000
"""Of containers, after which Python looks for circles while a fleet runs; 700 by default."""


@contextmanager
def rarely_collected() -> Iterator[None]:
    """Look for circles seldom: there are hardly any, and a tenth of a run went into looking."""
    before = gc.get_threshold()
    gc.set_threshold(ALLOCATIONS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


class World:
    """The clock, and what is due when. Actions get the time they were due at."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Action]] = []
        self._numbers = itertools.count()

    def time(self) -> float:
        return self.now

    def at(self, when: float, action: Action) -> None:
        heappush(self._due, (when, next(self._numbers), action))

    def every(self, period_s: float, action: Action) -> None:
        """Do something again and again, the first time in one period."""
        due, numbers = self._due, self._numbers

        def again(now: float) -> None:
            action(now)
            heappush(due, (now + period_s, next(numbers), again))

        self.at(self.now + period_s, again)

    def step(self) -> bool:
        """Do what is due next; return whether there was anything."""
        if not self._due:
            return False
        self.now, _, action = heappop(self._due)
        action(self.now)
        return True

    def run(self, until: float) -> None:
        due, pop = self._due, heappop
        with rarely_collected():
            while due and due[0][0] <= until:
                now, _, action = pop(due)
                self.now = now
                action(now)
        self.now = until


@dataclass(slots=True)
class Answer:
    """How a request ended.

    Attributes:
        code: `200`, or an error code of the outward interface; `broken`: the stream ended.
        took_s: from the request to the end.
        completion_tokens: that were given.

    """

    code: str
    took_s: float
    completion_tokens: int


@dataclass(slots=True)
class Ask:
    """One request as its client sends it.

    Attributes:
        session: number of its conversation.
        history_tokens: of its prompt, what was said before the newest message;
            `system_tokens`: what stands before all that.
        output_tokens: that it will be answered with.
        limit: the most that the client asks for; None: it names none.
        blocks: for a block size in tokens, what gives the key of its n-th full KV block
            (`block_key` of `simulator.model.engine.Sequence`).
        scores: of its newest user turns, newest last.
        pinned: the lane it names.
        turn: number of the user turn; its steps bring results of tools.
        done: told when it has ended.

    """

    tenant: str
    tier: str
    session: int
    prompt_tokens: int
    output_tokens: int
    blocks: Callable[[int], Callable[[int], int]]
    done: Callable[[Answer, float], None]
    history_tokens: int = 0
    system_tokens: int = 0
    limit: int | None = None
    scores: tuple[float, ...] = ()
    pinned: str | None = None
    turn: int = 0
    has_tools: bool = False
    is_step: bool = False
    is_background: bool = False
    is_sub_agent: bool = False


class Fleet(Protocol):
    """What traffic is sent to."""

    @property
    def world(self) -> World:
        """The clock that it runs by."""

    def ask(self, ask: Ask) -> None:
        """Take a request, now."""


@runtime_checkable
class Source(Protocol):
    """Traffic of one kind."""

    def begin(self, fleet: Fleet) -> None:
        """Plan the first requests; later ones follow from these."""


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that happens to a lane.

    Attributes:
        at: seconds from the beginning.
        kind: `lose`: so many replicas are lost with their caches, back after `for_s`;
            `redeploy`: each replica in turn drains and starts anew. Of a lane that shares its
            cards, for `for_s`: `wake_fails`, wakings end with an error; `wake_hangs`, with the
            replica.
        replicas: how many; None: all.

    """

    at: float
    kind: str
    lane: str
    replicas: int | None = None
    for_s: float = field(default=60.0)
