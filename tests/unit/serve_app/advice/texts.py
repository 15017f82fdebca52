"""Prometheus texts of a deployment that never was."""


def text(lane="chat", **values):
    """Return a text of one lane with one replica: gauges and counters by short names."""
    given = {
        "running": 0,
        "waiting": 0,
        "kv": 0,
        "sessions": 0,
        "preemptions": 0,
        "ttft": 0,
        "ttft_slow": 0,
        "gaps": 0,
        "gap_s": 0,
        "gaps_slow": 0,
        "cached": 0,
        "read": 0,
        "turns": 0,
        "turns_slow": 0,
        "prompts": 0,
        "prompts_4k": 0,
        "prompts_32k": 0,
    } | values
    g, of = given, f'lane="{lane}",replica="r1"'

    def fast(name, slow="slow"):
        return given[name] - given[f"{name}_{slow}"]

    own = f'ingress="i1",lane="{lane}"'
    lines = [
        f"vllm:num_requests_running{{{of}}} {g['running']}",
        f"vllm:num_requests_waiting{{{of}}} {g['waiting']}",
        f"vllm:kv_cache_usage_perc{{{of}}} {g['kv']}",
        f"vllm:num_preemptions_total{{{of}}} {g['preemptions']}",
        f'vllm:time_to_first_token_seconds_bucket{{{of},le="1.0"}} {g["ttft"] - g["ttft_slow"]}',
        f"vllm:time_to_first_token_seconds_count{{{of}}} {g['ttft']}",
        f"vllm:inter_token_latency_seconds_sum{{{of}}} {g['gap_s']}",
        f"vllm:inter_token_latency_seconds_count{{{of}}} {g['gaps']}",
        f'pointsman_prompt_tokens_total{{{of},level="device"}} {g["cached"]}',
        f'pointsman_prompt_tokens_total{{{of},level="recomputed"}} {g["read"]}',
        f'pointsman_inter_token_latency_seconds_bucket{{{own},le="0.012"}} {fast("gaps")}',
        f'pointsman_inter_token_latency_seconds_count{{{own},tier="t"}} {g["gaps"]}',
        f'pointsman_turn_seconds_bucket{{{own},tier="t",le="5.0"}} {g["turns"] - g["turns_slow"]}',
        f'pointsman_turn_seconds_count{{{own},tier="t"}} {g["turns"]}',
        f'pointsman_request_prompt_tokens_bucket{{{own},le="4096.0"}} {fast("prompts", "4k")}',
        f'pointsman_request_prompt_tokens_bucket{{{own},le="32000.0"}} {fast("prompts", "32k")}',
        f"pointsman_request_prompt_tokens_count{{{own}}} {g['prompts']}",
        f"pointsman_active_sessions{{{own}}} {g['sessions']}",
    ]
    return "\n".join(lines) + "\n"
