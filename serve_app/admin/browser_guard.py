"""What a page in a browser must show before it may change a deployment.

An admin's key is in a header that no browser adds by itself, so a foreign page has no way to use
it. This stands before that all the same: it would hold if a key ever came by itself.
"""

from __future__ import annotations

from collections.abc import Container, Mapping

from router.errors import Rejected, RejectReason
from serve_app.tenancy.callers import Caller, names_this_machine

CONSOLE_HEADER = b"x-pointsman-console"
"""What the console's own script sends: no form and no simple request can."""

_JSON = b"application/json"


def refuse_host(
    headers: Mapping[bytes, bytes], caller: Caller, allowed: Container[str], *, is_private: bool
) -> Rejected | None:
    """Refuse a browser's request to a name that is not this machine's (DNS rebinding).

    `is_private`: nothing listens beyond loopback. What a proxy has passed on has its own name; a
    name whose origin is in `allowed` is meant, too.
    """
    host = headers.get(b"host", b"")
    name = host.decode("latin-1").lower()
    is_meant = f"http://{name}" in allowed or f"https://{name}" in allowed
    if not is_private or caller.proxy or is_meant or names_this_machine(host):
        return None
    if not is_browser(headers):
        return None
    return _refused(
        "The Host header does not name this machine. Open the console by a loopback address, or "
        "name its origin in cors.allow_origins of the fleet file."
    )


def refuse_page(headers: Mapping[bytes, bytes], caller: Caller) -> Rejected | None:
    """Refuse a change that is asked for by a page which is not this server's own."""
    if not is_browser(headers):
        return None
    if caller.page:
        return _refused("The request's Origin is not this server's own.")
    if headers.get(b"sec-fetch-site", b"same-origin") != b"same-origin":
        return _refused("The browser says that a page from elsewhere asks (Sec-Fetch-Site).")
    if headers.get(CONSOLE_HEADER) != b"1":
        return _refused(f"A page has to send '{CONSOLE_HEADER.decode()}: 1' with what it changes.")
    return None


def refuse_form(headers: Mapping[bytes, bytes], raw: bytes) -> Rejected | None:
    """Refuse a body that a form could have sent: it has to say that it is JSON."""
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if raw and kind != _JSON:
        message = "The body has to be JSON, with 'content-type: application/json'."
        return Rejected(RejectReason.INVALID_REQUEST, message, param="content-type")
    return None


def is_browser(headers: Mapping[bytes, bytes]) -> bool:
    """Return whether a browser sent it: each sends one of these with what a page's script asks."""
    return b"origin" in headers or b"sec-fetch-site" in headers


def _refused(message: str) -> Rejected:
    return Rejected(RejectReason.ADMIN_ONLY, message)
