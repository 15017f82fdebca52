"""The closed form beside the simulation that knows bursts and queues, and Little's law."""

import math
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.cards.table import cards
from fleet.plan.plan import Wish, serve
from fleet.plan.reckoning.demand import demand, in_system, mean_of_swing
from fleet.plan.reckoning.load import cached_share, load, talk_of
from fleet.plan.reckoning.sizing import Wall, capacity, kv_sessions, replicas
from simulator.model.profile import load_profile
from simulator.virtual_time.report import quantile, summary
from simulator.virtual_time.users import Promise, Users
from simulator.virtual_time.virtual import run
from simulator.virtual_time.workload import load_workload

SAAS, AGENTS = load_workload("saas"), load_workload("agents")
VIRTUAL_S = 300.0

CASES = [
    ("rtx4090", "chat", "llama-3.1-8b-fp8-rtx4090", SAAS, 8),
    ("rtx4090", "chat", "llama-3.1-8b-fp8-rtx4090", SAAS, 30),
    ("rtx4090", "chat", None, SAAS, 10),
    ("rtx4090", "chat", None, SAAS, 45),
    ("rtx3090", "chat", None, SAAS, 8),
    ("rtx4090", "quality", None, SAAS, 8),
    ("h100", "agent", None, AGENTS, 10),
]
STATED = {
    "tokens_per_s": 0.10,
    "turns_per_s": 0.10,
    "ttft_p95_s": 0.30,
    "first_30_p95_s": 0.20,
    "answer_p95_s": 0.20,
    "turn_p95_s": 0.20,
}
"""Largest error of the closed form against the simulation, as docs/planning.md has it."""


def lane(kind, name, profile=None, workload=SAAS):
    profiles = {name: load_profile(profile)} if profile else {}
    wish = Wish(workload, Users(active=1), cards(), {kind: 1}, profiles=profiles)
    return serve(wish, name, kind)


@pytest.mark.parametrize(("kind", "name", "profile", "workload", "sessions"), CASES)
def test_the_closed_form_is_the_simulation_s_mean(kind, name, profile, workload, sessions):
    talk, served = talk_of(workload), lane(kind, name, profile, workload)
    found = load(served.replica(talk.context), talk, sessions)
    result = run(
        served.simulated(256, talk.context),
        workload,
        duration_s=VIRTUAL_S,
        random=Random(3),
        active=sessions,
    )
    seen = summary(result.turns)
    simulated = {
        "tokens_per_s": seen["tokens_per_s_per_user_p50"],
        "turns_per_s": len(result.user_turns_s) / (VIRTUAL_S - 60),
        "ttft_p95_s": seen["ttft_p95_ms"] / 1000,
        "first_30_p95_s": seen["first_30_p95_ms"] / 1000,
        "answer_p95_s": seen["duration_p95_ms"] / 1000,
        "turn_p95_s": quantile(result.user_turns_s, 0.95),
    }
    mine = {
        "tokens_per_s": found.tokens_per_s_per_user,
        **{key: getattr(found, key) for key in STATED if key != "tokens_per_s"},
    }
    off = {
        key: (round(simulated[key], 3), round(mine[key], 3))
        for key, most in STATED.items()
        if abs(mine[key] / simulated[key] - 1) > most
    }
    assert not off


@settings(max_examples=15, deadline=None)
@given(sessions=st.floats(0.1, 200), more=st.floats(1.01, 3))
def test_little_s_law_holds_and_more_sessions_are_slower(sessions, more):
    talk = talk_of(SAAS)
    # Past a pool's size more sessions are far fewer turns: histories are read again.
    replica = replace(lane("rtx4090", "chat").replica(talk.context), pool_tokens=math.inf)
    few, many = load(replica, talk, sessions), load(replica, talk, more * sessions)
    cycle_s = few.turn_s + talk.think_s
    assert few.turns_per_s * cycle_s == pytest.approx(sessions, rel=1e-3)
    assert many.tokens_per_s_per_user <= few.tokens_per_s_per_user * 1.001
    assert many.ttft_p95_s >= few.ttft_p95_s * 0.999


def test_histories_that_do_not_fit_are_read_again():
    talk = talk_of(SAAS)
    replica = lane("rtx4090", "chat").replica(talk.context)
    small = replace(replica, pool_tokens=50_000)
    assert cached_share(replica, talk, 30) == 1
    assert 0 < cached_share(small, talk, 30) < 0.5
    assert load(small, talk, 30).prefill_share > 2 * load(replica, talk, 30).prefill_share


def test_sessions_of_a_pool_share_their_tenant_s_prompt():
    talk = replace(talk_of(SAAS), system=1000, tenants=10, history=800, rounds=())
    assert kv_sessions(-5, talk) == 0
    assert kv_sessions(1800 * 7, talk) == 7  # seven tenants, a prompt each
    assert kv_sessions(10 * 1000 + 800 * 25, talk) == 25


def test_the_lower_of_both_walls_is_where_the_promise_breaks():
    talk = talk_of(SAAS)
    replica = lane("rtx4090", "chat").replica(talk.context)
    found = capacity(replica, talk, Promise())
    assert found.wall is Wall.DECODE
    assert load(replica, talk, found.sessions).first_30_p95_s <= 1.2
    assert load(replica, talk, found.sessions + 1).first_30_p95_s > 1.2
    tight = capacity(replica, talk, Promise(ttft_p95_s=0.12, first_30_p95_s=None))
    assert tight.wall is Wall.PREFILL
    large = capacity(replica, talk, Promise(ttft_p95_s=None, first_30_p95_s=None))
    assert large.wall is Wall.KV
    none = capacity(replica, talk, Promise(first_30_p95_s=0.01))
    assert (none.sessions, none.at) == (0, None)


def test_replicas_round_up_and_none_is_no_use():
    assert [replicas(x, 10) for x in (0.1, 10, 10.1, 30)] == [1, 1, 2, 3]
    with pytest.raises(ValueError, match="no session"):
        replicas(1, 0)


def test_demand_of_users_of_sessions_and_of_turns_is_one():
    """Three ways to say the same traffic."""
    talk = talk_of(SAAS)
    by_day = demand(Users(daily=12_000), talk, 4.0)
    at_once = demand(Users(active=by_day.peak), talk, 4.0)
    by_turns = demand(Users(turns_per_s=by_day.turns_per_s), talk, 4.0)
    assert at_once.turns_per_s == pytest.approx(by_day.turns_per_s)
    assert by_turns.peak == pytest.approx(by_day.peak)
    assert by_day.turns_a_day == pytest.approx(12_000 * 6.4)
    assert by_day.shared(0.25).peak == pytest.approx(by_day.peak / 4)
    assert in_system(50_000, 19) == 950_000
    assert mean_of_swing(1) == 1


@pytest.mark.parametrize(
    ("told", "fault"),
    [
        ({}, "give one of"),
        ({"daily": 10, "power": 11}, "more power users"),
        ({"daily": 0}, "greater than or equal to 1"),
        ({"active": 5, "powers": 1}, "Extra inputs"),
    ],
)
def test_users_that_cannot_be_are_refused(told, fault):
    with pytest.raises(ValueError, match=fault):
        Users.model_validate(told)
