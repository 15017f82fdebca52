"""Objectives, how fast their budgets burn, and what is left of them."""

from __future__ import annotations

from serve_app.observe.table.promql import INTERVAL, quantile
from serve_app.observe.table.rows import Dashboard, Panel, Query
from serve_app.observe.table.slo import bad_ratio

_LANE = 'lane=~"$lane"'
_WHAT = "{{objective}} {{lane}} {{tier}}"
_ALERTS = ("SloBurnFast", "SloBurnSlow")

BUDGETS = (
    Panel(
        "Budget left",
        "Of each objective's errors. Below 0 it is missed; nothing risky until it recovers.",
        (
            Query(
                f"min by (objective, lane, tier) (pointsman_slo_budget_left_ratio{{{_LANE}}})",
                _WHAT,
            ),
        ),
        "percentunit",
        "bargauge",
        marks=(0.25, 0),
        low_is_bad=True,
        alerts=_ALERTS,
    ),
    Panel(
        "Burn rate",
        "How fast the budget is used up, as the deployment reckons it: 1 lasts its period.",
        (
            Query(
                f"max by (objective, lane, tier, window) (pointsman_slo_burn_rate{{{_LANE}}})",
                _WHAT + " {{window}}",
            ),
        ),
        marks=(1, 14.4),
        alerts=_ALERTS,
    ),
    Panel(
        "Bad events",
        "Share of the last five minutes and of the last hour. Both high: it is happening now.",
        (
            Query(f"{bad_ratio('5m')}{{{_LANE}}}", "5m " + _WHAT),
            Query(f"{bad_ratio('1h')}{{{_LANE}}}", "1h " + _WHAT),
        ),
        "percentunit",
        alerts=_ALERTS,
    ),
    Panel(
        "Events",
        "Requests that were judged. With a handful in an hour no share of them means much.",
        (
            Query(
                "sum by (objective, lane, tier) "
                f"(increase(pointsman_slo_events_total{{{_LANE}}}[1h]))",
                _WHAT,
            ),
        ),
        alerts=_ALERTS,
    ),
)

OBJECTIVES = (
    Panel(
        "First token",
        "p95 by lane and tier; the guides' objective is 0.8 s.",
        (
            Query(
                quantile(
                    0.95, "pointsman_time_to_first_token_seconds", "lane, tier", INTERVAL, _LANE
                ),
                "{{lane}} {{tier}}",
            ),
        ),
        "s",
        marks=(0.8,),
        alerts=_ALERTS,
    ),
    Panel(
        "First 30 tokens",
        "p95 by lane and tier; the guides' objective is 1.2 s: a first sentence to read.",
        (
            Query(
                quantile(0.95, "pointsman_first_tokens_seconds", "lane, tier", INTERVAL, _LANE),
                "{{lane}} {{tier}}",
            ),
        ),
        "s",
        marks=(1.2,),
        alerts=_ALERTS,
    ),
    Panel(
        "Whole answer",
        "p95 by lane and tier; the guides' objective is 4.5 s.",
        (
            Query(
                quantile(0.95, "pointsman_request_duration_seconds", "lane, tier", INTERVAL, _LANE),
                "{{lane}} {{tier}}",
            ),
        ),
        "s",
        marks=(4.5,),
        alerts=_ALERTS,
    ),
)

SLO = Dashboard(
    "slo",
    "Pointsman: objectives",
    "Whether the service level objectives hold, and what is left to burn.",
    {"Error budgets": BUDGETS, "Objectives": OBJECTIVES},
    ("lane",),
)
