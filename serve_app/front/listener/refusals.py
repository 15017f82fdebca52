"""What the listener itself says no to, and how."""

from __future__ import annotations

from typing import NamedTuple

from router.errors import Rejected, RejectReason
from serve_app.front.listener.answer_head import STATUS_LINES, header_lines
from serve_app.protocol.errors import Dialect, error_body, error_headers

HEADER_WITHIN_S = 15.0
"""As HAProxy's `timeout http-request` (scripts/environment)."""

MAX_HEADER_BYTES = 65_536
"""As HAProxy's buffer. From 16 KiB on a whole header is refused by `protocol.http_rules`."""


class Refusal(NamedTuple):
    """A refusal and its status."""

    status: int
    why: Rejected


def _invalid(status: int, message: str) -> Refusal:
    return Refusal(status, Rejected(RejectReason.INVALID_REQUEST, message))


NOT_HTTP = _invalid(400, "This is no request that HTTP knows.")
TOO_LONG = _invalid(431, f"URL and headers may have {MAX_HEADER_BYTES} bytes.")
TOO_SLOW = _invalid(408, f"The header did not come within {HEADER_WITHIN_S:.0f} s.")
OTHER_VERSION = _invalid(505, "HTTP/1.1 and HTTP/1.0 are spoken here.")
OTHER_CODING = _invalid(501, "The only transfer coding that is known here is 'chunked'.")
FULL = Refusal(
    503,
    Rejected(RejectReason.NO_REPLICA, "Too many connections are open here.", retry_after_s=1),
)


class Refused(Exception):
    """Raised where a header is read; the connection says it when those before are answered."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal)
        self.refusal = refusal


def told(refusal: Refusal, before: bytes) -> bytes:
    """Return the whole answer, after which the connection ends. `before`: lines of every answer."""
    body = error_body(refusal.why, Dialect.OPENAI, status=refusal.status)
    lines = header_lines(
        [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
            *error_headers(refusal.why),
        ]
    )
    return STATUS_LINES[refusal.status] + before + lines + b"\r\n" + body
