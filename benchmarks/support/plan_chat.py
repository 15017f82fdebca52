"""Tables of the chatbot guide and the FP8 guide beside the planner's figures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from benchmarks.support.plan_cells import GB, Cell, served, weights_gb
from fleet.cards.table import cards
from fleet.plan.plan import Wish, plan
from fleet.plan.reckoning.demand import DAY_S, demand
from fleet.plan.reckoning.load import load, talk_of
from fleet.plan.reckoning.money import capped_speed, tokens_a_month
from fleet.plan.reckoning.sizing import capacity
from simulator.model.profile import load_profile
from simulator.virtual_time.users import Users
from simulator.virtual_time.workload import load_workload

SAAS = load_workload("saas")
TALK = talk_of(SAAS)
HEADROOM = 1.3
TWO_CARDS = "eight experts are resident: 4 bits of 46.7 billion weights are 25 GB"

MENU = (
    ("Llama 3.1 8B", 11, 30, "", ""),
    ("Mistral 7B", 10, 34, "", ""),
    ("Qwen 2.5 14B", 17, 16, "the agent guide has 10.2 GB for the same weights",
     "its own table: p95 TTFT 0.62 s and 22 tokens/s make the first 30 tokens 1.9 s, not 1.2"),
    ("Mixtral 8x7B", 17, 10, TWO_CARDS, ""),
    ("Phi-3 mini", 5, 60, "",
     "192 KiB of KV a token: 60 sessions have 1,500 tokens each, less than their own history"),
)  # fmt: skip

VRAM = (
    ("8B, no cache", "Llama 3.1 8B", 30, 16), ("8B + cache", "Llama 3.1 8B", 30, 17),
    ("8B + everything, 50", "Llama 3.1 8B", 50, 20), ("14B, 16", "Qwen 2.5 14B", 16, 18),
    ("14B, 26", "Qwen 2.5 14B", 26, 20),
)  # fmt: skip


def menu() -> Iterator[Cell]:
    """VRAM as weights and overhead; users within the SLA with the headroom left free."""
    for model, vram, users, no_vram, no_users in MENU:
        lane = served(model)
        gb = weights_gb(model) + lane.memory.overhead / GB
        yield Cell("chat: models", model, "VRAM GB", vram, gb, no_vram)
        held = capacity(lane.replica(TALK.context), TALK, SAAS.promise).sessions
        yield Cell("chat: models", model, "users", users, held / HEADROOM, no_users)
    lane = served("Llama 3.1 8B")
    long = (lane.memory.weights + lane.memory.overhead + 131_072 * lane.memory.kv_per_token) / GB
    yield Cell("chat: models", "Llama 3.1 8B, 128k", "VRAM GB", 20, long)


def vram() -> Iterator[Cell]:
    """Weights, overhead, and KV of the active sessions' histories and system prompts."""
    for row, model, active, document in VRAM:
        memory = served(model).memory
        tokens = active * (TALK.history + TALK.tokens) + min(TALK.tenants, active) * TALK.system
        gb = (memory.weights + memory.overhead + tokens * memory.kv_per_token) / GB
        yield Cell("chat: VRAM at load", row, "GB", document, gb)


def users() -> Iterator[Cell]:
    """From users to sessions, and from sessions to one card."""
    assert SAAS.users is not None
    name = "chat: sizing"
    # As the guide has it: 180 tokens at 30 tokens/s, and 40 ms to the first.
    counted = demand(SAAS.users, TALK, 180 / 30 + 0.04)
    yield Cell(name, "12,000 users a day", "sessions at peak", 28, counted.peak)
    yield Cell(name, "bursts", "sessions", 42, counted.burst)
    daily = Users(monthly=200_000).daily_users
    yield Cell(name, "200,000 a month", "users a day", 12_000, daily or 0.0)
    found = plan(
        Wish(
            SAAS.model_copy(update={"complex_share": 0.0}),
            Users(active=28),
            cards(),
            {"rtx4090": 1},
            SAAS.promise,
            profiles={"chat": load_profile("llama-3.1-8b-fp8-rtx4090")},
        )
    )
    yield Cell(name, "28 sessions and 30 % room", "cards", 1, found.cards)
    at = load(served("Llama 3.1 8B").replica(TALK.context), TALK, 30)
    yield Cell(name, "30 sessions", "tokens/s per user", 30, at.tokens_per_s_per_user)
    yield Cell(
        name, "30 sessions", "answer p95 s", 4.5, at.answer_p95_s,
        "180 tokens at its own 30 tokens/s are 6 s on average",
    )  # fmt: skip
    yield Cell(
        name, "turns a day", "turns", 12_000, counted.turns_a_day,
        "12,000 are the users a day, who have 6.4 turns a session",
    )  # fmt: skip


