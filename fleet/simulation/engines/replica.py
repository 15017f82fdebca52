"""One replica of a lane: a simulated engine, and what it publishes of its turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from fleet.simulation.world import World
from router.placement.open_turns import OpenTurns
from router.placement.placement import Report
from router.scaling.throughput import ReplicaReading
from simulator.model.engine import BatchingEngine, Sequence


class Served(Protocol):
    """The request that a sequence is of."""

    def first_token(self, now: float) -> None: ...

    def finished(self, now: float) -> None: ...

    def lost(self, now: float) -> None: ...


class Attempt(Sequence):
    """A sequence that knows whose it is."""

    __slots__ = ("request",)

    def __init__(
        self,
        request: Served,
        prompt_tokens: int,
        output_tokens: int,
        block_key: Callable[[int], int],
        priority: int,
    ) -> None:
        super().__init__(prompt_tokens, output_tokens, block_key, priority)
        self.request = request


class Replica:
    """A replica that serves, until it is gone.

    Attributes:
        published: what it said of itself last; the same object until something changes.
        open: requests that it has, from their placement on.
        tokens: prompt and answer tokens of those that it has `served`.

    """

    def __init__(self, name: str, engine: BatchingEngine, turns: OpenTurns, world: World) -> None:
        self.name, self.engine, self.turns = name, engine, turns
        self.published: Mapping[str, Any] = {}
        self._said: Report | None = None
        self.open: dict[Served, None] = {}
        self.is_draining = self.is_gone = False
        self.tokens = self.served = 0
        self._world = world
        self._awaited: float | None = None

    def add(self, attempt: Attempt, now: float) -> None:
        self.engine.add(attempt, now)
        self._await_step()

    def abort(self, attempt: Attempt) -> None:
        self.engine.abort(attempt)
        self._await_step()

    def renew(self, engine: BatchingEngine) -> None:
        """Go on with another engine, which has nothing in its caches; none may be asked now."""
        assert not self.open
        self.engine, self._awaited = engine, None

    def _await_step(self) -> None:
        """Plan for the engine's next step; what was planned for a later one is void."""
        at = self.engine.next_at
        if at != self._awaited:
            self._awaited = at
            if at is not None:
                self._world.at(at, self._step)

    def _step(self, now: float) -> None:
        if self.is_gone or now != self._awaited:
            return
        result = self.engine.advance()
        for sequence in result.first:
            sequence.request.first_token(now)  # type: ignore[attr-defined]
        for sequence in result.finished:
            self.served += 1
            self.tokens += sequence.prompt_tokens + sequence.output_tokens
            sequence.request.finished(now)  # type: ignore[attr-defined]
        self._await_step()

    def reading(self, now: float) -> ReplicaReading:
        """Return one look at it, as the autoscaling policy has it."""
        engine = self.engine
        load = engine.running, engine.waiting, engine.utilization()
        return ReplicaReading(now, self.tokens, *load)

    def publish(self, now: float) -> None:
        said = self.turns.report(self.engine.utilization(), now=now)
        if said != self._said:
            self._said, self.published = said, said.to_mapping()


class Decoded(dict[Replica, int]):
    """Decode steps of engines at one instant, each asked for once."""

    def __missing__(self, replica: Replica) -> int:
        steps = self[replica] = replica.engine.decoded()
        return steps
