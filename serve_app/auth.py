"""API keys: made once, kept as salted hashes, looked up in constant time.

A key is `pm-ID-SECRET`. ID finds the entry; SECRET has 256 random bits, so one
round of SHA-256 over salt and secret is as strong as the secret (a slow hash
would only add a way to burn the ingress's CPU with wrong keys).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from router.ceiling import CeilingConfig
from router.errors import Rejected, RejectReason
from router.types import TierRules
from serve_app.tenant_config import KeyConfig, TenantsConfig, TierConfig

PREFIX = "pm-"


@dataclass(frozen=True, slots=True)
class Tenant:
    """Who a request belongs to, with everything that applies to it."""

    name: str
    tier_name: str
    tier: TierConfig
    rules: TierRules
    ceilings: CeilingConfig
    cache_group: str
    is_admin: bool = False


def hash_secret(secret: str, salt: str) -> str:
    """SHA-256 of salt and secret, in hexadecimal."""
    return hashlib.sha256(bytes.fromhex(salt) + secret.encode()).hexdigest()


def make_key(*, admin: bool = False, expires: datetime | None = None) -> tuple[str, KeyConfig]:
    """A new key (to be shown once) and the entry to keep."""
    key_id, secret, salt = secrets.token_hex(6), secrets.token_urlsafe(32), secrets.token_hex(16)
    entry = KeyConfig(
        id=key_id, salt=salt, hash=hash_secret(secret, salt), admin=admin, expires=expires
    )
    return f"{PREFIX}{key_id}-{secret}", entry


class Authenticator:
    """Keys to tenants, for one reading of the tenants file."""

    def __init__(self, config: TenantsConfig) -> None:
        self._config = config
        self._keys = {
            key.id: (name, key) for name, tenant in config.tenants.items() for key in tenant.keys
        }
        self._tenants = {
            (name, admin): self._build(name, is_admin=admin)
            for name in config.tenants
            for admin in (False, True)
        }

    def identify(
        self, key: str | None, *, is_local: bool, now: datetime | None = None
    ) -> Tenant | Rejected:
        """The tenant of a key; without one, the local tenant for local callers."""
        if not key:
            local = self._config.local_tenant
            if local is None or not is_local:
                return _refused("Missing API key: send 'Authorization: Bearer KEY'.")
            return self._tenants[local, True]
        entry = self._match(key, now or datetime.now(UTC))
        if entry is None:
            if is_local and self._config.local_tenant is not None and not key.startswith(PREFIX):
                # SDKs insist on some key; any word that is not one of ours will
                # do where no key is needed.
                return self._tenants[self._config.local_tenant, True]
            return _refused("The API key is not valid.")
        name, key_config = entry
        return self._tenants[name, key_config.admin]

    def _match(self, key: str, now: datetime) -> tuple[str, KeyConfig] | None:
        key_id, _, secret = key.removeprefix(PREFIX).partition("-")
        found = self._keys.get(key_id) if key.startswith(PREFIX) else None
        # Unknown ids do the same work as known ones.
        salt, expected = (found[1].salt, found[1].hash) if found else ("00" * 16, "0" * 64)
        matches = hmac.compare_digest(hash_secret(secret, salt), expected)
        if not found or not matches:
            return None
        expires = found[1].expires
        if expires is not None and now >= (
            expires if expires.tzinfo else expires.replace(tzinfo=UTC)
        ):
            return None
        return found

    def _build(self, name: str, *, is_admin: bool) -> Tenant:
        config = self._config.tenants[name]
        tier = self._config.tiers[config.tier]
        return Tenant(
            name=name,
            tier_name=config.tier,
            tier=tier,
            rules=tier.rules(),
            ceilings=self._config.ceilings_of(name),
            cache_group=config.cache_group or f"tenant:{name}",
            is_admin=is_admin,
        )


def _refused(message: str) -> Rejected:
    return Rejected(RejectReason.INVALID_API_KEY, message)
