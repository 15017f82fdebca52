"""docs/metrics.md: every metric, what it means, and how many series it can have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import prod

from router.agents.loops import LoopKind
from serve_app.agents.verdict import CallOutcome
from serve_app.config.fleet import FleetConfig
from serve_app.metrics import MAX_TENANT_LABELS
from serve_app.metrics.experiments import OUTCOMES as EXPERIMENT_OUTCOMES
from serve_app.metrics.series_bound import CLOSED_SETS
from serve_app.observe.exported import (
    Family,
    deployment_families,
    engine_families,
    names_in,
    own_families,
    replica_families,
)
from serve_app.observe.table import ALERTS, DASHBOARDS, recording_rules
from serve_app.responses.rows import Outcome as StoredOutcome
from serve_app.scoring.asking import OUTCOMES as SCORING_OUTCOMES

_SIZES = {
    **CLOSED_SETS,
    # Of the tenants file as shipped.
    "tier": 3,
    "level": 3,
    "card": 8,
    # One of each a replica.
    "pool": 1,
    "quantization": 1,
    "kv_cache_dtype": 1,
    "dtype": 1,
}
"""Most values of a label; a label whose meaning differs from metric to metric is below."""

_OWN_SIZES = {
    ("pointsman_session_affinity", "outcome"): 4,
    ("pointsman_tokens", "kind"): 3,
    ("pointsman_stream_recoveries", "outcome"): 3,
    ("pointsman_summaries", "kind"): 2,
    ("pointsman_summaries", "outcome"): 8,
    ("pointsman_websocket_resumes", "outcome"): 3,
    ("pointsman_tool_calls", "outcome"): len(CallOutcome),
    ("pointsman_json_answers", "outcome"): len(CallOutcome),
    ("pointsman_tool_repairs", "outcome"): 2,
    ("pointsman_tool_loops", "kind"): len(LoopKind),
    ("pointsman_ledger_heartbeats", "outcome"): 2,
    ("pointsman_slo_events", "outcome"): 2,
    ("pointsman_classifier_service", "outcome"): len(SCORING_OUTCOMES),
    ("pointsman_experiment_requests", "outcome"): len(EXPERIMENT_OUTCOMES),
    ("pointsman_card_throttled", "reason"): 8,
    ("pointsman_responses_stored", "outcome"): len(StoredOutcome),
}

_UNITS = {
    "seconds": "s",
    "tokens": "tokens",
    "bytes": "bytes",
    "ratio": "share, 0 to 1",
    "share": "share, 0 to 1",
    "perc": "share, 0 to 1",
    "celsius": "°C",
    "watts": "W",
    "hertz": "Hz",
}

_HEAD = """\
# Metrics

Written by `pointsman observe --write` from the code; do not edit it.

`/metrics` has all of a deployment in one Prometheus text: every ingress replica (label
`ingress`), and every replica of a lane (labels `lane` and `replica`) with its engine's own
metrics, names untouched. What to ask of them is in [dashboards.md](dashboards.md).

Labels are bounded: tenants after the first {tenants} are `other`, tiers and lanes are those of
the files, all other values are closed sets. `series` is the most that one ingress replica can
have with the fleet and the tenants as shipped ({lanes} lanes that are on, {tiers} tiers):
**{total}** together, however many tenants there are. A histogram counts its buckets, sum and
count. An ingress replica that is replaced begins with series of its own.

## Of the ingress

| name | type | labels | unit | meaning | series |
|---|---|---|---|---|---|
"""

_DEPLOYMENT_HEAD = """
## Of the deployment as a whole

Told once, by the ingress replica that is asked, without a label `ingress`. There is one series for
each lane, tier and objective that the fleet file promises something for, each lane that is scaled,
and each of its experiments.

| name | type | labels | unit | meaning |
|---|---|---|---|---|
"""

_REPLICA_HEAD = """
## Of each replica of a lane

`series` is the most that one replica can have.

| name | type | more labels | unit | meaning | series |
|---|---|---|---|---|---|
"""

_ENGINE_HEAD = """
## Of the engines that dashboards and alerts use

These are vLLM's, for each replica of a lane, with `model_name` and `engine` besides. The engine
has more; the simulated one has a part of them.

| name | type | more labels | unit | meaning |
|---|---|---|---|---|
"""


def reference_page(fleet: FleetConfig) -> str:
    """Return docs/metrics.md for a fleet, whose lanes the bounds are reckoned with."""
    lanes, own = len(fleet.enabled_lanes), own_families().values()
    total = sum(series_of(family, lanes) for family in own)
    used = names_used()
    engine = (x for x in engine_families().values() if used.intersection(x.series))
    parts = (
        _HEAD.format(tenants=MAX_TENANT_LABELS, lanes=lanes, tiers=3, total=f"{total:,}"),
        *(_row(family, f"{series_of(family, lanes):,}") for family in own),
        _DEPLOYMENT_HEAD,
        *map(_row, deployment_families().values()),
        _REPLICA_HEAD,
        *(_row(family, f"{series_of(family, lanes):,}") for family in replica_families().values()),
        _ENGINE_HEAD,
        *map(_row, engine),
    )
    return "".join(parts)


def names_used() -> set[str]:
    """Names of the series that a rule or a panel asks for."""
    return set().union(*map(names_in, expressions()))


def expressions() -> Iterator[str]:
    """Every query of the table; the limits of lanes ask for no series."""
    for rules in recording_rules(()).values():
        yield from (rule.expr for rule in rules)
    for alerts in ALERTS.values():
        yield from (alert.expr for alert in alerts)
    for dashboard in DASHBOARDS:
        yield from (query.expr for panel in dashboard.panels for query in panel.queries)


def series_of(family: Family, lanes: int) -> int:
    """Most series of a family in one ingress replica. Raises KeyError for an unknown label."""
    parts = family.buckets + 2 if family.kind == "histogram" else 1
    return parts * prod(_size(family, label, lanes) for label in family.labels)


def _size(family: Family, label: str, lanes: int) -> int:
    if label == "lane":
        return lanes + 1  # `none`, where no lane was chosen
    own = _OWN_SIZES.get((family.name, label))
    return _SIZES[label] if own is None else own


def _row(family: Family, *more: str) -> str:
    ending = "_total" if family.kind == "counter" else ""
    cells: Iterable[str] = (
        f"`{family.name}{ending}`",
        family.kind,
        ", ".join(f"`{label}`" for label in family.labels),
        _unit(family),
        family.means.replace("|", "\\|"),
        *more,
    )
    return f"| {' | '.join(cells)} |\n"


def _unit(family: Family) -> str:
    last = family.name.rpartition("_")[2]
    return _UNITS.get(last, "1")
