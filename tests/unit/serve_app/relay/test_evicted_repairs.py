"""A repair whose slot on another lane is taken back for protected work."""

from __future__ import annotations

import asyncio
import time

import pytest

from router.admission.saturation import Level
from tests.unit.serve_app.agents.answers import CHAT, Answer
from tests.unit.serve_app.agents.test_gate import GOOD
from tests.unit.serve_app.conftest import FakeLanes, with_tier
from tests.unit.serve_app.relay.test_tool_repair import (
    HOLDS,
    WRONG,
    answered,
    body,
    streamed,
    with_fallbacks,
)

SHEDDABLE = {**HOLDS, "sheddable": True, "priority": 20}


class EvictingLanes(FakeLanes):
    """Lanes of which `quality` takes its slots back as soon as it is asked, if it `evicts`."""

    admission = None
    evicts = True

    def __init__(self) -> None:
        super().__init__()
        self.was_asked = asyncio.Event()

    async def open(self, replica, path, body, headers):
        if replica.url.endswith("quality"):
            self.was_asked.set()
            if self.evicts:
                queue = self.admission.lanes["quality"].queue
                queue.set_level(Level.EVICT, time.monotonic())
            await asyncio.sleep(30)
        return await super().open(replica, path, body, headers)


@pytest.fixture
def evicting(world):
    """Makes the world one of sheddable work, whose repairs are asked of these lanes."""

    def make(*fallbacks):
        world.lanes = EvictingLanes()
        with_fallbacks(world, *fallbacks)
        with_tier(world, **SHEDDABLE)
        world.lanes.admission = world.state.admission
        return world

    return make


@pytest.mark.parametrize("streams", [True, False])
async def test_the_next_lane_is_asked(evicting, streams):
    made = evicting("quality", "heavy")
    wrong = Answer([], [WRONG])
    first = streamed(CHAT, wrong) if streams else answered(CHAT, wrong)
    right = answered(CHAT, Answer([], [GOOD]))
    made.lanes.answers = [first, answered(CHAT, wrong), right]

    response = await made.post(CHAT, body(CHAT, streams=streams), key="acme")

    assert response.headers["x-pointsman-lane"] == "heavy"
    assert response.headers["x-pointsman-tool-repair"].endswith("fallback-failed, fallback")
    assert made.state.admission.lanes["quality"].queue.slots.used == 0
    assert (made.reserved(), made.in_flight) == (0, 0)


async def test_where_there_is_none_the_client_is_told(evicting):
    made = evicting("quality")
    wrong = answered(CHAT, Answer([], [WRONG]))
    made.lanes.answers = [wrong, answered(CHAT, Answer([], [WRONG]))]

    response = await made.post(CHAT, body(CHAT, streams=False), key="acme")

    assert response.status_code >= 500 and "error" in response.json()
    assert (made.reserved(), made.in_flight) == (0, 0)


async def test_a_client_that_leaves_meanwhile_has_left(evicting):
    made = evicting("quality", "heavy")
    made.lanes.evicts = False
    wrong = Answer([], [WRONG])
    made.lanes.answers = [answered(CHAT, wrong), answered(CHAT, wrong)]
    asking = asyncio.create_task(made.post(CHAT, body(CHAT, streams=False), key="acme"))
    await made.lanes.was_asked.wait()
    asking.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asking
    assert len(made.lanes.opened) == 2
    assert (made.reserved(), made.in_flight) == (0, 0)
