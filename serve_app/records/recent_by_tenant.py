"""The last requests of each tenant in one ingress replica, for the tenant to look at.

In memory and small: `PER_TENANT` of each of the `TENANTS` that asked last, some 1,200 bytes each.
Nothing of a prompt or an answer is in them.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Any

from serve_app.records.request_record import RequestRecord

PER_TENANT = 20
TENANTS = 500


class RecentByTenant:
    """Keeps the last requests by tenant. Not thread-safe: for the event loop."""

    def __init__(self, per_tenant: int = PER_TENANT, tenants: int = TENANTS) -> None:
        self._per_tenant = per_tenant
        self._tenants = tenants
        self._kept: OrderedDict[str, deque[RequestRecord]] = OrderedDict()

    def note(self, record: RequestRecord) -> None:
        kept = self._kept.get(record.tenant)
        if kept is None:
            kept = self._kept[record.tenant] = deque(maxlen=self._per_tenant)
            if len(self._kept) > self._tenants:
                self._kept.popitem(last=False)
        kept.append(record)
        self._kept.move_to_end(record.tenant)

    def of(self, tenant: str) -> list[dict[str, Any]]:
        """Return one tenant's, newest first."""
        return [_told(record) for record in reversed(self._kept.get(tenant, ()))]


def _told(record: RequestRecord) -> dict[str, Any]:
    return {
        "time": record.time.isoformat(),
        "request_id": record.request_id,
        "lane": record.lane,
        "model": record.model,
        "reason": record.reason,
        "code": record.code,
        "prompt_tokens": record.prompt_tokens,
        "completion_tokens": record.completion_tokens,
        "duration_s": round(record.duration_s, 4),
        "ttft_s": None if record.ttft_s is None else round(record.ttft_s, 4),
    }
