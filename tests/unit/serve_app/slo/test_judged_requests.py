"""Requests through an ingress over simulated engines, and what objectives make of their ends."""

import asyncio
import contextlib
import json
from dataclasses import replace

import pytest

from router.errors import Rejected, RejectReason
from router.slo.objectives import Objective
from serve_app.bodies.routes import ROUTES
from serve_app.config.slo import SloConfig
from serve_app.placement.lanes import Unreachable
from serve_app.transport.upstream import BrokenConnection
from simulator.model.profile import FixedTiming
from tests.unit.serve_app import simulated_lanes
from tests.unit.serve_app.agents.answers import Answer, offered, whole
from tests.unit.serve_app.agents.answers import stream as stream_of
from tests.unit.serve_app.agents.test_gate import SCHEMAS
from tests.unit.serve_app.conftest import FakeResponse, with_tier
from tests.unit.serve_app.pipeline.test_gateway_serving import DONE, delta
from tests.unit.serve_app.simulated_lanes import Break, SimulatedLanes

CHAT = "/v1/chat/completions"
HELLO = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 40}
STREAM = {**HELLO, "stream": True}
AMPLE = {"ttft_p95_s": 60, "first_tokens_p95_s": 60, "answer_p95_s": 60}
TIGHT = {"ttft_p95_s": 0.02, "first_tokens_p95_s": 0.05, "answer_p95_s": 0.06}


def promise(world, **slo) -> None:
    """The world in which so much is promised from now on."""
    policy = SloConfig.model_validate(slo).policy()
    world.state.apply(replace(world.state.policies, slo=policy))


def events(world, tier="paid", lane="chat") -> dict[str, str]:
    """What was counted, as `good`, `bad` or both, by objective."""
    found = {}
    for objective in Objective:
        for outcome in ("good", "bad"):
            labels = {"objective": objective, "lane": lane, "tier": tier, "outcome": outcome}
            count = world.count("pointsman_slo_events_total", **labels)
            if count:
                found[objective.value] = found.get(objective.value, "") + outcome * int(count)
    return found


def all_of(outcome, *, but=()) -> dict[str, str]:
    times = dict.fromkeys(["ttft", "first_tokens", "answer"], outcome)
    return {k: v for k, v in {**times, "failures": "good"}.items() if k not in but}


@pytest.fixture
def serving(world, monkeypatch):
    """Puts simulated engines below the world: so long to the first token, and between two."""

    def serve(ttft_s=0.0, itl_s=0.0, **more):
        monkeypatch.setattr(simulated_lanes, "AT_ONCE", FixedTiming(ttft_s=ttft_s, itl_s=itl_s))
        world.use(SimulatedLanes(**more))
        return world

    return serve


async def test_a_fast_engine_keeps_what_is_promised(serving):
    """A stream of 40 tokens is an event of all four objectives."""
    world = serving()
    promise(world, **AMPLE)

    response = await world.post(CHAT, STREAM, key="acme")

    assert response.status_code == 200
    assert events(world) == all_of("good")
    labels = {"lane": "chat", "tier": "paid"}
    assert world.count("pointsman_first_tokens_seconds_count", **labels) == 1


async def test_good_and_bad_events_begin_together(serving):
    """A counter that appears with its first event at 1 has no increase for Prometheus."""
    world = serving()
    promise(world, **AMPLE)

    await world.post(CHAT, STREAM, key="acme")

    labels = {"objective": "ttft", "lane": "chat", "tier": "paid", "outcome": "bad"}
    name = "pointsman_slo_events_total"
    assert world.metrics.registry.get_sample_value(name, labels) == 0.0


async def test_a_slow_engine_does_not(serving):
    """It answers: nothing failed, all of it was late."""
    world = serving(ttft_s=0.03, itl_s=0.002)
    promise(world, **TIGHT)

    await world.post(CHAT, STREAM, key="acme")

    assert events(world) == all_of("bad")


