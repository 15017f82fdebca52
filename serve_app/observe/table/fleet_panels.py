"""The fleet at a glance: does it hold, and if not, where to look."""

from __future__ import annotations

from serve_app.observe import limits
from serve_app.observe.table.promql import INTERVAL, JOB
from serve_app.observe.table.recording import AGENT_SESSIONS, LIMITS
from serve_app.observe.table.rows import Dashboard, Needs, Panel, Query

HOLDS = (
    Panel(
        "Alerts firing",
        "Begin here: each names its runbook. Empty while all is well.",
        (
            Query(
                'count by (alertname, lane) (ALERTS{alertstate="firing"})',
                "{{alertname}} {{lane}}",
            ),
        ),
        kind="stat",
        marks=(1,),
        needs=Needs.EVENT,
    ),
    Panel(
        "Replicas that answer",
        "Per lane. A lane that is missing has none: see why its engine does not start.",
        (Query("lane:replicas:count", "{{lane}}"),),
        kind="stat",
        alerts=("LaneDown",),
    ),
    Panel(
        "Deployment answers /metrics",
        "1: every figure here is fresh. 0: nothing else on this page means anything.",
        (Query(f'up{{job="{JOB}"}}', "{{instance}}"),),
        kind="stat",
        marks=(1,),
        low_is_bad=True,
        alerts=("ScrapeDown",),
    ),
    Panel(
        "Engines that admit nothing",
        "1: requests wait and none runs though the engine answers. Have the replica replaced.",
        (
            Query(
                "max by (lane, replica) (pointsman_engine_stalled)",
                "{{lane}} {{replica}}",
            ),
        ),
        kind="stat",
        marks=(1,),
        alerts=("EngineStalled",),
    ),
    Panel(
        "Triggers firing",
        "Signals that want a change of the fleet; `pointsman status` names them, too.",
        (Query("max by (trigger) (pointsman_trigger_firing)", "{{trigger}}"),),
        kind="stat",
        marks=(1,),
        alerts=("ComplexShareHigh",),
    ),
    Panel(
        "Requests in flight",
        "Between arrival and settling, over all ingress replicas.",
        (Query("sum (pointsman_requests_in_flight)", "in flight"),),
        kind="stat",
    ),
)

USERS = (
    Panel(
        "Requests by outcome",
        "200 is answered, 499 left by the client, other words are refusals by their code, "
        "`500` and `broken` failures. Refusals that grow: see the tenant dashboard.",
        (Query(f"sum by (code) (rate(pointsman_requests_total[{INTERVAL}]))", "{{code}}"),),
        "reqps",
        width=12,
        alerts=("RecoveriesFailed",),
    ),
    Panel(
        "Share of requests that failed",
        "Failed and broken ones, and those without a replica, of all. The guides ask for none.",
        (
            Query(
                "(sum (rate(pointsman_requests_total"
                f'{{code=~"500|broken|no_replica|deadline_exceeded"}}[{INTERVAL}])) or vector(0))'
                f" / sum (rate(pointsman_requests_total[{INTERVAL}]))",
                "failed",
            ),
        ),
        "percentunit",
        marks=(0.001, 0.01),
        width=12,
        alerts=("SloBurnFast",),
    ),
    Panel(
        "p95 of the first token",
        "By lane, as its engines measure it. Above the dashed limit prefill is saturated: look "
        "at prompts and cache hits of the lane.",
        (
            Query("lane:time_to_first_token_seconds:p95_5m", "{{lane}}"),
            Query(LIMITS["ttft_s"], "limit {{lane}}"),
        ),
        "s",
        marks=(0.8, limits.TTFT_S),
        alerts=("FirstTokenSlow",),
    ),
    Panel(
        "p95 between tokens",
        "By lane, as clients see it. Above its limit with few requests running the card is slow: "
        "look at its temperature. With many running the lane is full.",
        (
            Query("lane:inter_token_latency_seconds:p95_5m", "{{lane}}"),
            Query(LIMITS["token_s"], "limit {{lane}}"),
        ),
        "s",
        marks=(limits.TOKEN_S,),
        alerts=("TokensSlow",),
    ),
    Panel(
        "Tokens per second",
        "Generated, by lane. Flat while requests queue: the lane is at its capacity.",
        (Query(f"sum by (lane) (rate(vllm:generation_tokens_total[{INTERVAL}]))", "{{lane}}"),),
        "short",
    ),
)

