"""What operators ask of the deployment: status, readiness, metrics, reload.

The hot path does none of this. Figures of other replicas come by Serve's
broadcast calls, each with a time limit, and what does not answer is left out.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from serve_app.advice.view import AdviceView, no_advice
from serve_app.agents.guard import explain_task
from serve_app.agents.lint import linting
from serve_app.bodies.steps import Steps
from serve_app.config.settings import haproxy_is_on
from serve_app.engine.engine_stats import levels_text, prompt_tokens_by_level
from serve_app.front.model_cards import ModelCards
from serve_app.front.rotation import Rotation
from serve_app.metrics import Metrics, merge_expositions
from serve_app.pipeline.pipeline import Pipeline
from serve_app.pipeline.state import IngressState
from serve_app.placement.lanes import Lanes
from serve_app.request.call import Call
from serve_app.request.plan import Plan
from serve_app.routing.history import explain_history
from serve_app.routing.reload import Reloader
from serve_app.tenancy.auth import Tenant
from serve_app.tenancy.proxies import proxy_warning

logger = logging.getLogger("ray.serve")

HAPROXY_IS_OFF = (
    "HAProxy mode is off (RAY_SERVE_ENABLE_HA_PROXY=1 was not set when Ray "
    "started): Serve's own proxy is slower and drains differently."
)

Broadcast = Callable[..., Awaitable[list[Any]]]
"""Calls a method on every ingress replica, this one included.

