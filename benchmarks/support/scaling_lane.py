"""A lane as a fluid of requests, second by second in virtual time, for policies that scale it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from typing import Protocol

SLOTS, SERVICE_S, TOKENS = 32, 10, 1_000
"""Sequences of one replica; seconds and tokens (prompt and answer) of a request."""

FULL_TOKENS_PER_S = SLOTS / SERVICE_S * TOKENS
LEAST, MOST = 1, 16
TTFT_S = 0.8
EVERY_S = 2
HOUR_S = 3_600

Rate = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class Look:
    """What a policy may see: figures of this moment.

    Attributes:
        offered: requests a second, mean of the last 10 s.

    """

    at: float
    ready: int
    starting: int
    running: int
    waiting: int
    offered: float


class Policy(Protocol):
    """Anything that scales."""

    def target(self, look: Look) -> int:
        """Return the replicas to have, those that start among them."""


@dataclass(slots=True)
class Outcome:
    """What a run cost, and whom it made wait."""

    replica_s: float = 0.0
    requests: int = 0
    late: int = 0
    worst_s: float = 0.0
    turns: int = 0
    """Times that fewer followed more, or more fewer."""
    replicas: list[int] = field(default_factory=list)
    """Ready replicas, each second."""


def arrivals(rate: Rate, length_s: int, random: Random) -> list[int]:
    """Return the requests of each second, by Poisson."""
    return [_poisson(rate(at), random) for at in range(length_s)]


def _poisson(mean: float, random: Random) -> int:
    limit, count, product = math.exp(-mean), 0, random.random()
    while product > limit:
        count += 1
        product *= random.random()
    return count


def run(policy: Policy, came: Sequence[int], start_up_s: int, first: int) -> Outcome:
    """Serve `came` in order; a replica that goes ends what it runs first, and is paid for it."""
    ready, target = first, first
    due: deque[int] = deque()
    line: deque[list[int]] = deque()
    ends: deque[int] = deque([0] * SERVICE_S)
    running = waiting = 0
    grew = True
    outcome = Outcome()
    for at, count in enumerate(came):
        while due and due[0] <= at:
            due.popleft()
            ready += 1
        running -= ends.popleft()
        line.append([at, count])
        waiting += count
        begun = _begin(line, max(0, ready * SLOTS - running), at, outcome)
        running += begun
        waiting -= begun
        ends.append(begun)
        outcome.requests += count
        outcome.replica_s += ready + len(due)
        outcome.replicas.append(ready)
        if at % EVERY_S:
            continue
        seen = came[max(0, at - 9) : at + 1]
        look = Look(at, ready, len(due), running, waiting, sum(seen) / len(seen))
        wanted = min(MOST, max(LEAST, policy.target(look)))
        if wanted != target:
            outcome.turns += (wanted > target) != grew
            grew = wanted > target
        target = wanted
        due.extend([at + start_up_s] * (wanted - ready - len(due)))
        while ready + len(due) > wanted and due:
            due.pop()
        if ready > wanted:
            outcome.replica_s += (ready - wanted) * SERVICE_S
            ready = wanted
    return outcome


def _begin(line: deque[list[int]], room: int, at: int, outcome: Outcome) -> int:
    begun = 0
    while line and room > begun:
        came_at, count = line[0]
        take = min(count, room - begun)
        begun += take
        if take:
            outcome.late += take if at - came_at > TTFT_S else 0
            outcome.worst_s = max(outcome.worst_s, at - came_at)
        if take == count:
            line.popleft()
        else:
            line[0][1] -= take
    return begun


def oracle(came: Sequence[int], start_up_s: int) -> Outcome:
    """Return the cheapest schedule that lets nobody wait and knows all beforehand.

    It pays for start-up times, too: a replica is there (starting or ready) from `start_up_s`
    before it is needed, and one that is needed again within that time stays.
    """
    window: deque[int] = deque()
    needed, running = [], 0
    for count in came:
        window.append(count)
        running += count
        if len(window) > SERVICE_S:
            running -= window.popleft()
        needed.append(min(MOST, max(LEAST, math.ceil(running / SLOTS))))
    held, ahead = [], deque[tuple[int, int]]()
    for at in range(len(needed) - 1, -1, -1):
        while ahead and ahead[-1][1] <= needed[at]:
            ahead.pop()
        ahead.append((at, needed[at]))
        if ahead[0][0] > at + start_up_s:
            ahead.popleft()
        held.append(ahead[0][1])
    steps = [a < b for a, b in pairwise(held) if a != b]
    turns = sum(a != b for a, b in pairwise(steps))
    return Outcome(sum(held), sum(came), turns=turns, replicas=needed)
