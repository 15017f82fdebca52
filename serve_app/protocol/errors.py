"""Refusals and faults as HTTP: one table, two dialects.

Every error body is `{"error": {"message", "type", "param", "code"}}`, or
Anthropic's `{"type": "error", "error": {"type", "message"}}` on `/v1/messages`
(with `code` and `param` added inside). Nothing internal goes in: no stack trace,
no address, no part of the prompt.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

from router.errors import Rejected, RejectReason
from serve_app.protocol.too_long import too_long


class Dialect(StrEnum):
    """The error and stream form of an API."""

    OPENAI = "openai"
    RESPONSES = "responses"
    ANTHROPIC = "anthropic"


@dataclass(frozen=True, slots=True)
class _Mapping:
    status: int
    type: str
    anthropic_type: str


_INVALID = _Mapping(400, "invalid_request_error", "invalid_request_error")
_RATE = _Mapping(429, "rate_limit_error", "rate_limit_error")
_UNAVAILABLE = _Mapping(503, "server_error", "overloaded_error")

MAPPINGS: dict[RejectReason, _Mapping] = {
    RejectReason.INVALID_JSON: _INVALID,
    RejectReason.INVALID_REQUEST: _INVALID,
    RejectReason.CONTEXT_LENGTH_EXCEEDED: _INVALID,
    RejectReason.TOOL_DEPTH_EXCEEDED: _INVALID,
    RejectReason.INVALID_API_KEY: _Mapping(401, "authentication_error", "authentication_error"),
    RejectReason.MODEL_NOT_ALLOWED: _Mapping(403, "permission_error", "permission_error"),
    RejectReason.ADMIN_ONLY: _Mapping(403, "permission_error", "permission_error"),
    RejectReason.MODEL_NOT_FOUND: _Mapping(404, "invalid_request_error", "not_found_error"),
    RejectReason.PREVIOUS_RESPONSE_NOT_FOUND: _INVALID,
    RejectReason.REQUEST_TOO_LARGE: _Mapping(413, "invalid_request_error", "request_too_large"),
    RejectReason.REQUEST_RATE: _RATE,
    RejectReason.TOKEN_RATE: _RATE,
    RejectReason.TOKEN_QUOTA: _RATE,
    RejectReason.TENANT_CONCURRENCY: _RATE,
    RejectReason.SHED: _RATE,
    RejectReason.TOOL_CALL_INVALID: _Mapping(502, "server_error", "api_error"),
    RejectReason.NO_REPLICA: _UNAVAILABLE,
    RejectReason.RESPONSE_STORE_UNAVAILABLE: _UNAVAILABLE,
    RejectReason.DRAINING: _UNAVAILABLE,
    RejectReason.DEADLINE_EXCEEDED: _Mapping(504, "server_error", "api_error"),
}

RETRY_LATER = (429, 503)
"""What SDKs retry: a second is a fair guess at when, where nothing better is known."""

QUOTA = {RejectReason.TOKEN_QUOTA}
"""429s that the SDKs should not retry by themselves."""


def status_of(reason: RejectReason) -> int:
    return MAPPINGS[reason].status


def error_body(
    rejected: Rejected,
    dialect: Dialect,
    *,
    status: int | None = None,
    request_id: str = "",
    tells_wait: bool = False,
) -> bytes:
    """The JSON body of a refusal.

    `status`: where it is not the reason's own. `request_id`: told in Anthropic's form,
    whose clients read it there. `tells_wait`: with `retry_after`, in seconds, where a
    header would have said it.
    """
    mapping = MAPPINGS[rejected.reason]
    kind = mapping.type
    if dialect is Dialect.ANTHROPIC:
        kind = "not_found_error" if status == 404 else mapping.anthropic_type
    message = rejected.message
    if rejected.reason is RejectReason.CONTEXT_LENGTH_EXCEEDED:
        message = too_long(message, is_anthropic=dialect is Dialect.ANTHROPIC)
    error: dict[str, Any] = {
        "message": message,
        "type": kind,
        "param": rejected.param,
        "code": rejected.reason.value,
    }
    wait = retry_after(rejected) if tells_wait else None
    if wait is not None:
        error["retry_after"] = wait
    return _enveloped(error, dialect, request_id)


def internal_error(dialect: Dialect, request_id: str = "") -> bytes:
    kind = "api_error" if dialect is Dialect.ANTHROPIC else "server_error"
    error = {"message": "Internal error.", "type": kind, "param": None, "code": "internal_error"}
    return _enveloped(error, dialect, request_id)


def _enveloped(error: dict[str, Any], dialect: Dialect, request_id: str) -> bytes:
    if dialect is not Dialect.ANTHROPIC:
        return orjson.dumps({"error": error})
    told = {"request_id": request_id} if request_id else {}
    return orjson.dumps({"type": "error", "error": error, **told})


def error_event(
    rejected: Rejected,
    dialect: Dialect,
    request_id: str = "",
    *,
    tells_wait: bool = False,
    number: int = 0,
) -> bytes:
    """Return the event that ends a stream which has begun; in `/v1/responses` its `number`."""
    body = error_body(rejected, dialect, request_id=request_id, tells_wait=tells_wait)
    if dialect is Dialect.OPENAI:
        return b"data: " + body + b"\n\n"
    if dialect is Dialect.RESPONSES:
        error = orjson.loads(body)["error"]
        body = orjson.dumps({**error, "type": "error", "error": error, "sequence_number": number})
    return b"event: error\ndata: " + body + b"\n\n"


def retry_after(rejected: Rejected) -> int | None:
    """Return the whole seconds, rounded up, after which a retry makes sense, if any."""
    wait = rejected.retry_after_s
    if wait is None and status_of(rejected.reason) in RETRY_LATER:
        wait = 1.0
    return None if wait is None else max(1, math.ceil(wait))


def error_headers(rejected: Rejected) -> list[tuple[bytes, bytes]]:
    """`retry-after` (whole seconds, rounded up), `x-should-retry`, `www-authenticate`."""
    headers = []
    if rejected.reason is RejectReason.INVALID_API_KEY:
        headers.append((b"www-authenticate", b'Bearer realm="pointsman"'))
    wait = retry_after(rejected)
    if wait is not None:
        headers.append((b"retry-after", str(wait).encode()))
    if rejected.reason in QUOTA:
        headers.append((b"x-should-retry", b"false"))
    return headers
