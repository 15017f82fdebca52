"""Signs of a lane at its limits, and of a card that is held back, at this moment."""

from __future__ import annotations

from collections.abc import Iterable

from serve_app.config.lane import LaneConfig
from serve_app.doctor.check import Verdict, not_applicable, ok, warning
from serve_app.doctor.live.deployment import Samples, of_lane
from serve_app.doctor.machine.card_checks import COOL, HOLDS_BACK, HOT_CELSIUS
from serve_app.doctor.machine.cards import Cards

GIB = 2**30
KV_FULL = 0.90
WAITING = 4
"""Both from the FP8 document; the alerts watch them over time, this looks once."""
STEADY_BYTES = 256 * 2**20
"""An engine takes all its memory at start; what grows by more is somebody else."""
FEWER = 0.75
"""The document's remedy: 24 sequences instead of 32."""


def pressure(name: str, lane: LaneConfig, samples: Samples) -> Verdict:
    """KV cache and queue of the lane's engines."""
    used = [value for _, value in of_lane(samples, "vllm:kv_cache_usage_perc", name)]
    waiting = sum(value for _, value in of_lane(samples, "vllm:num_requests_waiting", name))
    if not used:
        return not_applicable("the engines tell no KV use")
    told = f"KV cache {max(used):.0%} full, {waiting:.0f} waiting"
    args = f"lanes.{name}.engine_args"
    if max(used) > KV_FULL:
        slots = max(1, int(lane.assumed_slots * FEWER))
        return warning(
            f"{told}: the cache is thrashing",
            f"{args}.max_num_seqs: {slots}, or a shorter lanes.{name}.max_model_len",
        )
    if waiting > WAITING:
        key = "replicas.max" if lane.replicas.follow_load else "replicas"
        return warning(
            f"{told}: the lane is at its capacity",
            f"lanes.{name}.{key}: {lane.replicas.max + 1} (one more card each), or a shorter "
            "system prompt",
        )
    return ok(told)


def cards_of_lanes(samples: Samples, local: Cards) -> Verdict:
    """Temperature and throttling of the lanes' cards, from `/metrics` or of this machine."""
    hot = {
        labels.get("card", "?"): value
        for labels, value in samples.get("pointsman_card_temperature_celsius", ())
    }
    held = [
        f"{labels.get('lane')} {labels.get('card')}: {labels.get('reason')}"
        for labels, value in samples.get("pointsman_card_throttled", ())
        if value and labels.get("reason") in HOLDS_BACK
    ]
    if not hot:
        hot = {
            str(card.index): card.temperature_celsius
            for card in local.cards
            if card.temperature_celsius is not None
        }
        held = [
            f"card {card.index}: {reason}"
            for card in local.cards
            for reason in card.throttled_by
            if reason in HOLDS_BACK
        ]
    if not hot and not held:
        return not_applicable("no card tells anything, neither in /metrics nor here")
    too_hot = [f"card {card}: {value:.0f} C" for card, value in hot.items() if value >= HOT_CELSIUS]
    if held or too_hot:
        told = "; ".join([*held, *too_hot])
        return warning(f"{told}: p99 rises and decode falls after half an hour of load", COOL)
    power = {
        labels.get("card", "?"): value
        for labels, value in samples.get("pointsman_card_power_watts", ())
    } or {str(x.index): x.power_watts for x in local.cards if x.power_watts is not None}
    drawn = {card: f", {watts:.0f} W" for card, watts in power.items()}
    return ok(", ".join(f"card {x}: {value:.0f} C{drawn.get(x, '')}" for x, value in hot.items()))


def memory_steady(before: Cards, after: Cards) -> Verdict:
    """Memory of this machine's cards before and after the other checks' chats."""
    if not before.cards:
        return not_applicable("no card of this machine to read")
    told = ", ".join(
        f"card {x.index}: {x.memory_used_bytes / GIB:.1f} of {x.memory_total_bytes / GIB:.1f} GiB"
        for x in after.cards
    )
    grown = [index for index, by in _growth(before, after) if by > STEADY_BYTES]
    if grown:
        fix = "nvidia-smi names the processes; only the lane's engine should be there"
        return warning(f"{told}; memory of card {grown[0]} grew under a few chats", fix)
    return ok(f"{told}, steady")


def _growth(before: Cards, after: Cards) -> Iterable[tuple[int, int]]:
    was = {card.index: card.memory_used_bytes for card in before.cards}
    return (
        (card.index, card.memory_used_bytes - was.get(card.index, card.memory_used_bytes))
        for card in after.cards
    )