async def test_each_time_is_its_own(serving):
    """A quick first token does not make a slow answer quick."""
    world = serving(itl_s=0.003)
    promise(world, ttft_p95_s=0.05, first_tokens_p95_s=0.06, answer_p95_s=60)

    await world.post(CHAT, STREAM, key="acme")

    assert events(world)["first_tokens"] == "bad"  # 29 gaps of 3 ms
    assert events(world)["answer"] == "good"


@pytest.mark.parametrize("tokens", [29, 30])
@pytest.mark.parametrize("step", [1, 3])
async def test_a_stream_of_fewer_than_30_tokens_has_no_thirtieth(serving, tokens, step):
    """It counts tokens, however many an event has."""
    world = serving(step=step)
    promise(world, **AMPLE)

    await world.post(CHAT, {**STREAM, "max_tokens": tokens}, key="acme")

    assert events(world) == all_of("good", but=["first_tokens"] if tokens < 30 else [])


async def test_a_whole_answer_has_no_first_token(serving):
    """Its client sees all of it at once."""
    world = serving()
    promise(world, **AMPLE)

    await world.post(CHAT, HELLO, key="acme")

    assert events(world) == all_of("good", but=["ttft", "first_tokens"])


async def test_several_answers_in_one_stream_have_no_thirtieth_token(serving):
    """Theirs come mixed."""
    world = serving()
    promise(world, **AMPLE)

    await world.post(CHAT, {**STREAM, "n": 2}, key="acme")

    assert events(world) == all_of("good", but=["first_tokens"])


async def test_a_stream_that_goes_on_elsewhere_is_one_request(serving):
    """Its 30 tokens may come from two engines; nothing failed for its client."""
    world = serving(cuts=[Break(20)])
    promise(world, **AMPLE)

    await world.post(CHAT, STREAM, key="acme")

    assert world.count("pointsman_stream_recoveries_total", outcome="resumed") == 1
    assert events(world) == all_of("good")


async def test_without_objectives_nothing_is_counted(serving):
    """The time to 30 tokens is measured all the same."""
    world = serving()

    await world.post(CHAT, STREAM, key="acme")

    assert events(world) == {}
    assert world.state.slo.export(world.state.policies.slo) == []
    labels = {"lane": "chat", "tier": "paid"}
    assert world.count("pointsman_first_tokens_seconds_count", **labels) == 1


# -- what fails -----------------------------------------------------------------


async def test_an_engine_that_is_gone_is_a_failure(world):
    """503, and no time to judge."""
    promise(world, **AMPLE)
    world.lanes.empty = True

    response = await world.post(CHAT, STREAM, key="acme")

    assert response.status_code == 503
    assert events(world) == {"failures": "bad"}


async def test_a_stream_that_breaks_is_a_failure(world, stream):
    """However well it began."""
    promise(world, **AMPLE)
    world.lanes.answers = [stream(delta("a"), BrokenConnection("cut")), *[Unreachable] * 8]

    response = await world.post(CHAT, STREAM, key="acme")

    assert b'"error"' in response.content
    assert events(world) == {"failures": "bad"}


async def test_a_fault_of_ours_is_a_failure(world, caplog):
    """500."""
    promise(world, **AMPLE)
    world.lanes.answers = [RuntimeError("bug")]

    with caplog.at_level("CRITICAL", "ray.serve"):
        await world.post(CHAT, HELLO, key="acme")

    assert events(world) == {"failures": "bad"}


@pytest.mark.parametrize(
    ("body", "status"), [({"messages": "none"}, 400), ({**HELLO, "model": "no-such"}, 404)]
)
async def test_the_client_s_own_errors_are_none_of_ours(world, body, status):
    """Neither good nor bad."""
    promise(world, **AMPLE)

    response = await world.post(CHAT, body, key="acme")

    assert response.status_code == status
    assert events(world) == events(world, lane="none") == {}


FAILURES = {
    RejectReason.SHED,
    RejectReason.TOOL_CALL_INVALID,
    RejectReason.NO_REPLICA,
    RejectReason.RESPONSE_STORE_UNAVAILABLE,
    RejectReason.DRAINING,
    RejectReason.DEADLINE_EXCEEDED,
}


