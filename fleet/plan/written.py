"""A plan as the data of a fleet file."""

from __future__ import annotations

from typing import Any

from fleet.plan.advice import ROTATING
from fleet.plan.plan import LanePlan, Plan, promise_for
from fleet.plan.reckoning.engine import STEP_TOKENS, WINDOWS
from fleet.plan.scaled import replicas_by_lane
from simulator.virtual_time.users import Promise

PARSERS = {"Qwen2.5": "hermes", "Llama-3.1": "llama3_json", "istral": "mistral"}
"""Tool parser by a part of the model's name; others get none."""

LONG_PREFILL = 512
"""Most prompt tokens of one request in a step, so that a paste does not stop the others."""


def fleet_data(plan: Plan, name: str) -> dict[str, Any]:
    """Return what a fleet file has to say of the plan, by its keys."""
    replicas = replicas_by_lane(plan)
    lanes = {
        lane.name: _lane(plan, lane) | {"replicas": replicas[lane.name]} for lane in plan.lanes
    }
    names = list(lanes)
    default = next(x for x in ("chat", "agent", names[0]) if x in lanes)
    routing: dict[str, Any] = {"default": default}
    if "quality" in lanes:
        routing["complex"] = "quality"
        routing["escalation_share"] = plan.wish.workload.complex_share
    if "agent" in lanes:
        routing["tools"] = "agent"
    return {
        "name": name,
        "note": _note(plan),
        "lanes": lanes,
        "routing": routing,
        "slo": _slo(plan.wish.promise) | _slo_of_lanes(plan, default),
        "prices": {
            "currency": "USD",
            "lanes": {lane.name: _price(plan, lane) for lane in plan.lanes},
        },
    }


def remarks(plan: Plan) -> list[str]:
    """Return what stands above the file: where it is from, and what it leaves to others."""
    lines = [f"Planned for {plan.wish.workload.name}: {_note(plan)}"]
    if any(lane.name == "free" for lane in plan.lanes):
        lines.append(
            "The free tier's own pool: by `default_lane: free` and `only_default_lane` of "
            "tiers.free in configs/tenants.yaml, as shipped."
        )
    lines += [
        f"{lane.name}: {lane.served.memory.weights / 2**30:.2f} GiB of weights, "
        f"{lane.served.memory.kv_per_token / 1024:.0f} KiB of KV a token, "
        f"{lane.served.memory.pool_tokens:,.0f} tokens of KV; {lane.capacity.sessions} sessions a "
        f"replica, then the {lane.capacity.wall} wall."
        for lane in plan.lanes
    ]
    if any(isinstance(x, dict) for x in replicas_by_lane(plan).values()):
        lines.append(
            "replicas: the quietest hour's and the busiest's (docs/autoscaling.md); one is full at "
            "`full_at` sequences, where the promise ends, and not at max_num_seqs."
        )
    return lines


def _note(plan: Plan) -> str:
    lanes = ", ".join(f"{x.name} on {x.cards} {x.served.card_name}" for x in plan.lanes)
    return f"{plan.peak:,.1f} sessions at once in the busiest hour; {lanes}."


def _lane(plan: Plan, lane: LanePlan) -> dict[str, Any]:
    served = lane.served
    args: dict[str, Any] = {
        "enable_chunked_prefill": True,
        "enable_prefix_caching": True,
        "max_num_batched_tokens": max(STEP_TOKENS, plan.slots(lane)),
        "long_prefill_token_threshold": LONG_PREFILL,
        "gpu_memory_utilization": served.engine.gpu_memory_utilization,
        "scheduling_policy": "priority",
        "enable_prompt_tokens_details": True,
        "max_num_seqs": plan.slots(lane),
    }
    if served.engine.kv_cache_dtype != "auto":
        args["kv_cache_dtype"] = served.engine.kv_cache_dtype
    if served.engine.quantization is not None:
        args["quantization"] = served.engine.quantization
    if served.engine.cards > 1:
        args["tensor_parallel_size"] = served.engine.cards
    if rotates(plan, lane):
        args["num_gpu_blocks_override"] = served.num_gpu_blocks
    parser = next((x for part, x in PARSERS.items() if part in served.source), None)
    if parser is not None:
        args |= {"enable_auto_tool_choice": True, "tool_call_parser": parser}
    return {
        "model_id": served.source if lane.name != "free" else f"{served.source}-free",
        "model_source": served.source,
        "accelerator": "gpu",
        "bundle": {"CPU": 1, "GPU": 1, f"accelerator_type:{served.card.kind}": 0.001},
        "max_model_len": window(lane, plan),
        "host_kv_cache": "auto",
        "engine_args": args,
        "start_timeout_s": 3600,
    }


def rotates(plan: Plan, lane: LanePlan) -> bool:
    """Return whether tenants' system prompts take so much of the cache that LRU loses some."""
    return plan.talk.tenants * plan.talk.system > ROTATING * lane.served.memory.pool_tokens


def window(lane: LanePlan, plan: Plan) -> int:
    """Return the least usual window that holds twice the workload's mean longest session."""
    wanted = 2 * plan.talk.longest
    memory, most = lane.served.memory, lane.served.shape.window
    fitting = [x for x in WINDOWS if x <= most and memory.has_room_for(x)]
    return next((x for x in fitting if x >= wanted), fitting[-1] if fitting else most)


def _slo(promise: Promise) -> dict[str, Any]:
    """Return the objectives; what is not promised is off, not as it would be by default."""
    answer = promise.answer_p95_s if promise.answer_p95_s is not None else promise.turn_p95_s
    return {
        "ttft_p95_s": promise.ttft_p95_s,
        "first_tokens_p95_s": promise.first_30_p95_s,
        "answer_p95_s": answer,
    }


def _slo_of_lanes(plan: Plan, default: str) -> dict[str, Any]:
    own = {
        lane.name: _slo(promise_for(lane.name, plan.wish.promise))
        for lane in plan.lanes
        if lane.name != default
    }
    return {"lanes": own} if own else {}


def _price(plan: Plan, lane: LanePlan) -> dict[str, float]:
    """Dollars a million tokens, at the volume that is planned."""
    share = lane.demand.turns_a_day / plan.turns_a_day
    each = plan.bill_of(lane) / max(plan.tokens_a_month * share, 1.0) * 1e6
    return {"prompt": round(each, 4), "completion": round(each, 4)}
