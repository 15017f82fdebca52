"""Several agents on one simulated RTX 4090: how long their turns take, and why.

The agent document gives 8 to 10 agents a card with a turn's 95th percentile under 5 s.
`sessions` asks how far apart their turns have to be for that, `assumptions` what would
have to be so with 5 s between turns, `workhorses` the same of its capacity table, and
`statements` which of its sentences cannot both hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any, NamedTuple

from benchmarks.support.agent_card import (
    LLAMA,
    LLAMA_70B,
    NETWORK_S,
    QWEN,
    steady,
    warm,
)
from simulator.model.profile import Profile, load_profile
from simulator.virtual_time.report import quantile
from simulator.virtual_time.virtual import run
from simulator.virtual_time.workload import Workload, load_workload

BAR_S = 5.0
ACTIVE = ((1, 5), (2, 5), (8, 5), (10, 5), (8, 60), (10, 60), (8, 300), (10, 300), (8, 600),
          (10, 1200))  # fmt: skip
"""Agents, and the mean pause between their turns in seconds."""

PAUSE_S, CLAIMED = 5.0, (8, 10)
TURNS = 1500
TURN_S = 6.0
"""Roughly, to know how long to run."""

WARM_UP_S = 60.0
WORKHORSES = {LLAMA: (16, 5.0), QWEN: (10, 3.0), "qwen-2.5-32b-awq-rtx4090": (5, 1.5),
              LLAMA_70B: (4, 0.8)}  # fmt: skip
"""The capacity table: active sessions, and turns a second."""

OUTPUTS = (120, 80, 250)
"""Tokens of plan, one tool call and compose."""

Data = dict[str, Any]


class Load(NamedTuple):
    """Turns of agents on one card, in seconds."""

    turns: int
    p50_s: float
    p95_s: float
    per_s: float


def held(profile: Profile, workload: Workload, active: int, pause_s: float, turns: int) -> Load:
    """About so many turns of agents that pause between theirs for so long on average."""
    duration_s = WARM_UP_S + turns * (pause_s + TURN_S) / active
    paused = workload.model_copy(update={"think_s": pause_s})
    result = run(profile, paused, duration_s=duration_s, random=Random(1), active=active)
    took = [x + NETWORK_S for x in result.user_turns_s]
    per_s = len(took) / (duration_s - WARM_UP_S)
    return Load(len(took), quantile(took, 0.5), quantile(took, 0.95), per_s)


def sessions(turns: int = TURNS, cases: tuple[tuple[int, int], ...] = ACTIVE) -> Iterator[Data]:
    """How long a turn takes with so many agents and pauses on the Qwen 14B card."""
    profile, workload = warm(load_profile(QWEN)), load_workload("agents")
    for active, pause_s in cases:
        load = held(profile, workload, active, pause_s, turns)
        yield {
            "what": f"{active} agents, {pause_s} s between turns",
            "turns": load.turns,
            "turn p50 s": load.p50_s,
            "turn p95 s": load.p95_s,
            "p95 ≤ 5 s": "yes" if load.p95_s <= BAR_S else "no",
            "turns/s": load.per_s,
        }


def assumptions(turns: int = TURNS) -> Iterator[Data]:
    """What becomes of the claim where one thing at a time is different, 5 s between turns."""
    card, workload = warm(load_profile(QWEN)), load_workload("agents")
    cases = (
        ("as the documents' concurrency table has it", card, workload),
        ("prompts and results of one length", card, steady(workload)),
        ("tools answer at once", card, _with(workload, wait_s=0.0)),
        ("half of the output tokens", card, _shorter(workload)),
        ("prompts are read at no cost", _read_freely(card), workload),
        ("a batch decodes as fast as one sequence", _flat(card), workload),
        ("both of these", _read_freely(_flat(card)), workload),
    )
    for what, profile, changed in cases:
        loads = [held(profile, changed, active, PAUSE_S, turns) for active in CLAIMED]
        row: Data = {"assumed, 5 s between turns": what}
        row |= {f"{n} agents, p95 s": x.p95_s for n, x in zip(CLAIMED, loads, strict=True)}
        yield row | {"p95 ≤ 5 s": "yes" if max(x.p95_s for x in loads) <= BAR_S else "no"}


def _with(workload: Workload, **changes: Any) -> Workload:
    changed = [stage.model_copy(update=changes) for stage in workload.stages]
    return workload.model_copy(update={"stages": changed})


def _shorter(workload: Workload) -> Workload:
    halves = [
        stage.model_copy(
            update={"output": stage.output.model_copy(update={"mean": stage.output.mean / 2})}
        )
        for stage in workload.stages
    ]
    return workload.model_copy(update={"stages": halves})


def _flat(profile: Profile) -> Profile:
    """Decoding that a batch of any size, and what it has read, make no slower."""
    one = profile.timing.decode_step_ms[1]
    return _timed(profile, decode_step_ms={1: one, 64: one}, context_ns_per_token=0.0)


def _read_freely(profile: Profile) -> Profile:
    return _timed(profile, prefill_ms_per_token=0.0, prefill_step_ms=0.0, interference=0.0)


def _timed(profile: Profile, **changes: Any) -> Profile:
    return profile.model_copy(update={"timing": profile.timing.model_copy(update=changes)})


def workhorses(turns: int = TURNS) -> Iterator[Data]:
    """The capacity table's sessions and turns a second, beside what the cards give."""
    workload = load_workload("agents")
    for name, (active, per_s) in WORKHORSES.items():
        profile = warm(load_profile(name))
        load = held(profile, workload, active, PAUSE_S, turns // 3)
        most = held(profile, workload, active, 0.0, turns // 3)
        yield {
            "workhorse": name.removesuffix("-rtx4090"),
            "document's sessions": active,
            "turn p95 s, 5 s between turns": load.p95_s,
            "document's turns/s": per_s,
            "most turns/s (no pauses)": most.per_s,
        }


def statements() -> Iterator[Data]:
    """Sentences of the document beside others of it, or its sister's, that contradict them."""
    plan, call, compose = OUTPUTS
    a_turn = plan + 3 * call + compose
    at_once = plan + call + compose
    cases = (
        ("10 agents on 14B take 3 turns/s: one of an agent's each so many s", 10 / 3,
         "one turn takes, with nobody else there", 4.08),
        ("5 agents on 32B take 1.5 turns/s: one each so many s", 5 / 1.5,
         "decoding alone, at its 65 tokens/s", at_once / 65),
        ("4 agents on 70B take 0.8 turns/s: one each so many s", 4 / 0.8,
         "decoding alone, at its 24 tokens/s", at_once / 24),
        ("3 turns/s on 14B are so many tokens/s", 3.0 * a_turn,
         "16 active sessions on 14B have 22 tokens/s each: in all", 16 * 22.0),
        ("a compose of 250 tokens takes, in a turn of 5 s at p95", 1.85,
         "at 22 tokens/s", compose / 22),
        ("five turns take, where tool calls overlap", 3.5, "five composes", 5 * 1.85),
        ("a short answer of 70B takes", 1.5, "a plan, in the stage table", 5.0),
        ("prefill and network of the worked turn", 0.40, "in the stage table", 0.10 + NETWORK_S),
        ("14B has 10.2 GB of weights; at 135 tokens/s it reads so many GB/s", 10.2 * 135,
         "the card reads at most", 1008.0),
        ("100 users a day are so many million tokens a day", 50.0,
         "5 turns of 4 calls of 250 tokens each", 100 * 5 * 4 * 250 / 1e6),
        ("10 agents are so many users a day, 30 to one", 300.0, "in the capacity table", 100.0),
    )  # fmt: skip
    for said, figure, against, other in cases:
        yield {"it is said": said, "figure": figure, "but": against, "other figure": other}
