"""One generation request, from bytes to settled: the only path there is.

authenticate -> count -> read -> parse -> route -> admit -> wait -> choose -> relay
-> pace -> settle

Each step is one method. A refusal is a value and becomes an error body; what becomes
of a fault is `Recovery`'s: the request is retried, its stream goes on elsewhere, or it
ends with an error event. Whatever happens, `_settle` runs once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from math import ceil

from router.errors import Rejected, RejectReason
from router.limits.contention import paces
from router.placement.session import derive_session_id
from router.routing.lane import decide_lane
from router.routing.window_room import left, smaller_asks
from router.types import LaneDecision, RequestFacts
from serve_app.bodies.big_bodies import BigBodies, breathe
from serve_app.bodies.media_urls import looking_for_media
from serve_app.bodies.opening import opening_of
from serve_app.bodies.steps import Steps, at_once
from serve_app.bodies.wire import Parsed, Route, for_engine, reading
from serve_app.metrics import Metrics
from serve_app.pipeline.metering import Metering
from serve_app.pipeline.state import IngressState
from serve_app.placement.lanes import Lanes, NoReplica, Replica
from serve_app.protocol.errors import error_body, error_headers, status_of
from serve_app.protocol.sse import Usage
from serve_app.records.recorder import Recorder
from serve_app.relay.failover import Recovery
from serve_app.relay.keepalive import keep_alive
from serve_app.relay.relay import BROKEN_OFF, Relay
from serve_app.relay.resumption import traits_of
from serve_app.request.answer_limit import answer_limit, limited, outgrows
from serve_app.request.call import Call, request_id
from serve_app.request.priority import priority_of
from serve_app.request.request_bounds import too_many
from serve_app.request.response_headers import response_headers
from serve_app.routing.history import trimming
from serve_app.tenancy.auth import Tenant
from serve_app.transport.endpoint import Send
from serve_app.transport.upstream import Response

logger = logging.getLogger("ray.serve")

# Request headers that reach the engine; everything else stays here.
PASSED_HEADERS = frozenset(
    {b"anthropic-version", b"anthropic-beta", b"openai-beta", b"traceparent", b"tracestate"}
)


# Not said to paid work while free work of the lane is held.
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
    ) -> None:
        self._state = state
        self._lanes = lanes
        self._metrics = metrics
        self._recorder = recorder
        self._metering = metering
        self.big_bodies = BigBodies()
        self._relay = Relay(metrics, state.escalation.note_ttft, self._account)
        self._recovery = Recovery(
            self._relay,
            metrics,
            self._open,
            self._detokenize,
            self._is_alive,
            state.policies.fleet.recovery,
        )

    def call(self, route: Route, headers: dict[bytes, bytes], tenant: Tenant) -> Call:
        """Begin a call for an authenticated tenant."""
        self._state.policies.auth.uses.note_tenant(tenant.name)
        return Call(
            route=route,
            headers=headers,
            request_id=request_id(headers),
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
            refused = await self.decide(call, raw)
            # Nothing is awaited from here until it is admitted: its place is not taken.
            call.arrived()
            if refused is None:
                call.keepalive = keep_alive(call, send) if keeps_alive else None
                refused = await self._admit_by_lease(call)
            if refused is None:
                self._note(call)
                refused = await self._take_turn(call, send)
            if refused is not None:
                await self._refuse(call, refused, send)
        except asyncio.CancelledError:
            call.code = "499"
            raise
        except Exception:
            call.code = "500"
            if not call.has_head:
                raise
            # The gateway can no longer answer: end the stream in form.
            logger.exception("request %s failed in its stream", call.request_id)
            await self._relay.end_broken(call, BROKEN_OFF, send)
        finally:
            call.hush()
            self._settle(call)
            self._metrics.in_flight.dec()

    async def refuse(self, call: Call, refused: Rejected, send: Send) -> None:
        """Answer a call whose body was not read."""
        given = self._state.session_id_of(call.headers)
        call.session_id = given if isinstance(given, str) else ""
        try:
            await self._refuse(call, refused, send)
        finally:
            self._settle(call)

    # -- deciding -----------------------------------------------------------

    async def decide(self, call: Call, raw: bytes) -> Rejected | None:
        """Parse the body and decide the lane; also the whole of a dry run."""
        return await self.big_bodies.read(self._preparing(call, raw), len(raw), call.tenant.name)

    def prepare(self, call: Call, raw: bytes) -> Rejected | None:
        """The same at once."""
        return at_once(self._preparing(call, raw))

    def _preparing(self, call: Call, raw: bytes) -> Steps[Rejected | None]:
        """The same in pieces."""
        parsed = yield from reading(raw, call.route, call.policies.fleet.limits)
        if isinstance(parsed, Rejected):
            return parsed
        call.parsed = parsed
        yield
        refused = too_many(call, parsed) or self._identify_session(call, parsed)
        if refused is not None:
            return refused
        # After the session id, which comes from the first turn, and before all that
        # should see what the engine will.
        yield
        call.history = yield from trimming(parsed, call.tenant.history)
        if call.history is not None:
            call.parsed = parsed = call.history.parsed
        yield
        begun = time.perf_counter()
        decision = decide_lane(
            call.policies.routing,
            call.tenant.rules,
            self._facts(call, parsed),
            lambda: self._state.escalation.judge(call.policies, call.tenant, parsed),
        )
        call.stages["classify"] = time.perf_counter() - begun
        if isinstance(decision, Rejected):
            return decision
        call.decision = decision
        yield
        hosts = call.policies.fleet.lanes[call.lane].media_hosts
        refused = yield from looking_for_media(parsed.body, hosts)
        if refused is not None:
            return refused
        self._measure(call, parsed)
        return self._check_window(parsed, decision) or self._check_session(call)

    def _measure(self, call: Call, parsed: Parsed) -> None:
        """Estimate the prompt in its lane's tokens, and what is left for an answer."""
        call.prompt_tokens = self._estimate(call.lane, parsed)
        longest = self._estimate_longest(call.lane, parsed)
        window = call.policies.routing.lanes[call.lane].window_tokens
        call.room = left(longest, window)
        call.answer_limit = answer_limit(
            parsed, longest, call.prompt_tokens, window, _session_limit(call)
        )

    def _identify_session(self, call: Call, parsed: Parsed) -> Rejected | None:
        given = self._state.session_id_of(call.headers)
        if isinstance(given, Rejected):
            return given
        call.session_id = given or derive_session_id(call.tenant.name, *opening_of(parsed))
        return None

    def _facts(self, call: Call, parsed: Parsed) -> RequestFacts:
        default, wish = call.policies.routing.default, parsed.output_tokens
        if wish is None:
            wish = call.policies.default_output_tokens if call.route.generates else 0
        return RequestFacts(
            pinned=parsed.model,
            has_tools=parsed.tools > 0,
            prompt_tokens=self._estimate_longest(default, parsed),
            output_tokens=wish,
        )

    def _estimate(self, lane: str, parsed: Parsed) -> int:
        estimator = self._state.estimator(lane)
        return estimator.estimate(parsed.prompt.bytes, parsed.prompt.messages)

    def _estimate_longest(self, lane: str, parsed: Parsed) -> int:
        """Of a batch, the longest prompt; else the prompt."""
        size = ceil(parsed.prompt.bytes * parsed.prompt.longest)
        return self._state.estimator(lane).estimate(size, parsed.prompt.messages)

    def _check_window(self, parsed: Parsed, decision: LaneDecision) -> Rejected | None:
        """Refuse what is sure not to fit; what may fit is for the engine to judge."""
        window = decision.lane.window_tokens
        if self._estimate_longest(decision.lane.name, parsed) <= 2 * window:
            return None
        return Rejected(
            RejectReason.CONTEXT_LENGTH_EXCEEDED,
            f"The prompt is longer than this model's context of {window} tokens.",
            param="messages",
        )

    def _check_session(self, call: Call) -> Rejected | None:
        """Refuse a conversation that outgrows what one session may hold of the KV cache."""
        limit = _session_limit(call)
        if limit is None or not call.route.generates:
            return None
        assert call.parsed is not None
        wish = call.parsed.output_tokens
        if wish is None:
            wish = call.policies.default_output_tokens
        if not outgrows(call.parsed, wish, call.prompt_tokens, limit):
            return None
        return Rejected(
            RejectReason.CONTEXT_LENGTH_EXCEEDED,
            f"A session of this tenant may hold {limit} tokens; the conversation comes to about "
            f"{call.prompt_tokens}, without an answer. Shorten it, or start a new session.",
            param="messages",
        )

    async def _admit_by_lease(self, call: Call) -> Rejected | None:
        """Admit; what only the lease here is too small for waits for the next ones."""
        refused, since = self._admit(call), time.monotonic()
        while refused is not None and call.cost is not None and call.ceiling is not None:
            tokens = call.ceiling.first_charge(call.cost)
            if not await self._state.may_grow(call, refused, tokens, since):
                break
            refused = self._admit(call)
        return refused

    def _admit(self, call: Call) -> Rejected | None:
        assert call.parsed is not None
        call.ceiling = self._state.ceiling(call.tenant)
        call.contention = self._state.contention(call.tenant, call.lane)
        if not call.route.generates:
            return None
        call.cost = call.reckon()
        refused = self._metering.refusal(call.tenant, call.cost)
        if refused is not None:
            return refused
        outcome = call.ceiling.try_admit(
            call.ceiling.first_charge(call.cost),
            now=time.monotonic(),
            is_paced=paces(call.contention),
        )
        if isinstance(outcome, Rejected):
            return outcome
        call.reservation = outcome
        self._metering.begin(call, call.cost)
        return None

    def _note(self, call: Call) -> None:
        """Count an admitted request: in trimmed histories, in the stronger lanes' shares.

        Nothing is awaited between the decision and this, so that no other request
        spends the same budget.
        """
        assert call.decision is not None and call.parsed is not None
        if call.history is not None:
            self._metrics.note_history(call.tenant.tier_name, call.history)
        if call.decision.score is None:
            return
        self._state.escalation.note(call.tenant, call.decision)
        shadow = self._state.escalation.shadow(call.policies, call.parsed)
        if shadow is not None:
            call.shadow_version, call.shadow_score = shadow

    def ejected(self) -> dict[str, list[str]]:
        """Replicas that this ingress replica leaves alone now, by lane."""
        return self._recovery.ejected()

    def would_admit(self, call: Call) -> bool:
        """Whether quotas and ceilings have room for a request now."""
        cost = call.reckon()
        refused = self._metering.refusal(call.tenant, cost)
        return (refused or self._state.would_admit(call.tenant, call.lane, cost)) is None

    # -- serving ------------------------------------------------------------

    async def _take_turn(self, call: Call, send: Send) -> Rejected | None:
        """Wait for a slot of the lane, serve, give it back, however that ends."""
        assert call.parsed is not None
        admission, presence = self._state.admission, self._state.presence
        presence.enter(call.lane, call.session_key)
        try:
            refused = await admission.enter(call) or await self._serve(call, send)
        except asyncio.CancelledError:
            evicted = call.place.evicted() if call.place is not None else None
            if evicted is None:
                raise
            return evicted
        finally:
            presence.leave(call.lane, call.session_key)
            if call.place is not None:
                call.place.leave(call.usage.completion_tokens if call.usage else 0)
        if refused is not None and refused.reason in LANE_IS_DOWN:
            await admission.clear_free(call)
        return refused

    async def _serve(self, call: Call, send: Send) -> Rejected | None:
        """Ask an engine; for a shorter answer where it finds prompt and answer too long.

        What the prompt leaves is estimated: an engine counts.
        """
        assert call.parsed is not None and call.decision is not None
        refused = await self._ask(call, send)
        if not _is_too_long(refused):
            return refused
        for limit in self._smaller_asks(call):
            call.answer_limit = limit
            refused = await self._ask(call, send)
            if not _is_too_long(refused):
                break
        return refused

    def _smaller_asks(self, call: Call) -> list[int]:
        assert call.parsed is not None and call.decision is not None
        if call.answer_limit is None:
            return []
        longest = self._estimate_longest(call.lane, call.parsed)
        return smaller_asks(call.answer_limit, longest, call.decision.lane.window_tokens)

    async def _ask(self, call: Call, send: Send) -> Rejected | None:
        assert call.parsed is not None and call.decision is not None
        priority = priority_of(call) if call.policies.has_priority[call.lane] else None
        traits = traits_of(call.parsed, call.policies.fleet.lanes[call.lane])
        await breathe(call.parsed.prompt.bytes)
        body = for_engine(
            limited(call.parsed, call.answer_limit),
            model=call.decision.lane.model_id,
            cache_salt=self._state.cache_salt(call.tenant),
            priority=priority,
            token_ids=traits.wants_ids,
        )
        await breathe(len(body))
        return await self._recovery.run(call, body, traits, send)

    async def _open(
        self,
        call: Call,
        path: str,
        body: bytes,
        avoid: frozenset[str],
        barred: frozenset[str] = frozenset(),
    ) -> Response:
        begun = time.perf_counter()
        if call.place is not None:
            avoid |= call.place.full
        call.replica = await self._choose(call, avoid, barred)
        await breathe(len(body))
        if call.place is not None:
            call.place.move_to(call.replica.id)
        self._recovery.breakers(call.lane).note_chosen(call.replica.id, now=time.monotonic())
        chosen = time.perf_counter()
        call.stages["choose"] = call.stages.get("choose", 0.0) + chosen - begun
        call.affinity = self._state.sessions.note(
            call.session_key,
            call.lane,
            call.replica.id,
            now=time.monotonic(),
            spilled=call.replica.has_spilled,
        )
        headers = {
            k.decode(): v.decode("latin-1") for k, v in call.headers.items() if k in PASSED_HEADERS
        }
        headers["x-request-id"] = call.request_id
        response = await self._lanes.open(call.replica, path, body, headers)
        call.stages["engine"] = time.perf_counter() - chosen
        return response

    async def _choose(self, call: Call, avoid: frozenset[str], barred: frozenset[str]) -> Replica:
        """Raises NoReplica where only barred ones are left."""
        replica = await self._lanes.choose(call.lane, call.visit, avoid | barred)
        if replica.id in barred and avoid - barred:
            # All are avoided: rather one that is full or ejected than this.
            replica = await self._lanes.choose(call.lane, call.visit, barred)
        if replica.id in barred:
            raise NoReplica(call.lane)
        return replica

    async def _is_alive(self, replica: Replica) -> bool | None:
        return await self._lanes.is_alive(replica)

    async def _detokenize(self, call: Call, body: bytes) -> Response:
        """Ask a replica of the call's lane for the text of token ids."""
        avoid = self._recovery.breakers(call.lane).avoided(now=time.monotonic())
        failed = frozenset() if call.replica is None else frozenset({call.replica.id})
        replica = await self._lanes.choose(call.lane, call.session_key, avoid | failed)
        return await self._lanes.open(replica, "/detokenize", body, {})

    async def _refuse(self, call: Call, refused: Rejected, send: Send) -> None:
        status = status_of(refused.reason)
        call.code = refused.reason.value
        if call.ceiling is None:
            # What is left of it is told on every answer.
            call.ceiling = self._state.ceiling(call.tenant)
        self._state.admission.note_refusal(call, refused)
        if status in (429, 503) or (status == 504 and call.replica is None):
            self._metrics.shed.labels(call.tenant.tier_name, refused.reason.value).inc()
        if call.has_head:
            await self._relay.refuse_late(call, refused, send)
            return
        call.hush()
        body = error_body(refused, call.route.dialect, request_id=call.request_id)
        headers = [
            *response_headers(call),
            (b"content-type", b"application/json"),
            *error_headers(refused),
            (b"content-length", str(len(body)).encode()),
        ]
        await self._relay.start(call, send, status, headers)
        await send({"type": "http.response.body", "body": body})

    # -- settling -----------------------------------------------------------

    def _account(self, call: Call) -> None:
        """Into the journal of usage, once; the rest is settled when the call is over."""
        self._metering.end(call, call.usage)

    def _settle(self, call: Call) -> None:
        """Account for a call, however it ended. Runs exactly once."""
        now = time.monotonic()
        if call.reservation is not None and call.ceiling is not None:
            call.ceiling.settle(call.reservation, self._used_tokens(call), now=now)
            call.reservation = None
        self._metering.end(call, self._counted(call))
        self._learn(call)
        tier, reason = call.tenant.tier_name, call.decision.reason if call.decision else "none"
        m = self._metrics
        m.requests.labels(call.lane, reason, tier, call.code).inc()
        m.duration.labels(call.lane, tier).observe(time.perf_counter() - call.started)
        for stage, seconds in call.stages.items():
            m.stage.labels(stage).observe(seconds)
        if call.affinity is not None:
            m.affinity.labels(call.affinity.value).inc()
        if call.paced_s:
            m.ceiling_wait.labels(tier).observe(call.paced_s)
        self._recorder.record(call)

    def _used_tokens(self, call: Call) -> int:
        """Weighted: the engine's count; where it broke off, what had been delivered."""
        weights, usage = call.tenant.weights, self._counted(call)
        if (
            call.usage is None
            and call.code == "499"
            and call.replica is not None
            and not call.has_started
        ):
            # Abandoned while the engine was at work and had told nothing yet: a stream
            # has cost its prompt at most, a whole answer up to all that was reserved.
            if call.parsed is not None and call.parsed.stream:
                return ceil(weights.weigh(call.prompt_tokens, 0, 0))
            return _abandoned(call)
        if usage is None:
            return 0
        return ceil(
            weights.weigh(usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens)
        )

    def _counted(self, call: Call) -> Usage | None:
        """The engine's count, or the best guess at it; None: no engine did anything."""
        if call.usage is not None or call.parsed is None or call.replica is None:
            return call.usage
        if call.code == "499" or (call.has_started and call.code in ("200", "500", "broken")):
            return Usage(call.prompt_tokens, call.delivered_tokens)
        return None

    def _learn(self, call: Call) -> None:
        if call.parsed is None or call.decision is None:
            return
        usage, prompt = call.usage, call.parsed.prompt
        if usage is not None:
            self._state.estimator(call.lane).learn(
                prompt.bytes, prompt.messages, usage.prompt_tokens
            )
        elif call.delivered_tokens:
            # A stream that ended before the engine had told its count.
            usage = Usage(call.prompt_tokens, call.delivered_tokens)
        else:
            return
        label = self._metrics.tenant_label(call.tenant.name)
        self._metrics.tokens.labels(label, "prompt").inc(usage.prompt_tokens)
        self._metrics.tokens.labels(label, "completion").inc(usage.completion_tokens)
        self._metrics.tokens.labels(label, "cached").inc(usage.cached_tokens)
        self._state.note_prefix(call.lane, call.tenant, call.parsed)


def _session_limit(call: Call) -> int | None:
    """Tokens that one session of the tenant may hold; None: no limit."""
    kv = call.tenant.kv
    return None if kv is None else kv.tokens_per_session


def _is_too_long(refused: Rejected | None) -> bool:
    return refused is not None and refused.reason is RejectReason.CONTEXT_LENGTH_EXCEEDED


def _abandoned(call: Call) -> int:
    """Weighted tokens of a whole answer that nobody waited for."""
    if call.reservation is None or call.cost is None:
        return 0
    # Without a limit, what was reserved is all that the window holds: no answer is so long.
    most = call.cost.short if call.answer_limit is None else call.reservation.tokens
    return min(most, call.reservation.tokens)
