"""A workload against several simulated engines behind one way of choosing, in virtual time."""

from __future__ import annotations

from collections.abc import Sequence as Many
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from simulator.model.engine import BatchingEngine, Sequence
from simulator.model.profile import Profile
from simulator.virtual_time.virtual import Result, _Run
from simulator.virtual_time.workload import Workload

TICK_S = 1.0


@dataclass(frozen=True, slots=True)
class Ask:
    """One request that looks for a replica.

    Attributes:
        session, tenant: numbers of both.
        turn: number of the turn in its session, from 0.
        system_tokens: its system prompt; `history_tokens`: what follows it and was said
            before; `input_tokens`: what is new.

    """

    session: int
    tenant: int
    turn: int
    system_tokens: int
    history_tokens: int
    input_tokens: int


class Chooser(Protocol):
    """A way of choosing among replicas."""

    def choose(self, ask: Ask, live: Many[int], now: float) -> int:
        """The replica for a request, one of `live`."""

    def finished(self, ask: Ask, replica: int, now: float) -> None:
        """A request has ended, or its replica has."""

    def tick(self, now: float) -> None:
        """Called every second of virtual time."""


@dataclass(slots=True)
class FleetResult(Result):
    """What a run gave.

    Attributes:
        engines: every replica's engine, for its counters.
        places: per session, (turn, replica, when) of every request.
        running: once a second, sequences that run on each live replica.

    """

    engines: list[BatchingEngine] = field(default_factory=list)
    places: dict[int, list[tuple[int, int, float]]] = field(default_factory=dict)
    running: list[tuple[float, list[int]]] = field(default_factory=list)


def run_fleet(
    profile: Profile,
    workload: Workload,
    chooser: Chooser,
    engines: list[BatchingEngine],
    *,
    duration_s: float,
    random: Random,
    active: int,
    skip_s: float = 60.0,
    without: tuple[int, float, float] | None = None,
) -> FleetResult:
    """Run a closed loop of `active` sessions over several engines.

    Args:
        profile: of every engine.
        workload: the traffic.
        chooser: finds the replica of each request.
        engines: one for each replica, not used before.
        duration_s: length of the run in virtual seconds.
        random: source of randomness.
        active: so many sessions at any time, each ended one replaced.
        skip_s: requests begun before this are not reported.
        without: (replica, from, until): it is lost for that time, cache and all, and
            what it was doing is sent elsewhere.

    """
    run = _FleetRun(profile, workload, random, duration_s, skip_s, engines, chooser)
    if without is not None:
        run.lose(*without)
    run.begin()
    run.run(active, None)
    return run.result


class _FleetRun(_Run):
    def __init__(
        self,
        profile: Profile,
        workload: Workload,
        random: Random,
        duration_s: float,
        skip_s: float,
        engines: list[BatchingEngine],
        chooser: Chooser,
    ) -> None:
        super().__init__(engines[0], workload, random, duration_s, skip_s)
        self._profile = profile
        self._engines = list(engines)
        self._live = list(range(len(engines)))
        self._chooser = chooser
        self._placed: dict[Sequence, tuple[int, BatchingEngine, Ask]] = {}
        self.result = FleetResult(engine=engines[0], virtual_s=duration_s, engines=self._engines)
        self._result = self.result

    def begin(self) -> None:
        """Sample and tick from the first second on."""
        self._at(TICK_S, self._tick)

    def lose(self, replica: int, since: float, until: float) -> None:
        """Plan the loss of a replica and its return, empty."""
        self._at(since, lambda at: self._lose(replica, at))
        self._at(until, lambda _: self._bring_back(replica))

    def _tick(self, now: float) -> None:
        running = [self._engines[i].running for i in self._live]
        self.result.running.append((now, running))
        self._chooser.tick(now)
        self._at(now + TICK_S, self._tick)

    def _submit(self, sequence: Sequence, now: float) -> None:
        talk, request, _ = self._owners[sequence]
        ask = Ask(
            session=talk.session.number,
            tenant=talk.session.tenant,
            turn=talk.turn,
            system_tokens=self._workload.system_tokens,
            history_tokens=talk.history - self._workload.system_tokens,
            input_tokens=request.input_tokens,
        )
        replica = self._chooser.choose(ask, self._live, now)
        engine = self._engines[replica]
        self._placed[sequence] = replica, engine, ask
        self.result.places.setdefault(ask.session, []).append((talk.turn, replica, now))
        engine.add(sequence, now)

    def _engine_of(self, sequence: Sequence) -> BatchingEngine:
        return self._placed[sequence][1]

    def _finished(self, sequence: Sequence) -> None:
        replica, _, ask = self._placed[sequence]
        assert sequence.finished_at is not None
        self._chooser.finished(ask, replica, sequence.finished_at)
        super()._finished(sequence)
        del self._placed[sequence]

    def _lose(self, replica: int, now: float) -> None:
        self._live.remove(replica)
        mine = [s for s, (index, _, _) in self._placed.items() if index == replica]
        engine = BatchingEngine(
            self._profile.timing, self._engines[replica].scheduling, keeps_step_times=True
        )
        self._engines[replica] = engine
        for sequence in mine:
            _, _, ask = self._placed.pop(sequence)
            self._chooser.finished(ask, replica, now)
            self._again(sequence, now)

    def _again(self, sequence: Sequence, now: float) -> None:
        talk, request, begun = self._owners.pop(sequence)
        again = self._sequence(talk, request, 0)
        self._owners[again] = talk, request, begun
        self._submit(again, now)

    def _bring_back(self, replica: int) -> None:
        self._live = sorted([*self._live, replica])
