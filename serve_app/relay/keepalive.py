"""What the client of a stream hears while there is nothing to say.

Proxies cut what is silent for a minute; a queue, a retry and a long prompt may take two.
After each interval of silence the client gets a comment, before the first one the
response's head. To whoever reads server-sent events a comment is no event, in any API's
form; Anthropic's `ping` is one, and would come before its `message_start`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from starlette.types import Send

from serve_app.request.call import Call
from serve_app.request.plan import Plan
from serve_app.request.response_headers import stream_headers

logger = logging.getLogger("ray.serve")

COMMENT = b": waiting\n\n"
WAKING = b": waking\n\n"
"""While the lane that is waited for sleeps."""


class Keepalive:
    """One stream's timer. No token touches it: it looks when the last one was passed on.

    Every message on the stream's `send` is whole events, so that a comment may stand
    between any two.
    """

    __slots__ = ("_call", "_interval_s", "_is_ours", "_last", "_loop", "_send", "_timer")

    def __init__(self, call: Call, send: Send, interval_s: float) -> None:
        self._call, self._send, self._interval_s = call, send, interval_s
        self._is_ours = False
        self._last = time.monotonic()
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(interval_s, self._look)

    def stop(self) -> None:
        self._timer.cancel()

    def hasten(self, within_s: float) -> None:
        """Send the next comment after so many seconds at the latest."""
        self._last = min(self._last, time.monotonic() + within_s - self._interval_s)
        self._timer.cancel()
        self._timer = self._loop.call_later(within_s, self._look)

    def _look(self) -> None:
        now = time.monotonic()
        self._last = max(self._last, self._call.reply.stream.last)
        left_s = self._last + self._interval_s - now
        if left_s <= 0:
            try:
                self.send_comment()
            except Exception:
                # The stream's own sends meet it, too, and are answered for.
                logger.exception("request %s cannot be kept alive", self._call.request_id)
                return
            self._last, left_s = now, self._interval_s
        self._timer = self._loop.call_later(left_s, self._look)

    def send_comment(self) -> None:
        """Send a comment, and the head if nobody has."""
        reply = self._call.reply
        if not reply.has_head:
            headers = stream_headers(self._call)
            head = {"type": "http.response.start", "status": 200, "headers": headers}
            reply.has_head = self._is_ours = self._passes(head)
        # Else the head may be on its way still: the first event is behind it.
        if self._is_ours or reply.stream.last:
            is_waking = reply.is_waking and self._call.served.passed is None
            body = WAKING if is_waking else COMMENT
            self._passes({"type": "http.response.body", "body": body, "more_body": True})

    def _passes(self, message: dict[str, Any]) -> bool:
        """Send at once, or not at all: who has to wait has a client with bytes to read."""
        sending = self._send(message).__await__()
        try:
            next(sending)
        except StopIteration:
            return True
        sending.close()
        return False


def keep_alive(call: Call, plan: Plan, send: Send) -> None:
    """Let a stream's client hear that it waits, from now on; where that is on."""
    interval_s = call.policies.fleet.timeouts.keepalive_s
    if interval_s and plan.parsed.stream and call.route.generates:
        keepalive = Keepalive(call, send, interval_s)
        call.reply.hush, call.reply.hasten = keepalive.stop, keepalive.hasten
