"""`/console` and what is below it: the page, its files, and the feed of figures."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from router.errors import Rejected, RejectReason
from serve_app.console.assets import Asset, assets
from serve_app.console.console import Console
from serve_app.console.feed import event
from serve_app.console.watchers import Watcher
from serve_app.front.http_request import Header, HttpRequest
from serve_app.tenancy.auth import Tenant
from serve_app.tenancy.callers import Caller

PATH = "/console"
FILES = "/console/static/"
FEED = "/console/feed"

POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page loads nothing from elsewhere, runs nothing that stands in it, and is in no frame."""

HARDENED: list[Header] = [
    (b"content-security-policy", POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
FOR_EVER: Header = (b"cache-control", b"public, max-age=31536000, immutable")
ASK_AGAIN: Header = (b"cache-control", b"no-cache")

NO_SUCH_FILE = Rejected(RejectReason.INVALID_REQUEST, "The console has no such file.")

TOO_MANY = Rejected(
    RejectReason.REQUEST_RATE,
    "As many pages as may watch this deployment do. Close one of them; this one tries again.",
    retry_after_s=5.0,
)

LIFETIME_S = 60.0
"""A feed ends then, and its page opens another: a replica that is drained waits for what is
open, and whatever a slow reader leaves unread between here and it ends with it."""

SLOW_S = 5.0
"""A page that does not take a snapshot in this time is left."""

STREAM: list[Header] = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
    *HARDENED,
]

Rule = Callable[[Caller], Tenant | Rejected]


class ConsoleRoutes:
    """Answers them. The page and its files are open: they say nothing of the deployment.

    Args:
        may_watch: whom figures are shown, asked again with each snapshot: a key that is revoked
            shows nothing more.

    """

    def __init__(self, console: Console, may_watch: Rule) -> None:
        self._console = console
        self._may_watch = may_watch

    async def page(self, request: HttpRequest) -> None:
        await _send(request, assets().page, ASK_AGAIN)

    async def file(self, request: HttpRequest) -> None:
        found, is_of_version = assets().find(request.path.removeprefix(FILES))
        if found is None:
            await request.refuse(NO_SUCH_FILE, 404, [ASK_AGAIN])
        else:
            await _send(request, found, FOR_EVER if is_of_version else ASK_AGAIN)

    async def feed(self, request: HttpRequest, _: Tenant) -> None:
        """A snapshot a second as server-sent events, until the page leaves."""
        if request.is_head:
            await request.empty(200, STREAM)
            return
        watcher = self._console.watchers.join()
        if watcher is None:
            await request.refuse(TOO_MANY)
            return
        gone = asyncio.create_task(request.gone())
        gone.add_done_callback(lambda _: watcher.leave())
        try:
            await request.send({"type": "http.response.start", "status": 200, "headers": STREAM})
            await self._pass_on(request, watcher)
        finally:
            watcher.leave()
            gone.cancel()

    async def _pass_on(self, request: HttpRequest, watcher: Watcher) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + LIFETIME_S
        try:
            # What the browser shows of the connection before the first figures are there.
            await _write(request, b": figures of each second\n\n")
            while (snapshot := await watcher.next()) is not None:
                tenant = self._may_watch(request.caller)
                if isinstance(tenant, Rejected):
                    break
                await _write(request, snapshot.event_for(tenant))
                if loop.time() >= until:
                    break
            await _write(request, event("end", b"{}"), more=False)
        except TimeoutError:
            # It reads nothing, and would not read a farewell either.
            return


async def _write(request: HttpRequest, body: bytes, *, more: bool = True) -> None:
    async with asyncio.timeout(SLOW_S):
        await request.send({"type": "http.response.body", "body": body, "more_body": more})


async def _send(request: HttpRequest, asset: Asset, keeping: Header) -> None:
    headers = [*HARDENED, (b"etag", asset.etag), keeping]
    known = request.headers.get(b"if-none-match", b"")
    if asset.etag in known or known.strip() == b"*":
        await request.empty(304, headers)
    else:
        await request.respond(200, asset.body, asset.kind, headers)
