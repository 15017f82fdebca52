"""Where no summary can be had the result is shortened, and stays so in its session."""

import asyncio
import json
import logging
import time
from dataclasses import replace

import pytest

from serve_app.pipeline.state import IngressState
from serve_app.placement.lanes import UpstreamFault
from serve_app.transport.upstream import BrokenConnection
from tests.unit.serve_app.conftest import FakeResponse
from tests.unit.serve_app.summaries.summaries import (
    AGENTS,
    CHAT,
    RESULTS,
    UNBOUND,
    long,
    written,
)

TOLD = "x-pointsman-tool-results"
TURN = [["read", {}, long("a")]]
LONGER = [*TURN, ["read", {}, "and more"]]


async def fallen_back(made, *, again=True):
    """Ask: the result is shortened, and in the next turn, too, though the lane is well."""
    response = await made.ask(CHAT, [TURN])
    assert response.headers[TOLD].startswith("shortened; results=1")
    first, asked = made.prompt, len(made.lanes.asked_for)
    assert "bytes cut here" in json.dumps(first)
    assert made.world.reserved() == 0
    if again:
        made.lanes.writes, made.lanes.is_down = lambda _: written("Too late."), False
        await made.ask(CHAT, [LONGER])
        assert made.prompt[: len(first)] == first
        made.next()
        await made.ask(CHAT, [LONGER])
        assert made.prompt[: len(first)] == first
        assert len(made.lanes.asked_for) == asked


@pytest.mark.parametrize("fault", [BrokenConnection(), UpstreamFault("r1"), OSError()])
async def test_a_lane_that_fails_twice(replicas, fault):
    made = replicas()
    made.lanes.writes = lambda _: fault

    await fallen_back(made, again=False)

    assert made.outcomes() == {"failed": 1}
    # The second time another replica was asked.
    assert made.lanes.tried == [frozenset(), {"r1"}]


async def test_a_lane_that_fails_once_is_asked_elsewhere(replicas):
    made = replicas()
    made.lanes.writes = lambda n: BrokenConnection() if n == 1 else written("From another one.")

    await made.ask(CHAT, [TURN])

    assert "From another one." in json.dumps(made.prompt)


async def test_a_lane_without_a_replica(replicas):
    made = replicas()
    made.lanes.is_down = True

    await fallen_back(made)

    assert not made.lanes.tried[1:]


@pytest.mark.parametrize(
    "answer",
    [
        written(None),
        written("  \n"),
        written("<think>and so on"),
        written("x", status=500),
        FakeResponse(b"no json"),
        FakeResponse(b"[]"),
        FakeResponse(b'{"choices": [1]}'),
    ],
)
async def test_an_answer_that_is_no_summary(replicas, answer):
    made = replicas()
    made.lanes.writes = lambda _: answer

    await fallen_back(made)


async def test_what_the_model_thought_is_no_part_of_it(replicas):
    made = replicas()
    made.lanes.writes = lambda _: written("<think>Hm.</think>\n\nThe summary.")

    await made.ask(CHAT, [TURN])

    assert made.prompt[-1]["content"].endswith("]\nThe summary.")


async def test_a_text_that_the_engine_finds_too_long_is_asked_of_half(replicas):
    made = replicas()
    made.lanes.writes = lambda n: written("Half.", status=400 if n == 1 else 200)

    await made.ask(CHAT, [TURN])

    sizes = [len(x.body["messages"][0]["content"]) for x in made.lanes.asked_for]
    assert sizes[1] < 0.8 * sizes[0]
    assert "Half." in json.dumps(made.prompt)


async def test_one_that_stays_too_long(replicas):
    made = replicas()
    made.lanes.writes = lambda _: written("No.", status=400)

    await fallen_back(made)


async def test_a_lane_that_is_too_slow(replicas):
    results = {**RESULTS, "summary": {"max_tokens": 100, "within_s": 0.01}}
    made = replicas(agents={**UNBOUND, "tool_results": results})
    made.lanes.writes = lambda _: asyncio.Event().wait()

    await fallen_back(made)

    # It has read the prompt, so far as anybody knows.
    made.world.meter.flush()
    ((_, counts),) = made.world.tenancy.usage("2000-01-01", "2999-01-01").items()
    assert counts.prompt > len(long("a")) / 4


def with_one_slot(made) -> IngressState:
    """An ingress replica whose stronger lane, which writes summaries, has one slot."""
    policies = made.world.state.policies
    lane = policies.fleet.lanes["quality"]
    narrow = lane.model_copy(update={"engine_args": {**lane.engine_args, "max_num_seqs": 1}})
    lanes = {**policies.fleet.lanes, "quality": narrow}
    fleet = policies.fleet.model_copy(update={"lanes": lanes})
    state = IngressState(replace(policies, fleet=fleet), "s3")
    return made.back(made.shelves[-1], state)


ELSEWHERE = {
    **UNBOUND,
    "tool_results": {**RESULTS, "summary": {"max_tokens": 100, "lane": "quality"}},
}


