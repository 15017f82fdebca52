"""The agent document's stage table and sessions a card, on the simulated RTX 4090 engines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from simulator.model.engine import BatchingEngine, Sequence
from simulator.model.profile import Profile, load_profile
from simulator.virtual_time.report import quantile
from simulator.virtual_time.virtual import run
from simulator.virtual_time.workload import load_workload

QWEN = "qwen-2.5-14b-awq-rtx4090"
STAGES = {
    QWEN: ("135 t/s", (("plan", 1, 120, 0.89), ("tool call", 1, 80, 0.59),
           ("3 tool calls", 3, 80, 0.59), ("compose", 1, 250, 1.85)), 0.10),
    "llama-3.1-8b-fp8-rtx4090": ("195 t/s", (("plan", 1, 120, 0.62), ("tool call", 1, 80, 0.41),
           ("compose", 1, 250, 1.28)), 0.08),
    "llama-3.1-70b-awq-int4-rtx4090": ("24 t/s", (("plan", 1, 120, 5.0), ("tool call", 1, 80, 3.3),
           ("compose", 1, 250, 10.4)), 0.40),
}  # fmt: skip
"""Seconds of decoding by stage (requests at once, tokens), and of a prefill from the cache."""

NETWORK_S = 0.20
TURN_S, BAR_S = 4.08, 5.0
ACTIVE = ((1, 5), (4, 5), (8, 5), (10, 5), (8, 30), (10, 30), (8, 60), (10, 60))
"""Agents, and the mean pause between their turns in seconds."""
HISTORY, NEW = 1400, 120
DURATION_S, SEEDS = 1800.0, (1,)
STATED = {"decode": 0.10, "prefill": 0.75, "turn": 0.15}
"""Largest error that is stated, as a share of the document's figure."""

Data = dict[str, Any]


def _keys(index: int) -> int:
    return (1 << 32) + index


def _branch(number: int) -> Callable[[int], int]:
    """Keys of a prompt that goes on alone after the history."""
    return lambda index: _keys(index) if index < HISTORY // 16 else (number << 40) + index


def stages() -> Iterator[Data]:
    """Each cell of the stage table beside what the card's profile gives."""
    for name, (speed, cells, prefill) in STAGES.items():
        profile = _warm(load_profile(name))
        for stage, requests, tokens, document in cells:
            ttft, decode = _alone(profile, requests, tokens)
            yield _cell(f"{stage} {tokens}, {speed}", document, decode, "decode")
        ttft, _ = _alone(profile, 1, 2)
        yield _cell(f"prefill, prefix cached, {speed}", prefill, ttft, "prefill")


def _cell(what: str, document: float, simulated: float, kind: str) -> Data:
    error = simulated / document - 1
    return {
        "what": what,
        "document s": document,
        "simulated s": simulated,
        "error %": 100 * error,
        "stated error %": 100 * STATED[kind],
    }


def _warm(profile: Profile) -> Profile:
    timing = profile.timing.model_copy(update={"warm_up_s": 0.0})
    return profile.model_copy(update={"timing": timing})


def _alone(profile: Profile, requests: int, tokens: int) -> tuple[float, float]:
    """TTFT and decoding time of requests at once whose history is in the cache."""
    engine = BatchingEngine(profile.timing, profile.scheduling)
    engine.add(Sequence(HISTORY + 1, 1, _keys), 0.0)
    _drain(engine)
    asked = [Sequence(HISTORY + NEW, tokens, _branch(number)) for number in range(2, 2 + requests)]
    for sequence in asked:
        engine.add(sequence, 1000.0)
    _drain(engine)
    first = max(x.first_token_at or 0.0 for x in asked)
    last = max(x.finished_at or 0.0 for x in asked)
    return first - 1000.0 + profile.timing.request_overhead_ms / 1000, last - first


def _drain(engine: BatchingEngine) -> None:
    while engine.next_at is not None:
        engine.advance()


def sessions() -> Iterator[Data]:
    """How long a turn takes with so many agents on the Qwen 14B card, half an hour each."""
    profile, workload = _warm(load_profile(QWEN)), load_workload("agents")
    for active, pause_s in ACTIVE:
        took: list[float] = []
        paused = workload.model_copy(update={"think_s": pause_s})
        for seed in SEEDS:
            result = run(profile, paused, duration_s=DURATION_S, random=Random(seed), active=active)
            took += [x + NETWORK_S for x in result.user_turns_s]
        p50, p95 = quantile(took, 0.5), quantile(took, 0.95)
        row: Data = {
            "what": f"{active} agents, {pause_s} s between turns",
            "turns": len(took),
            "turn p50 s": p50,
        }
        row |= {"turn p95 s": p95, "p95 ≤ 5 s": "yes" if p95 <= BAR_S else "no"}
        row["turns/s"] = len(took) / (len(SEEDS) * (DURATION_S - 60))
        if active == 1:
            row |= {"document s": TURN_S, "error %": 100 * (p50 / TURN_S - 1)}
        yield row
