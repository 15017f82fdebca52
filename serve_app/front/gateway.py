"""The ASGI application: an explicit table of routes over the pipeline."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable

from starlette.types import Receive, Scope, Send

from router.errors import Rejected, RejectReason
from serve_app.admin.desk import AdminDesk
from serve_app.bodies.routes import ROUTES, Route
from serve_app.console.console import Console
from serve_app.front.admin_gate import AdminGate
from serve_app.front.admin_routes import AdminRoutes
from serve_app.front.console_routes import FEED as CONSOLE_FEED
from serve_app.front.console_routes import FILES as CONSOLE_FILES
from serve_app.front.console_routes import PATH as CONSOLE
from serve_app.front.console_routes import ConsoleRoutes
from serve_app.front.control import Control
from serve_app.front.cors import allowed_origin, cors_headers, is_preflight, preflight_headers
from serve_app.front.door import Door
from serve_app.front.feedback_routes import FeedbackRoutes
from serve_app.front.front_page import front_page
from serve_app.front.http_request import HttpRequest
from serve_app.front.intake import Arrival, Intake
from serve_app.front.model_routes import PREFIX as MODELS
from serve_app.front.model_routes import ModelRoutes
from serve_app.front.openapi import OPENAPI
from serve_app.front.operating_routes import OperatingRoutes
from serve_app.front.request_body import ClientGone
from serve_app.front.response_routes import PREFIX as RESPONSES
from serve_app.front.response_routes import ResponseRoutes, kind_of
from serve_app.front.tool_routes import ToolRoutes
from serve_app.front.usage_routes import UsageRoutes
from serve_app.pipeline.pipeline import Pipeline
from serve_app.pipeline.state import IngressState
from serve_app.protocol.http_rules import allow_header, protocol_fault, refused_header
from serve_app.records.feedback import FeedbackDesk
from serve_app.request.call import Call
from serve_app.request.stages import Stage
from serve_app.responses.desk import StoredResponses
from serve_app.tenancy.auth import Tenant
from serve_app.tenancy.callers import Caller
from serve_app.websocket.sockets import Sockets, refuse_upgrade

logger = logging.getLogger("ray.serve")

SOCKET_PATH = "/v1/chat/ws"

NO_SUCH_ROUTE = Rejected(RejectReason.INVALID_REQUEST, "No such route; see /openapi.json.")
NO_SUCH_METHOD = Rejected(
    RejectReason.INVALID_REQUEST, "This route takes other methods; see the Allow header."
)
UPGRADE = Rejected(RejectReason.INVALID_REQUEST, "This route is a WebSocket's.")

Handler = Callable[[HttpRequest], Awaitable[None]]
TenantHandler = Callable[[HttpRequest, Tenant], Awaitable[None]]
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
        responses: StoredResponses | None = None,
        admin: AdminDesk | None = None,
        console: Console | None = None,
    ) -> None:
        self._state = state
        self._pipeline = pipeline
        self._control = control
        self._trusts_local = trusts_local
        self._door = door = Door(state, trusts_local=trusts_local)
        self._intake = Intake(state)
        trail = None if admin is None else admin.trail
        self._gate = gate = AdminGate(state, door, trail, is_private=trusts_local)
        self._admin = None if admin is None else AdminRoutes(admin, gate, self._intake)
        self._sockets = sockets
        self._run_for_user = self._admit(door.user, self._run)
        models = ModelRoutes(control)
        self._one_model = self._admit(door.reader, models.show, is_counted=True)
        stored = ResponseRoutes(responses, state, pipeline.big_bodies)
        operating = OperatingRoutes(control, stored)
        self._stored_routes = {
            kind: {way: self._admit(door.user, x, is_counted=True) for way, x in ways.items()}
            for kind, ways in stored.handlers.items()
        }
        self._console = ConsoleRoutes(console or Console(control), door.metrics)
        self._routes: dict[str, dict[str, Handler]] = {
            "/": {"GET": self._front_page},
            "/health": {"GET": operating.health},
            "/ready": {"GET": operating.ready},
            "/v1/models": {"GET": self._admit(door.reader, models.show_all, is_counted=True)},
            "/v1/route": {"POST": self._admit(door.user, self._dry_run)},
            "/v1/feedback": {
                "POST": self._admit(door.user, FeedbackRoutes(feedback, self._intake).take)
            },
            "/metrics": {"GET": self._admit(door.metrics, operating.metrics)},
            "/status": {"GET": self._admit(door.status, operating.status)},
            "/admin/advice": {"GET": self._admit(door.admin, operating.advice)},
            "/admin/reload": {"POST": gate.acting("reload", operating.reload)},
            **self._tool_routes(ToolRoutes(control, self._intake)),
            "/openapi.json": {"GET": self._openapi},
            CONSOLE: {"GET": self._console.page},
            CONSOLE_FEED: {"GET": self._admit(door.metrics, self._console.feed)},
            **{path: {"POST": self._generate} for path in ROUTES},
        }
        if admin is not None and self._admin is not None:
            self._routes |= self._admin.fixed
            own = UsageRoutes(admin.usage)
            self._routes["/v1/usage"] = {"GET": self._admit(door.own, own.show)}
        if sockets is not None:
            self._routes[SOCKET_PATH] = {"GET": self._ask_for_upgrade}

    def _tool_routes(self, tools: ToolRoutes) -> dict[str, dict[str, Handler]]:
        gate = self._gate
        return {
            "/admin/tools": {"GET": gate.reading("tools.show", tools.show)},
            "/admin/tools/promote": {"POST": gate.acting("tools.promote", tools.promote)},
            "/admin/tools/rollback": {"POST": gate.acting("tools.rollback", tools.rollback)},
            "/admin/tools/retire": {"POST": gate.acting("tools.retire", tools.retire)},
        }

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
        refused, status = fault or (refused_header(request.headers), None)
        if refused is not None:
            await receive()
            await refuse_upgrade(scope, send, refused, status)
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
            await request.refuse(*fault)
        elif allowed is not None and is_preflight(request.method, request.headers):
            await request.no_content(preflight_headers(request.headers, cors))
        else:
            await self._dispatch(request)

    async def _dispatch(self, request: HttpRequest) -> None:
        handlers = self._routes.get(request.path)
        if handlers is None and request.path.startswith(MODELS):
            handlers = {"GET": self._one_model}
        if handlers is None and request.path.startswith(RESPONSES):
            handlers = self._stored_routes.get(kind_of(request.path))
        if handlers is None and self._admin is not None:
            handlers = self._admin.find(request.path)
        if handlers is None and request.path.startswith(CONSOLE_FILES):
            handlers = {"GET": self._console.file}
        if handlers is None:
            await request.refuse(NO_SUCH_ROUTE, 404)
            return
        handler = handlers.get(request.method)
        if handler is not None:
            await handler(request)
            return
        allow = [(b"allow", allow_header(handlers))]
        if request.method == "OPTIONS":
            await request.no_content(allow)
        else:
            await request.refuse(NO_SUCH_METHOD, 405, allow)

    async def _ask_for_upgrade(self, request: HttpRequest) -> None:
        await request.refuse(UPGRADE, 426, [(b"upgrade", b"websocket")])

    def _admit(self, rule: Rule, handler: TenantHandler, *, is_counted: bool = False) -> Handler:
        """Let callers in to a handler by a rule of the door.

        `is_counted`: against the tenant's requests of the minute.
        """

        async def handle(request: HttpRequest) -> None:
            begun = time.perf_counter()
            tenant = rule(request.caller)
            request.auth_s = time.perf_counter() - begun
            if isinstance(tenant, Rejected):
                await request.refuse(tenant)
                return
            refused = await self._state.count_request(tenant) if is_counted else None
            if refused is None:
                await handler(request, tenant)
            else:
                await self._intake.refuse(request, tenant, refused)

        return handle

    # -- generation ---------------------------------------------------------

    async def _generate(self, request: HttpRequest) -> None:
        refused = refused_header(request.headers)
        if refused is not None:
            await request.refuse(refused)
        else:
            await self._run_for_user(request)

    async def _run(self, request: HttpRequest, tenant: Tenant) -> None:
        route = ROUTES[request.path]
        most = self._state.policies.fleet.limits.max_body_bytes
        with Arrival() as arrival:
            raw = await self._intake.read(request, tenant, most, arrival, will_run=route.generates)
            if isinstance(raw, Rejected):
                call = self._pipeline.call(route, request.headers, tenant)
                await self._pipeline.refuse(call, raw, request.send)
            elif raw is not None:
                call = self._call(request, route, tenant, arrival)
                await self._pipeline.run(call, raw, request.sender, keeps_alive=True)

    def _call(self, request: HttpRequest, route: Route, tenant: Tenant, arrival: Arrival) -> Call:
        call = self._pipeline.call(route, request.headers, tenant, request.id)
        call.stages[Stage.AUTH] = request.auth_s
        call.arrived = arrival.close
        return call

    # -- reading ------------------------------------------------------------

    async def _front_page(self, request: HttpRequest) -> None:
        body, kind = front_page(request.headers.get(b"accept", b""))
        await request.respond(200, body, kind, [(b"vary", b"accept")])

    async def _dry_run(self, request: HttpRequest, tenant: Tenant) -> None:
        most = self._state.policies.fleet.limits.max_body_bytes
        with Arrival() as arrival:
            raw = await self._intake.read_or_refuse(request, tenant, most, arrival)
            if raw is None:
                return
            call = self._call(request, ROUTES["/v1/chat/completions"], tenant, arrival)
            plan = await self._pipeline.decide(call, raw)
            if isinstance(plan, Rejected):
                await request.refuse(plan)
                return
            looking = self._control.looking_at_tools(call, plan)
            tools = await self._pipeline.big_bodies.read(looking, len(raw), tenant.name)
        explained = self._control.explain(self._pipeline, call, plan)
        await request.json({**explained, "tools": tools})

    async def _openapi(self, request: HttpRequest) -> None:
        await request.json(OPENAPI)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
