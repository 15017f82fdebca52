"""What operators ask of the deployment: status, readiness, metrics, reload.

The hot path does none of this. Figures of other replicas come by Serve's
broadcast calls, each with a time limit, and what does not answer is left out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from serve_app.advice.view import AdviceView, no_advice
from serve_app.agents.guard import explain_task
from serve_app.agents.lint import linting
from serve_app.bodies.steps import Steps
from serve_app.experiments.standing import gauges_text as experiments_text
from serve_app.front.model_cards import ModelCards
from serve_app.front.rotation import Rotation
from serve_app.front.status import Status
from serve_app.metrics import Metrics, SharedCall, merge_expositions
from serve_app.pipeline.pipeline import Pipeline
from serve_app.pipeline.state import IngressState
from serve_app.placement.lanes import Lanes
from serve_app.request.call import Call
from serve_app.request.plan import Plan
from serve_app.routing.history import explain_history
from serve_app.routing.reload import Reloader
from serve_app.scaling.standing import Standing, not_scaled
from serve_app.scaling.standing import gauges_text as scaling_text
from serve_app.slo.standing import gauges_text, rows_of
from serve_app.tenancy.auth import Tenant

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
        self._status = Status(state, lanes, reloader)
        self._scraping = SharedCall(self._scrape)
        self.advice: AdviceView = no_advice()
        self.scaling: Standing = not_scaled()
        self.experiments: Callable[[], list[dict[str, Any]]] = list
        self.rotation = Rotation(state, lanes, broadcast)

    def models(self, tenant: Tenant) -> ModelCards:
        session_tokens = tenant.kv.tokens_per_session if tenant.kv is not None else None
        return ModelCards(self._state.policies.routing, tenant.rules, session_tokens)

    async def loading_lanes(self) -> list[str]:
        """Return the required lanes that have no warmed replica yet."""
        lanes = self._state.policies.fleet.enabled_lanes
        names = [name for name in self._lanes.names() if lanes[name].required]
        ready = await asyncio.gather(*(self._lanes.is_ready(name) for name in names))
        gates = self._state.gates
        return [
            name
            for name, is_ready in zip(names, ready, strict=True)
            if not is_ready or (gates is not None and gates.has_slept_only(name))
        ]

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
            "experiment": decision.experiment,
            "arm": decision.arm,
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
        ingresses = [x for x in await self._broadcast("snapshot") if isinstance(x, dict)]
        slo = rows_of([x.pop("slo", None) for x in ingresses], self._state.policies.slo)
        loading, scaling = await asyncio.gather(self.loading_lanes(), self.scaling.rows())
        told = await self._status.of(ingresses, slo, self.advice, scaling, loading=loading)
        return {**told, "experiments": self.experiments()}

    def tenant_status(self, tenant: Tenant) -> dict[str, Any]:
        return self._status.of_tenant(tenant)

    async def recent(self) -> list[dict[str, Any]]:
        """What each ingress replica remembers of its last requests, for the console."""
        return [x for x in await self._broadcast("recent") if isinstance(x, dict)]

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
        """Prometheus text of every ingress replica and every engine.

        Scrapes that come at the same time get the same text.
        """
        return await self._scraping()

    async def _scrape(self) -> str:
        names = self._lanes.names()
        ingresses, scaling, *engines = await asyncio.gather(
            self._broadcast("metrics_text"),
            self.scaling.rows(),
            *(self._lanes.engine_metrics(name) for name in names),
        )
        parts = [x["text"] for x in ingresses if isinstance(x, dict)]
        slo = [x.get("slo") for x in ingresses if isinstance(x, dict)]
        parts.append(gauges_text(rows_of(slo, self._state.policies.slo)))
        parts.append(scaling_text(scaling))
        parts.append(experiments_text(self.experiments()))
        parts += [x["text"] for replicas in engines for x in replicas]
        return merge_expositions(parts)

    # -- reload -------------------------------------------------------------

    async def reload_everywhere(self) -> dict[str, Any]:
        """Read the files again on every ingress replica, and say what each made of it."""
        silent = {"ok": False, "error": "did not answer"}
        answers = await self._broadcast("reload", RELOAD_TIMEOUT_S)
        results = [x if isinstance(x, dict) else silent for x in answers]
        results += [silent] * (self._state.policies.fleet.ingress.replicas - len(results))
        return {"ok": all(x["ok"] for x in results), "replicas": results}
