"""Has a lane write a summary: admitted, bounded in time, and on the tenant's account.

It is a small request of the tenant's own, beside the one that it is for. It takes a slot only
where one is free, so nobody who waits is passed; its tokens are reserved of the tenant's minute
and quotas, and settled to the engine's count, whatever becomes of the request.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from math import ceil
from typing import Any, Protocol

from router.agents.cut_text import utf8_bytes
from router.errors import Rejected
from router.limits.ceiling import TenantCeiling
from router.limits.reservation import Reckoning
from router.placement.affinity import TurnFacts
from router.placement.spilled_sessions import session_hash
from router.tokens import TokenEstimator
from router.types import Lane
from serve_app.admission.admission import Admission
from serve_app.admission.free_slot import in_free_slot
from serve_app.admission.lane_slots import SlotHold
from serve_app.bodies.json_body import dump
from serve_app.placement.lanes import Lanes, NoReplica, UpstreamFault
from serve_app.protocol.sse import Usage, parsed_json, read_usage
from serve_app.summaries.source import Asker, Source
from serve_app.summaries.writing.ask import (
    FRAME_TOKENS,
    PATH,
    summary_body,
    summary_in,
    text_to_read,
)
from serve_app.tenancy.auth import Tenant
from serve_app.transport.upstream import BrokenConnection, SilentConnection

logger = logging.getLogger("ray.serve")

BAD_REQUEST = 400
ATTEMPTS = 2
"""The second one at another replica, or with half of the text where the first was too long."""

LEAST_TOKENS = 256
"""A lane with less room for the text than this writes no summaries."""

_FAULTS = (UpstreamFault, BrokenConnection, SilentConnection, OSError)


class Outcome(StrEnum):
    """What became of a summary; the value is a label of `pointsman_summaries_total`."""

    MADE = "made"
    FOUND = "found"
    FULL = "full"
    """The lane had no slot, took it back for protected work, or sleeps."""
    LATE = "late"
    OVER_LIMIT = "over_limit"
    """The tenant's tokens of the minute, the day or the month are spent."""
    FAILED = "failed"
    """The lane is down, or its answer is none."""
    TOO_MANY = "too_many"


@dataclass(frozen=True, slots=True)
class Written:
    """A summary, or why there is none (`text` is empty then); what it took at an engine."""

    outcome: Outcome
    text: str = ""
    usage: Usage | None = None

    @property
    def output_tokens(self) -> int:
        return self.usage.completion_tokens if self.usage else 0


class Ground(Protocol):
    """What an ingress replica knows of its tenants and lanes: `IngressState`."""

    admission: Admission

    def ceiling(self, tenant: Tenant) -> TenantCeiling:
        """The tenant's ceilings here."""

    def cache_salt(self, tenant: Tenant) -> str:
        """Salt of the tenant's prefix cache."""

    def estimator(self, lane: str) -> TokenEstimator:
        """How many bytes the lane's tokens have."""


class Account(Protocol):
    """Where tokens count against quotas: `Metering`."""

    def refusal(self, tenant: Tenant, cost: Reckoning) -> Rejected | None:
        """Why the tenant has none left."""

    def begin_besides(self, tenant: Tenant, lane: str, cost: Reckoning) -> int | None:
        """Hold tokens; a number for `end_besides`."""

    def end_besides(self, number: int | None, usage: Usage | None) -> None:
        """Count what was used."""


