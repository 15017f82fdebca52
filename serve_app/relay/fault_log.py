"""The last faults of replicas that one ingress replica met, in words; no client's content."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from typing import Any

from serve_app.relay.attempts import RequestAttempts

KEPT = 100
EXPORTED = 40

GONE = "Nothing answered at the replica's address, or its engine has ended."
LOST = "The replica broke off or fell silent while it worked on the request."
FAILED = "The engine failed on the request, and another replica was asked."
LATE = "The replica did not answer in timeouts.read_s."


class FaultLog:
    """Bounded: `KEPT` faults."""

    def __init__(self) -> None:
        self._rows: deque[dict[str, Any]] = deque(maxlen=KEPT)

    def note(self, attempts: RequestAttempts, replica: str, what: str) -> None:
        call = attempts.call
        self._rows.append(
            {
                "time": round(datetime.now(UTC).timestamp(), 3),
                "lane": attempts.plan.lane,
                "replica": replica,
                "tenant": call.tenant.name,
                "request_id": call.request_id,
                "tokens_passed_on": attempts.state.tokens,
                "what": what,
            }
        )

    def export(self) -> list[dict[str, Any]]:
        """Return the newest, newest last."""
        return list(self._rows)[-EXPORTED:]
