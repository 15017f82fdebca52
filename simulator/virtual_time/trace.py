"""Requests as they were recorded, played to simulated engines in virtual time.

The arrivals are the recorded ones whatever the engines do (an open loop): clients that would
have asked sooner, had they been answered sooner, are not modelled. A session stays on its
replica, and what was found in the cache when it was recorded is there at the start.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass

from simulator.model.engine import BatchingEngine, Sequence
from simulator.model.profile import Profile, Scheduling
from simulator.model.sequence import ENDLESS, KeyRuns

_INDEX_BITS = 24


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request that was served: when it came, and how many tokens it had.

    Attributes:
        at: seconds from any beginning.
        cached: of its prompt, found in the prefix cache.
        session, tenant: numbers from 0 that tell them apart.
        ttft_s: measured then; not a number where it was not.

    """

    at: float
    prompt: int
    cached: int
    output: int
    session: int
    tenant: int = 0
    ttft_s: float = math.nan


@dataclass(frozen=True, slots=True)
class Played:
    """What a replay gave.

    Attributes:
        ttfts_s: of each request that ended, to its first token.
        tokens_per_s: output tokens over the time from the first arrival to the last token.
        waiting: requests that waited for a place in an engine, on average over the arrivals.
        itl_s: mean time between tokens.
        unfinished: requests that the bound on steps left over.

    """

    ttfts_s: list[float]
    tokens_per_s: float
    waiting: float
    itl_s: float
    unfinished: int


def play(
    profile: Profile,
    requests: Many[Recorded],
    *,
    replicas: int = 1,
    scheduling: Scheduling | None = None,
    slowdown: float = 1.0,
    max_steps: int = 2_000_000,
) -> Played:
    """Play requests to `replicas` engines, each step `slowdown` times as long as its profile.

    Requests that are longer than an engine's cache are left out.
    """
    timing = profile.timing.model_copy(update={"warm_up_s": 0.0})
    engines = [BatchingEngine(timing, scheduling or profile.scheduling) for _ in range(replicas)]
    for engine in engines:
        engine.slowdown = slowdown
    ordered = sorted(requests, key=lambda x: x.at)
    fitting = [x for x in ordered if engines[0].fits(x.prompt + x.output)]
    common = _common(fitting)
    _warm(engines, fitting, common)
    return _run(engines, fitting, common, timing.request_overhead_ms / 1000, max_steps)


def _run(
    engines: list[BatchingEngine],
    requests: list[Recorded],
    common: Mapping[int, int],
    overhead_s: float,
    max_steps: int,
) -> Played:
    sent: list[tuple[Recorded, Sequence]] = []
    arrivals = [(x.at + overhead_s, number, x) for number, x in enumerate(requests)]
    heapq.heapify(arrivals)
    waited, steps = 0, 0
    while steps < max_steps:
        steps += 1
        engine = min(engines, key=lambda x: math.inf if x.next_at is None else x.next_at)
        due = math.inf if engine.next_at is None else engine.next_at
        if arrivals and arrivals[0][0] <= due:
            at, number, request = heapq.heappop(arrivals)
            target = engines[request.session % len(engines)]
            waited += sum(x.waiting for x in engines)
            sequence = _sequence(request, number, common, target.scheduling.block_size)
            sent.append((request, sequence))
            target.add(sequence, at)
        elif due < math.inf:
            engine.advance()
        else:
            break
    return _told(sent, waited, len(requests))


def _told(sent: list[tuple[Recorded, Sequence]], waited: int, asked: int) -> Played:
    ttfts, gaps, tokens, first, last = [], [], 0, math.inf, 0.0
    for request, sequence in sent:
        first = min(first, request.at)
        if sequence.first_token_at is None or sequence.finished_at is None:
            continue
        ttfts.append(sequence.first_token_at - request.at)
        tokens += sequence.output_tokens
        last = max(last, sequence.finished_at)
        if sequence.output_tokens > 1:
            took = sequence.finished_at - sequence.first_token_at
            gaps.append(took / (sequence.output_tokens - 1))
    return Played(
        ttfts_s=ttfts,
        tokens_per_s=tokens / (last - first) if last > first else math.nan,
        waiting=waited / len(sent) if sent else 0.0,
        itl_s=sum(gaps) / len(gaps) if gaps else math.nan,
        unfinished=asked - len(ttfts),
    )


def _common(requests: Iterable[Recorded]) -> dict[int, int]:
    """Tokens that each tenant's sessions begin with alike: the least that was found of them."""
    common: dict[int, int] = {}
    for request in requests:
        if request.cached:
            known = common.get(request.tenant, request.cached)
            common[request.tenant] = min(known, request.cached)
    return common


def _prefix(request: Recorded, common_blocks: int, blocks: int) -> tuple[tuple[int, int], ...]:
    """The runs of so many blocks that were found: the tenant's at first, the session's after."""
    tenant, session = 3 * request.tenant, 3 * request.session + 1
    runs = (min(common_blocks, blocks), tenant), (blocks, session)
    return tuple((end, owner << _INDEX_BITS) for end, owner in runs)


def _sequence(request: Recorded, number: int, common: Mapping[int, int], size: int) -> Sequence:
    """A sequence whose recorded prefix is its session's, and whose rest is nobody else's."""
    prefix = _prefix(request, common.get(request.tenant, 0) // size, request.cached // size)
    own = (3 * number + 2) << _INDEX_BITS
    keys = KeyRuns(*prefix, (ENDLESS, own))
    return Sequence(max(1, request.prompt), max(1, request.output), keys)


def _warm(
    engines: list[BatchingEngine], requests: Iterable[Recorded], common: Mapping[int, int]
) -> None:
    """Put the longest prefix that each session was found with into its engine's cache.

    As far as there is room: then the sessions that come first have it.
    """
    longest: dict[int, Recorded] = {}
    for request in requests:
        if request.cached > longest.get(request.session, request).cached or (
            request.session not in longest
        ):
            longest[request.session] = request
    for session, request in longest.items():
        engine = engines[session % len(engines)]
        size, pool = engine.scheduling.block_size, engine.pool
        prefix = KeyRuns(
            *_prefix(request, common.get(request.tenant, 0) // size, request.cached // size)
        )
        new = [x for x in prefix.runs() if pool.find(x[0]) is None]
        count = sum(blocks for _, blocks, _ in new)
        if (
            engine.scheduling.enable_prefix_caching
            and count
            and pool.capacity - pool.cached > count
        ):
            pool.allocate(count)
            pool.release([(pool.seal(key, 0, blocks), blocks, end) for key, blocks, end in new], 0)
