"""The mutable state of one ingress replica, each piece with one owner.

What other ingress replicas must agree on is not kept here: it is derived from
the request (sessions, lanes) or leased (ceilings). See docs/adr/0001-state.md.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from router.agents.task_table import TaskTable
from router.agents.tool_sessions import ToolSessions
from router.errors import Rejected, RejectReason
from router.leases.holder import LeaseHolder
from router.limits.ceiling import TenantCeiling
from router.limits.contention import Contention
from router.placement.hot_prefixes import HotPrefix, HotPrefixes
from router.placement.session import MAX_SESSION_ID_CHARS, Presence, SessionMemory, is_session_id
from router.routing.turn_lanes import TurnLanes
from router.tokens import TokenEstimator
from serve_app.admission.admission import Admission, LaneView, alone
from serve_app.admission.contentions import Contentions
from serve_app.admission.uploads import Uploads
from serve_app.agents.lint import LintLog
from serve_app.bodies.parsed_request import ParsedRequest
from serve_app.bodies.prefixes import followed_set, follows, prefix_key, prefix_of, with_tools
from serve_app.engine.warm_up import Exported
from serve_app.experiments.book import ExperimentBook
from serve_app.leases.lease_sync import LeaseSync
from serve_app.records.traffic import Traffic
from serve_app.registry.book import ToolBook
from serve_app.routing.escalation import Escalation
from serve_app.routing.policies import Policies
from serve_app.scoring.asking import ScoreAsking
from serve_app.slo.book import SloBook
from serve_app.swap.gates import Gates
from serve_app.tenancy.auth import Tenant
from serve_app.tenancy.callers import Caller
from serve_app.tenancy.local_key import local_admin_key
from serve_app.tenancy.proxies import ProxyWatch

# So many times what a new replica asks for: the rest may become hot.
HOT_SPARE = 4

MAX_SALTS = 4096
"""Salts kept of the groups that were seen last."""

SESSION_HEADERS = (
    b"x-session-id",
    b"x_session_id",
    b"x-claude-code-session-id",
    # Codex: the same for a thread and its sub-agents, which have `thread-id`s of their own.
    b"session-id",
    b"session_id",
    b"x-session-affinity",
)


class IngressState:
    """Owns the ceilings, estimators, session memory, hot prefixes, queues and escalation.

    Attributes:
        lease_holder: what is leased of the ceilings; None: this is the only ingress replica.
        leases: its heartbeats, once there is a ledger to send them to.
        gates: of lanes that share cards; None: none does.
        scoring: asks the contextual classifier; None: the fleet has none.
        tool_book: the tool registry; empty unless given.

    """

    def __init__(
        self, policies: Policies, secret: str, replica: str = "", tool_book: ToolBook | None = None
    ) -> None:
        self.policies = policies
        self.proxies = ProxyWatch()
        self.escalation = Escalation(policies, replica)
        config, warm = policies.fleet, policies.fleet.warm_up
        # Fixed at start: the number of ingress replicas does not reload.
        ingresses = config.ingress.replicas
        self.lease_holder: LeaseHolder | None = None
        self.leases: LeaseSync | None = None
        self.gates: Gates | None = None
        self.scoring: ScoreAsking | None = None
        peers: LaneView = alone
        elsewhere: LaneView = alone
        demand: LaneView = alone
        if ingresses > 1:
            self.lease_holder = holder = LeaseHolder(replica, config.ledger.terms(ingresses))
            peers = _as_of_now(holder.peers)
            elsewhere = _as_of_now(holder.running_elsewhere)
            demand = _as_of_now(holder.demand_elsewhere)
        self.admission = Admission(policies, peers, elsewhere)
        self.contentions = Contentions(self.admission, demand)
        self.presence = Presence()
        self.uploads = Uploads(config.ingress.max_ongoing_requests)
        self.sessions = SessionMemory(config.sessions.capacity, config.sessions.ttl_s)
        self.tool_book = tool_book or ToolBook()
        self.tool_sessions = ToolSessions()
        self.tasks = TaskTable()
        self.turn_lanes = TurnLanes()
        self.lint_log = LintLog()
        self.slo = SloBook()
        self.experiments = ExperimentBook(config)
        self.traffic = Traffic(secret.encode())
        self._hot = HotPrefixes(HOT_SPARE * warm.prefixes, warm.max_bytes, warm.half_life_s)
        self._secret = secret.encode()
        self._admin_key = local_admin_key(secret).encode()
        self._salt = functools.lru_cache(MAX_SALTS)(self._make_salt)
        self._ceilings: dict[str, TenantCeiling] = {}
        self._estimators: dict[str, TokenEstimator] = {}

    def apply(self, policies: Policies) -> None:
        """Use new policies from now on; requests under way keep what they began with."""
        self.policies = policies
        self.escalation.apply(policies)
        self.admission.apply(policies)
        self.experiments.apply(policies.fleet)

    def identify(self, caller: Caller, *, trusts_local: bool) -> Tenant | Rejected:
        """Return whose request it is; `trusts_local`: nothing listens beyond loopback."""
        auth = self.policies.auth
        if trusts_local and auth.has_local_tenant:
            self.proxies.note(caller.proxy)
        if isinstance(caller.key, Rejected):
            return caller.key
        if hmac.compare_digest((caller.key or "").encode(errors="replace"), self._admin_key):
            return auth.local_admin
        return auth.identify(
            caller.key,
            is_local=trusts_local and not caller.stranger,
            tenant_id=caller.acts_for,
            why_not_local=caller.stranger,
        )

    def ceiling(self, tenant: Tenant) -> TenantCeiling:
        """The tenant's ceilings here, with the limits of the last reading of the files.

        The call's own may be older: its body took its time.
        """
        current = self.policies.auth.tenant(tenant.name) or tenant
        config, now = current.ceilings, time.monotonic()
        if self.lease_holder is not None:
            return self.lease_holder.ceiling(tenant.name, config, now=now)
        ceiling = self._ceilings.get(tenant.name)
        if ceiling is None:
            ceiling = self._ceilings[tenant.name] = TenantCeiling(config, now=now)
        elif ceiling.config is not config and ceiling.config != config:
            ceiling.configure(config, now=now)
        return ceiling

    async def count_request(self, tenant: Tenant, *, will_run: bool = False) -> Rejected | None:
        """Count a request before it costs anything, or say which ceiling refuses it.

        `will_run`: its ceiling's `arrived` has to be called.
        """
        if tenant.is_operator:
            return None
        ceiling, since = self.ceiling(tenant), time.monotonic()
        refused = ceiling.try_request(now=since, will_run=will_run)
        while refused is not None and await self.may_grow(
            ceiling, refused, 0, since, is_counted=False
        ):
            refused = ceiling.try_request(now=time.monotonic(), will_run=will_run)
        return refused

    def request_refusal(self, tenant: Tenant) -> Rejected | None:
        """Return why no request of the tenant would be counted now; nothing is counted."""
        ceiling, now = self.ceiling(tenant), time.monotonic()
        refused = ceiling.request_refusal(now=now)
        if refused and ceiling.is_short(0, now=now):
            return None
        return refused

    def contention(self, tenant: Tenant, lane: str) -> Contention | None:
        """What the tenant's tokens per second bind by in a lane; None: they always do."""
        contended_from = tenant.ceilings.contended_from
        if contended_from is None or tenant.ceilings.tokens_per_second is None:
            return None
        return self.contentions.of(lane, contended_from)

    async def may_grow(
        self,
        ceiling: TenantCeiling,
        refused: Rejected,
        tokens: int,
        since: float,
        *,
        is_counted: bool = True,
    ) -> bool:
        """Wait for a larger lease where that may spare a refusal; return whether to try again."""
        return self.leases is not None and await self.leases.may_grow(
            ceiling, refused, tokens, since, is_counted=is_counted
        )

    @property
    def _all_ceilings(self) -> Mapping[str, TenantCeiling]:
        return self._ceilings if self.lease_holder is None else self.lease_holder.ceilings

    def estimator(self, lane: str) -> TokenEstimator:
        found = self._estimators.get(lane)
        if found is None:
            found = self._estimators[lane] = TokenEstimator()
        return found

    def cache_salt(self, tenant: Tenant) -> str:
        """Salt of the tenant's prefix cache, unguessable without the secret."""
        return self._salt(tenant.cache_group)

    def _make_salt(self, group: str) -> str:
        return hmac.new(self._secret, group.encode(), hashlib.sha256).hexdigest()[:32]

    def note_prefix(self, lane: str, tenant: Tenant, parsed: ParsedRequest) -> None:
        prefix = prefix_of(parsed)
        if prefix is not None:
            key = prefix_key(parsed)
            self._hot.note(lane, tenant.cache_group, prefix, now=time.monotonic(), key=key)

    def hot_prefixes(self, lane: str, count: int) -> list[Exported]:
        """The lane's hottest; where their tools are no more the promoted ones, also with those."""
        found = self._hot.hottest(lane, count, now=time.monotonic())
        return [self._export(x) for hot in found for x in (hot, *self._promoted(hot))]

    def _promoted(self, hot: HotPrefix) -> list[HotPrefix]:
        name = followed_set(hot.prefix)
        if name is None or name not in self.tool_book.sets.promoted:
            return []
        forms = self.tool_book.sets.tools(name, self.tool_book.sets.promoted[name].version)
        if not forms:
            return []
        prefix = with_tools(hot.prefix, forms)
        return [replace(hot, prefix=prefix, key=b"")] if prefix != hot.prefix else []

    def tool_prefixes(self, lane: str, name: str, version: int) -> list[Exported]:
        """The lane's prefixes whose tools follow a set's promotions, as this version has them.

        Those that differ in their tools alone are one prefix then. Empty without such a version.
        """
        forms = self.tool_book.sets.tools(name, version)
        if not forms:
            return []
        count = HOT_SPARE * self.policies.fleet.warm_up.prefixes
        found = self._hot.hottest(lane, count, now=time.monotonic())
        return [
            self._export(replace(x, prefix=with_tools(x.prefix, forms), key=b""))
            for x in found
            if follows(x.prefix, name)
        ]

    def _export(self, hot: HotPrefix) -> Exported:
        return {
            "salt": self._salt(hot.group),
            "prefix": hot.prefix,
            "weight": hot.weight,
            "key": hot.key,
            "age_s": hot.age_s,
        }

    def session_id_of(self, headers: dict[bytes, bytes]) -> str | Rejected | None:
        for name in SESSION_HEADERS:
            line = headers.get(name)
            # A blank one is what a template leaves that had nothing to fill in.
            if line and (text := line.decode("utf-8", "replace").strip()):
                if is_session_id(text):
                    return text
                return Rejected(
                    RejectReason.INVALID_REQUEST,
                    f"A session id has 1 to {MAX_SESSION_ID_CHARS} printable characters.",
                    param="x-session-id",
                )
        return None

    def tenants_near_limit(self) -> list[dict[str, object]]:
        """Tenants that have less than a fifth of their minute's tokens left."""
        now = time.monotonic()
        states = {name: x.tokens_state(now=now) for name, x in self._all_ceilings.items()}
        return [
            {"tenant": name, "remaining_tokens": state.remaining, "limit_tokens": state.limit}
            for name, state in states.items()
            if state is not None and state.remaining < 0.2 * state.limit
        ]

    def ledger_status(self) -> dict[str, object] | None:
        """Of this replica's leases; None: there are none."""
        return None if self.lease_holder is None else self.lease_holder.status(now=time.monotonic())

    def reserved_tokens(self) -> int:
        return sum(ceiling.reserved for ceiling in self._all_ceilings.values())


def _as_of_now(ask: Callable[..., int | None]) -> LaneView:
    return lambda lane: ask(lane, now=time.monotonic())
