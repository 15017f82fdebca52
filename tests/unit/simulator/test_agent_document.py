"""The agent document's figures on the simulated cards, and what of it cannot be had."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from benchmarks.support import agent_card, agent_load

FEW_TURNS = 100
"""Enough to tell 5 s from twice as much."""

SIMULATED_S = {
    "plan 120, 135 t/s": 0.888,
    "tool call 80, 135 t/s": 0.589,
    "3 tool calls 80, 135 t/s": 0.637,
    "compose 250, 135 t/s": 1.860,
    "prefill, prefix cached, 135 t/s": 0.067,
    "plan 120, 195 t/s": 0.615,
    "tool call 80, 195 t/s": 0.408,
    "compose 250, 195 t/s": 1.287,
    "prefill, prefix cached, 195 t/s": 0.021,
    "plan 120, 24 t/s": 4.994,
    "tool call 80, 24 t/s": 3.315,
    "compose 250, 24 t/s": 10.459,
    "prefill, prefix cached, 24 t/s": 0.132,
    "turn: plan": 0.888,
    "turn: 3 tool calls at once": 0.637,
    "turn: compose": 1.860,
    "turn: network, one prefill": 0.267,
    "turn: network, its three prefills": 0.713,
    "turn as counted, one prefill": 4.002,
    "turn of three requests": 4.448,
    "task of five such turns": 22.239,
    "what if: turn on 8B": 3.161,
    "what if: compose 250 on 70B": 10.459,
}
"""Seconds, as docs/benchmarks.md tells them."""


@cache
def cells() -> dict[str, dict[str, Any]]:
    return {row["what"]: row for row in (*agent_card.stages(), *agent_card.turns())}


@pytest.mark.parametrize("what", SIMULATED_S)
def test_a_figure_comes_back_within_its_stated_error(what: str) -> None:
    row = cells()[what]
    assert row["simulated s"] == pytest.approx(SIMULATED_S[what], rel=0.01)
    assert abs(row["error %"]) <= row["stated error %"]


def test_no_figure_is_left_out() -> None:
    assert cells().keys() == SIMULATED_S.keys()


def test_a_task_of_five_turns_keeps_to_its_25_seconds() -> None:
    assert cells()["task of five such turns"]["simulated s"] < 25


def test_tool_calls_of_one_agent_are_nearly_free_and_those_of_ten_are_not() -> None:
    rows = {x["tool calls at once"]: x["more than one call %"] for x in agent_card.parallel()}
    assert 0 < rows[3] < 10
    assert rows[30] > 500


@cache
def loads() -> dict[str, dict[str, Any]]:
    found = agent_load.assumptions(FEW_TURNS)
    return {row["assumed, 5 s between turns"]: row for row in found}


@pytest.mark.parametrize("agents", agent_load.CLAIMED)
def test_turns_under_load_take_twice_the_bound_and_more(agents: int) -> None:
    row = loads()["as the documents' concurrency table has it"]
    assert row[f"{agents} agents, p95 s"] > 2 * agent_load.BAR_S


def test_the_claim_comes_true_on_a_card_that_nothing_slows_and_on_no_other() -> None:
    assert [what for what, row in loads().items() if row["p95 ≤ 5 s"] == "yes"] == ["both of these"]


@pytest.mark.slow
def test_the_claim_comes_true_where_turns_are_ten_and_twenty_minutes_apart() -> None:
    far, near = ((8, 600), (10, 1200)), ((8, 60), (10, 60))
    assert [x["p95 ≤ 5 s"] for x in agent_load.sessions(cases=far)] == ["yes"] * 2
    assert [x["p95 ≤ 5 s"] for x in agent_load.sessions(FEW_TURNS, near)] == ["no"] * 2


@pytest.mark.slow
def test_no_workhorse_takes_half_of_the_capacity_tables_turns() -> None:
    for row in agent_load.workhorses(FEW_TURNS):
        assert row["most turns/s (no pauses)"] < row["document's turns/s"] / 2


def test_what_the_document_says_twice_differs_by_a_quarter_at_least() -> None:
    rows = [*agent_load.statements()]
    assert len(rows) == 11
    for row in rows:
        low, high = sorted((row["figure"], row["other figure"]))
        assert high / low > 1.2, row
