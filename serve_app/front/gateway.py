"""The ASGI application: an explicit table of routes over the pipeline."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack

import orjson

from router.errors import Rejected, RejectReason
from serve_app.bodies.wire import ROUTES, Route
from serve_app.front.control import Control
from serve_app.front.cors import allowed_origin, cors_headers, is_preflight, preflight_headers
from serve_app.front.door import Door
from serve_app.front.front_page import front_page
from serve_app.front.http_request import JSON, HttpRequest
from serve_app.front.model_cards import listed, listing
from serve_app.front.openapi import OPENAPI
from serve_app.front.request_body import ClientGone
from serve_app.pipeline.pipeline import Pipeline
from serve_app.pipeline.state import IngressState
from serve_app.protocol.asgi import Receive, Scope, Send
from serve_app.protocol.encodings import ACCEPTED, unknown_coding
from serve_app.protocol.http_rules import protocol_fault, refused_header
from serve_app.records.feedback import MAX_FEEDBACK_BYTES, FeedbackDesk, parse_feedback
from serve_app.request.call import Call
from serve_app.request.response_headers import ratelimit_headers
from serve_app.tenancy.auth import Tenant
from serve_app.tenancy.callers import Caller
from serve_app.websocket.sockets import Sockets, refuse_upgrade

logger = logging.getLogger("ray.serve")

TEXT = b"text/plain; version=0.0.4; charset=utf-8"

SOCKET_PATH = "/v1/chat/ws"

NO_SUCH_ROUTE = Rejected(RejectReason.INVALID_REQUEST, "No such route; see /openapi.json.")
NO_SUCH_METHOD = Rejected(
    RejectReason.INVALID_REQUEST, "This route takes other methods; see the Allow header."
)
UPGRADE = Rejected(RejectReason.INVALID_REQUEST, "This route is a WebSocket's.")

Handler = Callable[[HttpRequest], Awaitable[None]]
Rule = Callable[[Caller], Tenant | Rejected]


class Gateway:
    """Reads the request, finds its route, answers every failure in form."""

    def __init__(
        self,
        state: IngressState,
        pipeline: Pipeline,
        control: Control,
        feedback: FeedbackDesk,
        *,
        trusts_local: bool = True,
        sockets: Sockets | None = None,
    ) -> None:
        self._state = state
        self._pipeline = pipeline
        self._control = control
        self._feedback = feedback
        self._trusts_local = trusts_local
        self._door = Door(state, trusts_local=trusts_local)
        self._sockets = sockets
        self._routes: dict[str, dict[str, Handler]] = {
            "/": {"GET": self._front_page},
            "/health": {"GET": self._health},
            "/ready": {"GET": self._ready},
            "/v1/models": {"GET": self._models},
            "/v1/route": {"POST": self._dry_run},
            "/v1/feedback": {"POST": self._take_feedback},
            "/metrics": {"GET": self._metrics_text},
            "/status": {"GET": self._status},
            "/admin/reload": {"POST": self._reload},
            "/openapi.json": {"GET": self._openapi},
            **{path: {"POST": self._generate} for path in ROUTES},
        }
        if sockets is not None:
            self._routes[SOCKET_PATH] = {"GET": self._ask_for_upgrade}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
            return
        request = HttpRequest(scope, receive, send)
        try:
            await self._answer(scope, request)
        except ClientGone:
            return
        except asyncio.CancelledError:
            raise
        except Exception:
            # The boundary: whatever goes wrong, the client learns nothing of
            # our insides, and the log learns nothing of the prompt.
            logger.exception("request %s failed", request.id)
            await request.fail()

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = HttpRequest({**scope, "method": "GET"}, receive, send)
        if self._sockets is None or request.path != SOCKET_PATH:
            await receive()
            await refuse_upgrade(scope, send, NO_SUCH_ROUTE, 404)
            return
        fault = protocol_fault({**scope, "method": "GET"})
        refused = fault.rejected if fault is not None else refused_header(request.headers)
        if refused is not None:
            await receive()
            await refuse_upgrade(scope, send, refused, fault.status if fault else None)
            return
        caller = request.caller
        await self._sockets.serve(
            scope, request.headers, lambda: self._door.socket(caller), receive, send
        )

    async def _answer(self, scope: Scope, request: HttpRequest) -> None:
        cors = self._state.policies.fleet.cors
        origin = request.headers.get(b"origin")
        allowed = allowed_origin(origin, cors, is_private=self._trusts_local)
        request.always += cors_headers(allowed)
        fault = protocol_fault(scope)
        if fault is not None:
            await request.refuse(fault.rejected, fault.status)
        elif allowed is not None and is_preflight(request.method, request.headers):
            await request.no_content(preflight_headers(request.headers, cors))
        else:
            await self._dispatch(request)

    async def _dispatch(self, request: HttpRequest) -> None:
        handlers = self._routes.get(request.path)
        if handlers is None and request.path.startswith("/v1/models/"):
            handlers = {"GET": self._model}
        if handlers is None:
            await request.refuse(NO_SUCH_ROUTE, 404)
            return
        handler = handlers.get(request.method)
        if handler is not None:
            await handler(request)
            return
        allow = [(b"allow", b"POST, OPTIONS" if "POST" in handlers else b"GET, HEAD, OPTIONS")]
        if request.method == "OPTIONS":
            await request.no_content(allow)
        else:
            await request.refuse(NO_SUCH_METHOD, 405, allow)

    async def _ask_for_upgrade(self, request: HttpRequest) -> None:
        await request.refuse(UPGRADE, 426, [(b"upgrade", b"websocket")])

    # -- generation ---------------------------------------------------------

    async def _generate(self, request: HttpRequest) -> None:
        refused = refused_header(request.headers)
        if refused is not None:
            await request.refuse(refused)
            return
        with ExitStack() as arrival:
            opened = await self._open(request, ROUTES[request.path], arrival)
            if opened is not None:
                call, raw = opened
                await self._pipeline.run(call, raw, request.send, keeps_alive=True)

    async def _open(
        self, request: HttpRequest, route: Route, arrival: ExitStack, *, is_dry_run: bool = False
    ) -> tuple[Call, bytes] | None:
        """Identify, count, take the body in; None when a refusal has been answered.

        `arrival`: see `_read`.
        """
        begun = time.perf_counter()
        tenant = await self._tenant(request)
        identified = time.perf_counter() - begun
        if tenant is None:
            return None
        limits = self._state.policies.fleet.limits
        will_run = route.generates and not is_dry_run
        most = limits.max_body_bytes
        raw = await self._read(request, tenant, most, arrival, will_run=will_run)
        if raw is None:
            return None
        if isinstance(raw, bytes):
            call = self._pipeline.call(route, request.headers, tenant)
            call.stages["auth"] = identified
            call.arrived = arrival.close
            return call, raw
        if is_dry_run:
            await self._refuse(request, tenant, raw)
        else:
            call = self._pipeline.call(route, request.headers, tenant)
            await self._pipeline.refuse(call, raw, request.send)
        return None

    async def _read(
        self,
        request: HttpRequest,
        tenant: Tenant,
        max_bytes: int,
        arrival: ExitStack,
        *,
        will_run: bool = False,
    ) -> bytes | Rejected | None:
        """Count the request, then take its body in; None when a refusal has been answered.

        `arrival`: gives back, when it is closed, what the request holds until its body has
        been read: many megabytes may wait for that.

        Returns: the decoded body, or why a ceiling lets the request not be read.
        """
        most = self._state.policies.fleet.limits.max_uploads_per_tenant
        full = arrival.enter_context(self._state.uploads.arriving(tenant.name, most))
        refused = full or await self._state.count_request(tenant, will_run=will_run)
        if refused is not None:
            arrival.close()
            return refused
        if will_run:
            arrival.callback(self._state.ceiling(tenant).arrived)
        return await self._body(request, max_bytes)

    async def _body(self, request: HttpRequest, max_bytes: int) -> bytes | None:
        """The decoded body; None when a refusal has been answered."""
        unknown = unknown_coding(request.codings)
        if unknown is not None:
            await request.refuse(unknown, 415, [(b"accept-encoding", ACCEPTED)])
            return None
        raw = await request.read(self._state.policies.fleet.limits, max_bytes)
        if isinstance(raw, Rejected):
            await request.refuse(raw)
            return None
        return raw

    async def _tenant(self, request: HttpRequest, rule: Rule | None = None) -> Tenant | None:
        """Whose request it is; None when a refusal has been answered.

        `rule`: of the door; default: for who uses the models.
        """
        tenant = (rule or self._door.user)(request.caller)
        if isinstance(tenant, Rejected):
            await request.refuse(tenant)
            return None
        return tenant

    async def _counted(self, request: HttpRequest, rule: Rule | None = None) -> Tenant | None:
        """The same, for a request that counts against the tenant's of the minute."""
        tenant = await self._tenant(request, rule)
        refused = None if tenant is None else await self._state.count_request(tenant)
        if tenant is None or refused is None:
            return tenant
        await self._refuse(request, tenant, refused)
        return None

    async def _refuse(self, request: HttpRequest, tenant: Tenant, refused: Rejected) -> None:
        """Answer that a ceiling refuses the request, and what is left of the minute."""
        left = ratelimit_headers(self._state.ceiling(tenant))
        await request.refuse(refused, headers=left)

    # -- reading ------------------------------------------------------------

    async def _front_page(self, request: HttpRequest) -> None:
        body, kind = front_page(request.headers.get(b"accept", b""))
        await request.respond(200, body, kind, [(b"vary", b"accept")])

    async def _health(self, request: HttpRequest) -> None:
        await request.json({"status": "ok"})

    async def _ready(self, request: HttpRequest) -> None:
        loading = await self._control.loading_lanes()
        body = {"status": "loading" if loading else "ready", "loading": loading}
        if loading:
            await request.respond(503, orjson.dumps(body), JSON, [(b"retry-after", b"1")])
        else:
            await request.json(body)

    async def _models(self, request: HttpRequest) -> None:
        tenant = await self._counted(request, self._door.reader)
        if tenant is None:
            return
        cards = self._control.models(tenant)
        await request.json(listing(cards, request.dialect, request.query))

    async def _model(self, request: HttpRequest) -> None:
        tenant = await self._counted(request, self._door.reader)
        if tenant is None:
            return
        name = request.path.removeprefix("/v1/models/")
        for model in self._control.models(tenant):
            if model["id"] == name:
                await request.json(listed(model, request.dialect))
                return
        message = "The model does not exist; GET /v1/models lists the models."
        await request.refuse(Rejected(RejectReason.MODEL_NOT_FOUND, message, param="model"))

    async def _dry_run(self, request: HttpRequest) -> None:
        route = ROUTES["/v1/chat/completions"]
        with ExitStack() as arrival:
            opened = await self._open(request, route, arrival, is_dry_run=True)
            if opened is None:
                return
            call, raw = opened
            plan = await self._pipeline.decide(call, raw)
        if isinstance(plan, Rejected):
            await request.refuse(plan)
            return
        await request.json(self._control.explain(self._pipeline, call, plan))

    async def _take_feedback(self, request: HttpRequest) -> None:
        tenant = await self._tenant(request)
        if tenant is None:
            return
        with ExitStack() as arrival:
            raw = await self._read(request, tenant, MAX_FEEDBACK_BYTES, arrival)
        if raw is None:
            return
        if isinstance(raw, Rejected):
            await self._refuse(request, tenant, raw)
            return
        given = parse_feedback(raw)
        if isinstance(given, Rejected):
            await request.refuse(given)
            return
        unknown = await self._feedback.take(tenant.name, given)
        if unknown is not None:
            await request.refuse(unknown, 404)
            return
        await request.json({"object": "feedback", "request_id": given.request_id})

    async def _openapi(self, request: HttpRequest) -> None:
        await request.json(OPENAPI)

    # -- operating ----------------------------------------------------------

    async def _metrics_text(self, request: HttpRequest) -> None:
        if await self._tenant(request, self._door.metrics) is not None:
            text = await self._control.metrics_text()
            await request.respond(200, text.encode(), TEXT)

    async def _status(self, request: HttpRequest) -> None:
        tenant = await self._tenant(request, self._door.status)
        if tenant is None:
            return
        if tenant.is_admin:
            await request.json(await self._control.status())
        else:
            await request.json(self._control.tenant_status(tenant))

    async def _reload(self, request: HttpRequest) -> None:
        if await self._tenant(request, self._door.admin) is not None:
            await request.json(await self._control.reload_everywhere())


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
