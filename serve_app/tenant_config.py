"""The tenants file: tiers, tenants and the hashes of their keys."""

from __future__ import annotations

from datetime import datetime
from typing import Self

from pydantic import Field, model_validator

from router.ceiling import CeilingConfig
from router.types import TierRules
from serve_app.config_errors import StrictModel, nearest


class CeilingsConfig(StrictModel):
    """Token and request ceilings; absent means none."""

    tokens_per_second: float | None = Field(None, gt=0)
    tokens_per_minute: float | None = Field(None, gt=0)
    requests_per_minute: float | None = Field(None, gt=0)


class TierConfig(StrictModel):
    """What every tenant of a tier gets.

    Attributes:
        lanes: lanes that may be used; empty means all.
        priority: smaller is served first, as in vLLM's scheduler.
        max_n: largest `n` a request may ask for.

    """

    lanes: list[str] = Field(default_factory=list)
    default_lane: str | None = None
    priority: int = 0
    max_n: int = Field(4, ge=1)
    ceilings: CeilingsConfig = CeilingsConfig()

    def rules(self) -> TierRules:
        """The part that the lane decision reads."""
        return TierRules(frozenset(self.lanes), self.default_lane)


class KeyConfig(StrictModel):
    """One API key, as the salted SHA-256 of its secret part."""

    id: str = Field(pattern=r"^[0-9a-z]{4,32}$")
    salt: str = Field(pattern=r"^[0-9a-f]{32}$")
    hash: str = Field(pattern=r"^[0-9a-f]{64}$")
    expires: datetime | None = None
    admin: bool = False


class TenantConfig(StrictModel):
    """One tenant. `ceilings` replaces the tier's, field by field."""

    tier: str
    keys: list[KeyConfig] = Field(default_factory=list)
    ceilings: CeilingsConfig = CeilingsConfig()
    cache_group: str | None = None


class TenantsConfig(StrictModel):
    """configs/tenants.yaml.

    Attributes:
        local_tenant: tenant of requests without a key that come from this
            machine; None demands a key from everyone.

    """

    tiers: dict[str, TierConfig] = Field(min_length=1)
    tenants: dict[str, TenantConfig] = Field(default_factory=dict)
    local_tenant: str | None = None

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        for name, tenant in self.tenants.items():
            if tenant.tier not in self.tiers:
                hint = nearest(tenant.tier, self.tiers)
                raise ValueError(f"tenants.{name}.tier: no tier '{tenant.tier}'{hint}")
        for name, tier in self.tiers.items():
            if tier.default_lane is not None and tier.lanes and tier.default_lane not in tier.lanes:
                raise ValueError(
                    f"tiers.{name}.default_lane: '{tier.default_lane}' is not in lanes"
                )
        if self.local_tenant is not None and self.local_tenant not in self.tenants:
            hint = nearest(self.local_tenant, self.tenants)
            raise ValueError(f"local_tenant: no tenant '{self.local_tenant}'{hint}")
        ids = [key.id for tenant in self.tenants.values() for key in tenant.keys]
        if len(ids) != len(set(ids)):
            raise ValueError("tenants: two keys have the same id")
        return self

    def ceilings_of(self, tenant: str) -> CeilingConfig:
        """A tenant's ceilings, its own over its tier's."""
        config = self.tenants[tenant]
        merged = self.tiers[config.tier].ceilings.model_dump()
        merged.update(config.ceilings.model_dump(exclude_unset=True))
        return CeilingConfig(**merged)
