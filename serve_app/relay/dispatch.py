"""Sending a request to a replica of its lane."""

from __future__ import annotations

import time

from router.placement.affinity import TurnFacts
from router.placement.session import SessionMemory
from router.placement.spilled_sessions import session_hash
from serve_app.bodies.big_bodies import breathe
from serve_app.placement.lanes import Lanes, NoReplica, Replica
from serve_app.relay.fault_book import FaultBook
from serve_app.request.call import Call
from serve_app.request.plan import Plan
from serve_app.request.turn import turn_facts_of
from serve_app.transport.upstream import Response

# Request headers that reach the engine; everything else stays here.
PASSED_HEADERS = frozenset(
    {b"anthropic-version", b"anthropic-beta", b"openai-beta", b"traceparent", b"tracestate"}
)


class Dispatch:
    """Chooses replicas for one ingress replica, and opens requests to them."""

    def __init__(self, lanes: Lanes, sessions: SessionMemory, book: FaultBook) -> None:
        self.lanes = lanes
        self._sessions = sessions
        self._book = book

    async def open(
        self,
        call: Call,
        plan: Plan,
        path: str,
        body: bytes,
        avoid: frozenset[str],
        barred: frozenset[str],
    ) -> tuple[Replica, Response]:
        """Choose a replica, note it in the call and in the breakers, and send it the body.

        In the breakers before the request is sent: while a replica is on trial, one goes
        there. Raises NoReplica, also where only `barred` ones are left, and UpstreamFault.
        """
        begun, served = time.perf_counter(), call.served
        if served.hold is not None:
            avoid |= served.hold.full
        served.replica = replica = await self._choose(call, plan, avoid, barred)
        await breathe(len(body))
        if served.hold is not None:
            served.hold.move_to(replica.id)
        self._book.breakers(plan.lane).note_chosen(replica.id, now=time.monotonic())
        chosen = time.perf_counter()
        call.stages["choose"] = call.stages.get("choose", 0.0) + chosen - begun
        served.affinity = self._sessions.note(
            call.session_key,
            plan.lane,
            replica.id,
            now=time.monotonic(),
            spilled=replica.has_spilled,
        )
        headers = {
            k.decode(): v.decode("latin-1") for k, v in call.headers.items() if k in PASSED_HEADERS
        }
        headers["x-request-id"] = call.request_id
        response = await self.lanes.open(replica, path, body, headers)
        call.stages["engine"] = time.perf_counter() - chosen
        return replica, response

    async def _choose(
        self, call: Call, plan: Plan, avoid: frozenset[str], barred: frozenset[str]
    ) -> Replica:
        """Raises NoReplica where only barred ones are left."""
        visit = _visit(call, plan)
        replica = await self.lanes.choose(plan.lane, visit, avoid | barred)
        if replica.id in barred and avoid - barred:
            # All are avoided: rather one that is full or ejected than this.
            replica = await self.lanes.choose(plan.lane, visit, barred)
        if replica.id in barred:
            raise NoReplica(plan.lane)
        return replica

    async def detokenize(self, call: Call, plan: Plan, body: bytes) -> Response:
        """Ask a replica of the call's lane for the text of token ids."""
        avoid = self._book.breakers(plan.lane).avoided(now=time.monotonic())
        replica = call.served.replica
        failed = frozenset() if replica is None else frozenset({replica.id})
        other = await self.lanes.choose(plan.lane, call.session_key, avoid | failed)
        return await self.lanes.open(other, "/detokenize", body, {})


def _visit(call: Call, plan: Plan) -> TurnFacts:
    """The call as the choice of a replica sees it."""
    return turn_facts_of(plan.parsed, session_hash(call.tenant.cache_group), call.session_key)