@pytest.mark.parametrize("reason", RejectReason)
async def test_sheds_and_5xx_are_failures_and_other_refusals_are_not(world, reason):
    """A tenant's own ceilings and quotas are what it agreed to."""
    promise(world, **AMPLE)
    tenant = world.state.policies.auth.tenant("acme")
    call = world.pipeline.call(ROUTES[CHAT], {}, tenant)

    async def send(message) -> None:
        pass

    await world.pipeline.refuse(call, Rejected(reason, "no"), send)

    expected = {"failures": "bad"} if reason in FAILURES else {}
    assert events(world, lane="none") == expected


# -- who left, who does not wait, who is held back ---------------------------------


async def leave(world, body, response, *, after_s=0.0) -> None:
    task = asyncio.create_task(world.post(CHAT, body, key="acme"))
    await response.waits.wait()
    await asyncio.sleep(after_s)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_client_that_leaves_in_time_shows_nothing(world, stream):
    """It might have been served in time."""
    promise(world, **AMPLE)
    response = stream(asyncio.Event())
    world.lanes.answers = [response]

    await leave(world, STREAM, response)

    assert events(world) == {}


async def test_a_client_that_gave_up_on_what_was_late_does(world, stream):
    """A hung engine whose clients all leave is no engine that keeps its promises."""
    promise(world, **TIGHT)
    response = stream(asyncio.Event())
    world.lanes.answers = [response]

    await leave(world, STREAM, response, after_s=0.07)

    assert events(world) == {"ttft": "bad", "answer": "bad"}


@pytest.mark.parametrize(
    ("headers", "fields"),
    [
        ({"x-pointsman-background": "1"}, {}),
        ({}, {"service_tier": "flex"}),
        ({}, {"priority": 99}),
    ],
)
async def test_what_nobody_waits_for_has_no_times(serving, headers, fields):
    """It may wait: its clients said so. It may not fail."""
    world = serving(ttft_s=0.03)
    promise(world, **TIGHT)

    await world.post(CHAT, {**STREAM, **fields}, key="acme", headers=headers)

    assert events(world) in ({"failures": "good"}, {})
    assert events(world) | events(world, lane="quality") == {"failures": "good"}


async def test_counting_tokens_has_no_times(world, engine):
    """No engine writes an answer."""
    promise(world, **AMPLE)
    world.lanes.answers = [engine({"input_tokens": 5})]

    await world.post("/v1/messages/count_tokens", {"messages": HELLO["messages"]}, key="acme")

    assert events(world) == {"failures": "good"}


async def test_a_tenant_s_own_ceiling_is_not_the_service_s(world, stream):
    """They would be late by a second; the engine gave them at once."""
    promise(world, ttft_p95_s=1, first_tokens_p95_s=1, answer_p95_s=1)
    world.lanes.answers = [stream(b"".join(delta(str(i)) for i in range(1000)), DONE)]

    await world.post(CHAT, {**STREAM, "max_tokens": 1000}, key="slow")

    labels = {"lane": "chat", "tier": "paced"}
    assert world.count("pointsman_request_duration_seconds_sum", **labels) > 1.5
    assert events(world, tier="paced") == all_of("good")


async def test_a_tenant_in_debt_waits_for_its_first_token_by_itself(world, engine, stream):
    """A whole answer of 480 tokens is 1 s of its ceiling, and the next stream waits for it."""
    usage = {"prompt_tokens": 7, "completion_tokens": 480, "total_tokens": 487}
    promise(world, ttft_p95_s=0.7, first_tokens_p95_s=0.7, answer_p95_s=0.7)
    world.lanes.answers = [
        engine({"id": "1", "choices": [], "usage": usage}),
        # What is there after a wait is read at once, as of a connection.
        stream(delta("a"), b"".join(delta(str(i)) for i in range(39)) + DONE),
    ]

    await world.post(CHAT, HELLO, key="slow")
    await world.post(CHAT, STREAM, key="slow")

    labels = {"lane": "chat", "tier": "paced"}
    assert world.count("pointsman_time_to_first_token_seconds_sum", **labels) > 0.75
    found = events(world, tier="paced")
    assert found == {
        "ttft": "good",
        "first_tokens": "good",
        "answer": "goodgood",
        "failures": "goodgood",
    }


