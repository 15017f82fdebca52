"""One generation request, from bytes to settled: the only path there is.

authenticate -> count -> read -> parse -> route -> admit -> wait -> choose -> relay
-> pace -> settle

What comes before is `front`'s; choosing, relaying and pacing are `relay`'s. A refusal is
a value and becomes an error body; a fault is retried, its stream goes on elsewhere, or it
ends with an error event. Whatever happens, a call is settled once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial

from starlette.types import Send

from router.errors import Rejected, RejectReason
from serve_app.bodies.big_bodies import BigBodies
from serve_app.bodies.routes import Route
from serve_app.metrics import Metrics
from serve_app.pipeline.asking import Asking
from serve_app.pipeline.moving_up import MovingUp
from serve_app.pipeline.noting import Noting
from serve_app.pipeline.preparation import Preparation, task_id_of
from serve_app.pipeline.rescoring import Rescoring
from serve_app.pipeline.reserving import Reserving
from serve_app.pipeline.settlement import Settlement
from serve_app.pipeline.shadowing import Shadowing
from serve_app.pipeline.slots import in_line
from serve_app.pipeline.state import IngressState
from serve_app.pipeline.summarising import Summarising, avoided, build_summariser
from serve_app.pipeline.tool_versions import expanding
from serve_app.pipeline.trace_keeping import TraceKeeping
from serve_app.placement.lanes import Lanes
from serve_app.protocol.errors import error_body, error_headers, status_of
from serve_app.records.recent import RecentRequests
from serve_app.records.recorder import Recorder
from serve_app.relay.attempt_faults import BROKEN_OFF
from serve_app.relay.dispatch import Dispatch
from serve_app.relay.failover import Recovery
from serve_app.relay.fault_book import FaultBook
from serve_app.relay.keepalive import keep_alive
from serve_app.relay.relay import Relay
from serve_app.relay.repair_asking import RepairAsking
from serve_app.relay.tool_repair import ToolRepair
from serve_app.request.call import Call, Outcome, request_id
from serve_app.request.charge import Charge
from serve_app.request.metering import Metering
from serve_app.request.plan import Plan
from serve_app.request.stages import Stage
from serve_app.responses.continuing import read_whole
from serve_app.responses.delivery import Delivery
from serve_app.responses.desk import StoredResponses
from serve_app.summaries.keeping.shelf import Shelf
from serve_app.swap.gates import sleeps
from serve_app.tenancy.auth import Tenant
from serve_app.tracing.tracer import Tracer

logger = logging.getLogger("ray.serve")

TELL_WAKING_S = 1.0
"""After so long a stream hears that its lane is woken."""

# Not said to protected work while sheddable work of the lane is held.
LANE_IS_DOWN = {RejectReason.NO_REPLICA, RejectReason.DEADLINE_EXCEEDED}


class Pipeline:
    """Runs calls against the lanes."""

    def __init__(
        self,
        state: IngressState,
        lanes: Lanes,
        metrics: Metrics,
        recorder: Recorder = Recorder(),
        metering: Metering = Metering(),
        responses: StoredResponses | None = None,
        tracer: Tracer | None = None,
        shelf: Shelf | None = None,
        traces: TraceKeeping | None = None,
    ) -> None:
        self._state = state
        self._responses = responses
        self._tracer = tracer
        self._traces = traces
        self._metrics = metrics
        self.big_bodies = BigBodies()
        self.book = FaultBook(metrics, state.policies.fleet.recovery)
        dispatch = Dispatch(lanes, state.sessions, self.book)
        self.summariser = build_summariser(state, lanes, metering, self.book, shelf, metrics)
        self.preparation = Preparation(state, self.summariser)
        self._rescoring = Rescoring(state, self.preparation, self.big_bodies)
        self._summarising = Summarising(self.summariser, self.preparation, self.big_bodies, metrics)
        self.reserving = Reserving(state, metering)
        self._moving_up = MovingUp(state, metrics, metering, self.preparation)
        self.noting = Noting(state, metrics.agents, self._moving_up)
        repair_asking = RepairAsking(dispatch, state.admission, lambda x: sleeps(state.gates, x))
        repair = ToolRepair(repair_asking, metrics.agents)
        self._relay = Relay(metrics, state.escalation, metering, repair)
        recovery = Recovery(self._relay, dispatch, self.book, metrics, repair)
        self._asking = Asking(state, recovery, self._moving_up)
        self.recent = RecentRequests(state.escalation.features)
        self._settlement = Settlement(state, metrics, recorder, metering, self.recent, traces)
        self.shadowing = Shadowing(
            state,
            lanes,
            partial(avoided, self.book),
            lambda x: sleeps(state.gates, x),
            metrics.experiments,
            None if traces is None else traces.note_shadow,
        )

    def call(
        self, route: Route, headers: dict[bytes, bytes], tenant: Tenant, known_id: str = ""
    ) -> Call:
        self._state.policies.auth.uses.note_tenant(tenant.name)
        return Call(
            route=route,
            headers=headers,
            request_id=known_id or request_id(headers),
            tenant=tenant,
            policies=self._state.policies,
            started=time.perf_counter(),
            wants_debug=headers.get(b"x-pointsman-debug") == b"1",
        )

    async def run(self, call: Call, raw: bytes, send: Send, *, keeps_alive: bool = False) -> None:
        """Answer one request on `send`.

        `keeps_alive`: nothing but this shows a waiting stream's client that it waits.
        """
        self._metrics.in_flight.inc()
        try:
            plan = await self.decide(call, raw)
            call.stages.enter(Stage.OTHER)
            send = self._kept(call, send)
            # Nothing is awaited from here until it is admitted: its place is not taken.
            call.arrived()
            if self._tracer is not None:
                self._tracer.begin(call)
            if isinstance(plan, Rejected):
                await self._refuse(call, plan, send)
                return
            if keeps_alive:
                keep_alive(call, plan, send)
            refused = await self.reserving.reserve(call, plan)
            if refused is None:
                self.noting.note_admitted(call, plan)
                plan = await self._summarising.complete(call, plan, send)
                refused = await self._take_turn(call, plan, send)
            if refused is not None:
                await self._refuse(call, refused, send)
        except asyncio.CancelledError:
            call.outcome = Outcome.LEFT
            raise
        except Exception:
            call.outcome = Outcome.FAILED
            if not call.reply.has_head:
                raise
            # The gateway can no longer answer: end the stream in form.
            logger.exception("request %s failed in its stream", call.request_id)
            await self._relay.end_with_error(call, BROKEN_OFF, send)
        finally:
            call.reply.hush()
            self._settle(call)
            self._metrics.in_flight.dec()

    def _kept(self, call: Call, send: Send) -> Send:
        """Return the `send` that keeps of the answer what is to be kept."""
        if self._traces is not None:
            send = self._traces.watch(call, send)
        if call.keeping is not None and self._responses is not None:
            send = Delivery(send, call.tenant.name, call.keeping, self._responses)
        return send

    def _settle(self, call: Call) -> None:
        if call.hold is not None and call.plan is not None:
            self._moving_up.end(call, call.plan, call.hold)
        self._settlement.settle(call)
        self.shadowing.consider(call)
        if self._tracer is not None:
            self._tracer.end(call)

    async def refuse(self, call: Call, refused: Rejected, send: Send) -> None:
        """Answer a call whose body was not read."""
        given = self._state.session_id_of(call.headers)
        call.session_id = given if isinstance(given, str) else ""
        call.task_id = task_id_of(call.headers)
        if self._tracer is not None:
            self._tracer.begin(call)
        try:
            await self._refuse(call, refused, send)
        finally:
            self._settle(call)

    async def decide(self, call: Call, raw: bytes) -> Plan | Rejected:
        """Parse the body and decide the lane; also the whole of a dry run."""
        plan = await self._planned(call, raw)
        if call.doubts and isinstance(plan, Plan):
            plan = await self._rescoring.settle(call, plan)
        call.plan = None if isinstance(plan, Rejected) else plan
        return plan

    async def _planned(self, call: Call, raw: bytes) -> Plan | Rejected:
        bounds, name = call.tenant.responses, call.tenant.name
        if bounds is None or self._responses is None or not call.route.stores:
            preparing = self.preparation.preparing(call, raw)
            return await self.big_bodies.read(preparing, len(raw), name)
        sets = self._state.tool_book.sets
        tools = expanding(call, sets)
        parsed = await read_whole(call, raw, bounds, self._responses, self.big_bodies, tools)
        if isinstance(parsed, Rejected):
            return parsed
        planning = self.preparation.planning(call, parsed, sets)
        return await self.big_bodies.read(planning, parsed.prompt.bytes, name)

    async def _take_turn(self, call: Call, plan: Plan, send: Send) -> Rejected | None:
        """Wait for a slot of the lane, serve, give it back, however that ends."""
        served, presence, task = call.served, self._state.presence, call.task_key
        presence.enter(plan.lane, task)
        try:
            refused = (
                await self._wait(call, plan)
                or await self._wake(call, plan)
                or await self._asking.ask(call, plan, send)
            )
        except asyncio.CancelledError:
            evicted = served.hold.evicted() if served.hold is not None else None
            if evicted is None:
                raise
            return evicted
        finally:
            presence.leave(plan.lane, task)
            served.leave()
        is_down = refused is not None and refused.reason in LANE_IS_DOWN
        if is_down and not call.tenant.tier.sheddable:
            await self._state.admission.drain_sheddable((call.plan or plan).lane)
        return refused

    async def _wait(self, call: Call, plan: Plan) -> Rejected | None:
        """Wait until the lane has room for the request; refuse one that must not wait."""
        if not call.route.generates:
            return None
        call.stages.enter(Stage.QUEUE)
        call.served.hold = hold = in_line(self._state.admission, call, plan, plan.lane)
        refused = None
        if hold is not None:
            refused = await hold.wait() if hold.is_waiting else hold.refused
        call.stages.enter(Stage.OTHER)
        return refused

    async def _wake(self, call: Call, plan: Plan) -> Rejected | None:
        """Wait until the lane is awake, where it shares its cards; its slot is taken by then."""
        gates = self._state.gates
        if gates is None:
            return None
        if gates.is_shut(plan.lane):
            call.stages.enter(Stage.QUEUE)
            call.reply.is_waking = True
            call.reply.hasten(TELL_WAKING_S)
        tier, waited_s = call.tenant.tier, time.perf_counter() - call.started
        passed = await gates.enter(
            plan.lane, call.tenant.name, tier.priority, waited_s, tier.start_within_s
        )
        call.stages.enter(Stage.OTHER)
        if isinstance(passed, Rejected):
            return passed
        call.served.passed = passed
        return None

    async def _refuse(self, call: Call, refused: Rejected, send: Send) -> None:
        call.stages.enter(Stage.OTHER)
        status, tier = status_of(refused.reason), call.tenant.tier
        call.refuse(refused)
        if call.charge.ceiling is None:
            # What is left of it is told on every answer.
            call.charge = Charge(self._state.ceiling(call.tenant))
        if call.served.hold is not None and not tier.sheddable:
            # Evidence of the order in which work is shed. Sheddable work was noted when its
            # slots were taken away.
            call.served.hold.refuse(refused.reason.value)
        if status in (429, 503) or (status == 504 and call.served.replica is None):
            self._metrics.shed.labels(call.tenant.tier_name, refused.reason.value).inc()
        if call.reply.has_head:
            await self._relay.end_with_error(call, refused, send, tells_wait=True)
            return
        call.reply.hush()
        body = error_body(refused, call.route.dialect, request_id=call.request_id)
        headers = [(b"content-type", b"application/json"), *error_headers(refused)]
        await self._relay.answer(call, send, status, body, headers)
