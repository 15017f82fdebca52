"""What a key's holder sees of their own tenant: usage, limits, what is near, last requests.

Everything here is looked up by the tenant of the key: no name is taken from the request.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from router.limits.bucket import RateLimitState
from router.limits.quota import day_ends_s, day_of, month_ends_s, month_of
from serve_app.admin.peers import Peers, Told
from serve_app.pipeline.state import IngressState
from serve_app.tenancy.auth import Tenant
from serve_app.tenancy.meter import UsageMeter
from serve_app.tenancy.store import Counts, Slot, TenancyStore

FRESH_S = 1.0
"""A page that asks more often gets the same answer: the store is read once a second at most."""

NEAR_RATIO = 0.8
MAX_REQUESTS = 20


@dataclass(slots=True)
class _Kept:
    at: float
    answer: asyncio.Future[Told]


class OwnUsage:
    """Answers for one tenant at a time; asked again within `FRESH_S`, with what it said before."""

    def __init__(
        self, state: IngressState, store: TenancyStore, meter: UsageMeter, peers: Peers
    ) -> None:
        self._state = state
        self._store = store
        self._meter = meter
        self._peers = peers
        self._kept: dict[str, _Kept] = {}

    async def of(self, tenant: Tenant) -> Told:
        """Return the tenant's own figures. Raises what the store raises."""
        now = time.monotonic()
        self._kept = {k: v for k, v in self._kept.items() if now - v.at < FRESH_S}
        kept = self._kept.get(tenant.name)
        if kept is None:
            answer = asyncio.ensure_future(self._read(tenant))
            # Whoever asked may have left: then nobody takes a fault.
            answer.add_done_callback(lambda done: done.cancelled() or done.exception())
            kept = self._kept[tenant.name] = _Kept(now, answer)
        return await asyncio.shield(kept.answer)

    async def _read(self, tenant: Tenant) -> Told:
        # By the files as they are now: a key may have been looked up before a reload.
        current = self._state.policies.auth.tenant(tenant.name) or tenant
        now = datetime.now(UTC)
        used, recent = await asyncio.gather(
            asyncio.to_thread(self._store.usage_of, current.name, _days(now)),
            self._peers.ask("recent", current.name),
        )
        limits = self._limits(current, now)
        return {
            "tenant": current.name,
            "tier": current.tier_name,
            "at": now.isoformat(),
            "today": self._period(used, day_of(now)),
            "month": self._period(used, month_of(now)),
            "cost": self._cost(used),
            "limits": limits,
            "near": [_warning(x) for x in limits if x["used_ratio"] >= NEAR_RATIO],
            "requests": _newest(recent),
        }

    def _period(self, used: Mapping[Slot, Counts], period: str) -> Told:
        lanes: dict[str, Counts] = {}
        for slot, counts in used.items():
            if slot.day.startswith(period):
                lanes[slot.lane] = lanes.get(slot.lane, Counts()).plus(counts)
        total = Counts()
        for counts in lanes.values():
            total = total.plus(counts)
        known = self._state.policies.routing.lanes
        return {
            "period": period,
            "total": total._asdict(),
            "by_model": [
                {
                    "lane": lane,
                    "model": known[lane].model_id if lane in known else None,
                    **counts._asdict(),
                }
                for lane, counts in sorted(lanes.items())
            ],
        }

    def _cost(self, used: Mapping[Slot, Counts]) -> Told | None:
        """Return what the month cost at the prices of today; None: nothing has a price."""
        prices = self._state.policies.fleet.prices
        if not prices.lanes:
            return None
        month = sum(
            prices.cost(slot.lane, counts.prompt, counts.cached, counts.completion)
            for slot, counts in used.items()
        )
        return {"month": round(month, 6), "currency": prices.currency}

    def _limits(self, tenant: Tenant, now: datetime) -> list[Told]:
        """Return the limits that there are, each with what is left of it."""
        ceiling, clock = self._state.ceiling(tenant), time.monotonic()
        day, month = self._meter.spent(tenant.name, tenant.weights)
        quotas = tenant.quotas
        rows = [
            _bucket("requests_per_minute", ceiling.requests_state(now=clock)),
            _bucket("tokens_per_minute", ceiling.tokens_state(now=clock)),
            _quota("tokens_per_day", quotas.tokens_per_day, day, day_ends_s(now)),
            _quota("tokens_per_month", quotas.tokens_per_month, month, month_ends_s(now)),
        ]
        config = tenant.ceilings
        if config.concurrent_requests is not None:
            used = ceiling.running + ceiling.arriving
            rows.append(_row("concurrent_requests", config.concurrent_requests, used, None))
        if config.tokens_per_second is not None:
            row = _row("tokens_per_second", config.tokens_per_second, 0, None)
            rows.append(row | {"remaining": None})
        return [row for row in rows if row is not None]


def _days(now: datetime) -> list[str]:
    """Return the days of the month until today."""
    first = now.astimezone(UTC).replace(day=1)
    return [day_of(first + timedelta(days=n)) for n in range(now.astimezone(UTC).day)]


def _bucket(name: str, state: RateLimitState | None) -> Told | None:
    if state is None:
        return None
    return _row(name, state.limit, max(0.0, state.limit - state.remaining), state.reset_s)


def _quota(name: str, limit: float | None, used: float, resets_s: float) -> Told | None:
    return None if limit is None else _row(name, limit, used, resets_s)


def _row(name: str, limit: float, used: float, resets_s: float | None) -> Told:
    return {
        "limit": name,
        "most": limit,
        "used": used,
        "remaining": max(0.0, limit - used),
        "used_ratio": used / limit,
        "resets_s": None if resets_s is None else round(resets_s, 1),
    }


def _warning(row: Told) -> Told:
    return {"limit": row["limit"], "used_ratio": row["used_ratio"], "resets_s": row["resets_s"]}


def _newest(answers: Iterable[Told]) -> list[dict[str, Any]]:
    found = [one for answer in answers for one in answer.get("requests", ())]
    return sorted(found, key=lambda x: str(x["time"]), reverse=True)[:MAX_REQUESTS]
