"""What one replica gives when so many sessions talk to it, in closed form.

A session sends a turn, waits for its answer, pauses for `think_s` and sends the next, so
that Little's law ties sessions, turns a second and times together: N = X (W + Z). The
time of a step comes from the engine's own cost (`simulator.model`), at the mean batch and
the mean context; prefill takes a share B of the steps' time and stretches all decoding by
1 / (1 - B). That is a mean-value model: how far it is from the simulation, which knows
bursts and queues, is held in tests/unit/fleet/plan/test_load.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol

from simulator.model.step_cost import pairs
from simulator.virtual_time.workload import Length, Workload

P95 = 1.6449
"""95th percentile of the standard normal distribution."""

SLOW_STEPS = (1.1, 2.2)
"""The 95th percentile of the mean time of 29 tokens over the mean of all is the first, plus
the second times the share of prefill; fitted to the simulation of `saas` on two engines."""

QUEUED_PREFILL = 3.0
"""Long prompts, times the share of prefill, that are before one at the 95th percentile; so."""

HALVINGS = 24
"""Of the interval in which the batch is searched."""


class StepTime(Protocol):
    """What a step costs; `simulator.model.profile.Timing` is one.

    `seconds` takes prompt tokens of the step, pairs of such a token and one that it looks
    at, decoding sequences, and the tokens that those hold together.
    """

    def seconds(
        self, prefill_tokens: int, prefill_pairs: float, batch: int, context: int, /
    ) -> float: ...


@dataclass(frozen=True, slots=True)
class Round:
    """Requests that a turn sends at once. Tokens, seconds.

    Attributes:
        requests: how many.
        new: prompt tokens that each brings; `new_p95` their 95th percentile.
        output: tokens of each answer; `output_p95` their 95th percentile.
        wait_s: a tool's work after it.
        cold: of the history, what the lane has to read because another one answered before;
            `cold_p95` at the 95th percentile.

    """

    requests: int
    new: float
    new_p95: float
    output: float
    output_p95: float
    wait_s: float = 0.0
    cold: float = 0.0
    cold_p95: float = 0.0


@dataclass(frozen=True, slots=True)
class Talk:
    """A session as the formulas see it: means of a workload.

    Attributes:
        rounds: of one turn.
        turns: of a session.
        system: tokens of a tenant's system prompt; `tenants` have one each.
        history: tokens that a turn finds already said, the system prompt not counted.
        longest: tokens of a session at the end of its mean last turn.

    """

    rounds: tuple[Round, ...]
    turns: float
    think_s: float
    system: float
    tenants: int
    history: float
    longest: float

    @property
    def requests(self) -> int:
        """Requests of one turn."""
        return sum(x.requests for x in self.rounds)

    @property
    def tokens(self) -> float:
        """New prompt tokens and answers of one turn."""
        return sum(x.requests * (x.new + x.output) for x in self.rounds)

    @property
    def output(self) -> float:
        """Tokens of all answers of one turn."""
        return sum(x.requests * x.output for x in self.rounds)

    @property
    def context(self) -> float:
        """Tokens in the KV cache of a request in the middle of its answer."""
        return self.system + self.history + self.tokens / 2


def talk_of(workload: Workload) -> Talk:
    """Return the means of a workload.

    A session has 1 + Poisson(m) turns, so that a turn drawn at random has
    (m² / 2 + m) / (1 + m) turns before it.
    """
    rounds = tuple(
        Round(x.requests, x.input.mean, _p95(x.input), x.output.mean, _p95(x.output), x.wait_s)
        for x in workload.stages
    )
    # Of requests side by side the first one's tokens go on; the others' are counted with
    # them by the simulator, and here.
    each = sum(x.requests * (x.new + x.output) for x in rounds)
    more = workload.turns - 1
    before = (more**2 / 2 + more) / workload.turns
    return Talk(
        rounds,
        workload.turns,
        workload.think_s,
        workload.system_tokens,
        workload.tenants,
        before * each,
        workload.system_tokens + workload.turns * each,
    )


def moved(talk: Talk, share: float) -> Talk:
    """Return the talk as a lane sees it where this share of turns comes from another lane."""
    said = talk.system + talk.history
    rounds = tuple(replace(x, cold=share * said, cold_p95=said) for x in talk.rounds)
    return replace(talk, rounds=rounds)


def _p95(length: Length) -> float:
    drawn = length.mean * math.exp(P95 * length.sigma - length.sigma**2 / 2)
    return min(length.most, max(length.least, drawn)) if length.sigma else length.mean


@dataclass(frozen=True, slots=True)
class Replica:
    """One engine: what its steps cost and what its KV cache holds.

    Attributes:
        step: cost of a step.
        pool_tokens: of its KV cache.
        cards: tensor parallel; a replica takes so many.
        overhead_s: of each request, before it reaches the scheduler.

    """

    step: StepTime
    pool_tokens: float
    cards: int = 1
    overhead_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Load:
    """What a replica gives at a number of sessions. Seconds, a second, shares.

    Attributes:
        in_flight: requests that decode at once.
        turns_per_s: finished turns.
        turn_s: mean time of a turn, tools included.
        next_29_p95_s: from the first token to the 30th.
        answer_p95_s: 95th percentile of the longest round's answer.
        prefill_share: of the engine's time.
        cached_share: of the history that is still in the cache when its turn comes.

    """

    sessions: float
    in_flight: float
    turns_per_s: float
    turn_s: float
    tokens_per_s_per_user: float
    ttft_s: float
    ttft_p95_s: float
    next_29_p95_s: float
    answer_p95_s: float
    turn_p95_s: float
    prefill_share: float
    cached_share: float

    @property
    def first_30_p95_s(self) -> float:
        """To the 30th token."""
        return self.ttft_p95_s + self.next_29_p95_s


def load(replica: Replica, talk: Talk, sessions: float) -> Load:
    """Return what the replica gives to so many sessions, which are more than none.

    The batch is searched for which `sessions` is Little's N: more in the batch are more
    turns a second that each take longer.
    """
    cached = cached_share(replica, talk, sessions)
    # Nobody waits for a prefill of their own.
    others = 1 - 1 / max(1.0, sessions)
    low, high = 0.0, sessions * max(x.requests for x in talk.rounds)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if _at(replica, talk, middle, cached, others).sessions < sessions:
            low = middle
        else:
            high = middle
    return _at(replica, talk, high, cached, others)


def cached_share(replica: Replica, talk: Talk, sessions: float) -> float:
    """Return the share of histories that the pool still holds when their next turn comes."""
    shared = min(talk.tenants, sessions) * talk.system
    wanted = sessions * (talk.history + talk.tokens)
    return min(1.0, max(0.0, (replica.pool_tokens - shared) / wanted)) if wanted else 1.0


def _at(replica: Replica, talk: Talk, in_flight: float, cached: float, others: float) -> Load:
    """Return times and rates with so many requests decoding."""
    batch = max(1.0, in_flight)
    context = batch * talk.context
    decode_s = _seconds(replica.step, 0, 0, batch, context)
    missed = (1 - cached) * talk.history
    known = talk.system + talk.history - missed

    def prefill_s(new: float) -> float:
        """What a prompt adds to the steps that read it."""
        work = pairs(round(new + missed), round(known))
        return _seconds(replica.step, new + missed, work, batch, context) - decode_s

    reads_s = sum(x.requests * prefill_s(x.new + x.cold) for x in talk.rounds)
    steps = sum(x.requests * max(1.0, x.output - 1) for x in talk.rounds)
    turns_per_s = in_flight / (steps * decode_s + in_flight * reads_s * others)
    prefill_share = turns_per_s * reads_s
    busy = prefill_share * others
    itl = decode_s / (1 - busy)
    first = [
        replica.overhead_s
        + itl / 2
        + (decode_s + x.requests * prefill_s(x.new + x.cold)) / (1 - busy)
        for x in talk.rounds
    ]
    queued = 1 + QUEUED_PREFILL * busy
    late = max(
        replica.overhead_s
        + itl
        + (decode_s + x.requests * queued * prefill_s(x.new_p95 + x.cold_p95)) / (1 - busy)
        for x in talk.rounds
    )
    waits = sum(x.wait_s for x in talk.rounds)
    turn = waits + sum(t + (x.output - 1) * itl for t, x in zip(first, talk.rounds, strict=True))
    slow = SLOW_STEPS[0] + SLOW_STEPS[1] * busy
    answers = [
        # Answers of one length differ by their steps alone.
        t + max(x.output_p95, slow * x.output) * itl
        for t, x in zip(first, talk.rounds, strict=True)
    ]
    return Load(
        sessions=turns_per_s * (turn + talk.think_s),
        in_flight=in_flight,
        turns_per_s=turns_per_s,
        turn_s=turn,
        tokens_per_s_per_user=1 / itl,
        ttft_s=max(first),
        ttft_p95_s=late,
        next_29_p95_s=29 * slow * itl,
        answer_p95_s=max(answers),
        turn_p95_s=waits + sum(answers),
        prefill_share=prefill_share,
        cached_share=cached,
    )


def _seconds(step: StepTime, tokens: float, work: float, batch: float, context: float) -> float:
    """Return the cost between two whole batches, which an engine does not have."""
    low = math.floor(batch)
    first = step.seconds(round(tokens), work, low, round(context))
    part = batch - low
    if not part:
        return first
    return first + part * (step.seconds(round(tokens), work, low + 1, round(context)) - first)
