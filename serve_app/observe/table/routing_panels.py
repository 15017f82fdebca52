"""Which lane gets what, how agents fare, how experiments stand."""

from __future__ import annotations

from serve_app.observe import limits
from serve_app.observe.table.experiment_panels import EXPERIMENTS
from serve_app.observe.table.promql import per_second
from serve_app.observe.table.rows import Dashboard, Needs, Panel, Query

_LANE = 'lane=~"$lane"'


LANES = (
    Panel(
        "Why a lane was chosen",
        "Requests by lane and reason; `yielded` would have gone to a stronger lane with room.",
        (
            Query(
                per_second("pointsman_requests_total", "lane, reason", _LANE),
                "{{lane}}: {{reason}}",
            ),
        ),
        "reqps",
        width=12,
    ),
    Panel(
        "Share of the stronger lanes",
        "Of scored requests. From 5 % on the stronger lane wants a card of its own.",
        (Query(f"lane:escalation_share:max{{{_LANE}}}", "{{lane}}"),),
        "percentunit",
        marks=(0.03, 0.05),
        width=6,
        alerts=("ComplexShareHigh", "RoutingDrift"),
    ),
    Panel(
        "Threshold and yield",
        "The score at which a request goes to the lane, and the part that stays away while it "
        "is full.",
        (
            Query(
                f"max by (lane) (pointsman_escalation_threshold{{{_LANE}}})",
                "threshold {{lane}}",
            ),
            Query(
                f"max by (lane) (pointsman_escalation_yield{{{_LANE}}})",
                "yield {{lane}}",
            ),
        ),
        width=6,
    ),
    Panel(
        "Stickiness of sessions",
        "hit: at its replica; moved and spilled ones read their prompt anew there.",
        (Query(per_second("pointsman_session_affinity_total", "outcome"), "{{outcome}}"),),
        "reqps",
    ),
    Panel(
        "Sessions",
        "By lane: those that generate or wait, and those seen within the sessions' time.",
        (
            Query(
                f"sum by (lane) (pointsman_active_sessions{{{_LANE}}})",
                "active {{lane}}",
            ),
            Query(
                f"sum by (lane) (pointsman_recent_sessions{{{_LANE}}})",
                "recent {{lane}}",
            ),
        ),
        alerts=("SessionsAtCapacity", "AgentSessionsHigh"),
    ),
    Panel(
        "Held while their lane began",
        "Of a cascade: `moved` to the stronger lane, `sure`, or what stood in the way.",
        (Query(per_second("pointsman_cascade_holds_total", "outcome", _LANE), "{{outcome}}"),),
        "reqps",
        needs=Needs.EVENT,
    ),
)

AGENTS = (
    Panel(
        "Answered by a stronger lane",
        "Of the agents' requests, because the lane for tools made no valid call. Over 15 %: "
        "upgrade that lane.",
        (Query("fleet:tool_fallback:ratio_1h", "fallback"),),
        "percentunit",
        marks=(0.05, limits.FALLBACK_RATIO),
        alerts=("ToolFallbackHigh",),
    ),
    Panel(
        "Tool calls",
        "By how they validate. Much of one fault: the tool's schema, or the lane's parser.",
        (
            Query(
                per_second("pointsman_tool_calls_total", "lane, outcome", _LANE),
                "{{lane}} {{outcome}}",
            ),
        ),
        "ops",
        needs=Needs.EVENT,
        alerts=("ToolFallbackHigh",),
    ),
    Panel(
        "Repairs of tool calls",
        "Calls that were made again: under a grammar, then by a stronger lane.",
        (
            Query(
                per_second("pointsman_tool_repairs_total", "lane, step, outcome", _LANE),
                "{{lane}} {{step}} {{outcome}}",
            ),
        ),
        "ops",
        needs=Needs.EVENT,
        alerts=("ToolFallbackHigh",),
    ),
    Panel(
        "Bounds and loops",
        "Tasks over a bound of their tier, and turns that go round in a loop.",
        (
            Query(
                per_second("pointsman_tool_bounds_total", "tier, limit"),
                "over {{limit}} {{tier}}",
            ),
            Query(per_second("pointsman_tool_loops_total", "tier, kind"), "loop {{kind}} {{tier}}"),
        ),
        "ops",
        needs=Needs.EVENT,
    ),
    Panel(
        "Results cut, summaries",
        "Requests whose tool results were cut, and summaries in the place of long ones.",
        (
            Query(per_second("pointsman_tool_results_cut_total", "tier"), "cut {{tier}}"),
            Query(
                per_second("pointsman_summaries_total", "kind, outcome"),
                "{{kind}} {{outcome}}",
            ),
        ),
        "ops",
        needs=Needs.EVENT,
    ),
)

ROUTING = Dashboard(
    "routing",
    "Pointsman: routing",
    "Which lane gets what, whether agents' tool calls are sound, how experiments stand.",
    {"Lanes": LANES, "Agents": AGENTS, "Experiments": EXPERIMENTS},
    ("lane",),
)
