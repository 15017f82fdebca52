"""The agent document's stage table and turns of one agent, on the simulated RTX 4090 engines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from simulator.model.engine import BatchingEngine, Sequence
from simulator.model.profile import Profile, load_profile
from simulator.virtual_time.report import quantile
from simulator.virtual_time.virtual import run
from simulator.virtual_time.workload import Workload, load_workload

QWEN, LLAMA = "qwen-2.5-14b-awq-rtx4090", "llama-3.1-8b-fp8-rtx4090"
LLAMA_70B = "llama-3.1-70b-awq-int4-rtx4090"
STAGES = {
    QWEN: ("135 t/s", (("plan", 1, 120, 0.89), ("tool call", 1, 80, 0.59),
           ("3 tool calls", 3, 80, 0.59), ("compose", 1, 250, 1.85)), 0.10),
    LLAMA: ("195 t/s", (("plan", 1, 120, 0.62), ("tool call", 1, 80, 0.41),
           ("compose", 1, 250, 1.28)), 0.08),
    LLAMA_70B: ("24 t/s", (("plan", 1, 120, 5.0), ("tool call", 1, 80, 3.3),
           ("compose", 1, 250, 10.4)), 0.40),
}  # fmt: skip
"""Seconds of decoding by stage (requests at once, tokens), and of a prefill from the cache."""

NETWORK_S, OBSERVE_S, TOOLS_S = 0.20, 0.05, 0.35
"""Of a turn; no engine's work, so they are the document's."""

PREFILL_AND_NETWORK_S = 0.40
TURNS = {QWEN: 4.08, LLAMA: 3.0}
"""Seconds of the document's worked turn."""

TASK_TURNS, TASK_S = 5, 20.0
LONG_COMPOSE_70B_S = 10.0
"""The upper end of its 8 to 10 s."""

AT_ONCE = (1, 3, 8, 16, 30)
HISTORY, NEW = 1400, 120
ALONE_S = 600.0
STATED = {"decode": 0.10, "prefill": 0.75, "prefills": 1.0, "turn": 0.15}
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
        profile = warm(load_profile(name))
        for stage, requests, tokens, document in cells:
            ttft, decode = alone(profile, requests, tokens)
            yield _cell(f"{stage} {tokens}, {speed}", document, decode, "decode")
        ttft, _ = alone(profile, 1, 2)
        yield _cell(f"prefill, prefix cached, {speed}", prefill, ttft, "prefill")


def turns() -> Iterator[Data]:
    """The worked turn, by its parts and in all, and what the document says of other models."""
    profile = warm(load_profile(QWEN))
    (plan, calls, compose), prefill = _worked(profile), alone(profile, 1, 2)[0]
    whole = turn_s(profile)
    prefills = whole - plan - calls - TOOLS_S - compose
    yield _cell("turn: plan", 0.89, plan, "decode")
    yield _cell("turn: 3 tool calls at once", 0.59, calls, "decode")
    yield _cell("turn: compose", 1.85, compose, "decode")
    yield _cell("turn: network, one prefill", PREFILL_AND_NETWORK_S, NETWORK_S + prefill, "prefill")
    yield _cell("turn: network, its three prefills", PREFILL_AND_NETWORK_S, prefills, "prefills")
    counted = plan + calls + TOOLS_S + compose + NETWORK_S + prefill
    yield _cell("turn as counted, one prefill", TURNS[QWEN], counted, "turn")
    yield _cell("turn of three requests", TURNS[QWEN], whole, "turn")
    yield _cell("task of five such turns", TASK_S, TASK_TURNS * whole, "turn")
    yield _cell("what if: turn on 8B", TURNS[LLAMA], turn_s(warm(load_profile(LLAMA))), "turn")
    _, compose = alone(warm(load_profile(LLAMA_70B)), 1, 250)
    yield _cell("what if: compose 250 on 70B", LONG_COMPOSE_70B_S, compose, "decode")


def parallel() -> Iterator[Data]:
    """What tool calls at once cost on the 14B card: they are said to cost nothing."""
    profile = warm(load_profile(QWEN))
    one = alone(profile, 1, 80)[1]
    for calls in AT_ONCE:
        took = alone(profile, calls, 80)[1]
        yield {
            "tool calls at once": calls,
            "80 tokens each, s": took,
            "more than one call %": 100 * (took / one - 1),
            "document s": 0.59 if calls in (1, 3) else "",
        }


def _worked(profile: Profile) -> tuple[float, float, float]:
    """Seconds of decoding of plan, three tool calls and compose."""
    plan, calls, compose = (alone(profile, *x)[1] for x in ((1, 120), (3, 80), (1, 250)))
    return plan, calls, compose


def turn_s(profile: Profile) -> float:
    """Median seconds of a turn of one agent alone, tools and network included."""
    result = run(
        profile, steady(load_workload("agents")), duration_s=ALONE_S, random=Random(1), active=1
    )
    return quantile(result.user_turns_s, 0.5) + NETWORK_S


def steady(workload: Workload) -> Workload:
    """The workload with all inputs of their mean length."""
    even = [
        stage.model_copy(update={"input": stage.input.model_copy(update={"sigma": 0.0})})
        for stage in workload.stages
    ]
    return workload.model_copy(update={"stages": even})


def _cell(what: str, document: float, simulated: float, kind: str) -> Data:
    error = simulated / document - 1
    return {
        "what": what,
        "document s": document,
        "simulated s": simulated,
        "error %": 100 * error,
        "stated error %": 100 * STATED[kind],
    }


def warm(profile: Profile) -> Profile:
    """The profile of an engine that has been warmed up."""
    timing = profile.timing.model_copy(update={"warm_up_s": 0.0})
    return profile.model_copy(update={"timing": timing})


def alone(profile: Profile, requests: int, tokens: int) -> tuple[float, float]:
    """TTFT and decoding time of requests at once whose history is in the cache, in seconds."""
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
