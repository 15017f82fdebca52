"""Copies of requests for a lane that is tried out."""

import asyncio
import json
import time

import pytest

from evals.traces.store import read_traces
from serve_app.config.records import TracesConfig
from serve_app.config.tenants import TenantsConfig
from serve_app.experiments.book import SHADOW
from serve_app.pipeline.state import IngressState
from serve_app.pipeline.trace_keeping import TraceKeeping
from tests.unit.serve_app.conftest import FLEET, FakeLanes, FakeResponse
from tests.unit.serve_app.experiments.conftest import ONE, use
from tests.unit.serve_app.pipeline.test_gateway_serving import DONE, delta

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
HELLO = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 40}
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
ALL = {**ONE, "kind": "shadow", "share": 0.9999}


class ShadowLanes(FakeLanes):
    """Answers the control's requests at once, and a shadow's when `may` is set, or by a fault."""

    def __init__(self):
        super().__init__()
        self.may = asyncio.Event()
        self.may.set()
        self.has_come = asyncio.Event()
        self.fault = None

    async def open(self, replica, path, body, headers):
        if not headers.get("x-request-id", "").endswith("-shadow"):
            return await super().open(replica, path, body, headers)
        self.answers.insert(0, self.fault or whole())
        self.has_come.set()
        await self.may.wait()
        return await super().open(replica, path, body, headers)


def whole(status=200) -> FakeResponse:
    body = {"id": "1", "object": "x", "choices": [], "usage": USAGE}
    return FakeResponse(json.dumps(body).encode(), status=status)


@pytest.fixture
def shadowed(world, clock):
    """The world in which each request to `chat` has a shadow in `quality`."""
    world.lanes = ShadowLanes()
    world.use(world.lanes)
    use(world, clock, ALL)
    return world


async def ask(world, body=HELLO, path=CHAT, answer=None, key="acme", **more):
    world.lanes.answers = [answer or whole()]
    response = await world.post(path, body, key=key, **more)
    assert response.status_code == 200, response.text
    return response


async def shadows(world) -> None:
    """Wait until all copies under way have ended."""
    await asyncio.gather(*world.pipeline.shadowing.tasks)


def counted(world) -> dict[str, float]:
    fresh = world.state.experiments.take_fresh()
    return {cell.name: n for cell, n in fresh.items() if cell.arm == SHADOW}


async def test_a_request_is_answered_as_ever_and_copied_when_it_has_ended(shadowed):
    """To the treatment's lane, whole; the client learns nothing of it."""
    shadowed.lanes.may.clear()
    body = {**HELLO, "stream": True, "stream_options": {"include_usage": True}, "seed": 3}
    stream = FakeResponse(delta("Hi"), DONE, content_type="text/event-stream")

    response = await ask(shadowed, body, answer=stream, headers={"x-request-id": "r1"})
    before = [x.url for x in shadowed.lanes.opened]
    shadowed.lanes.may.set()
    await shadows(shadowed)

    assert response.headers["x-pointsman-lane"] == "chat"
    assert response.text.count("data:") == 2
    assert before == ["http://chat"]
    copy = shadowed.lanes.opened[1]
    assert (copy.url, copy.path) == ("http://quality", CHAT)
    assert copy.headers["x-request-id"] == "r1-shadow"
    assert copy.body["model"] == "large"
    assert (copy.body["seed"], copy.body["priority"]) == (3, 1_000_000)
    assert not {"stream", "stream_options"} & copy.body.keys()


async def test_what_came_of_it_is_counted_beside_its_request(shadowed):
    """Seconds and tokens of both."""
    await ask(shadowed)
    await shadows(shadowed)

    found = counted(shadowed)

    assert found["answered"] == 1
    assert (found["completion_tokens"], found["control_completion_tokens"]) == (3, 3)
    assert found["duration_s"] > 0 < found["control_duration_s"]


async def test_the_tenant_pays_for_its_request_alone(shadowed):
    """Neither of its minute nor of its usage."""
    first = await ask(shadowed)
    await shadows(shadowed)
    second = await ask(shadowed)
    await shadows(shadowed)

    left = [int(x.headers["x-ratelimit-remaining-tokens"]) for x in (first, second)]
    assert left[0] - left[1] < 60
    assert shadowed.reserved() == 0
    assert shadowed.count("pointsman_requests_total", lane="quality") == 0


async def test_only_so_many_copies_are_under_way(shadowed):
    """What comes meanwhile is dropped."""
    shadowed.lanes.may.clear()
    for _ in range(5):
        await ask(shadowed)
    shadowed.lanes.may.set()
    await shadows(shadowed)

    found = counted(shadowed)

    assert (found["dropped:at_once"], found["answered"]) == (3, 2)


