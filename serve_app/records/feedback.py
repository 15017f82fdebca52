"""`POST /v1/feedback`: reading it, and finding the request it is about."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

import orjson

from router.errors import Rejected, RejectReason
from serve_app.config.errors import nearest
from serve_app.records.feedback_store import Feedback, FeedbackStore
from serve_app.request.call import MAX_REQUEST_ID_CHARS

MAX_FEEDBACK_BYTES = 4_096
FIELDS = ("request_id", "thumb", "preferred_over")
THUMBS = ("up", "down")

# The request may have ended a moment ago on another ingress replica, which writes
# what it has every 0.2 s.
FIND_WITHIN_S = 1.0
FIND_EVERY_S = 0.1
# Beyond this many that wait, an unknown id is refused at once: made-up ids must
# not fill the ingress.
MAX_WAITING = 100


class FeedbackDesk:
    """Takes feedback of one tenant on one of its own requests.

    Attributes:
        waiting: how many wait for the record of their request.

    """

    def __init__(self, store: FeedbackStore, *, within_s: float = FIND_WITHIN_S) -> None:
        self._store = store
        self._within_s = within_s
        self.waiting = 0

    async def take(self, tenant: str, feedback: Feedback) -> Rejected | None:
        """Keep the feedback; a refusal when the tenant has no such request."""
        missing = await self._give(tenant, feedback)
        if missing is not None and self.waiting < MAX_WAITING:
            self.waiting += 1
            try:
                missing = await self._give_soon(tenant, feedback, missing)
            finally:
                self.waiting -= 1
        if missing is None:
            return None
        # The same words whether nobody or somebody else has a request with this id.
        return _invalid(f"'{missing}' names no request of yours, or one that is too old.", missing)

    async def _give_soon(self, tenant: str, feedback: Feedback, missing: str) -> str | None:
        deadline = time.monotonic() + self._within_s
        last: str | None = missing
        while last is not None and time.monotonic() < deadline:
            await asyncio.sleep(FIND_EVERY_S)
            last = await self._give(tenant, feedback)
        return last

    async def _give(self, tenant: str, feedback: Feedback) -> str | None:
        now = datetime.now(UTC).timestamp()
        return await asyncio.to_thread(self._store.give, tenant, feedback, now=now)


def parse_feedback(raw: bytes) -> Feedback | Rejected:
    """Check a body, or say what is wrong with it (400)."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return Rejected(RejectReason.INVALID_JSON, "The request body is not valid JSON.")
    if not isinstance(body, dict):
        return _invalid("The request body must be a JSON object.")
    fault = _fault(body)
    return fault or Feedback(body["request_id"], body.get("thumb"), body.get("preferred_over"))


def _fault(body: dict[str, Any]) -> Rejected | None:
    for name in body:
        if name not in FIELDS:
            return _invalid(f"unknown key '{name[:64]}'{nearest(name[:64], FIELDS)}", name[:64])
    if not _is_id(body.get("request_id")):
        return _invalid(
            f"'request_id' must be a string of 1 to {MAX_REQUEST_ID_CHARS} characters.",
            "request_id",
        )
    if ("thumb" in body) == ("preferred_over" in body):
        return _invalid("Give exactly one of 'thumb' and 'preferred_over'.", "thumb")
    if "thumb" in body:
        return _thumb_fault(body["thumb"])
    other = body["preferred_over"]
    if not _is_id(other) or other == body["request_id"]:
        return _invalid("'preferred_over' must be the id of another request.", "preferred_over")
    return None


def _thumb_fault(thumb: Any) -> Rejected | None:
    if thumb in THUMBS:
        return None
    hint = nearest(thumb[:64], THUMBS) if isinstance(thumb, str) else ""
    return _invalid(f"'thumb' must be 'up' or 'down'{hint}", "thumb")


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_REQUEST_ID_CHARS


def _invalid(message: str, param: str | None = None) -> Rejected:
    return Rejected(RejectReason.INVALID_REQUEST, message, param=param)