CAPACITY = (
    Panel(
        "Requests that wait, per replica",
        "In the engine and here for a slot. Over four for minutes: add a replica.",
        (Query("lane:requests_waiting:per_replica", "{{lane}}"),),
        marks=(2, limits.WAITING),
        alerts=("LaneQueue", "EngineQueue"),
    ),
    Panel(
        "KV cache in use",
        "Of each engine's pool. Over 90 % it thrashes: fewer sequences, or a shorter window.",
        (
            Query(
                "max by (lane, replica) (vllm:kv_cache_usage_perc)",
                "{{lane}} {{replica}}",
            ),
        ),
        "percentunit",
        marks=(0.8, limits.KV_RATIO),
        alerts=("KvCacheFull",),
    ),
    Panel(
        "Active sessions per replica",
        "Those that generate or wait. At its limit a lane wants another card.",
        (
            Query("lane:active_sessions:per_replica", "{{lane}}"),
            Query(LIMITS["sessions"], "limit {{lane}}"),
            Query(AGENT_SESSIONS, "limit {{lane}}"),
        ),
        alerts=("SessionsAtCapacity", "AgentSessionsHigh"),
    ),
)

HEALTH = (
    Panel(
        "Recoveries of streams",
        "Faults of replicas under requests: retried and resumed ones no user saw, failed ones "
        "were lost.",
        (
            Query(
                f"sum by (outcome) (increase(pointsman_stream_recoveries_total[{INTERVAL}]))",
                "{{outcome}}",
            ),
        ),
        needs=Needs.EVENT,
        alerts=("RecoveriesFailed",),
    ),
    Panel(
        "Replicas that failed",
        "Breakers that opened, by lane: others are preferred for a while.",
        (
            Query(
                f"sum by (lane) (increase(pointsman_breakers_opened_total[{INTERVAL}]))",
                "{{lane}}",
            ),
        ),
        needs=Needs.EVENT,
        alerts=("LaneDown",),
    ),
    Panel(
        "Order of shedding",
        "Violations must stay 0. Unverified ones could not be judged: logs were missing.",
        (
            Query("sum (pointsman_shed_order_violations_total)", "violations"),
            Query("sum (pointsman_shed_order_unverified_total)", "unverified"),
        ),
        marks=(1,),
        alerts=("ShedOrderViolated",),
    ),
    Panel(
        "Since the ledger's last answer",
        "Leases of limits come with it. Minutes of silence: only safe capacities hold.",
        (Query("max by (ingress) (pointsman_ledger_answer_age_seconds)", "{{ingress}}"),),
        "s",
        marks=(30, 60),
        alerts=("LedgerLost",),
    ),
    Panel(
        "Records that were lost",
        "Finished requests missing in the feedback store, the request log or the usage log: "
        "look at the disk of the state directory.",
        (
            Query(
                "sum by (sink) (pointsman_request_records_dropped_total)",
                "{{sink}}",
            ),
            Query("sum (pointsman_trace_spans_dropped_total)", "spans"),
        ),
        marks=(1,),
        alerts=("RecordsDropped",),
    ),
    Panel(
        "What a scrape takes",
        "Of /metrics, all replicas included. Over a second: an ingress replica is busy.",
        (Query(f'scrape_duration_seconds{{job="{JOB}"}}', "{{instance}}"),),
        "s",
        marks=(1, 5),
        alerts=("ScrapeDown",),
    ),
)

FLEET = Dashboard(
    "fleet",
    "Pointsman: fleet",
    "Whether the whole deployment holds; each panel says where to look next.",
    {
        "Does it hold?": HOLDS,
        "What users see": USERS,
        "Room": CAPACITY,
        "Faults": HEALTH,
    },
)