class Writer:
    """Asks lanes for summaries, in one ingress replica.

    `avoided`: replicas of a lane that have failed of late; `sleeps`: whether a lane has its
    cards given away.
    """

    def __init__(
        self,
        ground: Ground,
        lanes: Lanes,
        account: Account,
        avoided: Callable[[str], frozenset[str]],
        sleeps: Callable[[str], bool],
    ) -> None:
        self._ground = ground
        self._lanes = lanes
        self._account = account
        self._avoided = avoided
        self._sleeps = sleeps

    async def write(self, asker: Asker, source: Source) -> Written:
        """Have a summary written on a tenant's account. Never raises but when it is cancelled."""
        name = source.config.lane or asker.policies.routing.default
        lane = asker.policies.routing.lanes.get(name)
        if lane is None:
            return Written(Outcome.FAILED)
        job = _Job(self._ground, lane, asker, source)
        if job.room_tokens < LEAST_TOKENS:
            return Written(Outcome.FAILED)
        tenant, cost = asker.tenant, job.cost
        if self._account.refusal(tenant, cost) is not None:
            return Written(Outcome.OVER_LIMIT)
        ceiling = self._ground.ceiling(tenant)
        charge = ceiling.try_charge(cost.whole, now=time.monotonic())
        if charge is None:
            return Written(Outcome.OVER_LIMIT)
        number = self._account.begin_besides(tenant, lane.name, cost)
        took: Usage | None = None
        try:
            written = await self._in_time(job)
            took = written.usage
            return written
        finally:
            if took is None and job.was_sent:
                # The engine was at work and had told nothing yet: it has read the prompt.
                took = Usage(job.prompt_tokens, 0)
            used = 0 if took is None else ceil(tenant.weights.weigh(*_counts(took)))
            ceiling.settle_charge(charge, used, now=time.monotonic())
            self._account.end_besides(number, took)

    async def _in_time(self, job: _Job) -> Written:
        try:
            async with asyncio.timeout(job.source.config.within_s):
                return await self._in_a_slot(job)
        except TimeoutError:
            return Written(Outcome.LATE)

    async def _in_a_slot(self, job: _Job) -> Written:
        name = job.lane.name
        if self._sleeps(name):
            return Written(Outcome.FULL)
        tokens = job.prompt_tokens, job.source.config.max_tokens
        asking = partial(self._asked, job)
        written = await in_free_slot(self._ground.admission, name, job.tenant, tokens, asking)
        return Written(Outcome.FULL) if written is None else written

    async def _asked(self, job: _Job, hold: SlotHold | None) -> Written:
        avoid = self._avoided(job.lane.name)
        for _ in range(ATTEMPTS):
            try:
                replica = await self._lanes.choose(job.lane.name, job.turn, avoid)
            except NoReplica:
                break
            if hold is not None:
                hold.move_to(replica.id)
            job.was_sent = True
            try:
                response = await self._lanes.open(replica, PATH, job.body, job.headers)
                with contextlib.closing(response):
                    answer = parsed_json(await response.read())
            except _FAULTS:
                job.was_sent = False
                avoid |= {replica.id}
                continue
            usage = read_usage(answer)
            if response.status == BAD_REQUEST:
                job.was_sent = False
                job.read_half()
            elif response.status != 200:
                logger.warning("a lane did not take the request for a summary: %d", response.status)
                return Written(Outcome.FAILED, usage=usage or Usage(0, 0))
            else:
                text = summary_in(answer)
                return Written(Outcome.MADE if text else Outcome.FAILED, text, usage)
        return Written(Outcome.FAILED)


class _Job:
    """One summary on its way: what is asked of which lane.

    Attributes:
        room_tokens: of the lane's window, for the text.
        body: what the engine is asked.
        was_sent: an engine may be at work on it.

    """

    def __init__(self, ground: Ground, lane: Lane, asker: Asker, source: Source) -> None:
        self.lane, self.source, self.tenant = lane, source, asker.tenant
        self.headers = asker.headers
        self.was_sent = False
        config, estimator = source.config, ground.estimator(lane.name)
        self.room_tokens = min(
            config.read_tokens, lane.window_tokens - config.max_tokens - FRAME_TOKENS
        )
        self._max_bytes = max(1, int(self.room_tokens * estimator.bytes_per_token))
        self._salt = ground.cache_salt(asker.tenant)
        has_priorities = asker.policies.fleet.lanes[lane.name].has_priorities
        self._priority = asker.tenant.tier.priority if has_priorities else 0
        self.body = self._written()
        self.prompt_tokens = estimator.estimate(len(self.body), 1)
        group = session_hash(asker.tenant.cache_group)
        self.turn = TurnFacts(group, f"summary:{source.key.hex()}")

    @property
    def cost(self) -> Reckoning:
        weigh, most = self.tenant.weights.weigh, self.source.config.max_tokens
        prompt = ceil(weigh(self.prompt_tokens, 0, 0))
        whole = ceil(weigh(self.prompt_tokens, 0, most))
        return Reckoning(prompt, whole, whole)

    def read_half(self) -> None:
        """Ask for a summary of half of the text: the engine's tokens are shorter than thought."""
        self._max_bytes = min(self._max_bytes, self._read_bytes) // 2
        self.body = self._written()

    def _written(self) -> bytes:
        text = text_to_read(self.source, self._max_bytes)
        self._read_bytes = utf8_bytes(text)
        body: dict[str, Any] = summary_body(self.source, text, self.lane.model_id)
        body["cache_salt"] = self._salt
        if self._priority:
            body["priority"] = self._priority
        return dump(body)


def _counts(usage: Usage) -> tuple[int, int, int]:
    return usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens
