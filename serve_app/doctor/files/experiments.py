"""Whether the experiments of a fleet file are about anybody, and what would stop them."""

from __future__ import annotations

from router.slo.objectives import Targets
from serve_app.config.experiment_faults import idle_experiments
from serve_app.config.fleet import FleetConfig
from serve_app.config.tenants import TenantsConfig
from serve_app.doctor.check import Verdict, not_applicable, ok, warning

_BELOW = "\n      "


def experiments(fleet: FleetConfig, tenants: TenantsConfig) -> Verdict:
    """Warn of those that nobody is in, or that nothing would stop."""
    found = fleet.experiments
    if not found:
        return not_applicable("the fleet has none")
    told = idle_experiments(found, tenants, fleet.routing, fleet.enabled_lanes)
    base = Targets() if fleet.slo is None else fleet.slo.policy().base
    told += [
        f"experiments.{index}: nothing stops its treatment: neither guard nor slo says anything"
        for index, one in enumerate(found)
        if one.kind != "shadow" and one.rails(base).are_none
    ]
    if told:
        return warning(_BELOW.join(told), "docs/experiments.md has what each setting is for")
    return ok(", ".join(f"{x.name} ({x.kind}, {x.control} against {x.treatment})" for x in found))
