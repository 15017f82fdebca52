"""Asking every ingress replica, and what each answers: an action holds on all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from serve_app.admin.audit import AuditLog, Entry
from serve_app.config.files import wall_s
from serve_app.pipeline.state import IngressState
from serve_app.placement.lanes import Lanes
from serve_app.records.recent_by_tenant import RecentByTenant
from serve_app.tenancy.keys import KeyBook

ASK_WITHIN_S = 5.0
RELOAD_WITHIN_S = 20.0
"""A large tenants file or a new classifier takes its time."""

HANDOVER_S = 15.0
"""A draining replica says so itself within a second or two; a busy machine takes longer."""

Broadcast = Callable[..., Awaitable[list[Any]]]
"""Calls a method on every ingress replica: its name, how long it may take, its arguments."""

Told = dict[str, Any]

Reload = Callable[[], Awaitable[Told]]
"""Reads the files again; see `Reloader.reload`."""


class Peers:
    """All ingress replicas, this one among them."""

    def __init__(self, broadcast: Broadcast, state: IngressState) -> None:
        self._broadcast = broadcast
        self._state = state

    async def ask(self, what: str, *args: Any, within_s: float = ASK_WITHIN_S) -> list[Told]:
        """Return what each said; who did not, is there with an `error`."""
        answers = await self._broadcast("admin", within_s, what, *args)
        told = [x if isinstance(x, dict) else dict(_SILENT) for x in answers]
        missing = self._state.policies.fleet.ingress.replicas - len(told)
        return told + [dict(_SILENT) for _ in range(missing)]


_SILENT: Told = {"replica": None, "ok": False, "error": "did not answer"}


class Peer:
    """One ingress replica's part: what the others, and itself, ask of it.

    Args:
        me: this replica's id.

    """

    def __init__(
        self,
        me: str,
        state: IngressState,
        lanes: Lanes,
        book: KeyBook,
        audit: AuditLog,
        recent: RecentByTenant,
        reload: Reload,
    ) -> None:
        self._me = me
        self._state = state
        self._lanes = lanes
        self._book = book
        self._audit = audit
        self._recent = recent
        self._reload = reload
        self._answers: dict[str, Callable[..., Awaitable[Told]]] = {
            "keys": self._read_keys,
            "uses": self._tell_uses,
            "reload": self._read_files,
            "withdraw": self._withdraw,
            "restore": self._restore,
            "audit": self._tell_audit,
            "recent": self._tell_recent,
        }

    async def answer(self, what: str, *args: Any) -> Told:
        told = await self._answers[what](*args)
        return {"replica": self._me, "ok": True, **told}

    async def _read_keys(self) -> Told:
        """Read the store's keys now; the watch would within a second."""
        await asyncio.to_thread(self._book.refresh)
        error = self._book.last_error
        return {"ok": not error, "error": error} if error else {}

    async def _tell_uses(self) -> Told:
        return {"uses": self._book.uses.keys()}

    async def _read_files(self, tenant: str) -> Told:
        """Read the files now; `in_force`: the tenant's limits here after that."""
        outcome = await self._reload()
        return {**outcome, "in_force": self.limits_of(tenant)}

    def limits_of(self, tenant: str) -> Told | None:
        """Return what binds a tenant here; None: there is no such tenant."""
        return limits_in_force(self._state, tenant)

    async def _withdraw(self, lane: str, replica: str) -> Told:
        self._lanes.withdraw(lane, replica)
        # From then on its own word counts, here as on a replica that has only just begun.
        asyncio.get_running_loop().call_later(HANDOVER_S, self._lanes.restore, lane, replica)
        return {}

    async def _restore(self, lane: str, replica: str) -> Told:
        self._lanes.restore(lane, replica)
        return {}

    async def _tell_audit(self, limit: int) -> Told:
        entries: list[Entry] = await asyncio.to_thread(self._audit.newest, limit)
        return {"entries": entries}

    async def _tell_recent(self, tenant: str) -> Told:
        return {"requests": self._recent.of(tenant)}


def limits_in_force(state: IngressState, name: str) -> Told | None:
    """Return the limits that this replica applies to a tenant now, None for each without."""
    tenant = state.policies.auth.tenant(name)
    if tenant is None:
        return None
    ceilings, quotas = tenant.ceilings, tenant.quotas
    return {
        "tokens_per_second": ceilings.tokens_per_second,
        "tokens_per_minute": ceilings.tokens_per_minute,
        "requests_per_minute": ceilings.requests_per_minute,
        "concurrent_requests": ceilings.concurrent_requests,
        "enforce": "always" if ceilings.contended_from is None else "contended",
        "tokens_per_day": quotas.tokens_per_day,
        "tokens_per_month": quotas.tokens_per_month,
    }


def newest_use(told: list[Told]) -> dict[str, float]:
    """Return the seconds since each key was used anywhere, by its id."""
    newest: dict[str, float] = {}
    for answer in told:
        for key_id, age_s in answer.get("uses", {}).items():
            newest[key_id] = min(age_s, newest.get(key_id, age_s))
    return newest


def used_at(age_s: float | None) -> float | None:
    """Return when that was, in seconds since 1970, to the second."""
    return None if age_s is None else float(round(wall_s() - age_s))