async def test_a_slow_engine_is_late_though_its_tokens_were_held_back_before(world, stream):
    """The end of a stream that waits for its engine is the engine's."""
    late = asyncio.Event()
    promise(world, ttft_p95_s=0.05, first_tokens_p95_s=0.06, answer_p95_s=0.07)
    first, last = [delta(str(i)) for i in range(60)], [delta("x"), DONE]
    response = stream(*first, late, *last)
    world.lanes.answers = [response]
    task = asyncio.create_task(world.post(CHAT, {**STREAM, "max_tokens": 80}, key="slow"))
    await response.waits.wait()
    await asyncio.sleep(0.08)

    late.set()
    await task

    assert events(world, tier="paced")["answer"] == "bad"


@pytest.mark.parametrize("pieces", [['{"a":', *[" "] * 40, "1}"], ['{"a":', *[" "] * 40, '"x"}']])
async def test_tool_calls_have_the_time_of_the_whole_answer_alone(world, pieces):
    """They are held until they are valid, or made anew: nobody reads them as they come."""
    with_tier(world, agents={"turn_depth": None, "task_depth": None})
    promise(world, ttft_p95_s=0.001, first_tokens_p95_s=0.001, answer_p95_s=60)
    called = stream_of(CHAT, Answer([], [("add", pieces)]))
    again = json.dumps(whole(CHAT, Answer([], [("add", ['{"a": 1}'])]))).encode()
    world.lanes.answers = [
        FakeResponse(*called, content_type="text/event-stream"),
        FakeResponse(again),
    ]

    answer = await world.post(CHAT, offered(CHAT, SCHEMAS, **STREAM), key="acme")

    assert b"1}" in answer.content
    assert events(world) == {"answer": "good", "failures": "good"}


async def test_an_answer_in_words_is_judged_though_tools_were_offered(world):
    """It goes through the gate as it comes."""
    with_tier(world, agents={"turn_depth": None, "task_depth": None})
    promise(world, **AMPLE)
    said = stream_of(CHAT, Answer([f"word{i} " for i in range(40)]))
    world.lanes.answers = [FakeResponse(*said, content_type="text/event-stream")]

    await world.post(CHAT, offered(CHAT, SCHEMAS, **STREAM), key="acme")

    assert events(world) == all_of("good")


# -- what is promised ---------------------------------------------------------------


async def test_a_tier_s_word_goes_before_its_lane_s(serving):
    """And a tier within a lane before both."""
    world = serving(ttft_s=0.03)
    slow = {"ttft_p95_s": 0.01}
    promise(
        world,
        **AMPLE,
        lanes={"chat": {**slow, "tiers": {"local": {"ttft_p95_s": 50}}}},
        tiers={"paced": {"ttft_p95_s": 60}, "local": {**slow, "answer_p95_s": None}},
    )

    for key in ("acme", "slow", None):
        await world.post(CHAT, STREAM, key=key)

    assert events(world)["ttft"] == "bad"
    assert events(world, tier="paced")["ttft"] == "good"
    assert events(world, tier="local") == all_of("good", but=["answer"])


async def test_requests_keep_the_targets_that_they_began_with(world, stream):
    """A reload in the middle of one judges the next."""
    promise(world, ttft_p95_s=0.001, first_tokens_p95_s=60, answer_p95_s=60)
    begins, goes_on = asyncio.Event(), asyncio.Event()
    response = stream(begins, delta("a"), goes_on, DONE)
    world.lanes.answers = [response, stream(delta("a"), DONE)]
    task = asyncio.create_task(world.post(CHAT, STREAM, key="acme"))
    await response.waits.wait()
    await asyncio.sleep(0.002)

    promise(world, **AMPLE)
    begins.set()
    goes_on.set()
    await task
    await world.post(CHAT, STREAM, key="acme")

    assert events(world)["ttft"] == "goodbad"
