"""How often the loop guard stops what is no loop, and how late it finds what is one.

    make bench-loops

The conversations are those of BFCL's multi-turn categories, whose calls are run against
BFCL's own simulated systems (`scripts/install-bfcl`). Without BFCL, this says so and
measures planted loops alone.

False stops: each conversation is judged as its client would send it, after each step, in
all three dialects; once turn by turn, and once with all of its turns as one, as an agent
works that got the whole task at once. Loops: at the end of a turn of each conversation one
of every kind is planted, and it is judged after each further call.
"""

from __future__ import annotations

import json
import random
from typing import Any

from benchmarks.support.agent_bodies import DIALECTS, Turns
from benchmarks.support.bfcl import read_bfcl
from benchmarks.support.report import write
from router.agents.loops import LoopKind, LoopRules, find_loop
from router.agents.task import Call, Result, Step
from router.agents.task_table import TaskTable
from router.errors import Rejected
from serve_app.agents.guard import guarding
from serve_app.bodies.parsed_request import ParsedRequest, parse
from serve_app.bodies.routes import ROUTES
from serve_app.bodies.steps import at_once
from serve_app.config.agents import AgentConfig, LoopsConfig

STOPPING = LoopsConfig(action="stop")
STRICTEST = LoopsConfig(repeats=2, cycle=2, changing=2, near=2, action="stop")
"""How far from being loops the conversations are."""

RULES = LoopsConfig().rules
SEED = 7
LATE_CALLS = 2
"""A planted loop is found in time if no more calls than these were made beyond its rule."""


def stopped_at(turns: Turns, path: str, loops: LoopsConfig) -> str | None:
    """The refusal of a conversation's first request that is refused."""
    config = AgentConfig(turn_depth=None, task_depth=None, loops=loops)
    for number, turn in enumerate(turns):
        for calls in range(1, len(turn) + 1):
            body = DIALECTS[path]([*turns[:number], turn[:calls]])
            parsed = parse(json.dumps(body).encode(), ROUTES[path])
            assert isinstance(parsed, ParsedRequest), parsed
            guarded = at_once(guarding(parsed, config, TaskTable(), "", 0.0))
            if isinstance(guarded, Rejected):
                return guarded.message
    return None


def false_stops(
    conversations: list[Turns], name: str, loops: LoopsConfig = STOPPING
) -> dict[str, Any]:
    """Conversations that are stopped though none of them has a loop."""
    refusals = [refusal for turns in conversations if (refusal := _refusal(turns, loops))]
    for refusal in refusals:
        print(f"  {refusal[:110]}")
    steps = [len(turn) for turns in conversations for turn in turns]
    return {
        "what": f"false stops, {name}",
        "conversations": len(conversations),
        "steps": sum(steps),
        "longest turn": max(steps),
        "stopped": len(refusals),
        "share %": 100 * len(refusals) / len(conversations),
    }


def _refusal(turns: Turns, loops: LoopsConfig) -> str | None:
    refusals = (stopped_at(turns, path, loops) for path in DIALECTS)
    return next(filter(None, refusals), None)


def planted_step(kind: LoopKind, period: int, number: int, rng: random.Random) -> Step:
    """One call of an endless loop."""
    place = number % period
    query = f"item {rng.randrange(10**6) if kind is LoopKind.NEAR else place}"
    text = f"at {number}" if kind is LoopKind.CHANGING else f"nothing found by {place}"
    result = Result(len(text), text.encode(), is_futile=kind is not LoopKind.CHANGING)
    arguments = json.dumps({"query": query, "page": 1})
    return (Call("", f"search{place % 3}", arguments, result),)


def late_calls(kind: LoopKind, period: int, begun: list[Step], rng: random.Random) -> int:
    """Calls beyond the rule's own number until a loop at the end of a turn is found."""
    turn = list(begun)
    while find_loop(turn, RULES) is None:
        turn.append(planted_step(kind, period, len(turn) - len(begun), rng))
    return len(turn) - len(begun) - _rounds(kind, RULES) * period


def _rounds(kind: LoopKind, rules: LoopRules) -> int:
    rounds = getattr(rules, {LoopKind.REPEAT: "repeats"}.get(kind, kind.value))
    assert isinstance(rounds, int)
    return rounds


def planted_loops(conversations: list[Turns], kind: LoopKind) -> dict[str, Any]:
    """How late loops of a kind are found at the end of the first turn of each conversation."""
    rng = random.Random(SEED)
    late = []
    for turns in conversations:
        period = rng.randint(2, RULES.max_period) if kind is LoopKind.CYCLE else 1
        begun = [_step(*call) for call in turns[0]]
        late.append(late_calls(kind, period, begun, rng))
    return {
        "what": f"planted loops, {kind}",
        "conversations": len(late),
        f"found ≤ {LATE_CALLS} calls late %": 100
        * sum(calls <= LATE_CALLS for calls in late)
        / len(late),
        "most calls late": max(late),
    }


def _step(name: str, arguments: dict[str, Any], result: str) -> Step:
    text = json.dumps(arguments, sort_keys=True)
    return (Call("", name, text, Result(len(result), result.encode())),)


def main() -> None:
    """Print and write the table."""
    conversations: list[Turns] = [talk["turns"] for talk in read_bfcl("bfcl_transcripts.py")]
    rows = []
    if conversations:
        rows.append(false_stops(conversations, "turn by turn"))
        joined = [[[call for turn in turns for call in turn]] for turns in conversations]
        rows.append(false_stops(joined, "all turns as one"))
        rows.append(false_stops(joined, "all turns as one, every rule at 2", STRICTEST))
    begun: list[Turns] = conversations or [[[]] for _ in range(100)]
    rows += [planted_loops(begun, kind) for kind in LoopKind]
    write(
        "loops",
        rows,
        title="Loops: false stops and planted ones",
        notes=f"Rules: {RULES}. Conversations: the ground truth of BFCL's multi-turn "
        "categories, run against its own systems. A conversation is stopped if any of its "
        "requests is refused in any dialect.",
    )


if __name__ == "__main__":
    main()
