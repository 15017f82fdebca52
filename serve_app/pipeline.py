"""One generation request, from bytes to settled: the only path there is.

authenticate -> parse -> classify -> route -> admit -> choose -> relay -> settle

Each step is one method. A refusal is a value and becomes an error body; a fault
before the first byte is retried on the session's next replica; a fault after it
ends the stream with an error event. Whatever happens, `_settle` runs once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

from router.errors import Rejected, RejectReason
from router.lane import decide_lane
from router.session import derive_session_id, session_key
from router.types import LaneDecision, RequestFacts
from serve_app.auth import Tenant
from serve_app.call import Call, request_id
from serve_app.endpoint import Send
from serve_app.http_errors import error_body, error_headers, status_of
from serve_app.lanes import Lanes, NoReplica, UpstreamFault, UpstreamTimeout
from serve_app.metrics import Metrics
from serve_app.relay import BROKEN_OFF, Relay
from serve_app.response_headers import response_headers
from serve_app.state import IngressState
from serve_app.upstream import Response
from serve_app.wire import Parsed, Route, for_engine, parse

logger = logging.getLogger("ray.serve")

# A request that meets dead replicas tries this many in all before the first byte.
MAX_ATTEMPTS = 3

# Request headers that reach the engine; everything else stays here.
PASSED_HEADERS = frozenset(
    {b"anthropic-version", b"anthropic-beta", b"openai-beta", b"traceparent", b"tracestate"}
)


class Pipeline:
    """Runs calls against the lanes."""

    def __init__(self, state: IngressState, lanes: Lanes, metrics: Metrics) -> None:
        self._state = state
        self._lanes = lanes
        self._metrics = metrics
        self._relay = Relay(metrics)

    def call(self, route: Route, headers: dict[bytes, bytes], tenant: Tenant) -> Call:
        """Begin a call for an authenticated tenant."""
        return Call(
            route=route,
            headers=headers,
            request_id=request_id(headers),
            tenant=tenant,
            policies=self._state.policies,
            started=time.perf_counter(),
            wants_debug=headers.get(b"x-pointsman-debug") == b"1",
        )

    async def run(self, call: Call, raw: bytes, send: Send) -> None:
        """Answer one request on `send`."""
        self._metrics.in_flight.inc()
        try:
            refused = self.prepare(call, raw)
            if refused is None:
                refused = self._admit(call)
            if refused is None:
                refused = await self._serve(call, send)
            if refused is not None:
                await self._refuse(call, refused, send)
        except asyncio.CancelledError:
            call.code = "499"
            raise
        except Exception:
            call.code = "500"
            if not call.has_started:
                raise
            # The gateway can no longer answer: end the stream in form.
            logger.exception("request %s failed in its stream", call.request_id)
            await self._relay.end_broken(call, BROKEN_OFF, send)
        finally:
            self._settle(call)
            self._metrics.in_flight.dec()

    # -- deciding -----------------------------------------------------------

    def prepare(self, call: Call, raw: bytes) -> Rejected | None:
        """Parse the body and decide the lane; also the whole of a dry run."""
        parsed = parse(raw, call.route)
        if isinstance(parsed, Rejected):
            return parsed
        call.parsed = parsed
        limit = call.tenant.tier.max_n
        if parsed.copies > limit:
            message = f"'n' (times the number of prompts) may be at most {limit}."
            return Rejected(RejectReason.INVALID_REQUEST, message, param="n")
        refused = self._identify_session(call, parsed)
        if refused is not None:
            return refused
        begun = time.perf_counter()
        decision = decide_lane(
            call.policies.routing,
            call.tenant.rules,
            self._facts(call, parsed),
            lambda: self._state.scores(call.policies, parsed),
        )
        call.stages["classify"] = time.perf_counter() - begun
        if isinstance(decision, Rejected):
            return decision
        call.decision = decision
        return self._check_window(parsed, decision)

    def _identify_session(self, call: Call, parsed: Parsed) -> Rejected | None:
        given = self._state.session_id_of(call.headers)
        if isinstance(given, Rejected):
            return given
        first = parsed.prompt.users[0] if parsed.prompt.users else ""
        call.session_id = given or derive_session_id(parsed.prompt.system, first)
        return None

    def _facts(self, call: Call, parsed: Parsed) -> RequestFacts:
        default = call.policies.routing.default
        return RequestFacts(
            pinned=parsed.model,
            has_tools=parsed.tools > 0,
            prompt_tokens=self._estimate(default, parsed),
            output_tokens=parsed.output_tokens or 0,
        )

    def _estimate(self, lane: str, parsed: Parsed) -> int:
        estimator = self._state.estimator(lane)
        return estimator.estimate(parsed.prompt.bytes, parsed.prompt.messages)

    def _check_window(self, parsed: Parsed, decision: LaneDecision) -> Rejected | None:
        """Refuse what is sure not to fit; what may fit is for the engine to judge."""
        window = decision.lane.window_tokens
        if self._estimate(decision.lane.name, parsed) <= 2 * window:
            return None
        return Rejected(
            RejectReason.CONTEXT_LENGTH_EXCEEDED,
            f"The prompt is longer than this model's context of {window} tokens.",
            param="messages",
        )

    def _admit(self, call: Call) -> Rejected | None:
        assert call.parsed is not None
        call.ceiling = self._state.ceiling(call.tenant)
        if not call.route.generates:
            return None
        tokens = self.reserve_tokens(call, call.parsed)
        outcome = call.ceiling.try_admit(tokens, now=time.monotonic())
        if isinstance(outcome, Rejected):
            return outcome
        call.reservation = outcome
        return None

    def prompt_tokens(self, call: Call, parsed: Parsed) -> int:
        """Estimated prompt tokens in the chosen lane's tokenizer."""
        return self._estimate(call.lane, parsed)

    def reserve_tokens(self, call: Call, parsed: Parsed) -> int:
        """What a request is reckoned at until the engine has counted."""
        output = parsed.output_tokens or call.policies.default_output_tokens
        return self._estimate(call.lane, parsed) + output * parsed.copies

    # -- serving ------------------------------------------------------------

    async def _serve(self, call: Call, send: Send) -> Rejected | None:
        assert call.parsed is not None and call.decision is not None
        priority = call.tenant.tier.priority if call.policies.has_priority[call.lane] else None
        body = for_engine(
            call.parsed,
            model=call.decision.lane.model_id,
            cache_salt=self._state.cache_salt(call.tenant),
            priority=priority,
        )
        avoid: set[str] = set()
        for attempt in range(MAX_ATTEMPTS):
            try:
                response = await self._open(call, body, frozenset(avoid))
            except NoReplica:
                return Rejected(RejectReason.NO_REPLICA, "No replica of the model is available.")
            except UpstreamTimeout:
                return Rejected(RejectReason.DEADLINE_EXCEEDED, "The model took too long.")
            except UpstreamFault as fault:
                avoid.add(str(fault))
                continue
            # Closing ends the connection unless the response was read to its
            # end: that is what aborts the engine's request.
            with contextlib.closing(response):
                if response.status >= 500 and attempt + 1 < MAX_ATTEMPTS:
                    assert call.replica is not None
                    avoid.add(call.replica.id)
                    continue
                if avoid and response.status < 500:
                    self._metrics.recoveries.labels("retried").inc()
                return await self._relay.relay(call, response, send)
        self._metrics.recoveries.labels("failed").inc()
        return Rejected(RejectReason.NO_REPLICA, "No replica of the model answered.")

    async def _open(self, call: Call, body: bytes, avoid: frozenset[str]) -> Response:
        begun = time.perf_counter()
        key = session_key(call.tenant.name, call.session_id)
        call.replica = await self._lanes.choose(call.lane, key, avoid)
        chosen = time.perf_counter()
        call.stages["choose"] = call.stages.get("choose", 0.0) + chosen - begun
        call.affinity = self._state.sessions.note(
            key, call.lane, call.replica.id, now=time.monotonic()
        )
        headers = {
            k.decode(): v.decode("latin-1") for k, v in call.headers.items() if k in PASSED_HEADERS
        }
        headers["x-request-id"] = call.request_id
        response = await self._lanes.open(call.replica, call.route.path, body, headers)
        call.stages["engine"] = time.perf_counter() - chosen
        return response

    async def _refuse(self, call: Call, refused: Rejected, send: Send) -> None:
        status = status_of(refused.reason)
        call.code = refused.reason.value
        body = error_body(refused, call.route.dialect)
        headers = [
            *response_headers(call),
            *error_headers(refused),
            (b"content-length", str(len(body)).encode()),
        ]
        if status in (429, 503):
            self._metrics.shed.labels(call.tenant.tier_name, refused.reason.value).inc()
        await self._relay.start(call, send, status, headers)
        await send({"type": "http.response.body", "body": body})

    # -- settling -----------------------------------------------------------

    def _settle(self, call: Call) -> None:
        """Account for a call, however it ended. Runs exactly once."""
        now = time.monotonic()
        if call.reservation is not None and call.ceiling is not None:
            call.ceiling.settle(call.reservation, self._used_tokens(call), now=now)
            call.reservation = None
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
        if call.decision is not None and call.decision.score is not None and call.replica:
            self._state.note_scored(call.decision)

    def _used_tokens(self, call: Call) -> int:
        """The engine's count; where it broke off, what had been delivered."""
        if call.usage is not None:
            return call.usage.total
        if call.code == "499" and call.replica is not None and not call.has_started:
            # Abandoned while the engine was at work and had told nothing yet.
            return call.reservation.tokens if call.reservation else 0
        if (
            call.parsed is None
            or not call.has_started
            or call.code not in ("200", "499", "500", "broken")
        ):
            return 0
        return self._estimate(call.lane, call.parsed) + call.delivered_tokens

    def _learn(self, call: Call) -> None:
        if call.usage is None or call.parsed is None or call.decision is None:
            return
        prompt = call.parsed.prompt
        self._state.estimator(call.lane).learn(
            prompt.bytes, prompt.messages, call.usage.prompt_tokens
        )
        label = self._metrics.tenant_label(call.tenant.name)
        self._metrics.tokens.labels(label, "prompt").inc(call.usage.prompt_tokens)
        self._metrics.tokens.labels(label, "completion").inc(call.usage.completion_tokens)
        self._metrics.tokens.labels(label, "cached").inc(call.usage.cached_tokens)
