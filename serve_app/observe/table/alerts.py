"""Alert rules: every threshold of the guides, and what is wrong whatever the traffic."""

from __future__ import annotations

from serve_app.observe import limits
from serve_app.observe.table.promql import JOB, happened, many
from serve_app.observe.table.recording import AGENT_SESSIONS, FP8_WANTED, LIMITS, TURN
from serve_app.observe.table.rows import Alert
from serve_app.observe.table.slo import burning

_FP8 = "FP8 guide, monitoring hooks"
_CHATBOT = "chatbot guide, scaling triggers"
_AGENT = "agent guide, scaling triggers"
_SRE = "the usual multi-window burn rates"

_OVER = "> on (lane) group_left ()"


def _throttled(compared: str) -> str:
    """Cards whose clocks are held down by their power cap (`=`), or by anything else (`!=`)."""
    labels = f'reason{compared}"power_cap"'
    return f"max by (lane, replica, card, reason) (pointsman_card_throttled{{{labels}}}) > 0"


LOAD = (
    Alert(
        "KvCacheFull",
        f"max by (lane, replica) (vllm:kv_cache_usage_perc) > {limits.KV_RATIO:g}",
        "1m",
        "ticket",
        "KV cache of {{ $labels.lane }} {{ $labels.replica }} is {{ $value | humanizePercentage }}"
        " full: it thrashes.",
        "Lower the lane's max_num_seqs (32 to 24), shorten its window, or add a replica.",
        _FP8,
    ),
    Alert(
        "EngineQueue",
        f"max by (lane, replica) (vllm:num_requests_waiting) > {limits.WAITING}",
        "2m",
        "ticket",
        "{{ $value }} requests wait in the engine of {{ $labels.lane }} {{ $labels.replica }}:"
        " batching cannot absorb the load.",
        "Add a replica of the lane on another card.",
        f"{_FP8} (sustained: 2 minutes)",
    ),
    Alert(
        "LaneQueue",
        f"lane:requests_waiting:per_replica > {limits.WAITING}",
        "5m",
        "ticket",
        "{{ $value | humanize }} requests per replica wait for {{ $labels.lane }}.",
        "See who waits; add a replica, or lower the ceilings of the tenant that floods.",
        f"{_FP8}, with those that wait for a slot before the engine",
    ),
    Alert(
        "SessionsAtCapacity",
        f"lane:active_sessions:per_replica >= on (lane) group_left () {LIMITS['sessions']}",
        "10m",
        "ticket",
        "{{ $labels.lane }} has {{ $value | humanize }} active sessions per replica.",
        "Add a card: one more replica of the lane.",
        f"{_CHATBOT}: 25 sessions at 32 sequences, and that share of fewer",
    ),
    Alert(
        "AgentSessionsHigh",
        f"lane:active_sessions:per_replica {_OVER} {AGENT_SESSIONS}",
        "10m",
        "ticket",
        "{{ $labels.lane }} has {{ $value | humanize }} active agent sessions per replica.",
        "Add a second card to the lane rather than a larger window.",
        f"{_AGENT}: more than 12",
    ),
)

