"""What `/status` says of the deployment, put together from what its replicas said."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from serve_app.admin.drains import draining_warnings
from serve_app.advice.view import AdviceView
from serve_app.config.settings import haproxy_is_on
from serve_app.pipeline.state import IngressState
from serve_app.placement.lanes import Lanes
from serve_app.routing.reload import Reloader
from serve_app.slo.standing import Row, warnings_of
from serve_app.tenancy.auth import Tenant
from serve_app.tenancy.proxies import proxy_warning

HAPROXY_IS_OFF = (
    "HAProxy mode is off (RAY_SERVE_ENABLE_HA_PROXY=1 was not set when Ray "
    "started): Serve's own proxy is slower and drains differently."
)


class Status:
    """Puts the answer to `/status` together, on one ingress replica."""

    def __init__(self, state: IngressState, lanes: Lanes, reloader: Reloader) -> None:
        self._state = state
        self._lanes = lanes
        self._reloader = reloader

    async def of(
        self,
        ingresses: list[dict[str, Any]],
        slo: list[Row],
        advice: AdviceView,
        scaling: Mapping[str, Any],
        *,
        loading: list[str],
    ) -> dict[str, Any]:
        """Return the whole of it.

        `ingresses` are the snapshots of the ingress replicas that answered, `slo` how the
        deployment stands with its objectives, `advice` what is advised, `scaling` how the
        lanes stand that are scaled, `loading` the required lanes that have no warmed replica yet.
        """
        fleet, shadow = self._state.policies.fleet, self._state.policies.shadow
        cascading = self._state.escalation.cascading
        lanes = await self._lane_status(ingresses, scaling)
        return {
            "fleet": fleet.name,
            "note": fleet.note,
            "warnings": [
                *self._warnings(ingresses, lanes),
                *warnings_of(slo),
                *draining_warnings(lanes),
            ],
            "ready": not loading,
            "lanes": lanes,
            "ingress": ingresses,
            "escalation": {
                "lanes": self._state.escalation.status(),
                "planning": self._state.escalation.planning_status(),
                "cascade": None if cascading is None else cascading.status(),
                "classifier": self._state.policies.scorer.version,
                "shadow_classifier": shadow.version if shadow else None,
            },
            "tenants_near_limit": [t for x in ingresses for t in x["tenants_near_limit"]],
            "triggers_firing": advice.triggers_firing(self._state.escalation.alarm),
            "advice": advice.shown,
            "ledger": _ledger_of(ingresses),
            "slo": slo,
        }

    def of_tenant(self, tenant: Tenant) -> dict[str, Any]:
        near = [x for x in self._state.tenants_near_limit() if x["tenant"] == tenant.name]
        return {"tenant": tenant.name, "tier": tenant.tier_name, "near_limit": near}

    def _warnings(self, ingresses: list[dict[str, Any]], lanes: dict[str, Any]) -> list[str]:
        proxies = [self._state.proxies.seen, *(x.get("proxy_seen", "") for x in ingresses)]
        seen = next(filter(None, proxies), "")
        warnings = [
            proxy_warning(seen) if seen else "",
            "" if haproxy_is_on() else HAPROXY_IS_OFF,
            self._reloader.store_error,
            _refused(self._reloader.last_error),
            *self._state.policies.idle_tiers,
            # Each has its own traffic, and may have met the files in another state.
            *(told for x in ingresses for told in _of_files(x.get("files"))),
            *(told for x in ingresses for told in x.get("tools_refused", ())),
            *(_stalled(lane, row) for lane, known in lanes.items() for row in known["replicas"]),
        ]
        return list(dict.fromkeys(filter(None, warnings)))

    async def _lane_status(
        self, ingresses: list[dict[str, Any]], scaling: Mapping[str, Any]
    ) -> dict[str, Any]:
        names = self._lanes.names()
        found = await asyncio.gather(*(self._lanes.engine_metrics(name) for name in names))
        config = self._state.policies.fleet.enabled_lanes
        sleep = {} if self._state.gates is None else self._state.gates.status()
        status = {}
        for name, replicas in zip(names, found, strict=True):
            rows = [{k: v for k, v in replica.items() if k != "text"} for replica in replicas]
            status[name] = {
                "model": config[name].model_id,
                "engine": config[name].engine,
                "replicas_wanted": scaling.get(name, {}).get("target", config[name].replicas.min),
                "replicas": rows,
                "scaling": scaling.get(name),
                "queue": sum(row["waiting"] for row in rows),
                "running": sum(row["running"] for row in rows),
                "imbalance": _imbalance([row["running"] for row in rows]),
                "kv_utilization": max((row["kv_utilization"] for row in rows), default=0.0),
                "active_sessions": sum(x["active_sessions"].get(name, 0) for x in ingresses),
                "recent_sessions": sum(
                    x.get("recent_sessions", {}).get(name, 0) for x in ingresses
                ),
                **({"sleep": sleep[name]} if name in sleep else {}),
            }
        return status


def _ledger_of(ingresses: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the epoch and how each ingress replica stands with it, if there is a ledger."""
    leases = {x["replica"]: x["ledger"] for x in ingresses if x.get("ledger")}
    if not leases:
        return None
    return {"epoch": max(x["epoch"] for x in leases.values()), "leases": leases}


def _of_files(files: dict[str, Any] | None) -> list[str]:
    """Return what an ingress replica has to tell of the configuration files."""
    return [] if files is None else [_refused(files["error"]), *files["warnings"]]


def _stalled(lane: str, replica: dict[str, Any]) -> str:
    """Return what to say of an engine that admits nothing while requests wait in it."""
    if not replica.get("stalled"):
        return ""
    deferred = replica.get("waiting_deferred", 0)
    cause = (
        f"{deferred:g} of them wait for a grammar, for KV on its way or for an adapter"
        if deferred
        else "none of them waits for a grammar, for KV on its way or for an adapter"
    )
    return (
        f"lane '{lane}': the engine of replica {replica['replica']} answers and admits nothing: "
        f"{replica['waiting']:g} requests wait, {replica['running']:g} run, nothing has advanced "
        f"for {replica['stalled_s']:.0f} s; {cause}. Its log says more; where it stays so, end "
        "its process, and Serve starts another"
    )


def _refused(error: str) -> str:
    return f"the last reload was refused: {error}" if error else ""


def _imbalance(running: list[float]) -> float:
    """Return the running requests of the busiest replica over the mean, 1 while nothing runs."""
    return max(running) * len(running) / sum(running) if any(running) else 1.0
