"""Sessions of turns, drawn at random (`simulator.virtual_time.workload`), sent to a fleet."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from fleet.simulation.world import Answer, Ask, Fleet
from fleet.traffic.scores import SCORES, Scores
from simulator.model.sequence import ENDLESS, KeyRuns
from simulator.virtual_time.workload import Session, Workload, sessions

_INDEX_BITS = 24
_BRANCH = 1 << 60


@dataclass(frozen=True, slots=True)
class Curve:
    """A figure over time, linear between its points: (seconds, value), ascending.

    Before the first point and after the last it stays what it is there.
    """

    points: tuple[tuple[float, float], ...]

    def at(self, now: float) -> float:
        index = bisect_right(self.points, now, key=lambda point: point[0])
        if index == 0:
            return self.points[0][1]
        if index == len(self.points):
            return self.points[-1][1]
        (low, low_value), (high, high_value) = self.points[index - 1], self.points[index]
        return low_value + (high_value - low_value) * (now - low) / (high - low)

    @property
    def most(self) -> float:
        return max(value for _, value in self.points)


def steady(value: float) -> Curve:
    return Curve(((0.0, value),))


def diurnal(peak: float, trough: float, day_s: float = 86_400.0) -> Curve:
    """Return a day as a cosine: the trough at its beginning and end, the peak in its middle."""
    middle, swing = (peak + trough) / 2, (peak - trough) / 2
    steps = 96
    return Curve(
        tuple(
            (day_s * x / steps, middle - swing * math.cos(2 * math.pi * x / steps))
            for x in range(steps + 1)
        )
    )


@dataclass(slots=True)
class Talk:
    """A session on its way."""

    session: Session
    history: int
    turn: int = 0
    stage: int = 0
    open_requests: int = 0
    scores: tuple[float, ...] = ()
    is_refused: bool = False


@dataclass(slots=True)
class Sessions:
    """Sessions of one workload and one tier; a `Source`.

    Attributes:
        requests_per_s: open loop: requests as they would come if nothing made them wait.
        active: closed loop: so many sessions at any time, each ended one replaced.
        prefix: of the tenants' names, which are numbered.
        limit: what each request asks for at most; None: it names none.
        begin_s, end_s: sessions begin in this time only.
        number: tells the sources of one run apart.

    A session ends where one of its requests is refused: its user goes.

    """

    workload: Workload
    tier: str
    seed: int = 1
    requests_per_s: Curve | None = None
    active: int | None = None
    prefix: str = "tenant"
    limit: int | None = None
    pinned: str | None = None
    begin_s: float = 0.0
    end_s: float = math.inf
    number: int = 0
    scores: Scores = SCORES
    sticky_turns: int = 3
    _fleet: Fleet = field(init=False)
    _random: Random = field(init=False)
    _next: Callable[[], Session] = field(init=False)

    def begin(self, fleet: Fleet) -> None:
        if (self.active is None) == (self.requests_per_s is None):
            raise ValueError("give either 'active' (closed loop) or 'requests_per_s' (open loop)")
        self._fleet = fleet
        # Nothing here is a secret.
        self._random = random = Random(f"{self.seed}.{self.number}.{self.prefix}")  # noqa: S311
        self._next = sessions(self.workload, random).__next__
        if self.requests_per_s is not None:
            self._arrive(self.begin_s)
        for _ in range(self.active or 0):
            # Spread over one think time, so that they do not march in step.
            fleet.world.at(self.begin_s + random.uniform(0, self.workload.think_s + 1), self._start)

    def _arrive(self, now: float) -> None:
        """Plan the next arrival: a Poisson process of the curve's highest rate, thinned."""
        curve, random = self.requests_per_s, self._random
        assert curve is not None
        each = self.workload.turns * sum(stage.requests for stage in self.workload.stages)
        most = curve.most / each
        at = now
        while most > 0:
            at += random.expovariate(most)
            if at >= self.end_s:
                return
            if random.random() * most < curve.at(at) / each:
                self._fleet.world.at(at, self._arrived)
                return

    def _arrived(self, now: float) -> None:
        self._arrive(now)
        self._start(now)

    def _start(self, now: float) -> None:
        if now < self.end_s:
            self._begin_stage(Talk(self._next(), self.workload.system_tokens))

    def _begin_stage(self, talk: Talk) -> None:
        workload = self.workload
        if not talk.stage:
            is_complex = talk.session.is_complex and not talk.turn
            score = self.scores.draw(self._random, is_complex=is_complex)
            talk.scores = (*talk.scores[-self.sticky_turns + 1 :], score)
        requests = talk.session.turns[talk.turn][talk.stage]
        talk.open_requests = len(requests)
        opening, history = workload.system_tokens, talk.history
        base = self.number << 40
        system = (base + 2 * talk.session.tenant + 1) << _INDEX_BITS
        own = (base + 2 * talk.session.number) << _INDEX_BITS
        for number, request in enumerate(requests):
            # Requests side by side share the history and differ after it; the first of
            # them is the one whose tokens go on.
            branch = own + number * (_BRANCH << 40)

            def blocks(size: int, branch: int = branch) -> KeyRuns:
                shared = opening // size, system
                if branch == own:
                    return KeyRuns(shared, (ENDLESS, own))
                return KeyRuns(shared, (history // size, own), (ENDLESS, branch))

            tokens = request.input_tokens, request.output_tokens

            def done(answer: Answer, at: float, tokens: tuple[int, int] = tokens) -> None:
                self._done(talk, sum(tokens), answer, at)

            self._fleet.ask(
                Ask(
                    f"{self.prefix}-{talk.session.tenant}",
                    self.tier,
                    base + talk.session.number,
                    max(1, talk.history + request.input_tokens),
                    request.output_tokens,
                    blocks,
                    done,
                    talk.history - workload.system_tokens,
                    workload.system_tokens,
                    self.limit,
                    talk.scores,
                    self.pinned,
                    talk.turn,
                    has_tools=workload.tools > 0,
                    is_step=talk.stage > 0,
                )
            )

    def _done(self, talk: Talk, tokens: int, answer: Answer, now: float) -> None:
        talk.history += tokens
        talk.open_requests -= 1
        talk.is_refused = talk.is_refused or answer.code != "200"
        if talk.open_requests:
            return
        world, workload, random = self._fleet.world, self.workload, self._random
        stage = workload.stages[talk.stage]
        talk.stage += 1
        if talk.stage < len(workload.stages) and not talk.is_refused:
            world.at(now + stage.wait_s, lambda _: self._begin_stage(talk))
            return
        talk.stage = 0
        talk.turn += 1
        pause = random.expovariate(1 / workload.think_s) if workload.think_s else 0.0
        if talk.turn < len(talk.session.turns) and not talk.is_refused:
            world.at(now + pause, lambda _: self._begin_stage(talk))
        elif self.active is not None:
            # Not at once: who is refused without a pause would ask for ever at one instant.
            world.at(now + max(pause, 0.1), self._start)
