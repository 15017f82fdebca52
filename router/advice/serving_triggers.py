"""Triggers of minutes: engines, cards and queues that are in trouble now.

Limits and remedies are the documents'; what is a choice of ours says so in its row's comment.
"""

from __future__ import annotations

from router.advice.trigger import MINUTE, Change, Pool, Price, Scope, Severity, Trigger

MORE = "lanes.{lane}.replicas: {replicas} -> {more}"
LESS_AGAIN = "lanes.{lane}.replicas back to {replicas}; open streams finish or resume first"

ENGINES = (
    Trigger(
        name="kv_cache",
        signal="kv_use",
        says="over 90 % of the KV cache in use for a minute",
        limit=0.90,
        clear=0.80,
        hold_s=MINUTE,
        remedy="lanes.{lane}.engine_args.max_num_seqs: {max_num_seqs} -> {fewer_seqs}, or a "
        "shorter lanes.{lane}.max_model_len (now {max_model_len})",
        undo="lanes.{lane}.engine_args.max_num_seqs back to {max_num_seqs}",
        source="FP8 guide, monitoring hooks",
        change=Change.FEWER_SEQUENCES,
        unit="of the KV cache",
    ),
    Trigger(
        name="waiting",
        signal="waiting",
        says="more than 4 requests a replica wait, for two minutes",
        limit=4,
        clear=2,
        # "Sustained", without a figure.
        hold_s=2 * MINUTE,
        remedy=MORE,
        undo=LESS_AGAIN,
        source="FP8 guide, monitoring hooks; consumer chat case, stage 3",
        price=Price.CARD,
        change=Change.REPLICA_MORE,
        unit="requests a replica",
    ),
    Trigger(
        name="first_token",
        signal="ttft_over_1s",
        says="more than 5 % of first tokens take over a second, for ten minutes",
        limit=0.05,
        clear=0.04,
        # No figure in the guide: a burst of half a minute is over when somebody looks.
        hold_s=10 * MINUTE,
        least=40,
        remedy="shorter system prompts; lanes.{lane}.engine_args.enable_chunked_prefill: true; "
        "else " + MORE,
        undo=LESS_AGAIN,
        source="FP8 guide, monitoring hooks",
        price=Price.CARD,
        change=Change.REPLICA_MORE,
        pool=Pool.SHARE,
        unit="of first tokens over 1 s",
    ),
    Trigger(
        name="token_time",
        signal="token_over_12ms",
        says="more than 5 % of tokens come over 12 ms after the one before, for five minutes, "
        "where so many requests should have them sooner",
        limit=0.05,
        clear=0.04,
        hold_s=5 * MINUTE,
        least=2000,
        remedy="look at power, temperature and clocks of the card of '{lane}' (nvidia-smi -q -d "
        "PERFORMANCE), before any key of the fleet file",
        undo="nothing was changed",
        source="FP8 guide, monitoring hooks",
        scope=Scope.DEFAULT,
        pool=Pool.SHARE,
        change=Change.FULL_SPEED,
        # 12 ms are 83 tokens/s. The guide's own table gives a stream of Llama 8B that from a dozen
        # sequences down; with more, or a larger model, 12 ms says nothing about the card.
        unit="of tokens over 12 ms",
    ),
    Trigger(
        name="decode_slow",
        signal="decode_ratio",
        says="tokens take 1.3 times as long as the lane's profile says for so many requests, for "
        "five minutes",
        # The guide: 150 tokens/s where 195 are to be had is "almost always thermal or power".
        # What is expected is reckoned from means: healthy hours are at 1.0 to 1.15.
        limit=1.3,
        clear=1.2,
        hold_s=5 * MINUTE,
        remedy="nvidia-smi -pl 400 on the card of '{lane}', and cooler air: it throttles (check "
        "clocks_throttle_reasons.active); no key of the fleet file helps",
        undo="nvidia-smi -pl with the card's default limit (nvidia-smi -q -d POWER)",
        source="FP8 guide, common errors",
        change=Change.FULL_SPEED,
        unit="times the profile's step",
    ),
    Trigger(
        name="preemptions",
        signal="preemptions",
        says="more than one preemption a minute and replica, for five minutes",
        # The guide speaks of queues on a full cache; a preemption is the first thing to be seen.
        limit=1,
        clear=0.5,
        hold_s=5 * MINUTE,
        remedy="lanes.{lane}.engine_args.max_num_seqs: {max_num_seqs} -> {fewer_seqs}",
        undo="lanes.{lane}.engine_args.max_num_seqs back to {max_num_seqs}",
        source="agent guide, gotcha 7",
        severity=Severity.SOON,
        pool=Pool.RATE,
        change=Change.FEWER_SEQUENCES,
        unit="a minute and replica",
    ),
    Trigger(
        name="cold_cache",
        signal="cached_tokens",
        says="under 30 % of prompt tokens are found in the prefix cache, for ten minutes",
        # Caching saves "30 to 70 %" of such prefill; the guides' chats save more.
        limit=0.30,
        clear=0.40,
        hold_s=10 * MINUTE,
        least=200_000,
        is_above=False,
        remedy="keep system prompts and tools the same from turn to turn (no clock at their "
        "start); lanes.{lane}.host_kv_cache: auto, or a larger lanes.{lane}.engine_args"
        ".num_gpu_blocks_override, where many tenants' prompts push each other out",
        undo="lanes.{lane}.host_kv_cache and num_gpu_blocks_override as they were",
        source="chatbot guide, gotchas; agent guide, gotcha 3; FP8 guide",
        severity=Severity.SOON,
        pool=Pool.RATE,
        change=Change.WARM_CACHE,
        unit="of prompt tokens",
        needs="has_prefix_cache",
    ),
    Trigger(
        name="refused",
        signal="refused",
        says="more than 1 % of requests are refused for want of room, for ten minutes",
        # The case sheds the free tier first and names no share; 1 % is ours.
        limit=0.01,
        clear=0.005,
        hold_s=10 * MINUTE,
        least=100,
        remedy=MORE + "; until then sheddable tiers wait longer (tiers.TIER.start_within_s)",
        undo=LESS_AGAIN,
        source="consumer chat case, stage 4",
        price=Price.CARD,
        change=Change.REPLICA_MORE,
        pool=Pool.SHARE,
        unit="of requests",
    ),
)

