"""Who did what: what an ingress replica writes into the audit trail, and reads of it."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, Literal

from serve_app.admin.audit import MAX_LISTED, AuditLog, Entry, RefusalBound, entry_of, merged
from serve_app.admin.peers import Peers
from serve_app.tenancy.auth import PREFIX, Tenant
from serve_app.tenancy.callers import Caller
from serve_app.tenancy.local_key import local_admin_key

logger = logging.getLogger("ray.serve")

Outcome = Literal["done", "refused", "failed"]


class Trail:
    """Notes actions before they are answered, and refusals as far as there is room.

    Args:
        me: this ingress replica's id.
        secret: the deployment's; the local admin key follows from it.

    """

    def __init__(self, log: AuditLog, peers: Peers, me: str, secret: str) -> None:
        self._log = log
        self._peers = peers
        self._me = me
        self._local_id = _id_of(local_admin_key(secret))
        self._refusals = RefusalBound(time.monotonic)

    def who(self, caller: Caller, tenant: Tenant | None) -> dict[str, Any]:
        """Name the key that let the caller in, by its id; nobody, if none did."""
        if tenant is None:
            return {"key": None, "tenant": None}
        key_id = _id_of(caller.key) if isinstance(caller.key, str) else None
        return {"key": "local" if key_id == self._local_id else key_id, "tenant": tenant.name}

    async def note(
        self,
        action: str,
        outcome: Outcome,
        *,
        status: int,
        who: dict[str, Any],
        client: dict[str, Any],
        request_id: str,
        noted: dict[str, Any],
    ) -> None:
        """Write one entry; what cannot be written is told in the log, and the action stands."""
        told = dict(noted)
        if outcome == "refused":
            left_out = self._refusals.admit()
            if left_out is None:
                return
            if left_out:
                told["refusals_left_out"] = left_out
        entry = entry_of(
            action,
            outcome,
            status=status,
            who=who,
            client=client,
            replica=self._me,
            request_id=request_id,
            noted=told,
        )
        try:
            await asyncio.to_thread(self._log.append, entry)
        except OSError as error:
            logger.error("audit: '%s' cannot be written: %s", action, error.strerror)  # noqa: TRY400

    async def newest(self, limit: int) -> dict[str, Any]:
        """Return the last entries of all nodes, newest first."""
        most = min(limit, MAX_LISTED)
        answers = await self._peers.ask("audit", most)
        parts: list[list[Entry]] = [x.get("entries", []) for x in answers]
        return {"entries": merged(parts, most), "is_whole": all(x["ok"] for x in answers)}


def _id_of(key: str) -> str | None:
    return key.removeprefix(PREFIX).partition("-")[0] if key.startswith(PREFIX) else None
