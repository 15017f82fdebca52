"""One lane, or several beside each other: engine, queue, cards."""

from __future__ import annotations

from serve_app.observe import limits
from serve_app.observe.table.promql import INTERVAL, per_second, quantile
from serve_app.observe.table.recording import LIMITS
from serve_app.observe.table.rows import Dashboard, Needs, Panel, Query

_LANE = 'lane=~"$lane"'
_CARD = "{{lane}} {{replica}} card {{card}}"
_REPLICA = "{{lane}} {{replica}}"


def _card(metric: str) -> str:
    return f"max by (lane, replica, card) (pointsman_card_{metric}{{{_LANE}}})"


LATENCY = (
    Panel(
        "First token, as clients see it",
        "From the request's arrival. Where it is far above the engine's own, the time is spent "
        "in the queue: see the stages.",
        tuple(
            Query(
                quantile(share, "pointsman_time_to_first_token_seconds", "lane", INTERVAL, _LANE),
                f"p{share * 100:g} {{{{lane}}}}",
            )
            for share in (0.5, 0.95, 0.99)
        ),
        "s",
        marks=(0.8, limits.TTFT_S),
        alerts=("FirstTokenSlow",),
    ),
    Panel(
        "Between tokens",
        "Gaps that clients see. Compare with how many run: 12 ms are a batch of eleven on an "
        "8B, or a card that is throttled.",
        tuple(
            Query(
                quantile(share, "pointsman_inter_token_latency_seconds", "lane", INTERVAL, _LANE),
                f"p{share * 100:g} {{{{lane}}}}",
            )
            for share in (0.5, 0.95)
        ),
        "s",
        marks=(limits.TOKEN_S,),
        alerts=("TokensSlow",),
    ),
    Panel(
        "Whole answer",
        "From arrival to the last byte.",
        tuple(
            Query(
                quantile(share, "pointsman_request_duration_seconds", "lane", INTERVAL, _LANE),
                f"p{share * 100:g} {{{{lane}}}}",
            )
            for share in (0.5, 0.95)
        ),
        "s",
        marks=(4.5,),
        alerts=("SloBurnFast",),
    ),
    Panel(
        "Turns",
        "From a user's message to its answer, tools included: p95, by the lane that answered. "
        "Agents feel quick up to 4 or 5 s.",
        (Query(f"lane:turn_seconds:p95_2m{{{_LANE}}}", "{{lane}}"),),
        "s",
        marks=(4, limits.TURN_S),
        alerts=("AgentTurnSlow",),
    ),
    Panel(
        "Token time of each replica",
        "Mean, by the engine. A single stream far above the lane's limit, or one replica above "
        "the others: look at that card.",
        (
            Query(
                f"replica:inter_token_latency_seconds:mean_5m{{{_LANE}}}",
                _REPLICA,
            ),
            Query(
                f"{LIMITS['step_s']}{{{_LANE}}}",
                "limit of a single stream {{lane}}",
            ),
        ),
        "s",
        alerts=("DecodeBelowProfile",),
    ),
    Panel(
        "Wait in the engine's queue",
        "p95 of the time until the engine takes a request up.",
        (
            Query(
                quantile(0.95, "vllm:request_queue_time_seconds", "lane", INTERVAL, _LANE),
                "{{lane}}",
            ),
        ),
        "s",
        alerts=("EngineQueue",),
    ),
    Panel(
        "Time in each stage",
        "Mean over all lanes. The stage that grew is where to look: queue is room, classify is "
        "CPU, engine is the lane.",
        (
            Query(
                f"sum by (stage) (rate(pointsman_stage_seconds_sum[{INTERVAL}]))"
                f" / sum by (stage) (rate(pointsman_stage_seconds_count[{INTERVAL}]))",
                "{{stage}}",
            ),
        ),
        "s",
    ),
)

