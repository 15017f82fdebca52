"""Sending a request to a replica of its lane."""

from __future__ import annotations

import time

from router.placement.affinity import TurnFacts
from router.placement.session import SessionMemory
from router.placement.spilled_sessions import session_hash
from router.types import Task
from serve_app.bodies.big_bodies import breathe
from serve_app.placement.lanes import Lanes, NoReplica, Replica
from serve_app.relay.attempts import RequestAttempts
from serve_app.relay.fault_book import FaultBook
from serve_app.request.call import Call
from serve_app.request.stages import Stage
from serve_app.request.turn import turn_facts_of
from serve_app.transport.upstream import Response

# Request headers that reach the engine, beside its trace's; everything else stays here.
PASSED_HEADERS = frozenset({b"anthropic-version", b"anthropic-beta", b"openai-beta"})


class Dispatch:
    """Chooses replicas for one ingress replica, and opens requests to them."""

    def __init__(self, lanes: Lanes, sessions: SessionMemory, book: FaultBook) -> None:
        self.lanes = lanes
        self._sessions = sessions
        self._book = book

    async def open(self, attempts: RequestAttempts) -> tuple[Replica, Response]:
        """Choose a replica, note it in the call and in the breakers, and send what is asked.

        In the breakers before the request is sent: while a replica is on trial, one goes
        there. Raises NoReplica, also where all others have objected, and UpstreamFault.
        """
        call, plan, ask = attempts.call, attempts.plan, attempts.ask
        call.stages.enter(Stage.CHOOSE)
        served = call.served
        breakers = self._book.breakers(plan.lane)
        avoid = attempts.avoid | breakers.avoided(now=time.monotonic())
        if served.hold is not None:
            avoid |= served.hold.full
        served.replica = replica = await self._choose(attempts, avoid)
        await breathe(len(ask.body))
        if served.hold is not None:
            served.hold.move_to(replica.id)
        breakers.note_chosen(replica.id, now=time.monotonic())
        call.stages.enter(Stage.ENGINE)
        if call.route.task is Task.GENERATE:
            served.affinity = self._sessions.note(
                call.session_key,
                plan.lane,
                replica.id,
                now=time.monotonic(),
                spilled=replica.placed is not None and replica.placed.has_spilled,
            )
        headers = _passed_headers(call.headers) | _own_headers(call)
        return replica, await self.lanes.open(replica, ask.path, ask.body, headers)

    async def _choose(self, attempts: RequestAttempts, avoid: frozenset[str]) -> Replica:
        plan, barred, turn = attempts.plan, attempts.objectors, _turn(attempts)
        replica = await self.lanes.choose(plan.lane, turn, avoid | barred)
        if replica.id in barred and avoid - barred:
            # All are avoided: rather one that is full or ejected than this.
            replica = await self.lanes.choose(plan.lane, turn, barred)
        if replica.id in barred:
            raise NoReplica(plan.lane)
        return replica

    async def replica_for(
        self, attempts: RequestAttempts, lane: str, avoid: frozenset[str]
    ) -> Replica:
        """Choose whom of a lane to ask something about a request that is served here or there.

        Its own lane's replica has the conversation in its cache.
        """
        avoid |= self._book.breakers(lane).avoided(now=time.monotonic())
        return await self.lanes.choose(lane, _turn(attempts), avoid)

    async def ask(self, attempts: RequestAttempts, replica: Replica, body: bytes) -> Response:
        """Ask a replica on the request's own route."""
        call = attempts.call
        return await self.lanes.open(replica, call.route.path, body, _own_headers(call))

    async def detokenize(self, attempts: RequestAttempts, body: bytes) -> Response:
        """Ask a replica of the call's lane for the text of token ids."""
        call, lane = attempts.call, attempts.plan.lane
        avoid = self._book.breakers(lane).avoided(now=time.monotonic())
        if call.served.replica is not None:
            avoid |= {call.served.replica.id}
        other = await self.lanes.choose(lane, call.session_key, avoid)
        return await self.lanes.open(other, "/detokenize", body, {})


def _passed_headers(headers: dict[bytes, bytes]) -> dict[str, str]:
    if PASSED_HEADERS.isdisjoint(headers):
        return {}
    return {k.decode(): v.decode("latin-1") for k, v in headers.items() if k in PASSED_HEADERS}


def _own_headers(call: Call) -> dict[str, str]:
    """Which request it is, and the span that the engine's own hang below."""
    return {"x-request-id": call.request_id} | call.trace_headers


def _turn(attempts: RequestAttempts) -> TurnFacts:
    call = attempts.call
    group = session_hash(call.tenant.cache_group)
    task = call.task_key if call.task_id else ""
    return turn_facts_of(attempts.plan.parsed, group, call.session_key, task)
