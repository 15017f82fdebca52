"""One HTTP request as the gateway's handlers see it, and the ways to answer it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import orjson
from starlette.types import Message, Receive, Scope, Send

from router.errors import Rejected
from serve_app.bodies.routes import ROUTES
from serve_app.config.serving import LimitsConfig
from serve_app.front.request_body import RequestBody
from serve_app.protocol.asgi import DirectSend, extension_of
from serve_app.protocol.encodings import codings_of, decode
from serve_app.protocol.errors import Dialect, error_body, error_headers, internal_error, status_of
from serve_app.request.call import request_id
from serve_app.request.response_headers import Headers
from serve_app.tenancy.callers import Caller, caller_of

JSON = b"application/json"


class HttpRequest:
    """One request, with the few things handlers need.

    Attributes:
        method: as it is handled; HEAD is a GET whose body stays here.
        path: without a trailing slash, which names the same route.
        headers: one line of each name: the last that is not blank.
        lines: all of them.
        auth_s: what it took to find out who calls.
        always: headers that every answer gets, streams and errors too.
        noted: what an admin's action says of itself for the audit trail.
        on_answer: called with the status before a whole answer is sent.

    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.is_head = scope["method"] == "HEAD"
        self.method: str = "GET" if self.is_head else scope["method"]
        # Serve's root path is empty here.
        self.path: str = scope["path"].rstrip("/") or "/"
        self.lines: list[tuple[bytes, bytes]] = list(scope["headers"])
        self.headers = headers_of(self.lines)
        # What reads the headers after this finds the same one.
        self.id = request_id(self.headers)
        self.headers[b"x-request-id"] = self.id.encode()
        self.dialect = _dialect_of(self.path, self.headers)
        self.auth_s = 0.0
        self.always: Headers = []
        self.noted: dict[str, Any] = {}
        self.on_answer: Callable[[int], Awaitable[None]] | None = None
        if self.dialect is Dialect.ANTHROPIC:
            self.always.append((b"request-id", self.id.encode()))
        self._scope = scope
        self._body = RequestBody(self.headers, receive)
        self._send = send
        self._has_started = False

    @property
    def caller(self) -> Caller:
        return caller_of(self._scope)

    @property
    def client(self) -> str:
        """The address that the connection came from: a proxy's, where one stands before."""
        found: tuple[str, int] | None = self._scope.get("client")
        return found[0] if found else ""

    @property
    def codings(self) -> list[str]:
        return codings_of(self.lines) if b"content-encoding" in self.headers else []

    @property
    def query(self) -> bytes:
        found: bytes = self._scope.get("query_string", b"")
        return found

    def send(self, message: Message) -> Awaitable[None]:
        """Pass an ASGI message on. Before the body is read, see `_answer_early`."""
        self._has_started = True
        if message["type"] == "http.response.start" and self.always:
            message = {**message, "headers": [*message["headers"], *self.always]}
        elif self.is_head and message["type"] == "http.response.body":
            message = {**message, "body": b""}
        return self._answer_early(message) if self._body.has_more else self._send(message)

    @property
    def sender(self) -> Send:
        """`send`, with the listener's `write` where bodies go on as they are."""
        write = extension_of(self._scope)
        if write is None or self.is_head or self._body.has_more:
            return self.send
        return DirectSend(self.send, write)

    async def _answer_early(self, message: Message) -> None:
        """Pass a message on while the client is sending. The connection ends with the answer."""
        if message["type"] == "http.response.start":
            await self._body.take_if_at_hand()
            if self._body.has_more:
                message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
        elif not message.get("more_body"):
            await self._send({**message, "more_body": True})
            await self._body.linger()
            message = {**message, "body": b""}
        await self._send(message)

    async def read(self, limits: LimitsConfig, max_bytes: int) -> bytes | Rejected:
        """Return the whole body, decoded, or 413 as soon as it is known to be too long."""
        raw = await self._body.read(max_bytes, limits.body_timeout_s, limits.body_silence_s)
        codings = self.codings
        if isinstance(raw, Rejected) or not raw or not codings:
            return raw
        return await decode(raw, codings, max_bytes)

    async def gone(self) -> None:
        """Wait until the client has left; what it still sends is dropped."""
        await self._body.gone()

    async def json(self, body: Any, status: int = 200, headers: Iterable[Header] = ()) -> None:
        await self.respond(status, orjson.dumps(body), JSON, headers)

    async def refuse(
        self, rejected: Rejected, status: int | None = None, headers: Iterable[Header] = ()
    ) -> None:
        """Answer a refusal in the route's dialect, with its reason's status unless told."""
        status = status or status_of(rejected.reason)
        body = error_body(rejected, self.dialect, status=status, request_id=self.id)
        await self.respond(status, body, JSON, [*error_headers(rejected), *headers])

    async def fail(self) -> None:
        """Answer 500 without a word about the inside, unless an answer has begun."""
        if not self._has_started:
            await self.respond(500, internal_error(self.dialect, self.id), JSON)

    async def respond(
        self, status: int, body: bytes, kind: bytes, headers: Iterable[Header] = ()
    ) -> None:
        if self.on_answer is not None:
            await self.on_answer(status)
        all_headers = [
            (b"content-type", kind),
            (b"content-length", str(len(body)).encode()),
            *headers,
        ]
        await self.send({"type": "http.response.start", "status": status, "headers": all_headers})
        await self.send({"type": "http.response.body", "body": body})

    async def no_content(self, headers: Headers) -> None:
        await self.empty(204, headers)

    async def empty(self, status: int, headers: Headers) -> None:
        """Answer with a status that has no body."""
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": b""})


Header = tuple[bytes, bytes]


def headers_of(lines: Iterable[Header]) -> dict[bytes, bytes]:
    """Return one line of each name: the last that is not blank."""
    headers: dict[bytes, bytes] = {}
    for name, value in lines:
        if value.strip() or name not in headers:
            headers[name] = value
    return headers


def _dialect_of(path: str, headers: dict[bytes, bytes]) -> Dialect:
    route = ROUTES.get(path)
    if route is not None:
        return route.dialect
    is_anthropics = path.startswith("/v1/messages/") or b"anthropic-version" in headers
    return Dialect.ANTHROPIC if is_anthropics else Dialect.OPENAI