async def test_a_lane_without_a_free_slot(replicas):
    made = replicas(agents=ELSEWHERE)
    state = with_one_slot(made)
    acme = state.policies.auth.tenant("acme")
    hold = state.admission.take("quality", acme, 1, 10, 10)
    assert not hold.is_waiting and not state.admission.has_room("quality")

    response = await made.ask(CHAT, [TURN])

    assert response.headers[TOLD].startswith("shortened")
    assert not made.lanes.asked_for and made.outcomes() == {"full": 1}
    hold.leave()
    assert state.admission.has_room("quality") and state.admission.has_room("none such")
    await made.ask(CHAT, [TURN], headers={"x-session-id": "another"})
    assert made.outcomes() == {"full": 1, "made": 1}
    assert not state.admission.status()["quality"]["used"]


async def test_a_slot_that_is_wanted_for_protected_work_is_given_back(replicas):
    made = replicas(agents=ELSEWHERE, sheddable=True, priority=20, min_share=0)
    state = with_one_slot(made)
    made.lanes.writes = lambda _: asyncio.Event().wait()
    asking = asyncio.create_task(made.ask(CHAT, [TURN]))
    await made.lanes.was_asked.wait()

    state.admission.lanes["quality"].queue.preemption.evict_all(time.monotonic())
    response = await asking

    assert response.headers[TOLD].startswith("shortened")
    assert made.outcomes() == {"full": 1}
    assert not state.admission.status()["quality"]["used"] and made.world.reserved() == 0


@pytest.mark.parametrize(
    "ceilings",
    [{"tokens_per_minute": 1200}, {"tokens_per_day": 1200}],
)
async def test_a_tenant_whose_tokens_are_spent(replicas, ceilings):
    """There is room for the request with its result shortened, and not for the summary."""
    made = replicas(agents=AGENTS, ceilings=ceilings)

    body = {
        "messages": [
            {"role": "user", "content": "Go."},
            {"role": "tool", "tool_call_id": "1", "content": long("a")},
        ],
        "max_tokens": 10,
    }
    response = await made.send(CHAT, body)

    assert response.headers[TOLD].startswith("shortened")
    assert not made.lanes.asked_for and made.outcomes() == {"over_limit": 1}


async def test_the_only_request_at_once_may_have_summaries(replicas):
    made = replicas(agents=AGENTS, ceilings={"concurrent_requests": 1})

    await made.ask(CHAT, [TURN])

    assert made.outcomes() == {"made": 1}


async def test_a_lane_that_is_not_there(replicas):
    results = {**RESULTS, "summary": {"max_tokens": 100, "lane": "none"}}
    made = replicas(agents={**UNBOUND, "tool_results": results})

    await fallen_back(made)


async def test_a_request_that_is_refused_has_none_made(replicas):
    made = replicas(agents=AGENTS, ceilings={"tokens_per_minute": 10})
    await made.world.post(CHAT, {"messages": [{"role": "user", "content": "Hi."}]}, key="acme")
    body = {"messages": [{"role": "tool", "tool_call_id": "1", "content": long("a")}]}

    refused = await made.world.post(CHAT, body, key="acme")

    assert refused.status_code == 429
    assert TOLD not in refused.headers
    assert not made.lanes.asked_for and not made.outcomes()


async def test_another_session_tries_anew_and_the_first_one_stays_as_it_is(replicas):
    """Also where the summary has come into memory since."""
    made = replicas()
    made.lanes.writes = lambda _: written(None)
    one, two = ({"x-session-id": x} for x in ("one", "two"))
    await made.ask(CHAT, [TURN], headers=one)
    first = made.prompt
    made.next()
    made.lanes.writes = lambda _: written("For the second.")
    await made.ask(CHAT, [TURN], headers=two)
    assert "For the second." in json.dumps(made.prompt)

    await made.ask(CHAT, [TURN], headers=one)

    assert made.prompt == first


async def test_a_disk_that_fails_costs_nothing_but_what_others_would_find(replicas, caplog):
    made = replicas()
    path = made.world.folder / "summaries.db"
    path.mkdir()

    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            await made.ask(CHAT, [TURN])
            await made.ask(CHAT, [LONGER], headers={"x-session-id": "another"})

    assert len(made.lanes.asked_for) == 1
    told = [x for x in caplog.messages if x.startswith("summaries: the disk")]
    assert len(told) == 1


async def test_a_fault_of_our_own_is_logged_without_the_text(replicas, caplog):
    made = replicas()
    made.lanes.writes = lambda _: ZeroDivisionError("ours")

    await fallen_back(made, again=False)

    assert "a summary could not be made" in caplog.text
    assert "something was found" not in caplog.text


async def test_a_tenant_has_a_bounded_number_made_at_once(replicas):
    results = {"max_tokens": 64, "mode": "summarise", "summary": {"max_tokens": 32, "at_once": 16}}
    made = replicas(agents={**UNBOUND, "tool_results": results})
    made.lanes.awaited = 16
    gate = asyncio.Event()

    async def slow():
        await gate.wait()
        return written("Slowly.")

    made.lanes.writes = lambda _: slow()
    turns = [[["read", {}, f"{half} {n}: " + "x" * 500] for n in range(16)] for half in "ab"]
    first = asyncio.create_task(made.ask(CHAT, [turns[0]]))
    await made.lanes.was_asked.wait()
    second = await made.ask(CHAT, [turns[1]], headers={"x-session-id": "b"})
    gate.set()

    assert second.headers[TOLD].startswith("shortened; results=16")
    assert (await first).headers[TOLD].startswith("summarised; results=16")
    assert made.outcomes() == {"made": 16, "too_many": 16}
