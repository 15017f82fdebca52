"""The ASGI application: an explicit table of routes over the pipeline."""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import orjson

from router.errors import Rejected, RejectReason
from serve_app.auth import Tenant
from serve_app.call import Call, request_id
from serve_app.control import Control
from serve_app.endpoint import Receive, Scope, Send
from serve_app.feedback import MAX_FEEDBACK_BYTES, FeedbackDesk, parse_feedback
from serve_app.http_errors import Dialect, error_body, error_headers, status_of
from serve_app.openapi import OPENAPI
from serve_app.pipeline import Pipeline
from serve_app.state import IngressState
from serve_app.websocket.sockets import Sockets, key_of, refuse_upgrade
from serve_app.wire import ROUTES, Route

logger = logging.getLogger("ray.serve")

JSON = b"application/json"
TEXT = b"text/plain; version=0.0.4; charset=utf-8"


SERVES_OWN = frozenset({b"x-request-disconnect-disabled", b"x-request-timeout-seconds"})
"""Headers by which Serve would not tell us that the client has left, or would answer in its own
words and cut streams off."""

NO_SUCH_ROUTE = Rejected(RejectReason.INVALID_REQUEST, "No such route; see /openapi.json.")


class ClientGone(Exception):
    """The client left before its request was whole."""


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
        self._sockets = sockets
        self._routes: dict[tuple[str, str], Callable[[_Request], Awaitable[None]]] = {
            ("GET", "/health"): self._health,
            ("GET", "/ready"): self._ready,
            ("GET", "/v1/models"): self._models,
            ("POST", "/v1/route"): self._dry_run,
            ("POST", "/v1/feedback"): self._take_feedback,
            ("GET", "/metrics"): self._metrics_text,
            ("GET", "/status"): self._status,
            ("POST", "/admin/reload"): self._reload,
            ("GET", "/openapi.json"): self._openapi,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
            return
        request = _Request(scope, receive, send)
        try:
            await self._dispatch(request)
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
        request = _Request({**scope, "method": "GET"}, receive, send)
        if self._sockets is None or request.path != "/v1/chat/ws":
            await receive()
            await refuse_upgrade(scope, send, NO_SUCH_ROUTE, 404)
            return
        refused = _refused_header(request.headers)
        if refused is not None:
            await receive()
            await refuse_upgrade(scope, send, refused)
            return
        key = request.key or key_of(scope.get("subprotocols", ()))
        is_local = self._trusts_local and request.is_local

        def identify() -> Tenant | Rejected:
            return self._state.policies.auth.identify(
                key, is_local=is_local, tenant_id=request.tenant_id
            )

        await self._sockets.serve(scope, request.headers, identify, receive, send)

    async def _dispatch(self, request: _Request) -> None:
        route = ROUTES.get(request.path)
        if route is not None:
            request.dialect = route.dialect
        if route is not None and request.method == "POST":
            await self._generate(request, route)
            return
        handler = self._routes.get((request.method, request.path))
        if handler is None and request.method == "GET" and request.path.startswith("/v1/models/"):
            handler = self._model
        if handler is not None:
            await handler(request)
            return
        known = (
            request.path in ROUTES
            or request.path.startswith("/v1/models/")
            or any(path == request.path for _, path in self._routes)
        )
        await request.not_found(405 if known else 404)

    # -- generation ---------------------------------------------------------

    async def _generate(self, request: _Request, route: Route) -> None:
        refused = _refused_header(request.headers)
        if refused is not None:
            await request.refuse(refused)
            return
        opened = await self._open(request, route)
        if opened is not None:
            call, raw = opened
            await self._pipeline.run(call, raw, request.send, keeps_alive=True)

    async def _open(self, request: _Request, route: Route) -> tuple[Call, bytes] | None:
        """Authenticate and read the body; None when a refusal has been answered."""
        begun = time.perf_counter()
        tenant = await self._tenant(request)
        identified = time.perf_counter() - begun
        if tenant is None:
            return None
        limits = self._state.policies.fleet.limits
        raw = await request.read(limits.max_body_bytes, limits.body_timeout_s)
        if isinstance(raw, Rejected):
            await request.refuse(raw)
            return None
        call = self._pipeline.call(route, request.headers, tenant)
        call.stages["auth"] = identified
        return call, raw

    async def _tenant(self, request: _Request) -> Tenant | None:
        """Whose request it is; None when a refusal has been answered."""
        is_local = self._trusts_local and request.is_local
        tenant = self._state.policies.auth.identify(
            request.key, is_local=is_local, tenant_id=request.tenant_id
        )
        if isinstance(tenant, Rejected):
            await request.refuse(tenant)
            return None
        return tenant

    async def _counted(self, request: _Request) -> Tenant | None:
        """The same, for a request that counts against the tenant's of the minute."""
        tenant = await self._tenant(request)
        refused = None if tenant is None else await self._state.count_request(tenant)
        if refused is None:
            return tenant
        await request.refuse(refused)
        return None

    # -- reading ------------------------------------------------------------

    async def _health(self, request: _Request) -> None:
        await request.json({"status": "ok"})

    async def _ready(self, request: _Request) -> None:
        loading = await self._control.loading_lanes()
        body = {"status": "loading" if loading else "ready", "loading": loading}
        if loading:
            await request.respond(503, orjson.dumps(body), JSON, [(b"retry-after", b"1")])
        else:
            await request.json(body)

    async def _models(self, request: _Request) -> None:
        tenant = await self._counted(request)
        if tenant is None:
            return
        await request.json({"object": "list", "data": self._control.models(tenant)})

    async def _model(self, request: _Request) -> None:
        tenant = await self._counted(request)
        if tenant is None:
            return
        name = request.path.removeprefix("/v1/models/")
        for model in self._control.models(tenant):
            if model["id"] == name:
                await request.json(model)
                return
        message = "The model does not exist; GET /v1/models lists the models."
        await request.refuse(Rejected(RejectReason.MODEL_NOT_FOUND, message, param="model"))

    async def _dry_run(self, request: _Request) -> None:
        opened = await self._open(request, ROUTES["/v1/chat/completions"])
        if opened is None:
            return
        call, raw = opened
        refused = await self._pipeline.decide(call, raw, is_dry_run=True)
        if refused is not None:
            await request.refuse(refused)
            return
        await request.json(self._control.explain(self._pipeline, call))

    async def _take_feedback(self, request: _Request) -> None:
        tenant = await self._counted(request)
        if tenant is None:
            return
        within_s = self._state.policies.fleet.limits.body_timeout_s
        raw = await request.read(MAX_FEEDBACK_BYTES, within_s)
        given = raw if isinstance(raw, Rejected) else parse_feedback(raw)
        if isinstance(given, Rejected):
            await request.refuse(given)
            return
        unknown = await self._feedback.take(tenant.name, given)
        if unknown is not None:
            await request.refuse(unknown, 404)
            return
        await request.json({"object": "feedback", "request_id": given.request_id})

    async def _openapi(self, request: _Request) -> None:
        await request.json(OPENAPI)

    # -- operating ----------------------------------------------------------

    async def _metrics_text(self, request: _Request) -> None:
        if await self._is_admin(request):
            text = await self._control.metrics_text()
            await request.respond(200, text.encode(), TEXT)

    async def _status(self, request: _Request) -> None:
        tenant = await self._tenant(request)
        if tenant is None:
            return
        if tenant.is_admin:
            await request.json(await self._control.status())
        else:
            await request.json(self._control.tenant_status(tenant))

    async def _reload(self, request: _Request) -> None:
        if await self._is_admin(request):
            await request.json(await self._control.reload_everywhere())

    async def _is_admin(self, request: _Request) -> bool:
        """Whether an admin asks (or the local tenant does); answers 401/403 if not."""
        tenant = await self._tenant(request)
        if tenant is None:
            return False
        if not tenant.is_admin:
            message = "This route needs an admin key."
            await request.refuse(Rejected(RejectReason.ADMIN_ONLY, message))
            return False
        return True


def _refused_header(headers: dict[bytes, bytes]) -> Rejected | None:
    """Why a request's headers cannot be taken, if so."""
    for name in SERVES_OWN & headers.keys():
        return Rejected(RejectReason.INVALID_REQUEST, f"'{name.decode()}' is not supported here.")
    return None


class _Request:
    """One HTTP request, with the few things handlers need."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.method: str = scope["method"]
        # Serve's root path is empty here; a trailing slash names the same route.
        self.path: str = scope["path"].rstrip("/") or "/"
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        forwarded = [v.decode("latin-1") for k, v in scope["headers"] if k == b"x-forwarded-for"]
        self._forwarded_for = [h.strip() for h in ",".join(forwarded).split(",") if h.strip()]
        self.id = request_id(self.headers)
        self.dialect = Dialect.OPENAI
        self._client = scope.get("client")
        self._receive = receive
        self._send = send
        self._has_started = False

    @property
    def key(self) -> str | None:
        """The API key, as either SDK sends it."""
        bearer = self.headers.get(b"authorization", b"").decode("latin-1")
        if bearer[:7].lower() == "bearer ":
            return bearer[7:].strip()
        return self.headers.get(b"x-api-key", b"").decode("latin-1") or None

    @property
    def tenant_id(self) -> str | None:
        """Whom the caller says it acts for; a matter of its key whether that counts."""
        return self.headers.get(b"x-tenant-id", b"").decode("utf-8", "replace") or None

    @property
    def is_local(self) -> bool:
        """Whether this request can only come from someone on this machine.

        HAProxy connects from this machine whoever its client is and names no
        one, so this counts only where nothing listens beyond loopback (see
        `trusts_local`). A web page in a local browser is not its user: the Host
        and Origin that it cannot choose must name this machine (DNS rebinding).
        """
        hosts = [self._client[0] if self._client else "", *self._forwarded_for]
        named = [_host_of(b"//" + self.headers.get(b"host", b"localhost"))]
        if b"origin" in self.headers:
            named.append(_host_of(self.headers[b"origin"]))
        return all(map(is_loopback, [*hosts, *named]))

    def send(self, message: Any) -> Awaitable[None]:
        """Pass an ASGI message on."""
        self._has_started = True
        return self._send(message)

    async def read(self, max_bytes: int, within_s: float) -> bytes | Rejected:
        """The whole body, or 413 as soon as it is known to be too long."""
        too_large = Rejected(
            RejectReason.REQUEST_TOO_LARGE, f"The request body may have {max_bytes} bytes."
        )
        declared = self.headers.get(b"content-length", b"0")
        if len(declared) > 15 or (declared.isdigit() and int(declared) > max_bytes):
            return too_large
        parts, size = [], 0
        try:
            async with asyncio.timeout(within_s):
                while True:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGone
                    part = message.get("body", b"")
                    size += len(part)
                    if size > max_bytes:
                        return too_large
                    parts.append(part)
                    if not message.get("more_body"):
                        return b"".join(parts)
        except TimeoutError:
            return Rejected(RejectReason.INVALID_REQUEST, "The request body did not arrive.")

    async def json(self, body: Any, status: int = 200) -> None:
        """Answer with JSON."""
        await self.respond(status, orjson.dumps(body), JSON)

    async def refuse(self, rejected: Rejected, status: int | None = None) -> None:
        """Answer a refusal in the route's dialect, with its reason's status unless told."""
        body = error_body(rejected, self.dialect)
        status = status or status_of(rejected.reason)
        await self.respond(status, body, JSON, error_headers(rejected))

    async def not_found(self, status: int) -> None:
        """404, or 405 where the path exists with another method."""
        await self.refuse(NO_SUCH_ROUTE, status)

    async def fail(self) -> None:
        """500 without a word about the inside; nothing if an answer has begun."""
        if self._has_started:
            return
        kind = "api_error" if self.dialect is Dialect.ANTHROPIC else "server_error"
        error = {
            "message": "Internal error.",
            "type": kind,
            "param": None,
            "code": "internal_error",
        }
        envelope = {"type": "error"} if self.dialect is Dialect.ANTHROPIC else {}
        await self.respond(500, orjson.dumps({**envelope, "error": error}), JSON)

    async def respond(
        self,
        status: int,
        body: bytes,
        kind: bytes,
        headers: list[tuple[bytes, bytes]] | None = None,
    ) -> None:
        """Answer with a whole body."""
        all_headers = [
            (b"content-type", kind),
            (b"content-length", str(len(body)).encode()),
            *(headers or []),
        ]
        await self.send({"type": "http.response.start", "status": status, "headers": all_headers})
        await self.send({"type": "http.response.body", "body": body})


@functools.lru_cache(maxsize=1024)
def is_loopback(host: str) -> bool:
    """Whether a name or address stands for this machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host_of(url: bytes) -> str:
    try:
        return urlsplit(url.decode("latin-1")).hostname or ""
    except ValueError:
        return ""


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
