"""What stands before Serve's own reading of a request, on the ingress replicas.

Serve echoes `x-request-id` whatever it is, and decodes headers as UTF-8, which not every
client sends; what it cannot decode it answers with a bare 500. It takes middleware by
the environment variable below, so here every request gets one usable id, which is then
Serve's, ours and the engine's, and headers that can be read.
"""

from __future__ import annotations

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from serve_app.front.http_request import headers_of
from serve_app.request.call import request_id

ENVIRONMENT = {"RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serve_app.front.doorway.middlewares"}
"""Ray reads it once, at import; an ingress replica is started with it."""


def middlewares() -> list[Middleware]:
    """Called by Serve."""
    return [Middleware(Doorway)]


class Doorway:
    """ASGI middleware: headers as Serve can take them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            scope = {**scope, "headers": readable(scope["headers"])}
        await self._app(scope, receive, send)


def readable(lines: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the lines as UTF-8, the last of them the request's id."""
    given, kept = [], []
    for line in lines:
        if line[0] == b"x-request-id":
            given.append(line)
        elif line[1].isascii():
            kept.append(line)
        else:
            kept.append((line[0], _as_utf8(line[1])))
    kept.append((b"x-request-id", request_id(headers_of(given)).encode()))
    return kept


def _as_utf8(value: bytes) -> bytes:
    try:
        value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1").encode()
    return value
