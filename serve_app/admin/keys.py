"""Keys over HTTP: listed without a secret, made and shown once, revoked for good."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import Field

from router.errors import Rejected, RejectReason
from serve_app.admin.ceilings import FOREIGN, CannotWrite
from serve_app.admin.peers import Peers, Told, newest_use, used_at
from serve_app.admin.tenants_reading import TenantsReading
from serve_app.config.errors import StrictModel, nearest
from serve_app.config.tenants import KeyConfig, TenantsConfig
from serve_app.tenancy.auth import make_key
from serve_app.tenancy.store import Keys, StoredKey, TenancyStore
from serve_app.tenancy.tenants_file import add_tenant, remove_key

MAX_LISTED = 1000


class MakeKey(StrictModel):
    """A key that is asked for.

    Attributes:
        tier: of a tenant that is new; of another it may be left out.
        days: for which it is valid; None: until it is revoked.

    """

    tenant: str = Field(min_length=1, max_length=128)
    tier: str | None = None
    days: int | None = Field(None, ge=1, le=3650)
    admin: bool = False
    proxy: bool = False


class RevokeKey(StrictModel):
    """`force`: even the key that the request itself came with."""

    force: bool = False


class KeyDesk:
    """Lists, makes and revokes, with the functions that `pointsman tenants` uses."""

    def __init__(self, store: TenancyStore, tenants: TenantsReading, peers: Peers) -> None:
        self._store = store
        self._tenants = tenants
        self._file = tenants.path
        self._peers = peers

    async def listing(self, tenant: str | None) -> Told:
        """Return the keys, of one tenant or of all: ids and rights, never a key or its hash."""
        told = await self._peers.ask("uses")
        config, stored = await asyncio.to_thread(self._read)
        uses = newest_use(told)
        rows = [
            row | {"used_at": used_at(uses.get(row["id"]))}
            for row in _rows(config, stored)
            if tenant in (None, row["tenant"])
        ]
        left_out = max(0, len(rows) - MAX_LISTED)
        tiers = {name: x.tier for name, x in config.tenants.items()}
        return {
            "keys": rows[:MAX_LISTED],
            "left_out": left_out,
            "tiers": list(config.tiers),
            "tenants": dict(list(tiers.items())[:MAX_LISTED]),
        }

    def _read(self) -> tuple[TenantsConfig, Keys]:
        return self._tenants.read()[1], self._store.keys()

    async def make(self, asked: MakeKey) -> Told | Rejected:
        """Make a key; it is in this answer and nowhere else.

        Raises:
            CannotWrite: the tenant is new and the file is not ours to write.
            ConfigError: the file is not valid, or is being changed.

        """
        _, config = await asyncio.to_thread(self._tenants.read)
        refused = _refuse(asked, config)
        if refused is not None:
            return refused
        now = datetime.now(UTC)
        expires = now + timedelta(days=asked.days) if asked.days else None
        key, entry = make_key(admin=asked.admin, proxy=asked.proxy, expires=expires)
        is_new = asked.tenant not in config.tenants
        if is_new and asked.tier is not None:
            # The tenant first: a key of nobody's would be of no use.
            try:
                await asyncio.to_thread(add_tenant, self._file, asked.tenant, asked.tier)
            except OSError as error:
                raise CannotWrite(f"{FOREIGN.format(self._file)} ({error.strerror})") from error
        await asyncio.to_thread(self._store.add_key, StoredKey(asked.tenant, entry, now))
        ingress = await self._peers.ask("reload", asked.tenant) if is_new else None
        return {
            "ok": True,
            "key": key,
            "id": entry.id,
            "tenant": asked.tenant,
            "new_tenant": is_new,
            "expires": expires.isoformat() if expires else None,
            "admin": asked.admin,
            "proxy": asked.proxy,
            "ingress": ingress or await self._peers.ask("keys"),
        }

    async def revoke(self, key_id: str) -> Told | None:
        """Make a key invalid for good, on every ingress replica; None: there is no such key."""
        config, stored = await asyncio.to_thread(self._read)
        owner = next(
            (name for name, x in config.tenants.items() if any(k.id == key_id for k in x.keys)),
            None,
        )
        if owner is None and key_id not in stored.keys:
            return None
        # The store first: it works at once, and whether or not the file can be written.
        await asyncio.to_thread(self._store.revoke, key_id, at=datetime.now(UTC))
        note = await asyncio.to_thread(self._take_out, owner, key_id) if owner else ""
        tenant = owner or stored.keys[key_id].tenant
        ingress = await self._peers.ask("keys")
        told = {"ok": all(x["ok"] for x in ingress), "id": key_id, "tenant": tenant}
        return {**told, "note": note, "ingress": ingress}

    def _take_out(self, owner: str, key_id: str) -> str:
        """From the file, too: the revocation must outlive the store. Returns what to tell."""
        try:
            remove_key(self._file, owner, key_id)
        except OSError as error:
            return (
                f"The key is revoked, but is still in the tenants file ({error.strerror}): remove "
                "it there, or a lost store would bring it back."
            )
        return ""


def _refuse(asked: MakeKey, config: TenantsConfig) -> Rejected | None:
    known = config.tenants.get(asked.tenant)
    if known is not None and asked.tier not in (None, known.tier):
        return _refused(
            f"'{asked.tenant}' is of tier '{known.tier}': a tenant's tier changes in the tenants "
            "file, not with a key.",
            "tier",
        )
    if known is None and asked.tier is None:
        hint = nearest(asked.tenant, config.tenants)
        return _refused(
            f"There is no tenant '{asked.tenant}'{hint}. A new one needs a tier.", "tenant"
        )
    if known is None and asked.tier not in config.tiers:
        hint = nearest(asked.tier or "", config.tiers)
        tiers = ", ".join(config.tiers)
        return _refused(f"There is no tier '{asked.tier}'{hint}; there are: {tiers}.", "tier")
    return None


def _rows(config: TenantsConfig, stored: Keys) -> Iterator[dict[str, Any]]:
    now = datetime.now(UTC)
    in_file = {key.id for tenant in config.tenants.values() for key in tenant.keys}
    for name, tenant in config.tenants.items():
        for key in tenant.keys:
            yield _row(key, name, None, "file", _state(key, stored, now, has_tenant=True))
    newest = sorted(stored.keys.values(), key=lambda x: x.created, reverse=True)
    for x in newest:
        if x.key.id not in in_file:
            state = _state(x.key, stored, now, has_tenant=x.tenant in config.tenants)
            yield _row(x.key, x.tenant, x.created, "store", state)


def _row(
    key: KeyConfig, tenant: str, made: datetime | None, where: str, state: str
) -> dict[str, Any]:
    return {
        "id": key.id,
        "tenant": tenant,
        "made": made.isoformat() if made else None,
        "expires": key.expires.isoformat() if key.expires else None,
        "admin": key.admin,
        "proxy": key.proxy,
        "kept_in": where,
        "state": state,
    }


def _state(key: KeyConfig, stored: Keys, now: datetime, *, has_tenant: bool) -> str:
    if key.id in stored.revoked:
        return "revoked"
    if key.is_expired(now):
        return "expired"
    return "valid" if has_tenant else "no tenant"


def _refused(message: str, param: str) -> Rejected:
    return Rejected(RejectReason.INVALID_REQUEST, message, param=param)
