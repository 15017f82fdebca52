"""The tenants file: tiers, tenants and the hashes of their keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Literal, Self

from pydantic import Field, model_validator

from router.limits.ceiling import CeilingConfig
from router.limits.quota import EVEN_WEIGHTS, QuotaConfig, TokenWeights
from router.types import TierRules
from serve_app.config.agents import AgentConfig
from serve_app.config.errors import StrictModel, nearest
from serve_app.config.history import HistoryConfig
from serve_app.config.records import StoreConfig


class CeilingsConfig(StrictModel):
    """Token and request ceilings; absent means none.

    Attributes:
        concurrent_requests: admitted and not ended.
        enforce: `contended`: `tokens_per_second` binds only in lanes in which
            `contended_from` requests or more run or wait, or which are saturated; what is
            per minute, a quota or concurrent always does.
        tokens_per_day, tokens_per_month: quotas of calendar days and months in UTC.
        weights: of tokens, in all of them but `tokens_per_second`.

    """

    tokens_per_second: float | None = Field(None, gt=0)
    tokens_per_minute: float | None = Field(None, gt=0)
    requests_per_minute: float | None = Field(None, gt=0)
    concurrent_requests: int | None = Field(None, ge=1)
    enforce: Literal["always", "contended"] = "always"
    contended_from: int = Field(40, ge=1)
    tokens_per_day: float | None = Field(None, gt=0)
    tokens_per_month: float | None = Field(None, gt=0)
    weights: TokenWeights = EVEN_WEIGHTS


class KvConfig(StrictModel):
    """Tokens in the engines' KV caches (docs/fairness.md).

    Attributes:
        tokens_per_tenant: of a tenant's running requests together, prompt and answer, in
            each lane: further ones wait. Divided among the ingress replicas.
        tokens_per_session: of one conversation and its answer: answers end there, and a
            conversation that leaves no room for one is refused.

    """

    tokens_per_tenant: int | None = Field(None, ge=1)
    tokens_per_session: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _a_session_fits_into_its_tenant(self) -> Self:
        tenant, session = self.tokens_per_tenant, self.tokens_per_session
        if tenant is not None and session is not None and session > tenant:
            raise ValueError("tokens_per_session may not be over tokens_per_tenant")
        return self


class TierConfig(StrictModel):
    """What every tenant of a tier gets.

    Attributes:
        lanes: lanes that may be used; empty means all.
        priority: smaller is served first, as in vLLM's scheduler.
        max_n: largest `n` a request may ask for.
        escalation_budget: share of a tenant's scored requests that may go to the
            complex lane, and no more than twice that of any 1,000; None: the lane's
            target share; 0: its requests are never scored.
        frontier_budget: the same for the frontier lane.
        keep_prompts_days: how long prompts are kept for training; 0: not at all.
        history: cap on the history of each session; None: no cap.
        agents: bounds of tasks that call tools, and what becomes of invalid calls
            (docs/agents.md); None: no bounds, and calls are counted.
        sheddable: its work takes slots that other tiers do not need, and where a
            lane is saturated it waits, is shed and is evicted before any other tier.
        min_share: of a sheddable tier: share of a lane's slots that it keeps while the
            lane is saturated, of what other tiers do not need.
        start_within_s: a request that cannot start in this time is refused (504); None:
            it waits as long as its client does.
        kv: what each tenant and each session may hold in the engines' KV caches; None:
            no limit.

    """

    lanes: list[str] = Field(default_factory=list)
    default_lane: str | None = None
    priority: int = 0
    max_n: int = Field(4, ge=1)
    escalation_budget: float | None = Field(None, ge=0, le=0.5)
    frontier_budget: float | None = Field(None, ge=0, le=0.5)
    keep_prompts_days: int = Field(0, ge=0, le=365)
    history: HistoryConfig | None = None
    agents: AgentConfig | None = None
    ceilings: CeilingsConfig = CeilingsConfig()
    sheddable: bool = False
    min_share: float = Field(0, ge=0, le=1)
    start_within_s: float | None = Field(120, gt=0)
    kv: KvConfig | None = None

    @model_validator(mode="after")
    def _histories_are_cut_before_sessions_are_refused(self) -> Self:
        limit = self.kv.tokens_per_session if self.kv is not None else None
        if self.history is not None and limit is not None and self.history.most_tokens >= limit:
            raise ValueError(
                "history.high_tokens must be under kv.tokens_per_session, with summary.max_tokens "
                "in 'mode: summarise': a conversation is cut before it is refused"
            )
        return self

    @model_validator(mode="after")
    def _shares_are_of_sheddable_tiers(self) -> Self:
        if self.min_share and not self.sheddable:
            raise ValueError("min_share is for sheddable tiers; others are served first")
        return self


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

    `ceilings` replaces the tier's, field by field; so do the budgets and
    `keep_prompts_days`. `history`, `kv` and `agents` replace the tier's as a whole; null
    lifts them.

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
    keep_prompts_days: int | None = Field(None, ge=0, le=365)
    history: HistoryConfig | None = None
    agents: AgentConfig | None = None
    cache_group: str | None = Field(None, pattern=r"^[A-Za-z0-9._-]{1,64}$")
    weight: float = Field(1, gt=0, le=1000)
    kv: KvConfig | None = None


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

    def rules_of(self, tenant: str, complex_lane: str | None, frontier: str | None) -> TierRules:
        """Return what the choice of a lane reads of a tenant."""
        own, tier = self.tenants[tenant], self.tiers[self.tenants[tenant].tier]
        wanted = {
            frontier: _either(own.frontier_budget, tier.frontier_budget),
            complex_lane: _either(own.escalation_budget, tier.escalation_budget),
        }
        budgets = {k: v for k, v in wanted.items() if k is not None and v is not None}
        return TierRules(frozenset(tier.lanes), tier.default_lane, budgets)

    def keep_prompts_days_of(self, tenant: str) -> int:
        config = self.tenants[tenant]
        own = config.keep_prompts_days
        return self.tiers[config.tier].keep_prompts_days if own is None else own

    def agents_of(self, tenant: str) -> AgentConfig | None:
        config = self.tenants[tenant]
        is_own = "agents" in config.model_fields_set
        return config.agents if is_own else self.tiers[config.tier].agents

    def history_of(self, tenant: str) -> HistoryConfig | None:
        config = self.tenants[tenant]
        is_own = "history" in config.model_fields_set
        return config.history if is_own else self.tiers[config.tier].history

    def kv_of(self, tenant: str) -> KvConfig | None:
        config = self.tenants[tenant]
        return config.kv if "kv" in config.model_fields_set else self.tiers[config.tier].kv


def _either(own: float | None, tier: float | None) -> float | None:
    return tier if own is None else own
