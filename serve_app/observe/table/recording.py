"""Recording rules: what alerts and panels share, and the limits of the lanes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from serve_app.observe.limits import LaneLimits
from serve_app.observe.table.promql import mean, quantile
from serve_app.observe.table.rows import Recording
from serve_app.observe.table.slo import SLO_RULES

_TTFT = "vllm:time_to_first_token_seconds"
_GAP = "pointsman_inter_token_latency_seconds"
TURN = "pointsman_turn_seconds"
_QUEUED = "sum by (lane) (pointsman_queue_depth)"
_WAITING = "sum by (lane) (vllm:num_requests_waiting)"
_STRONGER = 'pointsman_requests_total{reason="validation_failed"}'
_WITH_TOOLS = 'pointsman_requests_total{reason=~"tools|planning|sub_agent|validation_failed"}'

LANE_RULES = (
    Recording(
        "lane:replicas:count",
        "count by (lane) (group by (lane, replica) (vllm:num_requests_running))",
    ),
    Recording("lane:requests_running:sum", "sum by (lane) (vllm:num_requests_running)"),
    # What waits in the engines, and here for a slot of the lane.
    Recording("lane:requests_waiting:sum", f"{_WAITING} + ({_QUEUED} or 0 * {_WAITING})"),
    Recording(
        "lane:requests_waiting:per_replica", "lane:requests_waiting:sum / lane:replicas:count"
    ),
    Recording(
        "lane:requests_running:per_replica", "lane:requests_running:sum / lane:replicas:count"
    ),
    Recording(
        "lane:active_sessions:per_replica",
        "sum by (lane) (pointsman_active_sessions) / lane:replicas:count",
    ),
    Recording("lane:time_to_first_token_seconds:p95_5m", quantile(0.95, _TTFT, "lane", "5m")),
    Recording("lane:inter_token_latency_seconds:p95_5m", quantile(0.95, _GAP, "lane", "5m")),
    Recording("lane:turn_seconds:p95_2m", quantile(0.95, TURN, "lane", "2m")),
    Recording(
        "replica:inter_token_latency_seconds:mean_5m",
        mean("vllm:inter_token_latency_seconds", "lane, replica", "5m"),
    ),
    Recording(
        "lane:prefix_cache_hits:ratio_5m",
        "sum by (lane) (rate(vllm:prefix_cache_hits_total[5m]))"
        " / sum by (lane) (rate(vllm:prefix_cache_queries_total[5m]))",
    ),
    Recording("lane:escalation_share:max", "max by (lane) (pointsman_escalation_share)"),
    Recording(
        "fleet:tool_fallback:ratio_1h",
        f"(sum(rate({_STRONGER}[1h])) or vector(0)) / sum(rate({_WITH_TOOLS}[1h]))",
    ),
)

LIMITS: Mapping[str, str] = {
    "ttft_s": "lane:limit_time_to_first_token_seconds",
    "token_s": "lane:limit_inter_token_latency_seconds",
    "step_s": "lane:limit_single_stream_latency_seconds",
    "sessions": "lane:limit_active_sessions",
    "share": "lane:limit_escalation_share",
}
"""Series that hold the limits, by the field of LaneLimits. Dashboards draw them as lines."""

AGENT_SESSIONS = "lane:limit_agent_sessions"
FP8_WANTED = "lane:wants_fp8_kv_cache"


def recording_rules(lanes: Iterable[LaneLimits]) -> dict[str, tuple[Recording, ...]]:
    """Return the rules by group; within a group they are evaluated in order."""
    return {
        "pointsman.limits": tuple(_limits(lanes)),
        "pointsman.lanes": LANE_RULES,
        "pointsman.slo": SLO_RULES,
    }


def _limits(lanes: Iterable[LaneLimits]) -> Iterator[Recording]:
    for lane in lanes:
        label = {"lane": lane.lane}
        for field, name in LIMITS.items():
            value = getattr(lane, field)
            is_agents = field == "sessions" and lane.is_for_tools
            if value is not None:
                series = AGENT_SESSIONS if is_agents else name
                yield Recording(series, f"vector({value:g})", label)
        if lane.wants_fp8:
            yield Recording(FP8_WANTED, "vector(1)", label)
