"""Repairs of tool calls where a stronger lane shares its cards and sleeps."""

from types import SimpleNamespace

import pytest

from tests.unit.serve_app.agents.answers import CHAT, Answer
from tests.unit.serve_app.agents.test_gate import GOOD
from tests.unit.serve_app.conftest import with_tier
from tests.unit.serve_app.relay.test_tool_repair import (
    HOLDS,
    WRONG,
    answered,
    body,
    streamed,
    with_fallbacks,
)


async def passed(*_):
    """The request's own lane is awake."""


@pytest.mark.parametrize("streams", [True, False])
async def test_a_lane_that_sleeps_is_not_asked_for_a_repair(world, streams):
    """Its engine could only refuse: the next one is asked."""
    with_fallbacks(world, "heavy", "top")
    with_tier(world, **HOLDS)
    world.state.gates = SimpleNamespace(is_shut=lambda lane: lane == "heavy", enter=passed)
    wrong = Answer([], [WRONG])
    first = streamed(CHAT, wrong) if streams else answered(CHAT, wrong)
    world.lanes.answers = [first, answered(CHAT, wrong), answered(CHAT, Answer([], [GOOD]))]

    response = await world.post(CHAT, body(CHAT, streams=streams), key="acme")

    urls = [sent.url for sent in world.lanes.opened]
    assert urls == ["http://chat", "http://chat", "http://top"]
    assert response.headers["x-pointsman-lane"] == "top"
