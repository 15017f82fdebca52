"""`/console` and what is below it: the page, its files, and the feed of figures."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from router.errors import Rejected, RejectReason
from serve_app.console.assets import Asset, assets
from serve_app.front.http_request import Header, HttpRequest

PATH = "/console"
FILES = "/console/static/"

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

Handler = Callable[[HttpRequest], Awaitable[None]]


class ConsoleRoutes:
    """Answers them. The page and its files are open: they say nothing of the deployment."""

    async def page(self, request: HttpRequest) -> None:
        await _send(request, assets().page, ASK_AGAIN)

    async def file(self, request: HttpRequest) -> None:
        found, is_of_version = assets().find(request.path.removeprefix(FILES))
        if found is None:
            await request.refuse(NO_SUCH_FILE, 404, [ASK_AGAIN])
        else:
            await _send(request, found, FOR_EVER if is_of_version else ASK_AGAIN)


async def _send(request: HttpRequest, asset: Asset, keeping: Header) -> None:
    headers = [*HARDENED, (b"etag", asset.etag), keeping]
    known = request.headers.get(b"if-none-match", b"")
    if asset.etag in known or known.strip() == b"*":
        await request.empty(304, headers)
    else:
        await request.respond(200, asset.body, asset.kind, headers)