@pytest.fixture
def slotted(shadowed, clock, world):
    """The same where `quality` has one slot."""
    lanes = {"quality": {"engine_args": {"max_num_seqs": 1, "scheduling_policy": "priority"}}}
    own = {name: {**FLEET["lanes"][name], **lanes.get(name, {})} for name in FLEET["lanes"]}
    use(world, clock, ALL, lanes=own)
    state, book = IngressState(world.state.policies, "s3"), world.state.experiments
    state.experiments = book
    world.use(world.lanes, state=state)
    return world


async def test_a_busy_lane_gets_no_copy(slotted):
    """It takes a free slot or none."""
    hold = slotted.state.admission.take("quality", tenant(slotted), 1, 10, 10)
    await ask(slotted)
    await shadows(slotted)
    hold.leave()

    assert counted(slotted) == {"dropped:full": 1}
    assert len(slotted.lanes.opened) == 1


async def test_a_copy_gives_way_to_protected_work(slotted):
    """Its slot is taken back, and nothing of it goes on."""
    slotted.lanes.may.clear()
    await ask(slotted)
    await slotted.lanes.has_come.wait()

    slotted.state.admission.lanes["quality"].queue.preemption.evict_all(time.monotonic())
    await shadows(slotted)

    assert counted(slotted) == {"dropped:full": 1}
    assert slotted.state.admission.lanes["quality"].queue.slots.used == 0


def tenant(world):
    return world.state.policies.auth.tenant("acme")


@pytest.mark.parametrize("fault", [OSError("gone"), whole(500)])
async def test_a_fault_of_the_copy_is_its_own(shadowed, fault):
    """The next requests go on."""
    shadowed.lanes.fault = fault
    await ask(shadowed)
    await shadows(shadowed)

    assert counted(shadowed) == {"failed": 1}


async def test_a_copy_has_only_so_long(shadowed, world, clock):
    """Then its engine is left."""
    use(world, clock, {**ALL, "within_s": 0.01})
    shadowed.lanes.may.clear()

    await ask(shadowed)
    await shadows(shadowed)

    assert counted(shadowed) == {"late": 1}


@pytest.mark.parametrize(
    "body",
    [
        {**HELLO, "n": 2},
        {**HELLO, "messages": [{"role": "user", "content": "x" * 12_000}]},
        {**HELLO, "tools": [{"type": "function", "function": {"name": "f"}}]},
    ],
)
async def test_what_does_not_suit_the_lane_is_not_copied(shadowed, body):
    """Several answers, long prompts, tools where it calls none."""
    await ask(shadowed, body)

    assert counted(shadowed) == {"unfit": 1}
    assert not shadowed.pipeline.shadowing.tasks


@pytest.mark.parametrize("key", ["guest", "acme"])
async def test_whose_requests_are_copied(shadowed, key):
    """Of tenants that may use the lane."""
    await ask(shadowed, key=key)
    await shadows(shadowed)

    assert counted(shadowed).get("answered", 0) == (key == "acme")


async def test_a_request_that_failed_or_went_elsewhere_has_no_copy(shadowed):
    """There is nothing to compare with."""
    await ask(shadowed, {**HELLO, "model": "quality"})
    shadowed.lanes.answers = [whole(400)]
    await shadowed.post(CHAT, HELLO, key="acme")

    assert counted(shadowed) == {}


async def test_what_a_shadow_said_is_a_trace_where_the_tenant_lets_it_be_kept(
    world, clock, tmp_path
):
    """It has the request's id, and is nobody's answer; of other tenants nothing is kept."""
    tenants = world.tenants.model_dump()
    tenants["tenants"]["acme"]["keep_traces_days"] = 9
    world.tenants = TenantsConfig.model_validate(tenants)
    world.traces = TraceKeeping(TracesConfig(), tmp_path / "traces", "i1", lambda _: None)
    world.lanes = ShadowLanes()
    world.use(world.lanes)
    use(world, clock, ALL)

    await ask(world, headers={"x-request-id": "r1"})
    await ask(world, key="slow")
    await shadows(world)

    world.traces.close()
    first, second = sorted(read_traces(tmp_path / "traces"), key=lambda x: x.request_id)
    assert (first.request_id, first.lane, first.arm) == ("r1", "chat", None)
    assert (second.request_id, second.lane, second.reason) == ("r1-shadow", "quality", "shadow")
    assert (second.arm, second.completion_tokens) == ("shadow", USAGE["completion_tokens"])
    assert second.body["messages"] == first.body["messages"]


async def test_copies_end_with_their_replica(shadowed):
    """Nothing is left behind."""
    shadowed.lanes.may.clear()
    await ask(shadowed)

    await shadowed.pipeline.shadowing.stop()

    assert not shadowed.pipeline.shadowing.tasks
