"""Every way a request is refused, as data.

A refusal is a return value, a fault is an exception: nothing here is raised by
`router`. `serve_app.protocol.errors` maps each reason to a status and an error body,
and a test asserts that none is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class RejectReason(StrEnum):
    """The error codes of the outward interface."""

    INVALID_JSON = "invalid_json"
    INVALID_REQUEST = "invalid_request"
    CONTEXT_LENGTH_EXCEEDED = "context_length_exceeded"
    TOOL_DEPTH_EXCEEDED = "tool_depth_exceeded"
    TOOL_CALL_INVALID = "tool_call_invalid"
    INVALID_API_KEY = "invalid_api_key"
    MODEL_NOT_ALLOWED = "model_not_allowed"
    ADMIN_ONLY = "admin_only"
    MODEL_NOT_FOUND = "model_not_found"
    PREVIOUS_RESPONSE_NOT_FOUND = "previous_response_not_found"
    REQUEST_TOO_LARGE = "request_too_large"
    REQUEST_RATE = "request_rate"
    TOKEN_RATE = "token_rate"
    TOKEN_QUOTA = "token_quota"
    TENANT_CONCURRENCY = "tenant_concurrency"
    SHED = "shed"
    NO_REPLICA = "no_replica"
    RESPONSE_STORE_UNAVAILABLE = "response_store_unavailable"
    DRAINING = "draining"
    DEADLINE_EXCEEDED = "deadline_exceeded"


@dataclass(frozen=True, slots=True)
class Rejected:
    """A refusal: the reason, a sentence for the caller, and when to come back."""

    reason: RejectReason
    message: str
    retry_after_s: float | None = None
    param: str | None = None
