"""Who uses how much, and who is refused what."""

from __future__ import annotations

from serve_app.observe.table.promql import INTERVAL, per_second, quantile
from serve_app.observe.table.rows import Dashboard, Needs, Panel, Query

_TENANT = 'tenant=~"$tenant"'


TENANTS = (
    Panel(
        "Tokens per second",
        "By tenant; `other` is all after the first fifty. One that stands out: its ceilings.",
        (Query(per_second("pointsman_tokens_total", "tenant", _TENANT), "{{tenant}}"),),
        width=12,
        alerts=("LaneQueue",),
    ),
    Panel(
        "Tokens by kind",
        "Prompt, cached (a part of prompt), completion.",
        (
            Query(
                per_second("pointsman_tokens_total", "tenant, kind", _TENANT),
                "{{tenant}} {{kind}}",
            ),
        ),
        width=12,
    ),
    Panel(
        "Most tokens in an hour",
        "The ten tenants that used most. `pointsman tenants usage` has days and months.",
        (
            Query(
                f"topk(10, sum by (tenant) (increase(pointsman_tokens_total{{{_TENANT}}}[1h])))",
                "{{tenant}}",
            ),
        ),
        kind="bargauge",
    ),
    Panel(
        "Share of prompts from the cache",
        "By tenant. Low with long conversations: something in the system prompt changes.",
        (
            Query(
                per_second("pointsman_tokens_total", "tenant", f'{_TENANT}, kind="cached"')
                + " / "
                + per_second("pointsman_tokens_total", "tenant", f'{_TENANT}, kind="prompt"'),
                "{{tenant}}",
            ),
        ),
        "percentunit",
    ),
    Panel(
        "Cost",
        "What tenants' tokens cost in an hour, by the prices of the fleet.",
        (
            Query(
                f"sum by (tenant) (increase(pointsman_cost_total{{{_TENANT}}}[1h]))",
                "{{tenant}}",
            ),
        ),
        needs=Needs.EVENT,
    ),
)

TIERS = (
    Panel(
        "Refusals",
        "By tier and code: shed is a full lane, the others are ceilings and quotas.",
        (Query(per_second("pointsman_shed_total", "tier, code"), "{{tier}} {{code}}"),),
        "reqps",
        needs=Needs.EVENT,
        alerts=("LaneQueue", "ShedOrderViolated"),
    ),
    Panel(
        "Requests",
        "By tier.",
        (Query(per_second("pointsman_requests_total", "tier"), "{{tier}}"),),
        "reqps",
    ),
    Panel(
        "Held back under a ceiling",
        "p95 per request that was paced to its tier's tokens per second.",
        (Query(quantile(0.95, "pointsman_ceiling_wait_seconds", "tier", INTERVAL), "{{tier}}"),),
        "s",
        needs=Needs.EVENT,
    ),
)

TENANT = Dashboard(
    "tenant",
    "Pointsman: tenants",
    "Who uses how much, and who is refused what.",
    {"Tenants": TENANTS, "Tiers": TIERS},
    ("tenant",),
)
