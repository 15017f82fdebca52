"""What must always hold of the lanes of a tool loop."""

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.support.agent_bodies import DIALECTS
from router.routing.turn_lanes import TurnLanes
from router.types import LaneDecision, Reason
from serve_app.bodies.routes import ROUTES
from serve_app.config.fleet import FleetConfig
from serve_app.config.tenants import TenantsConfig
from serve_app.metrics import Metrics
from serve_app.pipeline.pipeline import Pipeline
from serve_app.pipeline.state import IngressState
from serve_app.routing.policies import build_policies
from tests.examples import examples
from tests.unit.serve_app.conftest import FLEET, FakeLanes, FakeScorer

CHAT = "/v1/chat/completions"
BUDGET = 0.05


class Ingress:
    """One ingress replica that decides, and counts what it decided as admitted."""

    def __init__(self) -> None:
        fleet = FleetConfig.model_validate(FLEET)
        tiers = {"any": {"escalation_budget": BUDGET}}
        tenants = TenantsConfig.model_validate(
            {"tiers": tiers, "tenants": {"local": {"tier": "any"}}, "local_tenant": "local"}
        )
        self.state = IngressState(
            build_policies(fleet, tenants, FakeScorer(), lambda _: 0.5), secret="s3"
        )
        self.pipeline = Pipeline(self.state, FakeLanes(), Metrics())
        found = self.state.policies.auth.tenant("local")
        assert found is not None
        self.tenant = found

    def ask(self, path, body, **headers) -> LaneDecision:
        named = {name.replace("_", "-").encode(): value for name, value in headers.items()}
        call = self.pipeline.call(ROUTES[path], named, self.tenant)
        plan = asyncio.run(self.pipeline.decide(call, json.dumps(body).encode()))
        self.pipeline.noting.note_admitted(call, plan)
        return plan.decision

    def others(self, count) -> None:
        """So many other hard requests of the tenant, which spend its budget."""
        for number in range(count):
            body = {"messages": [{"role": "user", "content": f"A hard one, {number}"}]}
            self.ask(CHAT, body, x_session_id=b"another")


def loop(path, word, steps, earlier):
    """Bodies of a turn's requests: its first, and one for the results of each step."""
    before = [[["f", {"n": n}, "earlier"]] for n in range(earlier)]
    for done in range(steps + 1):
        calls = [["f", {"step": step}, f"result {step}"] for step in range(done)]
        body = DIALECTS[path]([*before, calls])
        text = json.dumps(body).replace(f"Task {earlier}", f"{word} {earlier}")
        yield json.loads(text)


loops = st.tuples(
    st.sampled_from(sorted(DIALECTS)),
    st.sampled_from(["A hard task", "An easy task"]),
    st.integers(1, 6),
    st.integers(0, 4),
)
crowds = st.lists(st.sampled_from([0, 0, 1, 3, 30]), min_size=7, max_size=7)


@given(loops, st.integers(0, 25), crowds)
@examples(60)
def test_a_tool_loop_never_changes_its_lane(asked, before, crowd):
    """Whether it began on the stronger lane or yielded, and whatever is spent meanwhile."""
    ingress = Ingress()
    ingress.others(before)
    decisions = []
    for body, others in zip(loop(*asked), crowd, strict=False):
        decisions.append(ingress.ask(asked[0], body))
        ingress.others(others)

    assert len({decision.lane.name for decision in decisions}) == 1, decisions
    first, *later = decisions
    is_plain = first.reason is Reason.DEFAULT
    assert {step.reason for step in later} == {Reason.DEFAULT if is_plain else Reason.STICKY}
    # None is counted as scored again, so none is paid for.
    assert all(step.score is None for step in later)


@given(loops, crowds)
@examples(40)
def test_a_turn_that_went_up_stays_up_where_nobody_knows_it(asked, crowd):
    """Another ingress replica, or this one after a restart, finds it in the request."""
    ingress = Ingress()
    decisions = []
    for body, others in zip(loop(*asked), crowd, strict=False):
        ingress.state.turn_lanes = TurnLanes()
        decisions.append(ingress.ask(asked[0], body))
        ingress.others(others)

    assert len({decision.lane.name for decision in decisions}) == 1, decisions


@given(st.sampled_from(sorted(DIALECTS)), st.integers(0, 200))
@examples(20)
def test_made_up_turns_reach_the_stronger_lane_within_a_budget(path, before):
    """A client may write into its history what it likes, and send nothing but steps."""
    ingress = Ingress()
    ingress.others(before)
    reached = 0
    for number in range(300):
        *_, made_up = loop(path, f"A hard task {number}", 1, 0)
        reached += ingress.ask(path, made_up, x_session_id=b"mine").lane.name == "quality"

    # What one may hold is half of the budget's worth of 1,000 requests.
    assert 0 < reached <= 500 * BUDGET


@pytest.mark.parametrize("path", sorted(DIALECTS))
def test_one_question_is_not_good_for_a_life_on_the_stronger_lane(path):
    """Steps are paid for again in the end, though their turn stays the same."""
    ingress = Ingress()
    first, step = loop(path, "A hard task", 1, 0)
    lanes = [ingress.ask(path, first).lane.name]
    lanes += [ingress.ask(path, step).lane.name for _ in range(2_800)]

    assert lanes[:1_000] == ["quality"] * 1_000
    assert lanes[-1] == "chat"


@pytest.mark.parametrize("path", sorted(DIALECTS))
def test_the_loops_here_reach_every_beginning(path):
    """Else the properties say less than they seem to."""
    reasons = set()
    for word, before in (("A hard task", 0), ("A hard task", 200), ("An easy task", 0)):
        ingress = Ingress()
        ingress.others(before)
        reasons.add(ingress.ask(path, next(loop(path, word, 1, 0))).reason)

    assert reasons == {Reason.COMPLEX, Reason.YIELDED, Reason.DEFAULT}
