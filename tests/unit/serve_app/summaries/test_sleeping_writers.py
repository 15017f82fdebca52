"""Summaries by a lane that shares its cards and sleeps."""

from types import SimpleNamespace

from tests.unit.serve_app.summaries.summaries import CHAT, long
from tests.unit.serve_app.summaries.test_summary_fallbacks import ELSEWHERE


async def passed(*_):
    """The request's own lane is awake."""


async def test_a_lane_that_sleeps_writes_no_summary(replicas):
    """Its engine could only refuse: nothing is sent, and the result is shortened."""
    made = replicas(agents=ELSEWHERE)
    is_shut = {"quality"}.__contains__
    made.world.state.gates = SimpleNamespace(is_shut=is_shut, enter=passed)

    response = await made.ask(CHAT, [[["read", {}, long("a")]]])

    assert response.headers["x-pointsman-tool-results"].startswith("shortened")
    assert not made.lanes.asked_for and made.outcomes() == {"full": 1}
