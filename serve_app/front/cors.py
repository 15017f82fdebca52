"""Which pages in browsers may read what is answered (the Fetch standard's CORS protocol).

Keys are in headers and never in cookies, so no answer allows credentials.
"""

from __future__ import annotations

import re

from serve_app.config.fleet import CorsConfig
from serve_app.request.response_headers import Headers
from serve_app.tenancy.callers import is_loopback_origin

EXPOSED = (
    b"request-id, retry-after, server-timing, x-pointsman-history, x-pointsman-lane, "
    b"x-pointsman-model, x-pointsman-not-stored, x-pointsman-propensity, x-pointsman-reason, "
    b"x-pointsman-replica, "
    b"x-pointsman-routed, "
    b"x-pointsman-score, x-pointsman-threshold, x-pointsman-tool-repair, "
    b"x-pointsman-tool-results, x-pointsman-tools, x-pointsman-tools-dropped, "
    b"x-pointsman-trace-id, x-pointsman-uncertainty, "
    b"x-ratelimit-limit-requests, x-ratelimit-limit-tokens, "
    b"x-ratelimit-remaining-requests, x-ratelimit-remaining-tokens, "
    b"x-ratelimit-reset-requests, x-ratelimit-reset-tokens, x-request-id, x-session-id, "
    b"x-should-retry"
)
"""What a page's script may read besides the few that it always may."""

METHODS = b"GET, HEAD, POST, DELETE, OPTIONS"

_NAME = re.compile(rb"[a-z0-9!#$%&'*+.^_`|~-]{1,64}", re.IGNORECASE)
MAX_ASKED = 64
"""Headers that one preflight may ask for."""

_VARY = (b"vary", b"origin")


def allowed_origin(origin: bytes | None, config: CorsConfig, *, is_private: bool) -> bytes | None:
    """What `access-control-allow-origin` says to this page; None: it may not read.

    Pages of this machine may, where nobody else can call (`is_private`).
    """
    if origin is None:
        return None
    if "*" in config.allow_origins:
        return b"*"
    is_named = origin.decode("latin-1").lower() in config.allow_origins
    return origin if is_named or (is_private and is_loopback_origin(origin)) else None


def cors_headers(allowed: bytes | None) -> Headers:
    """Return the headers of every answer, errors and streams included."""
    if allowed is None:
        return [_VARY]
    headers = [
        (b"access-control-allow-origin", allowed),
        (b"access-control-expose-headers", EXPOSED),
    ]
    return headers if allowed == b"*" else [*headers, _VARY]


def is_preflight(method: str, headers: dict[bytes, bytes]) -> bool:
    """Return whether a browser asks before it sends what its page wants to send."""
    return (
        method == "OPTIONS" and b"origin" in headers and b"access-control-request-method" in headers
    )


def preflight_headers(headers: dict[bytes, bytes], config: CorsConfig) -> Headers:
    """Return what an allowed page hears before its request, besides `cors_headers`."""
    asked = headers.get(b"access-control-request-headers", b"").split(b",")
    names = [name.strip() for name in asked[:MAX_ASKED] if _NAME.fullmatch(name.strip())]
    told = [
        (b"access-control-allow-methods", METHODS),
        (b"access-control-max-age", b"%d" % config.max_age_s),
    ]
    if names:
        told.append((b"access-control-allow-headers", b", ".join(names)))
    if headers.get(b"access-control-request-private-network") == b"true":
        told.append((b"access-control-allow-private-network", b"true"))
    return told
