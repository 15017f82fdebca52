"""The last requests of one ingress replica, for the operators' page: what was decided, and why.

Kept in memory, bounded, and without a word of any prompt or answer.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from serve_app.request.call import Call, Outcome

logger = logging.getLogger("ray.serve")

KEPT = 200
"""Requests of each kind: decided, and refused. 1 KB each at most."""

EXPORTED = 40
MAX_COUNTED = 256
"""Pairs of tenant and code whose refusals are counted."""

MAX_MESSAGE_CHARS = 300

WATCHED_S = 10.0
"""So long after it was asked for, features are worked out for the next ones, too."""

FEATURES_EVERY_S = 0.2
"""They cost about as much as a score, so at most five a second of those who are watched."""

Features = Callable[[Any, Any], Mapping[str, float]]
"""From a request's policies and its parsed body to what the classifier read of it."""


class RecentRequests:
    """Remembers how the last requests ended.

    Args:
        features: None: nobody explains scores.
        clock: monotonic seconds.

    """

    def __init__(
        self, features: Features | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._features = features
        self._clock = clock
        self._decided: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._refused: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._refusals: OrderedDict[tuple[str, str, str], int] = OrderedDict()
        self._watched_until = float("-inf")
        self._next_features = float("-inf")

    def note(self, call: Call) -> None:
        """Note a request that has ended; never blocks."""
        if not call.route.generates:
            return
        if call.outcome is Outcome.REFUSED:
            self._note_refusal(call)
        else:
            self._decided.append(_row(call, self._features_of(call)))

    def _note_refusal(self, call: Call) -> None:
        self._refused.append(_refusal(call))
        key = (call.tenant.name, call.tenant.tier_name, call.code)
        self._refusals[key] = self._refusals.pop(key, 0) + 1
        if len(self._refusals) > MAX_COUNTED:
            self._refusals.popitem(last=False)

    def _features_of(self, call: Call) -> dict[str, float] | None:
        """Work out what its score was made of, while somebody looks."""
        now = self._clock()
        if now > self._watched_until or now < self._next_features or self._features is None:
            return None
        if call.parsed is None or call.decision is None or call.decision.score is None:
            return None
        self._next_features = now + FEATURES_EVERY_S
        try:
            found = self._features(call.policies, call.parsed)
        except Exception:
            # It explains a request, and must not fail it.
            logger.exception("request %s: its features could not be worked out", call.request_id)
            return None
        return {name: round(value, 4) for name, value in found.items()}

    def export(self) -> dict[str, Any]:
        """Return the newest of each kind, newest last, and refusals counted by tenant."""
        self._watched_until = self._clock() + WATCHED_S
        return {
            "decisions": list(self._decided)[-EXPORTED:],
            "refusals": list(self._refused)[-EXPORTED:],
            "refused_by": [
                {"tenant": tenant, "tier": tier, "code": code, "count": count}
                for (tenant, tier, code), count in self._refusals.items()
            ],
        }


def _now() -> float:
    return round(datetime.now(UTC).timestamp(), 3)


def _row(call: Call, features: dict[str, float] | None) -> dict[str, Any]:
    decision, served, usage = call.decision, call.served, call.served.usage
    score = decision.score if decision else None
    threshold = decision.threshold if decision else None
    return {
        "time": _now(),
        "request_id": call.request_id,
        "tenant": call.tenant.name,
        "tier": call.tenant.tier_name,
        "lane": call.lane,
        "reason": decision.reason.value if decision else None,
        "score": score,
        "threshold": threshold,
        "margin": None if score is None or threshold is None else score - threshold,
        "features": features,
        "code": call.code,
        "ttft_s": served.ttft_s,
        "duration_s": time.perf_counter() - call.started,
        "stages": dict(call.stages),
        "replica": served.replica.id if served.replica else None,
        "prompt_tokens": usage.prompt_tokens if usage else None,
        "completion_tokens": usage.completion_tokens if usage else None,
        "recoveries": list(call.reply.recoveries),
    }


def _refusal(call: Call) -> dict[str, Any]:
    refused = call.refused
    return {
        "time": _now(),
        "request_id": call.request_id,
        "tenant": call.tenant.name,
        "tier": call.tenant.tier_name,
        "lane": call.lane,
        "code": call.code,
        "message": refused.message[:MAX_MESSAGE_CHARS] if refused else "",
        "retry_after_s": refused.retry_after_s if refused else None,
        "waited_s": call.stages.get("queue"),
    }
