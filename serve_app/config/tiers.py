"""What the tenants of a tier get: ceilings, caps on history and KV cache, lanes, budgets."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, Self

from pydantic import Field, model_validator

from router.limits.quota import EVEN_WEIGHTS, TokenWeights
from serve_app.config.agents import AgentConfig
from serve_app.config.errors import StrictModel
from serve_app.config.history import HistoryConfig
from serve_app.config.records import ResponsesConfig
from serve_app.config.tools import SetNames


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
        default_lane: where requests go that nothing else moves, where the fleet has it on.
        only_default_lane: no other lane is used then: no tools, no long prompts, no pins there.
        priority: smaller is served first, as in vLLM's scheduler.
        max_n: largest `n` a request may ask for.
        escalation_budget: share of a tenant's scored requests that may go to the
            complex lane, and no more than twice that of any 1,000; None: the lane's
            target share; 0: its requests are never scored.
        frontier_budget: the same for the frontier lane; `planning_budget`: of its agents'
            turns, for the planning lane.
        keep_prompts_days: how long prompts are kept for training; 0: not at all.
        keep_traces_days: how long whole requests and answers are kept, redacted (docs/evals.md);
            0: not at all.
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
        responses: what is stored of each tenant's answers on `/v1/responses`; None: nothing.
        tool_sets: named tool sets that may be used (docs/tools.md); None: all.

    """

    lanes: list[str] = Field(default_factory=list)
    default_lane: str | None = None
    only_default_lane: bool = False
    priority: int = 0
    max_n: int = Field(4, ge=1)
    escalation_budget: float | None = Field(None, ge=0, le=0.5)
    frontier_budget: float | None = Field(None, ge=0, le=0.5)
    planning_budget: float | None = Field(None, ge=0, le=0.5)
    keep_prompts_days: int = Field(0, ge=0, le=365)
    keep_traces_days: int = Field(0, ge=0, le=365)
    history: HistoryConfig | None = None
    agents: AgentConfig | None = None
    ceilings: CeilingsConfig = CeilingsConfig()
    sheddable: bool = False
    min_share: float = Field(0, ge=0, le=1)
    start_within_s: float | None = Field(120, gt=0)
    kv: KvConfig | None = None
    responses: ResponsesConfig | None = None
    tool_sets: SetNames | None = None

    def lanes_of(self, on: Collection[str]) -> frozenset[str]:
        """Return the lanes that may be used, of those that are on; empty: all."""
        own = self.default_lane
        if self.only_default_lane and own is not None and own in on:
            return frozenset({own})
        return frozenset(self.lanes)

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
    def _has_a_lane_to_keep_to(self) -> Self:
        if self.only_default_lane and self.default_lane is None:
            raise ValueError("only_default_lane: name the lane in default_lane")
        return self

    @model_validator(mode="after")
    def _shares_are_of_sheddable_tiers(self) -> Self:
        if self.min_share and not self.sheddable:
            raise ValueError("min_share is for sheddable tiers; others are served first")
        return self
