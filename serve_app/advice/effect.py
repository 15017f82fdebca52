"""What a remedy would change, by the simulator on the requests that were recorded.

The newest requests of the lane are played twice to engines of the lane's profile: as the lane is,
and with the remedy. Each is done again with the recorded lengths drawn anew over the recorded
arrivals; what differs between these draws is the error that is told.

Where the simulator, with the lane as it is, is off what was measured by more than a factor of
three, the profile does not describe this lane, and nothing is claimed.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from router.advice.trigger import Change
from simulator.model.profile import Profile, Scheduling
from simulator.virtual_time.report import quantile
from simulator.virtual_time.trace import Played, Recorded, play

LEAST_REQUESTS = 50
DRAWS = 4
WITHIN_S = 10.0
MOST_OFF = 3.0

CEILING_TOKENS_PER_S = 80.0
"""The chatbot guide's cap on one tenant."""

COOL_SLOWDOWN = 1.035
"""The FP8 guide: a cap at 400 W costs 3 to 4 % of throughput."""

WARM_SHARE = 0.7
"""Share of a prompt that is found in a cache that works: the FP8 guide has 30 to 70 %."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be simulated.

    Attributes:
        slots: sequences of one replica; `fewer_slots`: with the remedy that lowers them.
        slowdown: how much longer tokens take now than the profile says.
        prefill_chunk: most tokens of one prompt in a step; 0: no bound.

    """

    change: Change
    profile: Profile | None
    requests: Sequence[Recorded]
    replicas: int
    slots: int
    fewer_slots: int
    slowdown: float = 1.0
    prefill_chunk: int = 0


@dataclass(frozen=True, slots=True)
class _Fleet:
    requests: Sequence[Recorded]
    replicas: int
    slots: int
    slowdown: float


def expected_effect(
    job: Job, *, seed: int = 1, clock: Callable[[], float] = time.monotonic
) -> dict[str, Any]:
    """Return the change of p95 TTFT, tokens a second and queue, or why it is not simulated."""
    profile, why = job.profile, _why_not(job)
    if profile is None or why:
        return _not_simulated(why)
    now = _now(job)
    # Nothing here is a secret.
    begun, random = clock(), Random(seed)  # noqa: S311
    first = _pair(profile, job, now)
    measured = quantile([x.ttft_s for x in job.requests if not math.isnan(x.ttft_s)], 0.95)
    off = quantile(first[0].ttfts_s, 0.95) / measured if measured > 0 else math.nan
    if off > MOST_OFF or off < 1 / MOST_OFF:
        return _not_simulated(
            f"profile '{profile.name}' says {quantile(first[0].ttfts_s, 0.95):.2f} s of p95 TTFT "
            f"where {measured:.2f} s were measured: it does not describe this lane"
        )
    pairs = [first]
    while len(pairs) <= DRAWS and clock() - begun < WITHIN_S / 2:
        pairs.append(_pair(profile, job, replace(now, requests=_drawn(job.requests, random))))
    return _told(pairs, measured, profile.name)


def _why_not(job: Job) -> str:
    if job.change is Change.NONE:
        return "the simulator does not model this remedy"
    if job.profile is None:
        return "no profile fits the lane (advice.profiles names one)"
    if len(job.requests) < LEAST_REQUESTS:
        return f"only {len(job.requests)} requests are recorded, {LEAST_REQUESTS} are needed"
    if job.change is Change.REPLICA_LESS and job.replicas < 2:
        return "the lane has one replica"
    return ""


def _not_simulated(why: str) -> dict[str, Any]:
    return {"simulated": False, "says": f"not simulated: {why}"}


def _now(job: Job) -> _Fleet:
    slowdown = job.slowdown if job.change is Change.FULL_SPEED else 1.0
    return _Fleet(job.requests, job.replicas, job.slots, max(1.0, slowdown))


def _changed(job: Job, now: _Fleet) -> _Fleet:
    """Return the fleet with the remedy."""
    if job.change is Change.REPLICA_MORE:
        return replace(now, replicas=now.replicas + 1)
    if job.change is Change.REPLICA_LESS:
        return replace(now, replicas=now.replicas - 1)
    if job.change is Change.FEWER_SEQUENCES:
        return replace(now, slots=job.fewer_slots)
    if job.change is Change.FULL_SPEED:
        return replace(now, slowdown=min(now.slowdown, COOL_SLOWDOWN))
    if job.change is Change.CEILING:
        return replace(now, requests=_capped(now.requests))
    return replace(now, requests=[_warmed(x) for x in now.requests])


