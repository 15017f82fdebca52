"""The tenants file: tiers (`tiers`), tenants and the hashes of their keys."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import Self

from pydantic import Field, model_validator

from router.limits.ceiling import CeilingConfig
from router.limits.quota import QuotaConfig, TokenWeights
from router.types import TierRules
from serve_app.config.agents import AgentConfig
from serve_app.config.errors import StrictModel, nearest
from serve_app.config.history import HistoryConfig
from serve_app.config.records import ResponsesConfig, StoreConfig
from serve_app.config.tiers import CeilingsConfig, KvConfig, TierConfig
from serve_app.config.tools import SetNames


class KeyConfig(StrictModel):
    """One API key, as the salted SHA-256 of its secret part.

    Attributes:
        admin: it may use operators' routes.
        proxy: it may act for any tenant, which it names in `x-tenant-id`.

    """

    id: str = Field(pattern=r"^[0-9a-z]{4,32}$")
    salt: str = Field(pattern=r"^[0-9a-f]{32}$")
    hash: str = Field(pattern=r"^[0-9a-f]{64}$")
    expires: datetime | None = None
    admin: bool = False
    proxy: bool = False

    def is_expired(self, now: datetime) -> bool:
        """Return whether it is past its time. A time without a zone is UTC."""
        if self.expires is None:
            return False
        return now >= (self.expires if self.expires.tzinfo else self.expires.replace(tzinfo=UTC))


class TenantConfig(StrictModel):
    """One tenant.

    `ceilings` replaces the tier's, field by field; so do the budgets, `keep_prompts_days` and
    `keep_traces_days`. `history`, `kv`, `agents`, `responses` and `tool_sets` replace the
    tier's as a whole; null lifts them.

    Attributes:
        cache_group: tenants that name the same group (`shared`, or any other name) find
            each other's prefixes in the engines' caches, and can tell by the time to
            the first token that someone in the group has sent the same. None: a cache
            of the tenant's own.
        weight: while tenants of a tier wait, each is served in proportion to it.

    """

    tier: str
    keys: list[KeyConfig] = Field(default_factory=list)
    ceilings: CeilingsConfig = CeilingsConfig()
    escalation_budget: float | None = Field(None, ge=0, le=0.5)
    frontier_budget: float | None = Field(None, ge=0, le=0.5)
    planning_budget: float | None = Field(None, ge=0, le=0.5)
    keep_prompts_days: int | None = Field(None, ge=0, le=365)
    keep_traces_days: int | None = Field(None, ge=0, le=365)
    history: HistoryConfig | None = None
    agents: AgentConfig | None = None
    tool_sets: SetNames | None = None
    cache_group: str | None = Field(None, pattern=r"^[A-Za-z0-9._-]{1,64}$")
    weight: float = Field(1, gt=0, le=1000)
    kv: KvConfig | None = None
    responses: ResponsesConfig | None = None


class TenantsConfig(StrictModel):
    """configs/tenants.yaml.

    Attributes:
        local_tenant: tenant of requests without a key that come from this
            machine, without an admin's rights; None demands a key from everyone.

    """

    tiers: dict[str, TierConfig] = Field(min_length=1)
    tenants: dict[str, TenantConfig] = Field(default_factory=dict)
    local_tenant: str | None = None
    store: StoreConfig = StoreConfig()

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
        last = max((t.priority for t in self.tiers.values() if not t.sheddable), default=None)
        for name, tier in self.tiers.items():
            if tier.sheddable and last is not None and tier.priority <= last:
                raise ValueError(
                    f"tiers.{name}.priority: a sheddable tier comes after all others, over {last}"
                )
        if self.local_tenant is not None and self.local_tenant not in self.tenants:
            hint = nearest(self.local_tenant, self.tenants)
            raise ValueError(f"local_tenant: no tenant '{self.local_tenant}'{hint}")
        self._check_key_ids()
        return self

    def _check_key_ids(self) -> None:
        places: dict[str, str] = {}
        for name, tenant in self.tenants.items():
            for number, key in enumerate(tenant.keys):
                place = f"tenants.{name}.keys.{number}"
                if key.id in places:
                    raise ValueError(
                        f"{place}.id: '{key.id}' is the id of {places[key.id]}, too: "
                        "two keys have the same id"
                    )
                places[key.id] = place

    def summary_lanes(self) -> Iterator[tuple[str, str]]:
        """Each lane that is named for summaries, behind the place where it is."""
        blocks: dict[str, Mapping[str, TierConfig | TenantConfig]]
        blocks = {"tiers": self.tiers, "tenants": self.tenants}
        for kind, members in blocks.items():
            for name, member in members.items():
                results = member.agents.tool_results if member.agents is not None else None
                wanted = {"agents.tool_results": results, "history": member.history}
                for block, config in wanted.items():
                    if config is not None and config.summary.lane is not None:
                        yield f"{kind}.{name}.{block}", config.summary.lane

    def ceilings_of(self, tenant: str) -> CeilingConfig:
        merged = self._limits_of(tenant)
        return CeilingConfig(
            merged.tokens_per_second,
            merged.tokens_per_minute,
            merged.requests_per_minute,
            merged.concurrent_requests,
            merged.contended_from if merged.enforce == "contended" else None,
        )

    def quotas_of(self, tenant: str) -> QuotaConfig:
        merged = self._limits_of(tenant)
        return QuotaConfig(merged.tokens_per_day, merged.tokens_per_month)

    def weights_of(self, tenant: str) -> TokenWeights:
        return self._limits_of(tenant).weights

    def _limits_of(self, tenant: str) -> CeilingsConfig:
        config = self.tenants[tenant]
        own = {name: getattr(config.ceilings, name) for name in config.ceilings.model_fields_set}
        return self.tiers[config.tier].ceilings.model_copy(update=own)

    def rules_of(
        self,
        tenant: str,
        complex_lane: str | None,
        frontier: str | None,
        on: Collection[str] = (),
    ) -> TierRules:
        """Return what the choice of a lane reads of a tenant; `on`: the lanes that are."""
        own, tier = self.tenants[tenant], self.tiers[self.tenants[tenant].tier]
        wanted = {
            frontier: _either(own.frontier_budget, tier.frontier_budget),
            complex_lane: _either(own.escalation_budget, tier.escalation_budget),
        }
        budgets = {k: v for k, v in wanted.items() if k is not None and v is not None}
        planning = _either(own.planning_budget, tier.planning_budget)
        return TierRules(tier.lanes_of(on), tier.default_lane, budgets, planning)

    def keep_prompts_days_of(self, tenant: str) -> int:
        config = self.tenants[tenant]
        own = config.keep_prompts_days
        return self.tiers[config.tier].keep_prompts_days if own is None else own

    def keep_traces_days_of(self, tenant: str) -> int:
        config = self.tenants[tenant]
        own = config.keep_traces_days
        return self.tiers[config.tier].keep_traces_days if own is None else own

    def agents_of(self, tenant: str) -> AgentConfig | None:
        config = self.tenants[tenant]
        is_own = "agents" in config.model_fields_set
        return config.agents if is_own else self.tiers[config.tier].agents

    def tool_sets_of(self, tenant: str) -> frozenset[str] | None:
        config = self.tenants[tenant]
        is_own = "tool_sets" in config.model_fields_set
        names = config.tool_sets if is_own else self.tiers[config.tier].tool_sets
        return None if names is None else frozenset(names)

    def history_of(self, tenant: str) -> HistoryConfig | None:
        config = self.tenants[tenant]
        is_own = "history" in config.model_fields_set
        return config.history if is_own else self.tiers[config.tier].history

    def kv_of(self, tenant: str) -> KvConfig | None:
        config = self.tenants[tenant]
        return config.kv if "kv" in config.model_fields_set else self.tiers[config.tier].kv

    def responses_of(self, tenant: str) -> ResponsesConfig | None:
        config = self.tenants[tenant]
        is_own = "responses" in config.model_fields_set
        return config.responses if is_own else self.tiers[config.tier].responses


def _either(own: float | None, tier: float | None) -> float | None:
    return tier if own is None else own