CARDS = (
    Trigger(
        name="card_hot",
        signal="card_temperature",
        says="83 °C or more for a minute",
        limit=82.9,
        clear=80,
        hold_s=MINUTE,
        remedy="nvidia-smi -pl 400 on the card of '{lane}', and cooler air at its inlet",
        undo="nvidia-smi -pl with the card's default limit",
        source="FP8 guide, monitoring hooks",
        change=Change.FULL_SPEED,
        unit="°C",
    ),
    Trigger(
        name="card_throttled",
        signal="card_throttled",
        says="the card of a lane throttles by heat or power in over half of the readings of five "
        "minutes",
        limit=0.5,
        clear=0.2,
        hold_s=5 * MINUTE,
        remedy="nvidia-smi -pl 400 on the card of '{lane}' (3 to 4 % of throughput), and cooler "
        "air at its inlet",
        undo="nvidia-smi -pl with the card's default limit",
        source="FP8 guide, gotchas",
        pool=Pool.RATE,
        change=Change.FULL_SPEED,
        unit="of readings",
    ),
    Trigger(
        name="card_power",
        signal="card_power",
        says="over 400 W for ten minutes",
        limit=400,
        clear=390,
        hold_s=10 * MINUTE,
        remedy="nvidia-smi -pl 400 on the card of '{lane}': steadier latency for 3 to 4 % of "
        "throughput",
        undo="nvidia-smi -pl with the card's default limit",
        source="FP8 guide, monitoring hooks",
        severity=Severity.SOON,
        change=Change.FULL_SPEED,
        unit="W",
    ),
    Trigger(
        name="card_memory",
        signal="card_memory",
        says="over 97 % of the card's memory in use for ten minutes",
        limit=0.97,
        clear=0.95,
        hold_s=10 * MINUTE,
        remedy="lanes.{lane}.engine_args.gpu_memory_utilization: {memory_share} -> 0.92",
        undo="lanes.{lane}.engine_args.gpu_memory_utilization back to {memory_share}",
        source="chatbot guide, gotchas",
        severity=Severity.SOON,
        unit="of the card's memory",
    ),
)

TENANTS = (
    Trigger(
        name="tenant_ceiling",
        signal="concurrent",
        says="40 requests or more run or wait in a lane, for five minutes, and no ceiling on "
        "tokens a second binds every tenant",
        limit=39.9,
        clear=30,
        hold_s=5 * MINUTE,
        remedy="tiers.{tier}.ceilings in the tenants file: {{tokens_per_second: 80, enforce: "
        "contended, contended_from: {contended_from}}}",
        undo="remove tokens_per_second from tiers.{tier}.ceilings; it reloads without a restart",
        source="chatbot guide, scaling triggers",
        scope=Scope.DEFAULT,
        change=Change.CEILING,
        unit="requests",
        needs="tier",
    ),
    Trigger(
        name="tenant_flood",
        signal="largest_tenant",
        says="one tenant of several takes over half of the tokens while requests wait, for five "
        "minutes",
        # "A single power user can dominate the batch": the share is ours.
        limit=0.5,
        clear=0.4,
        hold_s=5 * MINUTE,
        remedy="a ceiling of its own for the tenant with the most tokens: tenants.NAME.ceilings "
        "in the tenants file: {{tokens_per_second: 80}} ('pointsman tenants usage' names it)",
        undo="remove tenants.NAME.ceilings; it reloads without a restart",
        source="chatbot guide, scaling triggers",
        scope=Scope.FLEET,
        change=Change.CEILING,
        unit="of tokens while requests wait",
    ),
)
