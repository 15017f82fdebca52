"""A workload against simulated engines in virtual time: an hour in seconds."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import sub
from random import Random

from simulator.model.engine import BatchingEngine, Sequence
from simulator.model.profile import Profile, Scheduling
from simulator.model.sequence import ENDLESS, KeyRuns
from simulator.virtual_time.report import Turn
from simulator.virtual_time.workload import Request, Session, Workload, sessions

# A prompt's blocks are known by (owner, index) packed into one integer.
_INDEX_BITS = 24


@dataclass(slots=True)
class _Conversation:
    """A session on its way: where it is and how long its history has become."""

    session: Session
    history: int
    turn: int = 0
    stage: int = 0
    open_requests: int = 0
    begun: float = 0.0
    turn_begun: float = 0.0


@dataclass(slots=True)
class Result:
    """What a run gave.

    Attributes:
        engine: the engine, for its counters.
        virtual_s: how long the run was.
        turns: one entry a finished request, those of the warm-up period left out.
        user_turns_s: how long each of the users' turns took, tools and all stages.

    """

    engine: BatchingEngine
    virtual_s: float
    turns: list[Turn] = field(default_factory=list)
    user_turns_s: list[float] = field(default_factory=list)


def run(
    profile: Profile,
    workload: Workload,
    *,
    duration_s: float,
    random: Random,
    active: int | None = None,
    sessions_per_s: float | None = None,
    scheduling: Scheduling | None = None,
    skip_s: float = 60.0,
) -> Result:
    """Run a workload on one engine.

    Args:
        profile: the engine.
        workload: the traffic.
        duration_s: length of the run in virtual seconds.
        random: source of randomness.
        active: closed loop: so many sessions at any time, each ended one replaced.
        sessions_per_s: open loop: sessions arrive so often (Poisson). Give one of both.
        scheduling: instead of the profile's.
        skip_s: requests begun before this are not reported (the caches fill).

    """
    if (active is None) == (sessions_per_s is None):
        raise ValueError("give either 'active' (closed loop) or 'sessions_per_s' (open loop)")
    engine = BatchingEngine(profile.timing, scheduling or profile.scheduling, keeps_step_times=True)
    return _Run(engine, workload, random, duration_s, skip_s).run(active, sessions_per_s)


class _Run:
    def __init__(
        self,
        engine: BatchingEngine,
        workload: Workload,
        random: Random,
        duration_s: float,
        skip_s: float,
    ) -> None:
        self._engine = engine
        self._workload = workload
        self._random = random
        self._duration_s = duration_s
        self._skip_s = skip_s
        self._sessions = sessions(workload, random)
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = itertools.count()
        self._owners: dict[Sequence, tuple[_Conversation, Request, float]] = {}
        # Which engine answers, once a sequence was submitted; one engine unless a fleet.
        self._engines = [engine]
        self._overhead_s = engine.timing.request_overhead_ms / 1000
        self._is_closed = False
        self._result = Result(engine, duration_s)

    def run(self, active: int | None, sessions_per_s: float | None) -> Result:
        if active is not None:
            self._is_closed = True
            for _ in range(active):
                # Spread over one think time, so that they do not march in step.
                self._at(self._random.uniform(0, self._workload.think_s + 1), self._start)
        else:
            assert sessions_per_s is not None
            self._arrive(sessions_per_s, 0.0)
        events = self._events
        while True:
            engine, engine_at = self._next_step()
            if events and events[0][0] <= engine_at:
                at, _, action = heapq.heappop(events)
                if at > self._duration_s:
                    break
                action(at)
            elif engine_at <= self._duration_s:
                for sequence in engine.advance().finished:
                    self._finished(sequence)
            else:
                break
        return self._result

    def _next_step(self) -> tuple[BatchingEngine, float]:
        """The engine whose step ends first, and when; infinity while all are idle."""
        first, first_at = self._engine, math.inf
        for engine in self._engines:
            at = engine.next_at
            if at is not None and at < first_at:
                first, first_at = engine, at
        return first, first_at

    def _at(self, at: float, action: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (at, next(self._order), action))

    def _arrive(self, per_s: float, now: float) -> None:
        def arrive(at: float) -> None:
            self._start(at)
            self._arrive(per_s, at)

        self._at(now + self._random.expovariate(per_s), arrive)

    def _start(self, now: float) -> None:
        session = next(self._sessions)
        self._begin_stage(_Conversation(session, self._workload.system_tokens, begun=now), now)

    def _begin_stage(self, talk: _Conversation, now: float) -> None:
        if not talk.stage:
            talk.turn_begun = now
        requests = talk.session.turns[talk.turn][talk.stage]
        talk.open_requests = len(requests)
        for number, request in enumerate(requests):
            sequence = self._sequence(talk, request, number)
            self._owners[sequence] = (talk, request, now)

            def submit(at: float, sequence: Sequence = sequence) -> None:
                self._submit(sequence, at)

            self._at(now + self._overhead_s, submit)

    def _submit(self, sequence: Sequence, now: float) -> None:
        self._engine.add(sequence, now)

    def _engine_of(self, sequence: Sequence) -> BatchingEngine:  # noqa: ARG002
        """The engine that answers, or answered, a sequence."""
        return self._engine

    def _sequence(self, talk: _Conversation, request: Request, number: int) -> Sequence:
        size = self._engine.scheduling.block_size
        shared = self._workload.system_tokens // size
        known = talk.history // size
        system = (2 * talk.session.tenant + 1) << _INDEX_BITS
        own = (2 * talk.session.number) << _INDEX_BITS
        # Requests side by side share the history and differ after it; the first of
        # them is the one whose tokens go on.
        branch = (number * (1 << 60)) + own

        runs = ((shared, system), (known, own)) if number else ((shared, system),)
        return Sequence(
            max(1, talk.history + request.input_tokens),
            request.output_tokens,
            KeyRuns(*runs, (ENDLESS, branch)),
        )

    def _finished(self, sequence: Sequence) -> None:
        talk, request, begun = self._owners.pop(sequence)
        self._note(talk, request, sequence, begun)
        talk.history += request.input_tokens + request.output_tokens
        talk.open_requests -= 1
        if talk.open_requests:
            return
        assert sequence.finished_at is not None
        self._go_on(talk, sequence.finished_at)

    def _go_on(self, talk: _Conversation, now: float) -> None:
        stage = self._workload.stages[talk.stage]
        talk.stage += 1
        if talk.stage < len(self._workload.stages):
            self._at(now + stage.wait_s, lambda at: self._begin_stage(talk, at))
            return
        talk.stage = 0
        talk.turn += 1
        if talk.turn_begun >= self._skip_s:
            self._result.user_turns_s.append(now - talk.turn_begun)
        pause = (
            self._random.expovariate(1 / self._workload.think_s) if self._workload.think_s else 0
        )
        if talk.turn < len(talk.session.turns):
            self._at(now + pause, lambda at: self._begin_stage(talk, at))
        elif self._is_closed:
            self._at(now + pause, self._start)

    def _note(
        self, talk: _Conversation, request: Request, sequence: Sequence, begun: float
    ) -> None:
        assert sequence.first_token_at is not None and sequence.finished_at is not None
        if begun < self._skip_s:
            return
        self._result.turns.append(
            Turn(
                stage=request.stage,
                turn=talk.turn,
                begun=begun,
                ttft_s=sequence.first_token_at - begun,
                duration_s=sequence.finished_at - begun,
                prompt_tokens=sequence.prompt_tokens,
                cached_tokens=sequence.cached_tokens,
                output_tokens=sequence.output_tokens,
                first_30_s=token_at(self._engine_of(sequence), sequence, 30) - begun,
                longest_gap_s=self._longest_gap(sequence),
            )
        )

    def _longest_gap(self, sequence: Sequence) -> float:
        assert sequence.first_token_at is not None
        before, longest = sequence.first_token_at, 0.0
        engine = self._engine_of(sequence)
        for first, last in sequence.segments:
            part = engine.ended(first, last)
            longest = max(longest, part[0] - before, max(map(sub, part[1:], part), default=0.0))
            before = part[-1]
        return longest


def token_at(engine: BatchingEngine, sequence: Sequence, number: int) -> float:
    """When the n-th token of a finished sequence came (or the last, of a shorter answer).

    Of an engine that keeps its step times.
    """
    assert sequence.first_token_at is not None and sequence.finished_at is not None
    left = number - 1
    if left <= 0:
        return sequence.first_token_at
    for first, last in sequence.segments:
        if left <= last - first:
            return engine.ended(first + left - 1, first + left)[0]
        left -= last - first
    return sequence.finished_at


def tokens_per_s(result: Result) -> float:
    """Output tokens a second over the reported part of a run."""
    if not result.turns:
        return math.nan
    begun = min(turn.begun for turn in result.turns)
    return sum(turn.output_tokens for turn in result.turns) / (result.virtual_s - begun)
