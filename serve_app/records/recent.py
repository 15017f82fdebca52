"""The last requests of one ingress replica, for the operators' page: what was decided, and why.

Kept in memory, bounded, and without a word of any prompt or answer.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeVar

from serve_app.records.request_record import RequestRecord
from serve_app.request.call import Call

logger = logging.getLogger("ray.serve")

KEPT = 200
"""Requests of each kind: decided, and refused."""

EXPORTED = 40
MAX_COUNTED = 256
"""Pairs of tenant and code whose refusals are counted."""

WATCHED_S = 10.0
"""So long after it was asked for, features are worked out for the next ones, too."""

FEATURES_EVERY_S = 0.2
"""They cost about as much as a score, so at most five a second of those who are watched."""

T = TypeVar("T")
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
        self._decided: deque[tuple[RequestRecord, dict[str, float] | None]] = deque(maxlen=KEPT)
        self._refused: deque[RequestRecord] = deque(maxlen=KEPT)
        self._refusals: OrderedDict[tuple[str, str, str], int] = OrderedDict()
        self._watched_until = float("-inf")
        self._next_features = float("-inf")

    def note(self, record: RequestRecord, call: Call) -> None:
        """Note a request that has ended; never blocks."""
        if record.is_refused:
            self._note_refusal(record)
        else:
            self._decided.append((record, self._features_of(call)))

    def _note_refusal(self, record: RequestRecord) -> None:
        self._refused.append(record)
        key = (record.tenant, record.tier, record.code)
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
            "decisions": [_row(*x) for x in _newest(self._decided)],
            "refusals": [_refusal(x) for x in _newest(self._refused)],
            "refused_by": [
                {"tenant": tenant, "tier": tier, "code": code, "count": count}
                for (tenant, tier, code), count in self._refusals.items()
            ],
        }


def _newest(kept: deque[T]) -> Iterator[T]:
    return islice(kept, max(0, len(kept) - EXPORTED), None)


def _row(record: RequestRecord, features: dict[str, float] | None) -> dict[str, Any]:
    score, threshold = record.score, record.threshold
    return {
        **_head(record),
        "reason": record.reason,
        "score": score,
        "threshold": threshold,
        "margin": None if score is None or threshold is None else score - threshold,
        "features": features,
        "ttft_s": record.ttft_s,
        "duration_s": record.duration_s,
        "stages": dict(record.stages),
        "replica": record.replica,
        "prompt_tokens": record.prompt_tokens,
        "completion_tokens": record.completion_tokens,
        "recoveries": list(record.recoveries),
    }


def _refusal(record: RequestRecord) -> dict[str, Any]:
    return {
        **_head(record),
        "message": record.message,
        "retry_after_s": record.retry_after_s,
        "waited_s": record.stages.get("queue"),
    }


def _head(record: RequestRecord) -> dict[str, Any]:
    return {
        "time": round(record.time.timestamp(), 3),
        "request_id": record.request_id,
        "tenant": record.tenant,
        "tier": record.tier,
        "lane": record.lane or "none",
        "code": record.code,
    }