def _capped(requests: Sequence[Recorded]) -> list[Recorded]:
    """The largest tenant's requests no faster than its answers may be: it asks, then reads."""
    tokens: Counter[int] = Counter()
    for request in requests:
        tokens[request.tenant] += request.prompt + request.output
    largest = tokens.most_common(1)[0][0]
    free_at, capped = -math.inf, []
    for request in sorted(requests, key=lambda x: x.at):
        if request.tenant != largest:
            capped.append(request)
            continue
        at = max(request.at, free_at)
        free_at = at + request.output / CEILING_TOKENS_PER_S
        capped.append(replace(request, at=at))
    return capped


def _warmed(request: Recorded) -> Recorded:
    return replace(request, cached=max(request.cached, int(WARM_SHARE * request.prompt)))


def _drawn(requests: Sequence[Recorded], random: Random) -> list[Recorded]:
    """The recorded arrivals, each with another recorded request's lengths."""
    drawn = random.choices(requests, k=len(requests))
    return [replace(y, at=x.at) for x, y in zip(requests, drawn, strict=True)]


def _pair(profile: Profile, job: Job, now: _Fleet) -> tuple[Played, Played]:
    before, after = (_play(profile, job, fleet) for fleet in (now, _changed(job, now)))
    return before, after


def _play(profile: Profile, job: Job, fleet: _Fleet) -> Played:
    budget = max(profile.scheduling.max_num_batched_tokens, fleet.slots)
    scheduling: Scheduling = profile.scheduling.model_copy(
        update={
            "max_num_seqs": fleet.slots,
            "max_num_batched_tokens": budget,
            "long_prefill_token_threshold": job.prefill_chunk,
        }
    )
    begin = min(x.at for x in fleet.requests)
    requests = [replace(x, at=x.at - begin) for x in fleet.requests]
    return play(
        profile,
        requests,
        replicas=fleet.replicas,
        scheduling=scheduling,
        slowdown=fleet.slowdown,
    )


def _told(pairs: list[tuple[Played, Played]], measured: float, profile: str) -> dict[str, Any]:
    figures: dict[str, Callable[[Played], float]] = {
        "ttft_p95_s": lambda x: quantile(x.ttfts_s, 0.95),
        "tokens_per_s": lambda x: x.tokens_per_s,
        "waiting": lambda x: x.waiting,
        "time_per_token_s": lambda x: x.itl_s,
    }
    told: dict[str, Any] = {"simulated": True, "profile": profile, "draws": len(pairs)}
    for name, read in figures.items():
        seen = [(read(before), read(after)) for before, after in pairs]
        changes = [after - before for before, after in seen]
        told[name] = {
            "before": _number(statistics.median(x for x, _ in seen)),
            "after": _number(statistics.median(x for _, x in seen)),
            "change": _number(statistics.median(changes)),
            "change_least": _number(min(changes)),
            "change_most": _number(max(changes)),
        }
    simulated = quantile(pairs[0][0].ttfts_s, 0.95)
    told["measured_ttft_p95_s"] = _number(measured)
    told["off_by"] = _number(simulated / measured - 1 if measured > 0 else math.nan)
    told["says"] = _sentence(told)
    return told


def _number(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None


def _sentence(told: dict[str, Any]) -> str:
    ttft, rate, queue = told["ttft_p95_s"], told["tokens_per_s"], told["waiting"]
    error = f"{_shown(ttft['change_least'], '+')} to {_shown(ttft['change_most'], '+')} s"
    parts = [
        f"p95 TTFT {_shown(ttft['before'])} -> {_shown(ttft['after'])} s ({error})",
        f"tokens/s {_shown(rate['before'])} -> {_shown(rate['after'])}",
        f"waiting {_shown(queue['before'])} -> {_shown(queue['after'])}",
    ]
    off = told["off_by"]
    fit = f"; simulated TTFT is {off:+.0%} off what was measured" if off is not None else ""
    return ", ".join(parts) + fit


def _shown(value: float | None, sign: str = "") -> str:
    return "?" if value is None else f"{value:{sign}.3g}"
