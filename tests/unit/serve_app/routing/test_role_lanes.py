"""Roles of the fleet file, from the file to the decision of a request."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from router.types import LaneDecision, Reason
from serve_app.cli import main
from serve_app.config.errors import ConfigError
from serve_app.config.fleet import FleetConfig
from serve_app.routing.escalation import Escalation
from serve_app.routing.in_step import exchange
from serve_app.routing.policies import build_policies
from tests.unit.serve_app.conftest import FLEET, FakeScorer

HARD = [{"role": "user", "content": "a hard question"}]
EASY = [{"role": "user", "content": "an easy one"}]
GERMAN = [{"role": "user", "content": "Wie setze ich mein Passwort zurück?"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
TOOLS = {"enable_auto_tool_choice": True, "tool_call_parser": "hermes"}
SUB_AGENT = {"x-openai-subagent": "review"}


def lane(name: str, *, tools: bool = True, **more: Any) -> dict[str, Any]:
    args = {"engine_args": TOOLS} if tools else {}
    return {"model_id": name, "model_source": "x", "max_model_len": 4096, **args, **more}


LANES = {
    **FLEET["lanes"],
    "agent": lane("agent"),
    "heavy": lane("heavy"),
    "nemo": lane("nemo"),
    "tiny": lane("tiny", tools=False),
    "cheap": lane("cheap", tools=False),
    "spare": lane("spare", enabled=False),
}
ROLES = {
    "tools": "agent",
    "planning": "heavy",
    "sub_agents": "tiny",
    "background": "cheap",
    "languages": {"nemo": ["de", "fr"]},
}


def fleet_with(**roles: Any) -> FleetConfig:
    routing = {**FLEET["routing"], **ROLES, **roles}
    return FleetConfig.model_validate({**FLEET, "lanes": LANES, "routing": routing})


def use(world: Any, fleet: FleetConfig) -> None:
    made = build_policies(fleet, world.tenants, FakeScorer(), lambda _: 0.5, book=world.book)
    world.state.apply(made)


async def told(world: Any, messages: list[Any], headers: Any = None, **more: Any) -> Any:
    response = await world.post("/v1/route", {"messages": messages, **more}, headers=headers)
    answer = response.json()
    return answer["lane"], answer["reason"], answer["language"]


@pytest.mark.parametrize(
    ("messages", "headers", "more", "expected"),
    [
        (HARD, {}, {"tools": [TOOL]}, ("heavy", "planning", None)),
        (EASY, {}, {"tools": [TOOL]}, ("agent", "tools", None)),
        (HARD, {}, {}, ("quality", "complex", None)),
        (HARD, SUB_AGENT, {}, ("tiny", "sub_agent", None)),
        (HARD, SUB_AGENT, {"tools": [TOOL]}, ("agent", "tools", None)),
        (HARD, {"x-pointsman-background": "1"}, {}, ("cheap", "background", None)),
        (GERMAN, {}, {}, ("nemo", "language", "de")),
        (GERMAN, {}, {"tools": [TOOL]}, ("nemo", "language", "de")),
        (GERMAN, SUB_AGENT, {}, ("nemo", "language", "de")),
        (GERMAN, {}, {"model": "auto"}, ("nemo", "language", "de")),
        (GERMAN, {}, {"model": "quality"}, ("quality", "pinned", None)),
    ],
)
async def test_the_dry_run_explains_each_role(world, messages, headers, more, expected):
    use(world, fleet_with())

    assert await told(world, messages, headers, **more) == expected


async def test_languages_may_be_for_sub_agents_alone(world):
    use(world, fleet_with(language_scope="sub_agents"))

    assert await told(world, GERMAN) == ("chat", "default", None)
    assert await told(world, GERMAN, SUB_AGENT) == ("nemo", "language", "de")


async def test_a_conversation_does_not_change_lanes_for_what_is_pasted(world):
    use(world, fleet_with())
    answered = [*GERMAN, {"role": "assistant", "content": "Das steht auf der Seite."}]
    pasted = [*answered, {"role": "user", "content": "What does this message mean: no such user?"}]

    assert await told(world, pasted) == ("nemo", "language", "de")


async def test_a_role_waits_for_a_lane_that_is_off(world):
    """Switching the lane on is all that there is to do."""
    off = {"planning": "spare", "sub_agents": "spare", "background": "spare"}
    fleet = fleet_with(**off, languages={"spare": ["de"]}, tool_fallback=["spare", "quality"])
    use(world, fleet)

    assert world.state.policies.languages is None
    assert await told(world, HARD, tools=[TOOL]) == ("agent", "tools", None)
    assert await told(world, HARD, SUB_AGENT) == ("chat", "default", None)
    assert await told(world, GERMAN) == ("chat", "default", None)
    named = [warning.split(":")[0] for warning in fleet.idle_roles]
    assert named == [f"routing.{x}" for x in (*off, "languages", "tool_fallback")]


def test_a_role_whose_lane_calls_no_tools_is_told():
    fleet = fleet_with(planning="tiny", languages={"cheap": ["de"]})

    told_of = "\n".join(fleet.idle_roles)

    assert "routing.planning: lane 'tiny' calls no tools" in told_of
    assert "no request goes there" in told_of
    assert "routing.languages: lane 'cheap' calls no tools" in told_of
    assert not [x for x in fleet_with(sub_agents="nemo").idle_roles if "heavy" in x]


@pytest.mark.parametrize(
    ("roles", "said"),
    [
        ({"planning": "haevy"}, "routing.planning: no lane 'haevy'; did you mean 'heavy'?"),
        ({"tool_fallback": "haevy"}, "routing.tool_fallback: no lane 'haevy'"),
        ({"languages": {"nem": ["de"]}}, "routing.languages: no lane 'nem'"),
        ({"languages": {"nemo": ["de"], "heavy": ["de"]}}, "'de' is of nemo and of heavy"),
        ({"languages": {"nemo": ["DE"]}}, "string_pattern_mismatch"),
        ({"tool_fallback": ["chat"] * 5}, "too_long"),
        ({"language_scope": "some"}, "literal_error"),
    ],
)
def test_a_role_that_cannot_be_is_refused(roles, said):
    with pytest.raises(ValidationError) as error:
        fleet_with(**roles)

    kinds = [fault["type"] for fault in error.value.errors()]
    assert said in str(error.value) or said in kinds


def test_a_language_that_nobody_can_tell_is_refused(world):
    with pytest.raises(ConfigError, match="'xq' is no language"):
        use(world, fleet_with(languages={"nemo": ["xq"]}))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("roles", "is_ok", "said"),
    [
        ({"planning": "spare"}, True, "warning: routing.planning: lane 'spare' is off"),
        ({}, True, "every role's lane is on"),
        ({"languages": {"nemo": ["xq"]}}, False, "'xq' is no language"),
    ],
)
def test_doctor_looks_at_roles(tmp_path, capsys, roles, is_ok, said):
    routing = {**FLEET["routing"], **ROLES, "sub_agents": "agent", "background": "agent", **roles}
    path = tmp_path / "fleet.yaml"
    path.write_text(yaml.safe_dump({**FLEET, "lanes": LANES, "routing": routing}))

    main(["doctor", "--config", str(path), "--json"])
    told = capsys.readouterr().out.splitlines()[-1]

    (row,) = [x for x in json.loads(told) if x["check"] == "roles"]
    assert row["ok"] is is_ok
    assert said in row["detail"]


# -- the share of agents' turns ----------------------------------------------------


def tenant(planning_budget: float | None = None) -> Any:
    rules = SimpleNamespace(budgets={}, planning_budget=planning_budget)
    return SimpleNamespace(name="acme", rules=rules)


@pytest.fixture
def policies(world):
    use(world, fleet_with())
    return world.state.policies


def planned(policies: Any, **more: Any) -> LaneDecision:
    heavy = policies.routing.lanes["heavy"]
    found = LaneDecision(heavy, Reason.PLANNING, 0.9, 0.5, is_planning=True)
    return replace(found, **more)


def asked(*users: str) -> Any:
    prompt = SimpleNamespace(users=users, system="", dropped_users=0)
    return SimpleNamespace(prompt=prompt, tools=1)


def view(escalation: Escalation, policies: Any, who: Any) -> Any:
    return escalation.judge(policies, who, asked("hard"), is_planning=True).views["heavy"]


def test_agents_turns_have_a_share_and_budgets_of_their_own(policies):
    """Those of chats are neither spent nor moved."""
    escalation = Escalation(policies, "r1")
    before = escalation.status()
    while view(escalation, policies, tenant()).has_budget:
        escalation.note(tenant(), planned(policies))

    assert escalation.status() == before
    assert escalation.planning_status()["share"] > 0
    chats = escalation.judge(policies, tenant(), asked("hard")).views
    assert chats["quality"].has_budget
    assert list(chats) == ["quality"]


def test_a_tenants_own_budget_of_them_counts(policies):
    escalation = Escalation(policies, "r1")
    for _ in range(30):
        escalation.note(tenant(0.2), planned(policies))

    assert view(escalation, policies, tenant(0.2)).has_sticky_budget
    assert not view(escalation, policies, tenant(0.0)).has_sticky_budget


def test_turns_from_elsewhere_are_paid_for(policies):
    escalation = Escalation(policies, "r1")
    adopted = planned(policies, reason=Reason.STICKY, score=None, is_adopted=True)
    count = 0
    while view(escalation, policies, tenant()).may_adopt and count < 1000:
        escalation.note(tenant(), adopted)
        count += 1

    assert 0 < count < 100
    assert escalation.planning_status()["share"] == 0
    assert escalation.busy_lanes() == ["heavy"]


def test_a_full_planning_lane_yields(policies, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr("serve_app.routing.escalation.time.monotonic", lambda: clock[0])
    escalation = Escalation(policies, "r1")
    full = [{"waiting": 40, "running": 16, "kv_utilization": 0.99}]
    for _ in range(60):
        clock[0] += 2
        fraction = escalation.observe("heavy", full)

    assert fraction > 0.5
    assert escalation.planning_status()["yield"] == fraction
    level = view(escalation, policies, tenant())
    assert level.yield_threshold >= level.threshold


async def test_ingress_replicas_tell_each_other_of_agents_turns(policies):
    here, there = Escalation(policies, "r1"), Escalation(policies, "r2")
    for _ in range(20):
        there.note(tenant(), planned(policies))

    async def broadcast(_: str) -> list[Any]:
        await asyncio.sleep(0)
        return [there.export(), here.export()]

    await exchange(here, broadcast)

    assert here.planning_status()["share"] == there.planning_status()["share"] > 0


def test_without_a_planning_lane_there_is_nothing_to_tell(world):
    escalation = Escalation(world.state.policies, "r1")

    assert escalation.planning_status() is None
    assert "planning" not in escalation.export()
    escalation.merge(escalation.export())


def test_a_request_that_a_reload_overtakes_is_not_scored(world, policies):
    """Its lanes may have no level any more; it goes where it would go without one."""
    escalation = Escalation(policies, "r1")
    other = fleet_with(planning=None, complex=None)
    use(world, other)
    escalation.apply(world.state.policies)

    judgement = escalation.judge(policies, tenant(), asked("hard"), is_planning=True)

    assert not judgement.scores
    escalation.note(tenant(), planned(policies, score=None, is_adopted=True))
    escalation.note(tenant(), planned(policies))


def test_a_turn_of_a_role_that_a_reload_takes_away_is_no_chat(world, policies):
    """What was planned before it is noted behind it."""
    escalation = Escalation(policies, "r1")
    use(world, fleet_with(planning=None))
    escalation.apply(world.state.policies)

    escalation.note(tenant(), planned(policies))
    assert escalation.export()["scored"] == 0

    escalation.note(tenant(), planned(policies, is_planning=False))
    assert escalation.export()["scored"] == 1