def cache() -> Iterator[Cell]:
    """What the prefix cache saves."""
    step = served("Llama 3.1 8B").timing

    def read_ms(tokens: int) -> float:
        return 1000 * step.seconds(tokens, tokens * tokens / 2, 0, 0)

    saved = read_ms(1550) - read_ms(50)
    yield Cell("chat: prefix cache", "a 1,500-token prompt", "ms saved", 125, saved)
    minutes = 12_000 * saved / 1000 / 60
    yield Cell("chat: prefix cache", "12,000 turns", "GPU minutes a day", 25, minutes)
    yield Cell(
        "chat: prefix cache", "1,500 tokens cold", "ms", 17, read_ms(1500),
        "the table below it has 125 ms, and the FP8 guide 19,000 tokens/s: 79 ms",
    )  # fmt: skip
    # 25 minutes of a day are 1.7 % of it; of 30 sessions that is half of one.
    more = 30 * minutes * 60 / DAY_S
    yield Cell(
        "chat: prefix cache", "25 minutes a day", "more users", 10, more,
        "25 minutes of 24 hours are 1.7 % of a card, which holds 30",
    )  # fmt: skip


def triggers() -> Iterator[Cell]:
    """Long contexts on the larger card."""
    name = "chat: triggers"
    small, large = served("Qwen 2.5 14B"), served("Qwen 2.5 14B", "rtx5090")
    times = large.memory.sessions(32_768) / small.memory.sessions(32_768)
    yield Cell(name, "14B at 32k on a 5090", "times the sessions of a 4090", 16 / 8, times)
    yield Cell(
        name, "14B at 32k on a 4090", "sessions", 8, small.memory.sessions(32_768),
        "eight full windows are 26 GB of KV; eight of 15k fit",
    )  # fmt: skip


def fp8() -> Iterator[Cell]:
    """The FP8 guide's throughput, memory, power and volumes."""
    name = "FP8 guide"
    lane = served("Llama 3.1 8B")
    for batch, rate in ((1, 195), (8, 880), (16, 1020), (32, 1100), (64, 1140)):
        seconds = lane.timing.seconds(0, 0, batch, 1000 * batch)
        yield Cell(name, f"decode, batch {batch}", "tokens/s", rate, batch / seconds)
    sheet = replace(lane, profile=None).timing
    yield Cell(
        name, "decode, batch 1, by the data sheet", "tokens/s", 195,
        1 / sheet.seconds(0, 0, 1, 1000),
        "195 times 8.0 GB of weights a step are 1,570 GB/s, on a card with 1,008",
    )  # fmt: skip
    yield Cell(name, "VRAM", "GiB", 22.0, lane.memory.budget / 2**30)
    yield Cell(name, "KV pool of the same without FP8 KV", "GB", 13, lane.memory.pool / GB)
    yield Cell(
        name, "sessions of 64k", "sessions", 32, lane.memory.sessions(65_536),
        "32 times 64k are 137 GB of FP8 KV; three fit",
    )  # fmt: skip
    lost = 1 - capped_speed(cards()["rtx4090"], 400)
    yield Cell(name, "400 W", "throughput lost %", 3.5, 100 * lost)
    held = capacity(lane.replica(TALK.context), TALK, SAAS.promise)
    assert held.at is not None
    assert SAAS.users is not None
    a_day = held.at.turns_per_s / TALK.turns * DAY_S / (24 * SAAS.users.busy_hour_ratio)
    yield Cell(name, "sessions a card and day (12,000 to 22,000)", "sessions", 17_000, a_day)
    capped = tokens_a_month(1100)
    yield Cell(name, "1,100 tokens/s all month", "tokens", 2.85e9, capped)
