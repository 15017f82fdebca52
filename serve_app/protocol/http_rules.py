"""What RFC 9110 asks of an origin server before a request means anything."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPMethod
from itertools import chain

from starlette.types import Scope

from router.errors import Rejected, RejectReason

MAX_TARGET_BYTES = 8 * 1024
MAX_HEADER_BYTES = 16 * 1024
"""Names and values together. HAProxy takes more than this, so that we can say so."""

SERVES_OWN = frozenset({b"x-request-disconnect-disabled", b"x-request-timeout-seconds"})
"""Headers by which Serve would not tell us that the client has left, or would answer in its own
words and cut streams off."""


def protocol_fault(scope: Scope) -> tuple[Rejected, int] | None:
    """Refuse what is wrong as HTTP, whatever it asks for, with a status of its own."""
    lines: list[tuple[bytes, bytes]] = scope["headers"]
    target = len(scope.get("raw_path") or scope["path"]) + len(scope.get("query_string", b""))
    if target > MAX_TARGET_BYTES:
        return _fault(414, f"The URL may have {MAX_TARGET_BYTES} bytes.")
    if sum(map(len, chain.from_iterable(lines))) > MAX_HEADER_BYTES:
        return _fault(431, f"The request's headers may have {MAX_HEADER_BYTES} bytes.")
    names = [name for name, _ in lines]
    if names.count(b"host") != 1 and scope.get("http_version") == "1.1":
        return _fault(400, "A request has one Host header.")
    if b"expect" in names and not _is_expected(lines):
        return _fault(417, "The only expectation that can be met is '100-continue'.")
    if scope["method"] not in _METHODS:
        return _fault(501, "The method is not known here.")
    return None


def _is_expected(lines: list[tuple[bytes, bytes]]) -> bool:
    return all(x.lower() == b"100-continue" for name, x in lines if name == b"expect")


def allow_header(methods: Iterable[str]) -> bytes:
    """Return `allow` of a route that takes these methods."""
    names = [name for method in methods for name in _WITH.get(method, (method,))]
    return ", ".join([*names, "OPTIONS"]).encode()


_METHODS = frozenset(HTTPMethod.__members__)
_WITH = {"GET": ("GET", "HEAD")}


def refused_header(headers: dict[bytes, bytes]) -> Rejected | None:
    """Refuse a request for headers that are not supported."""
    if SERVES_OWN.isdisjoint(headers):
        return None
    for name in SERVES_OWN & headers.keys():
        return Rejected(RejectReason.INVALID_REQUEST, f"'{name.decode()}' is not supported here.")
    return None


def _fault(status: int, message: str) -> tuple[Rejected, int]:
    return Rejected(RejectReason.INVALID_REQUEST, message), status