Takes the method's name, how long its answers may take unless that is as usual, and arguments.
"""

RELOAD_TIMEOUT_S = 20.0
"""A large tenants file or a new classifier takes its time; `pointsman reload` waits 30 s."""


class Control:
    """Answers the operators' routes of one ingress replica."""

    def __init__(
        self,
        state: IngressState,
        lanes: Lanes,
        metrics: Metrics,
        reloader: Reloader,
        broadcast: Broadcast,
    ) -> None:
        self._state = state
        self._lanes = lanes
        self._metrics = metrics
        self._reloader = reloader
        self._broadcast = broadcast
        self.advice: AdviceView = no_advice()
        self.rotation = Rotation(state, lanes, broadcast)

    def models(self, tenant: Tenant) -> ModelCards:
        session_tokens = tenant.kv.tokens_per_session if tenant.kv is not None else None
        return ModelCards(self._state.policies.routing, tenant.rules, session_tokens)

    async def loading_lanes(self) -> list[str]:
        """Return the required lanes that have no warmed replica yet."""
        lanes = self._state.policies.fleet.enabled_lanes
        names = [name for name in self._lanes.names() if lanes[name].required]
        ready = await asyncio.gather(*(self._lanes.is_ready(name) for name in names))
        return [name for name, is_ready in zip(names, ready, strict=True) if not is_ready]

    def explain(self, pipeline: Pipeline, call: Call, plan: Plan) -> dict[str, Any]:
        decision = plan.decision
        return {
            "lane": decision.lane.name,
            "model": decision.lane.model_id,
            "reason": decision.reason.value,
            "score": decision.score,
            "threshold": decision.threshold,
            "background": call.background,
            "language": call.language,
            "session_id": call.session_id,
            "prompt_tokens_estimate": plan.prompt_tokens,
            "features": self._state.escalation.features(call.policies, plan.parsed),
            "history": explain_history(call.tenant.history, plan.history),
            "task": explain_task(call.tenant.agents, call.guarded),
            "would_admit": pipeline.reserving.would_admit(call, plan),
        }

    def looking_at_tools(self, call: Call, plan: Plan) -> Steps[dict[str, Any] | None]:
        """What could be better about the request's tools; None: it offers none."""
        tools = plan.parsed.body.get("tools")
        if not isinstance(tools, list) or not tools:
            return None
        bounds = call.policies.fleet.limits.schemas
        rate = self._state.estimator(plan.decision.lane.name).bytes_per_token
        notes = yield from linting(tools, bounds, rate)
        use = plan.parsed.tool_set
        return {"set": None if use is None else use.label, **notes.explained()}

    # -- status -------------------------------------------------------------

    async def status(self) -> dict[str, Any]:
        fleet, shadow = self._state.policies.fleet, self._state.policies.shadow
        ingresses = [x for x in await self._broadcast("snapshot") if isinstance(x, dict)]
        return {
            "fleet": fleet.name,
            "note": fleet.note,
            "warnings": self._warnings(ingresses),
            "ready": not await self.loading_lanes(),
            "lanes": await self._lane_status(ingresses),
            "ingress": ingresses,
            "escalation": {
                "lanes": self._state.escalation.status(),
                "planning": self._state.escalation.planning_status(),
                "classifier": self._state.policies.scorer.version,
                "shadow_classifier": shadow.version if shadow else None,
            },
            "tenants_near_limit": [t for x in ingresses for t in x["tenants_near_limit"]],
            "triggers_firing": self.advice.triggers_firing(self._state.escalation.alarm),
            "advice": self.advice.shown,
            "ledger": _ledger_of(ingresses),
        }

    def tenant_status(self, tenant: Tenant) -> dict[str, Any]:
        near = [x for x in self._state.tenants_near_limit() if x["tenant"] == tenant.name]
        return {"tenant": tenant.name, "tier": tenant.tier_name, "near_limit": near}

    def _warnings(self, ingresses: list[dict[str, Any]]) -> list[str]:
        proxies = [self._state.proxies.seen, *(x.get("proxy_seen", "") for x in ingresses)]
        seen = next(filter(None, proxies), "")
        warnings = [
            proxy_warning(seen) if seen else "",
            "" if haproxy_is_on() else HAPROXY_IS_OFF,
            self._reloader.store_error,
            _refused(self._reloader.last_error),
            # Each has its own traffic, and may have met the files in another state.
            *(told for x in ingresses for told in _of_files(x.get("files"))),
            *(told for x in ingresses for told in x.get("tools_refused", ())),
        ]
        return list(dict.fromkeys(filter(None, warnings)))

    async def _lane_status(self, ingresses: list[dict[str, Any]]) -> dict[str, Any]:
        names = self._lanes.names()
        found = await asyncio.gather(*(self._lanes.engine_metrics(name) for name in names))
        config = self._state.policies.fleet.enabled_lanes
        status = {}
        for name, replicas in zip(names, found, strict=True):
            rows = [{k: v for k, v in replica.items() if k != "text"} for replica in replicas]
            status[name] = {
                "model": config[name].model_id,
                "engine": config[name].engine,
                "replicas_wanted": config[name].replicas,
                "replicas": rows,
                "queue": sum(row["waiting"] for row in rows),
                "running": sum(row["running"] for row in rows),
                "imbalance": _imbalance([row["running"] for row in rows]),
                "kv_utilization": max((row["kv_utilization"] for row in rows), default=0.0),
                "active_sessions": sum(x["active_sessions"].get(name, 0) for x in ingresses),
                "recent_sessions": sum(
                    x.get("recent_sessions", {}).get(name, 0) for x in ingresses
                ),
            }
        return status

    # -- metrics ------------------------------------------------------------

    def refresh_gauges(self) -> None:
        """Bring the gauges that are read on demand up to date."""
        routing = self._state.policies.routing
        for lane, figures in self._state.escalation.status().items():
            self._metrics.escalation_share.labels(lane).set(figures["share"])
            self._metrics.escalation_threshold.labels(lane).set(figures["threshold"])
            self._metrics.escalation_yield.labels(lane).set(figures["yield"])
        self.advice.set_gauges(self._metrics.trigger_firing, self._state.escalation.alarm)
        for lane, depths in self._state.admission.depths().items():
            for tier, depth in depths.items():
                self._metrics.queue_depth.labels(lane, tier).set(depth)
        if self._state.leases is not None:
            self._state.leases.refresh_gauges()
        active = self._state.presence.active()
        recent = self._state.sessions.recent(now=time.monotonic())
        for lane in routing.lanes:
            self._metrics.active_sessions.labels(lane).set(active.get(lane, 0))
            self._metrics.recent_sessions.labels(lane).set(recent.get(lane, 0))

    async def metrics_text(self) -> str:
        """Prometheus text of every ingress replica and every engine."""
        names = self._lanes.names()
        ingresses, *engines = await asyncio.gather(
            self._broadcast("metrics_text"),
            *(self._lanes.engine_metrics(name) for name in names),
        )
        parts = [({"ingress": x["replica"]}, x["text"]) for x in ingresses if isinstance(x, dict)]
        for name, replicas in zip(names, engines, strict=True):
            for x in replicas:
                labels = {"lane": name, "replica": x["replica"]}
                parts += [
                    (labels, x["text"]),
                    (labels, levels_text(prompt_tokens_by_level(x["text"]))),
                ]
        return merge_expositions(parts)

    # -- reload -------------------------------------------------------------

    async def reload_everywhere(self) -> dict[str, Any]:
        """Read the files again on every ingress replica, and say what each made of it."""
        silent = {"ok": False, "error": "did not answer"}
        answers = await self._broadcast("reload", RELOAD_TIMEOUT_S)
        results = [x if isinstance(x, dict) else silent for x in answers]
        results += [silent] * (self._state.policies.fleet.ingress.replicas - len(results))
        return {"ok": all(x["ok"] for x in results), "replicas": results}


def _ledger_of(ingresses: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the epoch and how each ingress replica stands with it, if there is a ledger."""
    leases = {x["replica"]: x["ledger"] for x in ingresses if x.get("ledger")}
    if not leases:
        return None
    return {"epoch": max(x["epoch"] for x in leases.values()), "leases": leases}


def _of_files(files: dict[str, Any] | None) -> list[str]:
    """Return what an ingress replica has to tell of the configuration files."""
    return [] if files is None else [_refused(files["error"]), *files["warnings"]]


def _refused(error: str) -> str:
    return f"the last reload was refused: {error}" if error else ""


def _imbalance(running: list[float]) -> float:
    """Return the running requests of the busiest replica over the mean, 1 while nothing runs."""
    return max(running) * len(running) / sum(running) if any(running) else 1.0
