"""For each alert: series with which it fires, when, what it says, and series without.

Values are in promtool's notation, one every `every`: `1+2x3` is 1 3 5 7, `_x2` two that are
missing.
"""

from dataclasses import dataclass, field

WATCHED = {'up{job="pointsman",instance="a"}': "1+0x400"}
R1 = 'lane="chat",replica="r1"'


def histogram(name, labels, **counts):
    """Series of a histogram: `le_X_Y=` values of the bucket up to X.Y, `all=` of the last."""
    series = {f"{name}_count{{{labels}}}": counts["all"]}
    for key, values in counts.items():
        bound = "+Inf" if key == "all" else key.removeprefix("le_").replace("_", ".")
        series[f'{name}_bucket{{{labels},le="{bound}"}}'] = values
    return series


TTFT = "vllm:time_to_first_token_seconds"
GAP = "pointsman_inter_token_latency_seconds"
TPOT = "vllm:request_time_per_output_token_seconds"
ITL = "vllm:inter_token_latency_seconds"
TURN = "pointsman_turn_seconds"


def first_tokens(lane, up_to_1, of):
    labels = f'lane="{lane}",replica="r1"'
    counts = {"le_1_0": f"0+{up_to_1}x80", "le_2_5": f"0+{of}x80", "all": f"0+{of}x80"}
    return histogram(TTFT, labels, **counts)


def gaps(up_to_12_ms, running):
    labels = 'lane="chat",ingress="i1"'
    of = 1000
    counts = {"le_0_012": f"0+{up_to_12_ms}x80", "le_0_02": f"0+{of}x80", "all": f"0+{of}x80"}
    return {
        **histogram(GAP, labels, **counts),
        f"{TPOT}_count{{{R1}}}": "0+5x80",
        f"vllm:num_requests_running{{{R1}}}": f"{running}+0x80",
    }


def one_stream(ms, running, tokens=1000):
    return {
        f"{ITL}_sum{{{R1}}}": f"0+{ms * tokens / 1000}x80",
        f"{ITL}_count{{{R1}}}": f"0+{tokens}x80",
        f"vllm:num_requests_running{{{R1}}}": f"{running}+0x80",
    }


def turns(lane, up_to_5_s, of):
    labels = f'lane="{lane}",ingress="i1"'
    counts = {"le_5": f"0+{up_to_5_s}x80", "le_7": f"0+{of}x80", "all": f"0+{of}x80"}
    return histogram(TURN, labels, **counts)


def events(bad, good, objective="ttft", target=0.8):
    labels = f'objective="{objective}",lane="chat",tier="paid"'
    return {
        f"pointsman_slo_target{{{labels}}}": f"{target}+0x240",
        f'pointsman_slo_events_total{{{labels},outcome="bad",ingress="i1"}}': f"0+{bad}x240",
        f'pointsman_slo_events_total{{{labels},outcome="good",ingress="i1"}}': f"0+{good}x240",
    }


def failures(bad, good, target=0.001):
    return events(bad, good, "failures", target)


def sessions(lane, first, second, replicas=1):
    count = {
        f'pointsman_active_sessions{{lane="{lane}",ingress="i1"}}': f"{first}+0x80",
        f'pointsman_active_sessions{{lane="{lane}",ingress="i2"}}': f"{second}+0x80",
    }
    running = f'vllm:num_requests_running{{lane="{lane}",replica="r%d"}}'
    return count | {running % number: "1+0x80" for number in range(replicas)}


def queues(waiting, here):
    return {
        'vllm:num_requests_running{lane="chat",replica="r1"}': "8+0x80",
        'vllm:num_requests_running{lane="chat",replica="r2"}': "8+0x80",
        'vllm:num_requests_waiting{lane="chat",replica="r1"}': f"{waiting}+0x80",
        'vllm:num_requests_waiting{lane="chat",replica="r2"}': f"{waiting}+0x80",
        'pointsman_queue_depth{lane="chat",tier="free",ingress="i1"}': f"{here}+0x80",
    }


def answered(fallback, tools):
    stronger = 'lane="quality",reason="validation_failed",tier="paid",code="200"'
    own = 'lane="agent",reason="tools",tier="paid",code="200"'
    return {
        f"pointsman_requests_total{{{stronger}}}": f"0+{fallback}x120",
        f"pointsman_requests_total{{{own}}}": f"0+{tools}x120",
    }


