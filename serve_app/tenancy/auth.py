"""API keys: made once, kept as salted hashes, looked up in constant time.

A key is `pm-ID-SECRET`. ID finds the entry; SECRET has 256 random bits, so one
round of SHA-256 over salt and secret is as strong as the secret (a slow hash
would only add a way to burn the ingress's CPU with wrong keys).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from router.errors import Rejected, RejectReason
from router.limits.ceiling import CeilingConfig
from router.limits.quota import EVEN_WEIGHTS, NO_QUOTA, QuotaConfig, TokenWeights
from router.types import TierRules
from serve_app.config.agents import AgentConfig
from serve_app.config.history import HistoryConfig
from serve_app.config.records import ResponsesConfig
from serve_app.config.tenants import KeyConfig, TenantsConfig
from serve_app.config.tiers import KvConfig, TierConfig
from serve_app.tenancy.keys import KeyBook
from serve_app.tenancy.uses import Uses

PREFIX = "pm-"

HOW_TO_SEND = "Send one as 'Authorization: Bearer KEY' or 'x-api-key: KEY'."


@dataclass(frozen=True, slots=True)
class Tenant:
    """Who a request belongs to, with everything that applies to it.

    Attributes:
        is_keyless: somebody at this machine, let in as the local tenant without a key.
        is_operator: no tenant of the file; may look and reload, and generates nothing.
        tool_sets: named tool sets that it may use; None: all.
        lowest_priority: of any tier: where `service_tier: flex` puts a request.

    """

    name: str
    tier_name: str
    tier: TierConfig
    rules: TierRules
    ceilings: CeilingConfig
    cache_group: str
    is_admin: bool = False
    is_keyless: bool = False
    is_operator: bool = False
    keep_prompts_days: int = 0
    keep_traces_days: int = 0
    history: HistoryConfig | None = None
    agents: AgentConfig | None = None
    tool_sets: frozenset[str] | None = None
    weight: float = 1.0
    quotas: QuotaConfig = NO_QUOTA
    weights: TokenWeights = EVEN_WEIGHTS
    lowest_priority: int = 0
    kv: KvConfig | None = None
    responses: ResponsesConfig | None = None


OPERATOR = Tenant(
    name="(operator)",
    tier_name="",
    tier=TierConfig(),
    rules=TierRules(),
    ceilings=CeilingConfig(),
    cache_group="operator",
    is_admin=True,
    is_operator=True,
)
"""The tenant of requests with the local admin key, if there is no local tenant."""


def hash_secret(secret: str, salt: str) -> str:
    """SHA-256 of salt and secret, in hexadecimal."""
    return hashlib.sha256(bytes.fromhex(salt) + secret.encode()).hexdigest()


def make_key(
    *, admin: bool = False, proxy: bool = False, expires: datetime | None = None
) -> tuple[str, KeyConfig]:
    """A new key (to be shown once) and the entry to keep."""
    key_id, secret, salt = secrets.token_hex(6), secrets.token_urlsafe(32), secrets.token_hex(16)
    entry = KeyConfig(
        id=key_id,
        salt=salt,
        hash=hash_secret(secret, salt),
        admin=admin,
        proxy=proxy,
        expires=expires,
    )
    return f"{PREFIX}{key_id}-{secret}", entry


class Authenticator:
    """Keys to tenants, for one reading of the tenants file.

    Args:
        complex_lane, frontier: the lanes that the tenants' budgets speak of.
        on: names of the lanes that are on.
        book: the store's keys and revocations, as they are at each request.

    """

    def __init__(
        self,
        config: TenantsConfig,
        complex_lane: str | None = None,
        frontier: str | None = None,
        book: KeyBook | None = None,
        on: Collection[str] = (),
    ) -> None:
        self._config = config
        self._book = book or KeyBook()
        self._lanes = complex_lane, frontier, on
        self._keys = {
            key.id: (name, key) for name, tenant in config.tenants.items() for key in tenant.keys
        }
        self._tenants = {
            (name, admin): self._build(name, is_admin=admin)
            for name in config.tenants
            for admin in (False, True)
        }
        local = config.local_tenant
        self._keyless = (
            None if local is None else replace(self._tenants[local, False], is_keyless=True)
        )

    def tenant(self, name: str) -> Tenant | None:
        return self._tenants.get((name, False))

    @property
    def config(self) -> TenantsConfig:
        """The tenants file as it was read."""
        return self._config

    @property
    def has_local_tenant(self) -> bool:
        """Whether local requests without a key are let in."""
        return self._config.local_tenant is not None

    @property
    def uses(self) -> Uses:
        return self._book.uses

    @property
    def local_tenant(self) -> str | None:
        """The tenant of local callers without a key."""
        return self._config.local_tenant

    @property
    def local_admin(self) -> Tenant:
        """The tenant of requests with the local admin key."""
        local = self._config.local_tenant
        return OPERATOR if local is None else self._tenants[local, True]

    def entry(self, key_id: str) -> tuple[str, KeyConfig] | None:
        """Return the tenant and entry of a key's id; None if it is unknown or revoked."""
        found = self._book.find(key_id, self._keys.get(key_id))
        # The file says which tenants there are: others' keys wait for their return.
        return found if found is not None and found[0] in self._config.tenants else None

    def identify(
        self,
        key: str | None,
        *,
        is_local: bool,
        tenant_id: str | None = None,
        now: datetime | None = None,
        why_not_local: str = "",
    ) -> Tenant | Rejected:
        """The tenant of a key; without one, the local tenant for local callers: no admin.

        `tenant_id` is whom a caller says it acts for: it counts with a key that holds
        the `proxy` right, and is ignored with any other and without one.
        """
        if not key or not key.startswith(PREFIX):
            # SDKs insist on some key; any word that is not one of ours will do where
            # no key is needed.
            if self._keyless is not None and is_local:
                return self._keyless
            what = "The API key is not valid." if key else "Missing API key."
            why = f" {why_not_local}" if self._keyless is not None and why_not_local else ""
            return _refused(f"{what}{why} {HOW_TO_SEND}")
        entry = self._match(key, now or datetime.now(UTC))
        if entry is None:
            return _refused("The API key is not valid.")
        name, key_config = entry
        if tenant_id and key_config.proxy:
            return self._acting_for(tenant_id)
        return self._tenants[name, key_config.admin]

    def _acting_for(self, tenant_id: str) -> Tenant | Rejected:
        """That tenant, without an admin's rights even if the key has them.

        An unknown one is 403: the key is good, so a 401 would make people change it;
        a tenant that does not exist may use no model.
        """
        tenant = self._tenants.get((tenant_id, False))
        if tenant is None:
            message = "'x-tenant-id' names no tenant of this deployment."
            return Rejected(RejectReason.MODEL_NOT_ALLOWED, message, param="x-tenant-id")
        return tenant

    def _match(self, key: str, now: datetime) -> tuple[str, KeyConfig] | None:
        key_id, _, secret = key.removeprefix(PREFIX).partition("-")
        found = self.entry(key_id)
        # Unknown ids do the same work as known ones.
        salt, expected = (found[1].salt, found[1].hash) if found else ("00" * 16, "0" * 64)
        matches = hmac.compare_digest(hash_secret(secret, salt), expected)
        if not found or not matches:
            return None
        if found[1].is_expired(now):
            return None
        self.uses.note_key(key_id)
        return found

    def _build(self, name: str, *, is_admin: bool) -> Tenant:
        config = self._config.tenants[name]
        tier = self._config.tiers[config.tier]
        return Tenant(
            name=name,
            tier_name=config.tier,
            tier=tier,
            rules=self._config.rules_of(name, *self._lanes),
            ceilings=self._config.ceilings_of(name),
            # Namespaces: no group's name can be another tenant's own cache.
            cache_group=f"group:{config.cache_group}" if config.cache_group else f"tenant:{name}",
            is_admin=is_admin,
            keep_prompts_days=self._config.keep_prompts_days_of(name),
            keep_traces_days=self._config.keep_traces_days_of(name),
            history=self._config.history_of(name),
            agents=self._config.agents_of(name),
            tool_sets=self._config.tool_sets_of(name),
            weight=config.weight,
            quotas=self._config.quotas_of(name),
            weights=self._config.weights_of(name),
            kv=self._config.kv_of(name),
            responses=self._config.responses_of(name),
            lowest_priority=max(x.priority for x in self._config.tiers.values()),
        )


def _refused(message: str) -> Rejected:
    return Rejected(RejectReason.INVALID_API_KEY, message)
