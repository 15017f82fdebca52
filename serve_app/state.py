"""The mutable state of one ingress replica, each piece with one owner.

What other ingress replicas must agree on is not kept here: it is derived from
the request (sessions, lanes) or divided beforehand (ceilings). See
docs/adr/0001-state.md.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from classifier import FEATURE_NAMES, Conversation, Scorer, extract
from router.ceiling import TenantCeiling
from router.errors import Rejected, RejectReason
from router.lane import RoutingPolicy
from router.session import MAX_SESSION_ID_CHARS, SessionMemory, is_session_id
from router.tokens import TokenEstimator
from router.types import Lane, LaneDecision, Reason
from serve_app.auth import Authenticator, Tenant
from serve_app.fleet_config import FleetConfig
from serve_app.tenant_config import TenantsConfig
from serve_app.wire import Parsed

SESSION_HEADERS = (b"x-session-id", b"x_session_id", b"x-claude-code-session-id")
SCORE_CACHE_SIZE = 20_000


@dataclass(frozen=True, slots=True)
class Policies:
    """Everything that a reload replaces, as one consistent set."""

    fleet: FleetConfig
    routing: RoutingPolicy
    auth: Authenticator
    scorer: Scorer
    has_priority: dict[str, bool]
    sticky_turns: int
    default_output_tokens: int


def build_policies(
    fleet: FleetConfig, tenants: TenantsConfig, scorer: Scorer, threshold: float
) -> Policies:
    """Turn checked configuration into what the pipeline reads."""
    lanes = {
        name: Lane(name, lane.model_id, lane.max_model_len)
        for name, lane in fleet.enabled_lanes.items()
    }
    by_model: dict[str, str] = {}
    for lane in lanes.values():
        by_model.setdefault(lane.model_id, lane.name)
    routing = fleet.routing
    policy = RoutingPolicy(
        lanes=lanes,
        default=routing.default,
        complex=routing.complex,
        long_context=routing.long_context,
        tools=routing.tools,
        threshold=threshold,
        by_model=by_model,
    )
    priority = {
        name: lane.engine_args.get("scheduling_policy") == "priority"
        for name, lane in fleet.enabled_lanes.items()
    }
    return Policies(
        fleet=fleet,
        routing=policy,
        auth=Authenticator(tenants),
        scorer=scorer,
        has_priority=priority,
        sticky_turns=routing.sticky_turns,
        default_output_tokens=routing.default_output_tokens,
    )


class IngressState:
    """Owns the ceilings, estimators, session memory and score cache."""

    def __init__(self, policies: Policies, secret: str) -> None:
        self.policies = policies
        config = policies.fleet
        self.sessions = SessionMemory(config.sessions.capacity, config.sessions.ttl_s)
        # Fixed at start: the number of ingress replicas does not reload.
        self._share = 1.0 / config.ingress.replicas
        self._secret = secret.encode()
        self._ceilings: dict[str, TenantCeiling] = {}
        self._estimators: dict[str, TokenEstimator] = {}
        self._scores: OrderedDict[bytes, float] = OrderedDict()
        self.scored_total = 0
        self.escalated_total = 0

    def ceiling(self, tenant: Tenant) -> TenantCeiling:
        """The tenant's ceilings here; rebuilt when a reload changed its limits."""
        config = tenant.ceilings.shared(self._share)
        ceiling = self._ceilings.get(tenant.name)
        if ceiling is None or ceiling.config != config:
            ceiling = self._ceilings[tenant.name] = TenantCeiling(config, now=time.monotonic())
        return ceiling

    def estimator(self, lane: str) -> TokenEstimator:
        """The lane's token estimator."""
        return self._estimators.setdefault(lane, TokenEstimator())

    def cache_salt(self, tenant: Tenant) -> str:
        """Salt of the tenant's prefix cache, unguessable without the secret."""
        return hmac.new(self._secret, tenant.cache_group.encode(), hashlib.sha256).hexdigest()[:32]

    def session_id_of(self, headers: dict[bytes, bytes]) -> str | Rejected | None:
        """The session id that the client sent, if any."""
        for name in SESSION_HEADERS:
            if name in headers:
                text = headers[name].decode("utf-8", "replace")
                if is_session_id(text):
                    return text
                return Rejected(
                    RejectReason.INVALID_REQUEST,
                    f"A session id has 1 to {MAX_SESSION_ID_CHARS} printable characters.",
                    param="x-session-id",
                )
        return None

    def scores(self, policies: Policies, parsed: Parsed) -> Sequence[float]:
        """Scores of the last user turns, newest last; old turns come from a cache.

        A turn is scored as it looked when it was the newest one, so each ingress
        replica finds the same score for it, whether it saw that turn or not.
        """
        users = parsed.prompt.users[-policies.sticky_turns :]
        before = len(parsed.prompt.users) - len(users)
        return [
            self._score(
                policies.scorer,
                Conversation(
                    last_user=text,
                    system=parsed.prompt.system,
                    user_turns=before + index + 1,
                    tools=parsed.tools,
                ),
            )
            for index, text in enumerate(users)
        ]

    def _score(self, scorer: Scorer, conversation: Conversation) -> float:
        key = _score_key(scorer.version, conversation)
        score = self._scores.get(key)
        if score is None:
            score = self._scores[key] = scorer.score(conversation)
            if len(self._scores) > SCORE_CACHE_SIZE:
                self._scores.popitem(last=False)
        return score

    def features(self, parsed: Parsed) -> dict[str, float]:
        """What the classifier saw in the newest turn; for dry runs."""
        users = parsed.prompt.users
        conversation = Conversation(
            last_user=users[-1] if users else "",
            system=parsed.prompt.system,
            user_turns=max(1, len(users)),
            tools=parsed.tools,
        )
        return dict(zip(FEATURE_NAMES, extract(conversation), strict=True))

    def would_admit(self, tenant: Tenant, tokens: int) -> Rejected | None:
        """Whether the tenant's ceilings have room for `tokens` now."""
        return self.ceiling(tenant).refusal(tokens, now=time.monotonic())

    def note_scored(self, decision: LaneDecision) -> None:
        """Count a scored request for the realised escalation share."""
        self.scored_total += 1
        self.escalated_total += decision.reason in (Reason.COMPLEX, Reason.STICKY)

    @property
    def escalation_share(self) -> float:
        """Share of scored requests that went to the complex lane."""
        return self.escalated_total / self.scored_total if self.scored_total else 0.0

    def tenants_near_limit(self) -> list[dict[str, object]]:
        """Tenants that have less than a fifth of their minute's tokens left."""
        now = time.monotonic()
        near = []
        for name, ceiling in self._ceilings.items():
            state = ceiling.tokens_state(now=now)
            if state is not None and state.remaining < 0.2 * state.limit:
                near.append(
                    {
                        "tenant": name,
                        "remaining_tokens": state.remaining,
                        "limit_tokens": state.limit,
                    }
                )
        return near

    def reserved_tokens(self) -> int:
        """Tokens reserved by requests that have not been settled."""
        return sum(ceiling.reserved for ceiling in self._ceilings.values())


def _score_key(version: str, c: Conversation) -> bytes:
    text = f"{version}\0{c.user_turns}\0{c.tools}\0{c.system}\0{c.last_user}"
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