def gauge(name, value, labels=R1):
    return {f"{name}{{{labels}}}": f"{value}+0x160"}


STOPPED = 'experiment="models",arm="treatment",rail="ttft"'
CARD = f'{R1},card="GPU-0"'


def capped(limit_w, lane="chat"):
    card = f'lane="{lane}",replica="r1",card="GPU-0"'
    return {
        **gauge("pointsman_card_throttled", 1, f'{card},reason="power_cap"'),
        **gauge("pointsman_card_power_limit_watts", limit_w, card),
    }


@dataclass
class Case:
    """One alert.

    Attributes:
        series: with which it fires at `fires`, and not yet at `not_yet`.
        labels: of the alert, but its severity.
        below: several sets of series, with none of which it fires: just under the threshold,
            another cause, too few requests to tell.
        every: seconds between values, and between evaluations.

    """

    alert: str
    series: dict
    not_yet: str
    fires: str
    labels: dict
    summary: str
    below: list = field(default_factory=list)
    every: str = "15s"


CASES = [
    Case(
        "KvCacheFull",
        gauge("vllm:kv_cache_usage_perc", 0.95),
        "45s",
        "1m",
        {"lane": "chat", "replica": "r1"},
        "KV cache of chat r1 is 95% full: it thrashes.",
        [
            gauge("vllm:kv_cache_usage_perc", 0.9),
            # Full for 45 s, then not, over and over.
            {f"vllm:kv_cache_usage_perc{{{R1}}}": "0.95 0.95 0.95 0.5 0.95 0.95 0.95 0.5+0x20"},
        ],
    ),
    Case(
        "EngineQueue",
        gauge("vllm:num_requests_waiting", 5),
        "1m45s",
        "2m",
        {"lane": "chat", "replica": "r1"},
        "5 requests wait in the engine of chat r1: batching cannot absorb the load.",
        [gauge("vllm:num_requests_waiting", 4)],
    ),
    Case(
        "LaneQueue",
        queues(waiting=1, here=7),
        "4m45s",
        "5m",
        {"lane": "chat"},
        "4.5 requests per replica wait for chat.",
        # The second: an engine's queue alone, without any of ours.
        [queues(waiting=1, here=6), gauge("vllm:num_requests_waiting", 4)],
    ),
    Case(
        "SessionsAtCapacity",
        sessions("chat", 20, 5),
        "9m45s",
        "10m",
        {"lane": "chat"},
        "chat has 25 active sessions per replica.",
        # One short of it; enough replicas; a lane for agents, which has an alert of its own.
        [sessions("chat", 20, 4), sessions("chat", 30, 19, replicas=2), sessions("agent", 9, 9)],
    ),
    Case(
        "AgentSessionsHigh",
        sessions("agent", 9, 4),
        "9m45s",
        "10m",
        {"lane": "agent"},
        "agent has 13 active agent sessions per replica.",
        [sessions("agent", 8, 4), sessions("chat", 8, 8)],
    ),
    Case(
        "FirstTokenSlow",
        first_tokens("chat", up_to_1=9, of=10),
        "5m15s",
        "5m30s",
        {"lane": "chat"},
        "p95 of the first token of chat is 1.75s: prefill is saturated.",
        [
            first_tokens("chat", up_to_1=24, of=25),
            first_tokens("quality", up_to_1=9, of=10),
            # A quiet hour: 18 requests in five minutes, all of them slow.
            first_tokens("chat", up_to_1=0, of=0.9),
        ],
    ),
    Case(
        "TokensSlow",
        gaps(up_to_12_ms=900, running=8),
        "5m45s",
        "6m",
        {"lane": "chat"},
        "p95 time per output token of chat is 16ms at a small batch: decode has slowed.",
        [
            gaps(up_to_12_ms=960, running=4),
            # A full batch on a healthy card.
            gaps(up_to_12_ms=900, running=9),
            # A quiet hour.
            {**gaps(up_to_12_ms=900, running=1), f"{TPOT}_count{{{R1}}}": "0+0.9x80"},
        ],
    ),
    Case(
        "DecodeBelowProfile",
        one_stream(ms=8, running=1),
        "5m",
        "5m15s",
        {"lane": "chat", "replica": "r1"},
        "A single stream of chat r1 waits 8ms for a token: far below its profile.",
        [
            one_stream(ms=6.6, running=1),
            one_stream(ms=8, running=2),
            one_stream(ms=8, running=1, tokens=4),
        ],
    ),
    Case(
        "AgentTurnSlow",
        turns("agent", up_to_5_s=3.6, of=4),
        "2m30s",
        "2m45s",
        {"lane": "agent"},
        "p95 of a turn of agent is 6s.",
        [
            turns("agent", up_to_5_s=3.9, of=4),
            turns("chat", up_to_5_s=3.6, of=4),
            turns("agent", up_to_5_s=0, of=1),
        ],
    ),
    Case(
        "SloBurnFast",
        events(bad=8, good=2),
        "2m",
        "2m15s",
        {"objective": "ttft", "lane": "chat", "tier": "paid"},
        "ttft of chat (paid): 80% of the events are bad, and it is happening now.",
        # The second: a quiet hour, in which four of five are bad.
        [events(bad=2.9, good=7.1), events(bad=0.016, good=0.004)],
    ),
    Case(
        "SloBurnFast",
        # Six times the budget over six hours, and one failure of twenty.
        failures(bad=1, good=19),
        "3m",
        "3m15s",
        {"objective": "failures", "lane": "chat", "tier": "paid"},
        "failures of chat (paid): 5% of the events are bad, and it is happening now.",
        # Another fleet allows one of a hundred.
        [failures(bad=1, good=199), failures(bad=1, good=19, target=0.01)],
    ),
    Case(
        "SloBurnSlow",
        events(bad=6, good=94),
        "15m",
        "16m",
        {"objective": "ttft", "lane": "chat", "tier": "paid"},
        "ttft of chat (paid): 6% of the events of three days were bad.",
        [events(bad=4, good=96), events(bad=0.04, good=0.01)],
        every="1m",
    ),
    Case(
        "ToolFallbackHigh",
        answered(fallback=2, tools=8),
        "15m15s",
        "15m30s",
        {},
        "20% of the agents' requests were answered by a stronger lane.",
        [answered(fallback=14, tools=86), answered(fallback=0.1, tools=0.05)],
    ),
    Case(
        "ComplexShareHigh",
        gauge("pointsman_escalation_share", 0.06, 'lane="quality",ingress="i1"'),
        "29m45s",
        "30m",
        {"lane": "quality"},
        "6% of the queries go to quality.",
        [gauge("pointsman_escalation_share", 0.05, 'lane="quality",ingress="i1"')],
    ),
    Case(
        "RoutingDrift",
        gauge("pointsman_trigger_firing", 1, 'trigger="drift",ingress="i1"'),
        "29m45s",
        "30m",
        {},
        "A stream of scores, shares, thumbs or tool calls has come to another level.",
        [gauge("pointsman_trigger_firing", 1, 'trigger="waiting",ingress="i1"')],
    ),
    Case(
        "ExperimentArmStopped",
        {f"pointsman_experiment_arm_stopped{{{STOPPED}}}": "_x4 1+0x80"},
        "45s",
        "1m15s",
        {"experiment": "models", "arm": "treatment", "rail": "ttft"},
        "The treatment of experiment models is stopped by its guard rail ttft: all its requests"
        " are in the control.",
        [gauge("pointsman_experiment_state", 1, 'experiment="models",state="running"')],
    ),
    Case(
        "ShedOrderViolated",
        {**WATCHED, 'pointsman_shed_order_violations_total{ingress="i1"}': "0+0x79 1+0x80"},
        "19m45s",
        "20m",
        {},
        "Paid work was refused 1 times while free work was held.",
        [{**WATCHED, 'pointsman_shed_order_violations_total{ingress="i1"}': "0+0x160"}],
    ),
    Case(
        "ScrapeDown",
        {'up{job="pointsman",instance="a"}': "1 0+0x80"},
        "1m",
        "1m15s",
        {"job": "pointsman", "instance": "a"},
        "Nothing answers at /metrics of the deployment.",
        # Four scrapes are missed, then it is back.
        [WATCHED, {'up{job="pointsman",instance="a"}': "1 0 0 0 0 1+0x80"}],
    ),
    Case(
        "ScrapeDown",
        {},
        "45s",
        "1m",
        {"job": "pointsman"},
        "Nothing answers at /metrics of the deployment.",
        [WATCHED],
    ),
    Case(
        "LaneDown",
        {**sessions("quality", 1, 1), 'pointsman_active_sessions{lane="chat"}': "0+0x80"},
        "1m45s",
        "2m",
        {"lane": "chat"},
        "No replica of chat answers.",
        [{**sessions("chat", 0, 0), **sessions("quality", 1, 1)}],
    ),
    Case(
        "EngineStalled",
        gauge("pointsman_engine_stalled", 1),
        "45s",
        "1m",
        {"lane": "chat", "replica": "r1"},
        "The engine of chat r1 admits nothing, though it answers.",
        [gauge("pointsman_engine_stalled", 0)],
    ),
    Case(
        "RecoveriesFailed",
        {
            **WATCHED,
            # The first one ever: there was no series before.
            'pointsman_stream_recoveries_total{outcome="failed",ingress="i1"}': "_x80 2+0x80",
        },
        "19m45s",
        "20m",
        {},
        "2 requests were lost with their replica.",
        [
            {
                **WATCHED,
                'pointsman_stream_recoveries_total{outcome="resumed",ingress="i1"}': "0+1x160",
            },
            # Prometheus begins to look at a deployment that lost one yesterday.
            {
                'up{job="pointsman",instance="a"}': "1+0x40",
                'pointsman_stream_recoveries_total{outcome="failed",ingress="i1"}': "1+0x40",
            },
        ],
    ),
    Case(
        "RecordsDropped",
        {
            **WATCHED,
            'pointsman_request_records_dropped_total{sink="usage",ingress="i1"}': "0+0x79 3+0x80",
        },
        "19m45s",
        "20m",
        {"sink": "usage"},
        "3 finished requests are missing in usage.",
        [{'pointsman_request_records_dropped_total{sink="usage",ingress="i1"}': "3+0x160"}],
    ),
    Case(
        "LedgerLost",
        gauge("pointsman_ledger_session", 0, 'ingress="i1"'),
        "1m45s",
        "2m",
        {"ingress": "i1"},
        "i1 has no leases: only safe capacities hold, sheddable work yields.",
        [gauge("pointsman_ledger_session", 1, 'ingress="i1"')],
    ),
    Case(
        "KvCacheNotFp8",
        gauge("vllm:cache_config_info", 1, f'{R1},cache_dtype="auto"'),
        "45s",
        "1m",
        {"lane": "chat", "replica": "r1"},
        "The KV cache of chat r1 is not FP8, as its file wants: it holds half as many tokens.",
        [
            gauge("vllm:cache_config_info", 1, f'{R1},cache_dtype="fp8"'),
            gauge("vllm:cache_config_info", 1, f'{R1},cache_dtype="fp8_e4m3"'),
            # A simulated engine, and a lane whose file does not ask for FP8.
            gauge("vllm:cache_config_info", 1),
            gauge("vllm:cache_config_info", 1, 'lane="own",replica="r1",cache_dtype="auto"'),
        ],
    ),
    Case(
        "CardHot",
        gauge("pointsman_card_temperature_celsius", 84, CARD),
        "45s",
        "1m",
        {"lane": "chat", "replica": "r1", "card": "GPU-0"},
        "Card GPU-0 of chat is at 84 °C: it lowers its clocks.",
        [gauge("pointsman_card_temperature_celsius", 83, CARD)],
    ),
    Case(
        "CardThrottled",
        gauge("pointsman_card_throttled", 1, f'{CARD},reason="hw_thermal"'),
        "4m45s",
        "5m",
        {"lane": "chat", "replica": "r1", "card": "GPU-0", "reason": "hw_thermal"},
        "Card GPU-0 of chat is throttled: hw_thermal.",
        # Capped on purpose, and another kind of card.
        [
            gauge("pointsman_card_throttled", 0, f'{CARD},reason="hw_thermal"'),
            capped(limit_w=400),
            capped(limit_w=72, lane="own"),
        ],
    ),
    Case(
        "CardThrottled",
        capped(limit_w=300),
        "4m45s",
        "5m",
        {"lane": "chat", "replica": "r1", "card": "GPU-0", "reason": "power_cap"},
        "Card GPU-0 of chat is throttled: power_cap.",
        [capped(limit_w=450)],
    ),
]