LOAD = (
    Panel(
        "Running",
        "Sequences in each engine's batch. Replicas far apart: sessions have spilled unevenly.",
        (
            Query(
                f"sum by (lane, replica) (vllm:num_requests_running{{{_LANE}}})",
                _REPLICA,
            ),
        ),
    ),
    Panel(
        "Waiting in the engine",
        "Over four for minutes: batching cannot absorb the load.",
        (
            Query(
                f"sum by (lane, replica) (vllm:num_requests_waiting{{{_LANE}}})",
                _REPLICA,
            ),
        ),
        marks=(2, limits.WAITING),
        alerts=("EngineQueue",),
    ),
    Panel(
        "Waiting for a slot",
        "By tier. Sheddable work waits first; where protected work waits, too, the lane is full.",
        (
            Query(
                f"sum by (lane, tier) (pointsman_queue_depth{{{_LANE}}})",
                "{{lane}} {{tier}}",
            ),
        ),
        alerts=("LaneQueue",),
    ),
    Panel(
        "Why requests wait in the engine",
        "capacity: no room in the batch or the KV cache; deferred: what they need is not there "
        "yet (KV on its way back from host memory).",
        (
            Query(
                f"sum by (lane, reason) (vllm:num_requests_waiting_by_reason{{{_LANE}}})",
                "{{lane}} {{reason}}",
            ),
        ),
        alerts=("EngineQueue",),
    ),
    Panel(
        "Preemptions",
        "Sequences thrown out of the KV cache and computed anew: it is too small for so many.",
        (
            Query(
                per_second("vllm:num_preemptions_total", "lane", _LANE),
                "{{lane}}",
            ),
        ),
        "ops",
        alerts=("KvCacheFull",),
    ),
    Panel(
        "Tokens per second",
        "Generated, by replica.",
        (
            Query(
                per_second("vllm:generation_tokens_total", "lane, replica", _LANE),
                _REPLICA,
            ),
        ),
    ),
)

CARDS = (
    Panel(
        "Temperature",
        "An RTX 4090 is at 70 to 78 °C under load and lowers its clocks over 83.",
        (Query(_card("temperature_celsius"), _CARD),),
        "celsius",
        marks=(79, limits.TEMPERATURE_C),
        needs=Needs.CARD,
        alerts=("CardHot",),
    ),
    Panel(
        "Power",
        "Beside the card's limit. A cap of 400 W costs 3 to 4 % and steadies latency.",
        (
            Query(_card("power_watts"), _CARD),
            Query(_card("power_limit_watts"), "limit " + _CARD),
        ),
        "watt",
        needs=Needs.CARD,
        alerts=("CardThrottled",),
    ),
    Panel(
        "Throttled",
        "By reason. Heat: inlet air and fans. Power: the cap, or the supply.",
        (
            Query(
                f"max by (lane, replica, card, reason) (pointsman_card_throttled{{{_LANE}}})",
                "{{reason}} " + _CARD,
            ),
        ),
        "bool",
        marks=(1,),
        needs=Needs.CARD,
        alerts=("CardThrottled",),
    ),
    Panel(
        "Clocks",
        "Of the processors and of the memory. Lower than beside it at the same load: throttled.",
        (
            Query(_card("sm_clock_hertz"), "SM " + _CARD),
            Query(_card("memory_clock_hertz"), "memory " + _CARD),
        ),
        "hertz",
        needs=Needs.CARD,
        alerts=("CardThrottled",),
    ),
    Panel(
        "Memory in use",
        "Of the card. It is steady once an engine has loaded; another process shows here.",
        (Query(f"{_card('memory_used_bytes')} / {_card('memory_total_bytes')}", _CARD),),
        "percentunit",
        marks=(0.95, 0.98),
        needs=Needs.CARD,
        alerts=("KvCacheFull",),
    ),
    Panel(
        "Utilization and fan",
        "A fan at its top beside a temperature that rises: the air is warm or the way is shut.",
        (
            Query(_card("utilization_ratio"), "busy " + _CARD),
            Query(_card("fan_ratio"), "fan " + _CARD),
        ),
        "percentunit",
        needs=Needs.CARD,
        alerts=("CardHot",),
    ),
)

LANE = Dashboard(
    "lane",
    "Pointsman: lane",
    "Latency, load and cards of the lanes that are chosen above.",
    {"Latency": LATENCY, "Load": LOAD, "Cards": CARDS},
    ("lane",),
)