LATENCY = (
    Alert(
        "FirstTokenSlow",
        f"lane:time_to_first_token_seconds:p95_5m {_OVER} {LIMITS['ttft_s']} and on (lane) "
        + many("vllm:time_to_first_token_seconds", "lane", "5m", limits.LEAST_REQUESTS),
        "5m",
        "ticket",
        "p95 of the first token of {{ $labels.lane }} is {{ $value | humanizeDuration }}:"
        " prefill is saturated.",
        "Look at the lane's prompts and prefix cache: trim system prompts, or add a replica.",
        f"{_FP8}; a lane for long prompts may take a full window's prefill longer",
    ),
    Alert(
        "TokensSlow",
        f"(lane:inter_token_latency_seconds:p95_5m {_OVER} {LIMITS['token_s']} unless on (lane) "
        f"avg_over_time(lane:requests_running:per_replica[5m]) > {limits.FULL_BATCH}) "
        "and on (lane) "
        + many("vllm:request_time_per_output_token_seconds", "lane", "5m", limits.LEAST_REQUESTS),
        "5m",
        "ticket",
        "p95 time per output token of {{ $labels.lane }} is {{ $value | humanizeDuration }}"
        " at a small batch: decode has slowed.",
        "Check power draw, temperature and throttling of the lane's card.",
        f"{_FP8}: 12 ms, which Llama 8B takes at {limits.TOKEN_BATCH:g} sequences",
    ),
    Alert(
        "DecodeBelowProfile",
        f"(replica:inter_token_latency_seconds:mean_5m {_OVER} {LIMITS['step_s']} unless "
        "on (lane, replica) max by (lane, replica) "
        "(max_over_time(vllm:num_requests_running[5m])) > 1) and on (lane, replica) "
        + many("vllm:inter_token_latency_seconds", "lane, replica", "5m", 100),
        "5m",
        "ticket",
        "A single stream of {{ $labels.lane }} {{ $labels.replica }} waits"
        " {{ $value | humanizeDuration }} for a token: far below its profile.",
        "It is almost always heat or power: check inlet temperature and throttle reasons.",
        "FP8 guide: below 150 of 195 tokens/s at batch 1; other models in proportion",
    ),
    Alert(
        "AgentTurnSlow",
        f"(lane:turn_seconds:p95_2m > {limits.TURN_S:g} and on (lane) "
        f"{AGENT_SESSIONS}) and on (lane) " + many(TURN, "lane", "2m", limits.LEAST_REQUESTS // 2),
        "2m",
        "ticket",
        "p95 of a turn of {{ $labels.lane }} is {{ $value | humanizeDuration }}.",
        "Add a replica of the lane, or let a smaller model do the work.",
        f"{_AGENT}: over 5 s for two minutes in a row",
    ),
    Alert(
        "SloBurnFast",
        f"({burning(14.4, '1h', '5m')}) or ({burning(6, '6h', '30m')})",
        "2m",
        "page",
        "{{ $labels.objective }} of {{ $labels.lane }} ({{ $labels.tier }}):"
        " {{ $value | humanizePercentage }} of the events are bad, and it is happening now.",
        "Find the stage that grew on the lane's dashboard and follow its alert.",
        f"{_SRE}: 2 % of a month's budget in an hour, or 5 % in six",
    ),
    Alert(
        "SloBurnSlow",
        burning(1, "3d", "6h"),
        "15m",
        "ticket",
        "{{ $labels.objective }} of {{ $labels.lane }} ({{ $labels.tier }}):"
        " {{ $value | humanizePercentage }} of the events of three days were bad.",
        "The lane is too small for its load, or the objective too tight: decide which.",
        _SRE,
    ),
)

ROUTING = (
    Alert(
        "ToolFallbackHigh",
        f"fleet:tool_fallback:ratio_1h > {limits.FALLBACK_RATIO:g} and on () "
        'sum(increase(pointsman_requests_total{reason=~"tools|planning|sub_agent|'
        f'validation_failed"}}[1h])) >= {limits.LEAST_REQUESTS}',
        "15m",
        "ticket",
        "{{ $value | humanizePercentage }} of the agents' requests were answered by a stronger"
        " lane.",
        "Upgrade the lane for tools rather than the fallback.",
        f"{_AGENT}: more than 15 %",
    ),
    Alert(
        "RoutingDrift",
        'max(pointsman_trigger_firing{trigger="drift"}) > 0',
        "30m",
        "ticket",
        "A stream of scores, shares, thumbs or tool calls has come to another level.",
        "'pointsman advise' names it; calibrate the classifier anew.",
        "Page-Hinkley test on hours, router/advice/drift",
    ),
    Alert(
        "ExperimentArmStopped",
        "max by (experiment, arm, rail) (pointsman_experiment_arm_stopped) > 0",
        "0s",
        "ticket",
        "The {{ $labels.arm }} of experiment {{ $labels.experiment }} is stopped by its guard rail"
        " {{ $labels.rail }}: all its requests are in the control.",
        "'pointsman experiments list' says why; take it out of the fleet file, or change it.",
        "the evidence is established when an arm is stopped, docs/experiments.md",
    ),
    Alert(
        "ComplexShareHigh",
        f"lane:escalation_share:max {_OVER} {LIMITS['share']}",
        "30m",
        "ticket",
        "{{ $value | humanizePercentage }} of the queries go to {{ $labels.lane }}.",
        "Dedicate a card to that lane.",
        f"{_CHATBOT}: 5 %, which is routing.escalation_alarm of the fleet file",
    ),
    Alert(
        "ShedOrderViolated",
        happened("pointsman_shed_order_violations_total", "15m") + " > 0",
        "0s",
        "page",
        "Paid work was refused {{ $value | humanize }} times while free work was held.",
        "Keep the logs: this must not happen. Lower the free tier's ceilings meanwhile.",
        "the fleet guide: never shed paid before free",
    ),
)

HEALTH = (
    Alert(
        "ScrapeDown",
        f'up{{job="{JOB}"}} == 0 or absent(up{{job="{JOB}"}})',
        "1m",
        "page",
        "Nothing answers at /metrics of the deployment.",
        "Is it running? Ask /health, then /ready.",
        "four scrapes in a row",
    ),
    Alert(
        "LaneDown",
        "group by (lane) (pointsman_active_sessions) unless on (lane) vllm:num_requests_running",
        "2m",
        "page",
        "No replica of {{ $labels.lane }} answers.",
        "See why its engine does not start; route around it meanwhile.",
        "longer than a replica takes to be replaced without a load",
    ),
    Alert(
        "EngineStalled",
        "max by (lane, replica) (pointsman_engine_stalled) > 0",
        "1m",
        "page",
        "The engine of {{ $labels.lane }} {{ $labels.replica }} admits nothing, though it answers.",
        "Have the replica replaced.",
        "requests wait and none runs, while /health is green",
    ),
    Alert(
        "RecoveriesFailed",
        happened('pointsman_stream_recoveries_total{outcome="failed"}', "15m") + " > 0",
        "0s",
        "page",
        "{{ $value | humanize }} requests were lost with their replica.",
        "Find the replica that died, and whether others had room.",
        "chatbot guide: no failed request",
    ),
    Alert(
        "RecordsDropped",
        happened("pointsman_request_records_dropped_total", "15m", "sink") + " > 0",
        "0s",
        "ticket",
        "{{ $value | humanize }} finished requests are missing in {{ $labels.sink }}.",
        "Look at the disk that holds the state directory.",
        "usage that is not noted is not charged",
    ),
    Alert(
        "LedgerLost",
        "max by (ingress) (pointsman_ledger_session) == 0",
        "2m",
        "ticket",
        "{{ $labels.ingress }} has no leases: only safe capacities hold, sheddable work yields.",
        "See whether the ledger and the head node live.",
        "longer than a ledger takes to be replaced",
    ),
    Alert(
        "KvCacheNotFp8",
        f'group by (lane, replica) (vllm:cache_config_info{{cache_dtype!~"fp8.*|"}}) '
        f"and on (lane) {FP8_WANTED}",
        "1m",
        "ticket",
        "The KV cache of {{ $labels.lane }} {{ $labels.replica }} is not FP8, as its file wants:"
        " it holds half as many tokens.",
        "Check the driver (550 or newer) and the lane's engine_args.",
        "FP8 guide, gotchas",
    ),
)

CARDS = (
    Alert(
        "CardHot",
        "max by (lane, replica, card) (pointsman_card_temperature_celsius)"
        f" > {limits.TEMPERATURE_C}",
        "1m",
        "ticket",
        "Card {{ $labels.card }} of {{ $labels.lane }} is at {{ $value | humanize }} °C:"
        " it lowers its clocks.",
        "Check inlet air and fans; cap its power.",
        f"{_FP8}: over 83 °C the card down-clocks",
    ),
    Alert(
        "CardThrottled",
        # An RTX 4090 at a cap of 400 W or more is capped on purpose.
        f"{_throttled('!=')} or ({_throttled('=')} and on (lane, replica, card) "
        f"pointsman_card_power_limit_watts < {limits.POWER_CAP_W} and on (lane) "
        f"{LIMITS['step_s']})",
        "5m",
        "ticket",
        "Card {{ $labels.card }} of {{ $labels.lane }} is throttled: {{ $labels.reason }}.",
        "Check inlet temperature and power supply; cap its power rather than tune vLLM.",
        "FP8 guide, gotchas",
    ),
)

ALERTS: dict[str, tuple[Alert, ...]] = {
    "pointsman.load": LOAD,
    "pointsman.latency": LATENCY,
    "pointsman.routing": ROUTING,
    "pointsman.health": HEALTH,
    "pointsman.cards": CARDS,
}
"""By rule group."""
