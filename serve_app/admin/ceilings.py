"""A tenant's ceilings over HTTP: read with the file's tag, set for the file that was read."""

from __future__ import annotations

import asyncio
import math
import os
from typing import Any

from router.errors import Rejected, RejectReason
from serve_app.admin.peers import RELOAD_WITHIN_S, Peers, Told, limits_in_force
from serve_app.admin.tenants_reading import TenantsReading
from serve_app.config.errors import ConfigError, validate
from serve_app.config.tenants import TenantsConfig
from serve_app.config.tiers import CeilingsConfig
from serve_app.pipeline.state import IngressState
from serve_app.tenancy.tenants_file import set_ceilings

MAX_LISTED = 200

NO_TENANT = Rejected(RejectReason.INVALID_REQUEST, "There is no such tenant.", param="tenant")


class CannotWrite(Exception):
    """The tenants file is not this process's to write; the message is for the operator."""


class CeilingsDesk:
    """Reads and sets what the tenants file says of tenants' ceilings."""

    def __init__(self, state: IngressState, tenants: TenantsReading, peers: Peers) -> None:
        self._state = state
        self._tenants = tenants
        self._file = tenants.path
        self._peers = peers

    async def listing(self, search: str, limit: int) -> Told:
        """Return tenants whose name has `search` in it, each with its own ceilings."""
        return await asyncio.to_thread(self._listing, search.lower(), min(limit, MAX_LISTED))

    def _listing(self, search: str, limit: int) -> Told:
        etag, config = self._tenants.read()
        names = [name for name in config.tenants if search in name.lower()]
        return {
            "etag": etag,
            "cannot_write": self._why_not_writable(),
            "tenants": [self._row(name, config) for name in names[:limit]],
            "left_out": max(0, len(names) - limit),
        }

    def _row(self, name: str, config: TenantsConfig) -> Told:
        return {
            "tenant": name,
            "tier": config.tenants[name].tier,
            "own": _own(config, name),
            "of_tier": config.tiers[config.tenants[name].tier].ceilings.model_dump(
                exclude_unset=True
            ),
            "in_force": limits_in_force(self._state, name),
        }

    async def show(self, tenant: str) -> Told | Rejected:
        etag, config = await asyncio.to_thread(self._tenants.read)
        if tenant not in config.tenants:
            return NO_TENANT
        row = self._row(tenant, config)
        return {"etag": etag, "cannot_write": self._why_not_writable(), **row}

    def _why_not_writable(self) -> str:
        """Return why a change could not be written; empty: as far as can be told, it could."""
        folder = self._file.resolve().parent
        return "" if os.access(folder, os.W_OK) else FOREIGN.format(self._file)

    async def set(self, tenant: str, body: dict[str, Any], etag: str) -> Told | Rejected:
        """Make these the tenant's own ceilings; what each ingress replica made of the file.

        Raises:
            FileChanged: it is not the file of `etag` any more.
            ConfigError: the result would not be valid, or would change other tenants.
            CannotWrite: the file is not ours to write.

        """
        _, config = await asyncio.to_thread(self._tenants.read)
        if tenant not in config.tenants:
            return NO_TENANT
        fault = _fault_of(body)
        if fault:
            return Rejected(RejectReason.INVALID_REQUEST, fault, param="ceilings")
        before = _own(config, tenant)
        try:
            await asyncio.to_thread(set_ceilings, self._file, tenant, body, etag)
        except OSError as error:
            raise CannotWrite(f"{FOREIGN.format(self._file)} ({error.strerror})") from error
        ingress = await self._peers.ask("reload", tenant, within_s=RELOAD_WITHIN_S)
        new, config = await asyncio.to_thread(self._tenants.read)
        return {
            "ok": all(x["ok"] for x in ingress),
            "tenant": tenant,
            "before": before,
            "after": _own(config, tenant),
            "etag": new,
            "ingress": ingress,
        }


FOREIGN = (
    "{} cannot be written from here: it comes from elsewhere (a ConfigMap, a package, a read-only "
    "mount). Change it where it comes from; every ingress replica reads it when it has changed"
)


def _own(config: TenantsConfig, tenant: str) -> Told:
    return config.tenants[tenant].ceilings.model_dump(exclude_unset=True)


def _fault_of(body: dict[str, Any]) -> str:
    """Return what is wrong with ceilings; nothing, if they can be set."""
    try:
        found = validate(body, CeilingsConfig, "ceilings")
    except ConfigError as error:
        return str(error)
    numbers = (x for x in found.model_dump().values() if isinstance(x, float))
    return "" if all(map(math.isfinite, numbers)) else "ceilings: a limit has to be finite"
