"""Tables of the agent guide and of the consumer case beside the planner's figures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from benchmarks.support.plan_cells import GB, Cell, served, weights_gb
from fleet.cards.table import cards
from fleet.memory.models import find_shape
from fleet.plan.reckoning.demand import in_system, mean_of_swing
from fleet.plan.reckoning.engine import Served, served_on
from fleet.plan.reckoning.money import (
    HOSTED,
    break_even_tokens,
    day_share,
    hosted_bill,
    warm_ratio,
)

CARD_A_MONTH = 700
STAGES = {"plan": 120, "tool calls": 80, "compose": 250}
"""Tokens that a turn's stages write one after another."""

WAITS_S = {"tools": 0.35, "prefill and network": 0.40}
MENU = (("Qwen 2.5 14B", 10.2), ("Qwen 2.5 32B", 19.1), ("Llama 3.1 70B", 22),
        ("Llama 3.1 8B", 9.5), ("Mistral Nemo", 13), ("Mistral 7B", 8),
        ("Phi-3 mini", 4))  # fmt: skip
NO_70B = "four bits of 70.6 billion weights are 40 GB: two 24 GB cards, not one"

CAPACITY = (("Llama 3.1 8B", 16, 5, 195), ("Qwen 2.5 14B", 10, 3, 135),
            ("Qwen 2.5 32B", 5, 1.5, 65), ("Llama 3.1 70B", 3.5, 0.8, 24))  # fmt: skip
"""Model, active sessions, turns a second, tokens/s of one sequence."""

COST = {200: (60, 1000, 116, 1400), 500: (150, 2500, 290, 3500), 1500: (450, 7500, 870, 10500),
        2500: (750, 12500, 1450, 17500)}  # fmt: skip
"""Dollars by M tokens a month, of the four hosted models in the order of HOSTED."""


def turn_s(tokens_per_s: float) -> float:
    """Seconds of the guide's turn when nothing slows it."""
    return sum(STAGES.values()) / tokens_per_s + sum(WAITS_S.values())


def models() -> Iterator[Cell]:
    """VRAM of the agents' menu is the weights'; turns by the models' speed."""
    for model, document in MENU:
        why = NO_70B if "70B" in model else ""
        yield Cell("agents: models", model, "VRAM GB", document, weights_gb(model), why)
    memory = served("Qwen 2.5 14B").memory
    kv = 8 * 8192 * memory.kv_per_token / GB
    yield Cell("agents: models", "8 sessions of 8k", "KV GB", 6, kv)
    for name, rate, seconds in (("14B", 135, 4.08), ("8B", 195, 3.0)):
        yield Cell("agents: models", f"a turn on {name}", "s", seconds, turn_s(rate))
    step = served("Llama 3.1 70B").timing
    compose = 250 * step.seconds(0, 0, 1, 1000)
    yield Cell("agents: models", "compose on 70B", "s", 10.4, compose)


def capacity_table() -> Iterator[Cell]:
    """Turns a second of so many sessions without pauses, each alone on its card."""
    name = "agents: capacity"
    for model, active, rate, speed in CAPACITY:
        why = "" if speed > 100 else "its sessions would begin turns faster than they decode them"
        yield Cell(name, model, "turns/s", rate, active / turn_s(speed), why)
    yield Cell(
        name, "daily users an active one", "times", 30, 10,
        "30 in the text, 10 in the table's heading",
    )  # fmt: skip
    yield Cell(
        name, "100 users x 5 turns x 4 calls x 250 tokens", "tokens a day", 50e6,
        100 * 5 * 4 * 250, "the product is half a million, a hundredth",
    )  # fmt: skip
    yield Cell(
        name, "14B's capacity (cap)", "tokens a month", 2.5e9, 16 * 22 * 2_592_000,
        "16 sessions at the chat guide's 22 tokens/s are 352 a second",
    )  # fmt: skip


def costs() -> Iterator[Cell]:
    """Hosted bills by the price lists, and break-even against one card."""
    for volume, bills in COST.items():
        for (model, price), document in zip(HOSTED.items(), bills, strict=True):
            bill = hosted_bill(volume * 1e6, price.blended())
            yield Cell("agents: cost", f"{volume} M tokens", f"{model} USD", document, bill)
    for model, volume_tokens in (("gpt-4o", 140e6), ("claude-sonnet-4-0", 100e6)):
        tokens = break_even_tokens(CARD_A_MONTH, HOSTED[model].blended())
        yield Cell("agents: cost", f"break-even with {model}", "tokens", volume_tokens, tokens)


def large(kv: str) -> Served:
    """Return the consumer case's 70B in 16 bits on four H100s."""
    shape = find_shape("hugging-quants/Meta-Llama-3.1-70B-Instruct-AWQ-INT4")[0]
    plain = replace(shape, method=None, weight_bits=None)
    lane = served_on("70B", plain, cards()["h100"], "h100", cards=4)
    return replace(lane, engine=replace(lane.engine, quantization=None, kv_cache_dtype=kv))


def consumer() -> Iterator[Cell]:
    """The consumer case, stage by stage."""
    name = "consumer"
    yield Cell(name, "50,000 a second, 19 s", "turns in flight", 950_000, in_system(50_000, 19))
    wide, half, small = large("auto"), large("fp8"), served("Llama 3.1 8B", "h100")
    kib = [
        x.memory.kv_per_token * x.engine.tensor_parallel_size / 1024 for x in (wide, half, small)
    ]
    yield Cell(name, "70B, 16-bit KV", "KiB a token", 320, kib[0])
    yield Cell(name, "70B, FP8 KV", "KiB a token", 160, kib[1])
    yield Cell(
        name, "7B, FP8 KV", "KiB a token", 16, kib[2],
        "its text has a fifth of the 70B's; 7B and 8B with 8 KV heads have 64, Qwen 2.5 7B 28",
    )  # fmt: skip
    yield Cell(name, "a history of 4K, 70B", "GB", 1.3, 4096 * 1024 * kib[0] / GB)
    sessions = [x.memory.sessions(4096) / x.engine.cards for x in (wide, half, small)]
    yield Cell(name, "FP8 KV", "times the sessions", 2, sessions[1] / sessions[0])
    yield Cell(
        name, "7B, FP8 KV", "times the sessions", 20, sessions[2] / sessions[0],
        "by its 16 KB a token; with 64, and weights counted, 8",
    )  # fmt: skip
    yield Cell(name, "70B, weights a card", "GB", 35, wide.memory.weights / GB)
    at_40 = 4 * 990e12 * 0.4 / (2 * 70e9)
    yield Cell(name, "prefill of 4,000 tokens at 40 % MFU", "ms", 350, 1000 * 4000 / at_40)
    reached = 1000 * wide.timing.seconds(4000, 4000 * 2000, 0, 0)
    yield Cell(
        name, "prefill of 4,000 tokens by the data sheet", "ms", 350, reached,
        "40 % of the FLOPs is its assumption; large products reach twice that on the 4090",
    )  # fmt: skip
    ready = warm_ratio(10, 180)
    yield Cell(name, "a day's cards", "of the peak's", 0.55, day_share(mean_of_swing(10), ready))
