"""Tool calls on their way to the client: held, judged, made again, or refused."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from router.errors import RejectReason
from serve_app.config.fleet import FleetConfig
from serve_app.pipeline.state import IngressState
from serve_app.placement.lanes import UpstreamFault
from serve_app.routing.policies import build_policies
from serve_app.transport.upstream import BrokenConnection
from tests.unit.serve_app.agents.answers import (
    CHAT,
    MESSAGES,
    PATHS,
    RESPONSES,
    Answer,
    heard,
    offered,
    stream,
    whole,
)
from tests.unit.serve_app.agents.test_gate import BAD, GOOD, SCHEMAS
from tests.unit.serve_app.conftest import FLEET, FakeResponse, FakeScorer, with_tier

WRONG = ("add", ['{"a": "x"}'])
HOLDS = {"agents": {"turn_depth": None, "task_depth": None}}


def body(path: str, *, streams: bool = True, **more: Any) -> dict[str, Any]:
    field = "input" if path == RESPONSES else "messages"
    limit = {"max_tokens": 100} if path == MESSAGES else {}
    turns = [{"role": "user", "content": "Add."}]
    return offered(path, SCHEMAS, **{field: turns, "stream": streams, **limit, **more})


def streamed(path: str, answer: Answer, *, breaks: int | None = None) -> FakeResponse:
    """A stream, as long as it lasts: broken off after so many events, if any."""
    parts: list[Any] = stream(path, answer)
    if breaks is not None:
        parts = [*parts[:breaks], BrokenConnection()]
    return FakeResponse(*parts, content_type="text/event-stream")


def answered(path: str, answer: Answer, status: int = 200) -> FakeResponse:
    return FakeResponse(json.dumps(whole(path, answer)).encode(), status=status)


def outcomes(world: Any) -> dict[str, float]:
    names = ("valid", "schema", "in_text", "no_call", "empty", "unknown_tool", "not_json")
    name = "pointsman_tool_calls_total"
    found = {x: world.count(name, lane="chat", outcome=x) for x in names}
    return {k: v for k, v in found.items() if v}


@pytest.fixture
def holding(world):
    with_tier(world, **HOLDS)
    return world


@pytest.mark.parametrize("path", PATHS)
async def test_an_invalid_call_of_a_stream_is_made_again_on_the_same_lane(holding, path):
    again = answered(path, Answer([], [("add", ['{"a": 7}'])]))
    holding.lanes.answers = [streamed(path, Answer([], [GOOD, WRONG])), again]

    response = await holding.post(path, body(path), key="acme")

    found = heard(path, response.content)
    assert [(name, json.loads(args)) for name, args in found.made] == [
        ("add", {"a": 1}),
        ("add", {"a": 7}),
    ]
    first, second = holding.lanes.opened
    assert second.path == path and not second.body.get("stream")
    assert second.body["model"] == first.body["model"]
    assert second.body.get("cache_salt") == first.body.get("cache_salt")
    assert outcomes(holding) == {"valid": 1, "schema": 1}
    told = "pointsman_tool_repairs_total"
    assert holding.count(told, lane="chat", step="grammar", outcome="mended") == 1
    assert holding.reserved() == 0


@pytest.mark.parametrize("path", PATHS)
async def test_an_answer_whose_first_word_is_the_call_says_so_in_its_header(holding, path):
    again = answered(path, Answer([], [GOOD]))
    holding.lanes.answers = [streamed(path, Answer([], [WRONG])), again]

    response = await holding.post(path, body(path), key="acme")

    assert response.headers["x-pointsman-tool-repair"] == "grammar"
    assert [name for name, _ in heard(path, response.content).made] == ["add"]


@pytest.mark.parametrize("path", PATHS)
async def test_a_whole_answer_is_mended_before_it_is_sent(holding, path):
    # What vLLM could not read as JSON it does not send whole on the Messages route.
    wrong = WRONG if path == MESSAGES else BAD["not_json"]
    again = answered(path, Answer([], [("add", ['{"a": 7}'])]))
    holding.lanes.answers = [answered(path, Answer(["Well."], [wrong])), again]

    response = await holding.post(path, body(path, streams=False), key="acme")

    assert response.status_code == 200
    assert response.headers["x-pointsman-tool-repair"] == "grammar"
    assert response.headers["x-pointsman-reason"] == "default"
    assert b"7" in response.content and b'"x"' not in response.content
    usage = response.json()["usage"]
    assert (usage.get("completion_tokens") or usage["output_tokens"]) == 10


UNWRITTEN = {"error": {"message": "Expecting ',' delimiter: line 1 column 9 (char 8)"}}


async def test_a_message_whose_call_the_engine_cannot_write_is_made_again(holding):
    again = answered(MESSAGES, Answer([], [GOOD]))
    holding.lanes.answers = [FakeResponse(json.dumps(UNWRITTEN).encode(), status=400), again]

    response = await holding.post(MESSAGES, body(MESSAGES, streams=False), key="acme")

    found = response.json()
    assert response.status_code == 200 and found["stop_reason"] == "tool_use"
    assert [(x["type"], x["name"], x["input"]) for x in found["content"]] == [
        ("tool_use", "add", {"a": 1})
    ]
    assert response.headers["x-pointsman-tool-repair"] == "grammar"
    assert outcomes(holding) == {"not_json": 1}
    assert found["usage"]["output_tokens"] == 5
    assert holding.count("pointsman_tokens_total", tenant="acme", kind="completion") == 5


async def test_a_message_that_no_engine_can_write_is_no_bad_request(holding):
    bad = [FakeResponse(json.dumps(UNWRITTEN).encode(), status=400) for _ in range(3)]
    holding.lanes.answers = bad

    response = await holding.post(MESSAGES, body(MESSAGES, streams=False), key="acme")

    assert response.status_code == 502
    assert response.json()["error"]["code"] == "tool_call_invalid"
    assert outcomes(holding) == {"not_json": 1}


async def test_an_empty_answer_whose_last_try_is_bad_is_no_empty_answer_either(holding):
    said = (Answer([]), Answer([]), Answer([], [WRONG]))
    holding.lanes.answers = [answered(CHAT, x) for x in said]

    response = await holding.post(CHAT, body(CHAT, streams=False), key="acme")

    assert response.status_code >= 400 and b"tool_call_invalid" in response.content


@pytest.mark.parametrize("path", PATHS)
async def test_an_empty_answer_whose_second_try_is_bad_is_no_empty_answer(holding, path):
    """The model wanted to call, so the client hears that it could not."""
    bad = Answer([], [WRONG])
    holding.lanes.answers = [answered(path, x) for x in (Answer([]), bad, bad, bad)]

    response = await holding.post(path, body(path, streams=False), key="acme")

    assert response.status_code >= 400 and b"tool_call_invalid" in response.content
    assert json.dumps(holding.lanes.opened[2].body["tool_choice"]) != "null"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("streams", [True, False])
async def test_what_the_lane_cannot_make_the_stronger_one_does(holding, path, streams):
    wrong = Answer([], [WRONG])
    first = streamed(path, wrong) if streams else answered(path, wrong)
    right = answered(path, Answer([], [GOOD]))
    holding.lanes.answers = [first, answered(path, wrong), right]

    response = await holding.post(path, body(path, streams=streams), key="acme")

    urls = [sent.url for sent in holding.lanes.opened]
    assert urls == ["http://chat", "http://chat", "http://quality"]
    assert holding.lanes.opened[2].body["model"] != holding.lanes.opened[0].body["model"]
    assert b'"x"' not in response.content
    assert response.headers["x-pointsman-reason"] == "validation_failed"
    assert response.headers["x-pointsman-lane"] == "quality"
    assert response.headers["x-pointsman-tool-repair"] == "grammar-failed, fallback"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("streams", [True, False])
async def test_what_nobody_can_make_is_an_error_that_says_which_call(holding, path, streams):
    wrong = Answer([], [WRONG])
    first = streamed(path, wrong) if streams else answered(path, wrong)
    holding.lanes.answers = [first, answered(path, wrong), answered(path, Answer(["No."]))]

    response = await holding.post(path, body(path, streams=streams), key="acme")

    assert RejectReason.TOOL_CALL_INVALID.value.encode() in response.content
    assert b"'add'" in response.content and b'"x"' not in response.content
    assert response.status_code == 502
    assert holding.reserved() == 0 and holding.in_flight == 0


@pytest.mark.parametrize("fault", [BrokenConnection(), UpstreamFault("r1")])
@pytest.mark.parametrize("losses", [1, 2])
async def test_a_replica_that_dies_while_it_is_asked_again_is_no_end(holding, fault, losses):
    """Another one of the lane is asked, and where it dies, too, the stronger lane."""
    right = answered(CHAT, Answer([], [GOOD]))
    holding.lanes.answers = [streamed(CHAT, Answer([], [WRONG])), *[fault] * losses, right]

    response = await holding.post(CHAT, body(CHAT), key="acme")

    assert heard(CHAT, response.content).made == [("add", '{"a": 1}')]
    asked = holding.lanes.opened[1:]
    assert [x.replica for x in asked[:2]] == ["r1", "r2"]
    assert asked[-1].url == ("http://chat" if losses == 1 else "http://quality")


@pytest.mark.parametrize("path", PATHS)
async def test_a_call_left_in_the_text_is_made(holding, path):
    text = ["Well. ", "<tool", '_call>{"name": "add", "arguments": {"a": 1}}</tool_call>']
    holding.lanes.answers = [
        streamed(path, Answer(text)),
        answered(path, Answer([], [("add", ['{"a": 1}'])])),
    ]

    found = heard(path, (await holding.post(path, body(path), key="acme")).content)

    assert found.text == "Well. "
    assert [(name, json.loads(args)) for name, args in found.made] == [("add", {"a": 1})]
    assert outcomes(holding) == {"in_text": 1}


async def test_an_empty_answer_is_asked_for_again_and_passes_if_it_stays_empty(holding):
    holding.lanes.answers = [streamed(CHAT, Answer()), *[answered(CHAT, Answer())] * 2]

    response = await holding.post(CHAT, body(CHAT), key="acme")

    assert heard(CHAT, response.content).reason == "stop"
    assert outcomes(holding) == {"empty": 1}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("elsewhere", [False, True])
async def test_text_that_comes_after_an_empty_answer_is_the_answer(
    holding, path, streams, elsewhere
):
    """The model had nothing to call; of the stronger lane only where its own stays silent."""
    first = streamed(path, Answer()) if streams else answered(path, Answer())
    empty = [answered(path, Answer())] * elsewhere
    holding.lanes.answers = [first, *empty, answered(path, Answer(["All is done."]))]

    response = await holding.post(path, body(path, streams=streams), key="acme")

    told = "grammar-failed, fallback" if elsewhere else "grammar"
    assert response.headers["x-pointsman-tool-repair"] == told
    if streams:
        found = heard(path, response.content)
        assert (found.text, found.made) == ("All is done.", [])
        if path == RESPONSES:
            (message,) = found.final["output"]
            assert message["content"][0]["text"] == "All is done."
    else:
        assert response.text.count("All is done.") == 1
    assert outcomes(holding) == {"empty": 1} and holding.reserved() == 0


@pytest.mark.parametrize("path", PATHS)
async def test_a_wrong_call_after_an_empty_answer_is_made_again_under_a_grammar(holding, path):
    """On the same lane: a fleet may have no other."""
    said = (Answer([], [WRONG]), Answer([], [GOOD]))
    holding.lanes.answers = [streamed(path, Answer()), *(answered(path, x) for x in said)]

    response = await holding.post(path, body(path), key="acme")

    assert [name for name, _ in heard(path, response.content).made] == ["add"]
    assert response.headers["x-pointsman-tool-repair"] == "grammar-failed, grammar"
    assert [asked.url for asked in holding.lanes.opened] == ["http://chat"] * 3


async def test_text_that_was_cut_short_does_not_stand_for_an_answer(holding):
    """Its end would say that it is whole."""
    said = [answered(CHAT, Answer(["All is"], is_short=True)), answered(CHAT, Answer(["Done."]))]
    holding.lanes.answers = [streamed(CHAT, Answer()), *said]

    response = await holding.post(CHAT, body(CHAT), key="acme")

    assert heard(CHAT, response.content).text == "Done."


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("streams", [True, False])
async def test_a_tier_without_agents_counts_and_passes_on(world, path, streams):
    wrong = Answer(["Well."], [WRONG])
    sent = streamed(path, wrong) if streams else answered(path, wrong)
    expected = b"".join(sent.parts)
    world.lanes.answers = [sent]

    response = await world.post(path, body(path, streams=streams, stream_options=None), key="acme")

    if path == CHAT and streams:
        # Usage that was not asked for is left out.
        assert heard(path, response.content).made == [("add", '{"a": "x"}')]
    else:
        assert response.content == expected
    assert outcomes(world) == {"schema": 1}
    assert "x-pointsman-tool-repair" not in response.headers


async def test_a_strict_tool_is_held_for_every_tier(world):
    asked = body(CHAT)
    asked["tools"][0]["function"]["strict"] = True
    world.lanes.answers = [
        streamed(CHAT, Answer([], [WRONG])),
        answered(CHAT, Answer([], [GOOD])),
    ]

    found = heard(CHAT, (await world.post(CHAT, asked, key="acme")).content)

    assert found.made == [("add", '{"a": 1}')]


@pytest.mark.parametrize("path", PATHS)
async def test_without_tools_nothing_is_judged(holding, path):
    asked = {k: v for k, v in body(path).items() if k != "tools"}
    text = ['<tool_call>{"name": "add", "arguments": {}}</tool_call>']
    holding.lanes.answers = [streamed(path, Answer(text))]

    found = heard(path, (await holding.post(path, asked, key="acme")).content)

    assert found.text == text[0] and outcomes(holding) == {}


@pytest.mark.parametrize("path", PATHS)
async def test_a_replica_that_dies_within_a_held_call_is_no_half_call(holding, path):
    """Nothing was passed on, not even who speaks: the answer begins again elsewhere."""
    broken = streamed(path, Answer([], [GOOD]), breaks=3)
    holding.lanes.answers = [broken, streamed(path, Answer([], [GOOD]))]

    found = heard(path, (await holding.post(path, body(path), key="acme")).content)

    assert found.made == [("add", '{"a": 1}')]
    assert outcomes(holding) == {"valid": 1}


async def test_what_was_asked_again_is_charged(holding):
    holding.lanes.answers = [
        streamed(CHAT, Answer([], [WRONG])),
        answered(CHAT, Answer([], [GOOD])),
    ]

    await holding.post(CHAT, body(CHAT), key="acme")

    name = "pointsman_tokens_total"
    assert holding.count(name, tenant="acme", kind="prompt") == 20
    assert holding.count(name, tenant="acme", kind="completion") == 10


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("path", PATHS)
async def test_an_answer_that_stays_empty_tells_what_was_charged_for_it(holding, path, streams):
    empty = Answer([], [])
    first = streamed(path, empty) if streams else answered(path, empty)
    holding.lanes.answers = [first, answered(path, empty), answered(path, empty)]
    usage = {"stream_options": {"include_usage": True}} if path == CHAT and streams else {}

    response = await holding.post(path, body(path, streams=streams, **usage), key="acme")

    told = heard(path, response.content).usage if streams else response.json()["usage"]
    charged = holding.count("pointsman_tokens_total", tenant="acme", kind="completion")
    assert (told.get("completion_tokens") or told["output_tokens"]) == charged == 15


@pytest.mark.parametrize("streams", [True, False])
async def test_an_answer_of_invalid_calls_alone_is_not_made_again_call_by_call(holding, streams):
    many = Answer([], [WRONG] * 17)
    first = streamed(CHAT, many) if streams else answered(CHAT, many)
    holding.lanes.answers = [first, *(answered(CHAT, Answer([], [GOOD])) for _ in range(17))]

    response = await holding.post(CHAT, body(CHAT, streams=streams), key="acme")

    assert response.json()["error"]["code"] == "tool_call_invalid"
    assert len(holding.lanes.opened) == 1


async def test_what_was_asked_again_in_vain_is_charged(holding):
    """The engine that could not write the answer told no count."""
    bad = FakeResponse(json.dumps(UNWRITTEN).encode(), status=500)
    holding.lanes.answers = [bad, *(answered(MESSAGES, Answer(["No."])) for _ in range(2))]

    response = await holding.post(MESSAGES, body(MESSAGES, streams=False), key="acme")

    assert response.status_code == 502
    name = "pointsman_tokens_total"
    assert holding.count(name, tenant="acme", kind="prompt") == 20
    assert holding.count(name, tenant="acme", kind="completion") == 10
    assert holding.reserved() == 0


@pytest.mark.parametrize("path", PATHS)
async def test_a_call_that_ends_each_replica_within_it_costs_two(holding, path):
    """What is held and was never told is no progress."""
    answer = Answer([], [("add", ['{"a": ', "1", "1", "1", "1"])])
    many = len(stream(path, answer)) - 4
    holding.lanes.answers = [streamed(path, answer, breaks=many) for _ in range(9)]

    response = await holding.post(path, body(path), key="acme")

    assert len(holding.lanes.opened) == 2
    assert response.status_code == 429
    assert holding.reserved() == 0
    assert holding.count("pointsman_tokens_total", tenant="acme", kind="prompt") == 0


async def test_a_message_that_ends_each_replica_before_its_first_word_costs_two(holding):
    """Its first lines wait for that word."""
    holding.lanes.answers = [streamed(MESSAGES, Answer(["Well."]), breaks=2) for _ in range(9)]

    response = await holding.post(MESSAGES, body(MESSAGES), key="acme")

    assert len(holding.lanes.opened) == 2
    assert response.status_code == 429


async def test_after_text_a_repair_is_told_in_a_comment(holding):
    holding.lanes.answers = [
        streamed(CHAT, Answer(["Well."], [WRONG])),
        answered(CHAT, Answer([], [GOOD])),
    ]

    response = await holding.post(CHAT, body(CHAT), key="acme")

    assert b": x-pointsman-tool-repair: grammar\n\n" in response.content
    assert "x-pointsman-tool-repair" not in response.headers


async def test_after_text_what_nobody_can_make_ends_the_stream_with_an_error(holding):
    wrong = Answer(["Well."], [WRONG])
    holding.lanes.answers = [streamed(CHAT, wrong), *[answered(CHAT, wrong)] * 2]

    response = await holding.post(CHAT, body(CHAT), key="acme")

    assert response.status_code == 200
    last = response.content.strip().split(b"\n\n")[-1]
    assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "tool_call_invalid"
    assert heard(CHAT, b"\n\n".join(response.content.split(b"\n\n")[:-2])).made == []


@pytest.mark.parametrize("made", [GOOD, WRONG])
async def test_a_replica_that_dies_after_its_last_word_leaves_valid_calls(holding, made):
    """All but the closing lines had come: they are ours to say, and calls ours to judge."""
    broken = streamed(CHAT, Answer(["Well."], [made]), breaks=-2)
    holding.lanes.answers = [broken, answered(CHAT, Answer([], [GOOD]))]

    response = await holding.post(CHAT, body(CHAT), key="acme")

    found = heard(CHAT, response.content)
    assert (found.text, found.reason) == ("Well.", "tool_calls")
    assert found.made == [("add", '{"a": 1}')]
    assert sum(outcomes(holding).values()) == 1


async def test_numbers_of_any_size_stay_in_what_is_asked_and_what_is_given(holding):
    """Of the call that was right, and of a field that only the engine knows."""
    large = 2**70 + 1
    answer = json.dumps(whole(MESSAGES, Answer([], [("list", ["{}"]), WRONG]))).replace(
        '"input": {}', f'"input": {{"n": {large}}}', 1
    )
    first = FakeResponse(answer.encode())
    holding.lanes.answers = [first, answered(MESSAGES, Answer([], [GOOD]))]
    asked = body(MESSAGES, streams=False, metadata={"large": large})

    response = await holding.post(MESSAGES, asked, key="acme")

    calls = [block["input"] for block in response.json()["content"]]
    assert calls == [{"n": large}, {"a": 1}]
    assert holding.lanes.opened[1].body["metadata"] == {"large": large}


def with_fallbacks(world: Any, *names: str) -> None:
    """Give the fleet lanes of these names, which are asked in this order."""
    lanes = {
        name: {"model_id": name, "model_source": "x", "max_model_len": 4096, **more}
        for name, more in (
            ("heavy", {}),
            ("top", {}),
            ("short", {"max_model_len": 64}),
            ("small", {"max_model_len": 1024}),
            ("ranked", {"engine_args": {"scheduling_policy": "priority"}}),
        )
    }
    lanes["off"] = {"model_id": "off", "model_source": "x", "max_model_len": 64, "enabled": False}
    fleet = FleetConfig.model_validate(
        {
            **FLEET,
            "lanes": {**FLEET["lanes"], **lanes},
            "routing": {**FLEET["routing"], "tool_fallback": [*names]},
        }
    )
    made = build_policies(fleet, world.tenants, FakeScorer(), lambda _: 0.5, book=world.book)
    world.use(world.lanes, state=IngressState(made, "s3"))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("streams", [True, False])
async def test_stronger_lanes_are_asked_one_after_the_other(world, path, streams):
    """Those that are on and have room for the prompt."""
    with_fallbacks(world, "off", "short", "heavy", "top")
    with_tier(world, **HOLDS)
    wrong = Answer([], [WRONG])
    first = streamed(path, wrong) if streams else answered(path, wrong)
    right = answered(path, Answer([], [GOOD]))
    world.lanes.answers = [first, *(answered(path, wrong) for _ in range(2)), right]

    response = await world.post(path, body(path, streams=streams), key="acme")

    urls = [sent.url for sent in world.lanes.opened]
    assert urls == ["http://chat", "http://chat", "http://heavy", "http://top"]
    assert response.headers["x-pointsman-lane"] == "top"
    assert response.headers["x-pointsman-reason"] == "validation_failed"
    assert (
        response.headers["x-pointsman-tool-repair"] == "grammar-failed, fallback-failed, fallback"
    )


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("path", PATHS)
async def test_what_is_asked_again_has_room_in_each_window(world, path, streams):
    """The first request asked for all that its prompt left."""
    with_fallbacks(world, "small")
    with_tier(world, **HOLDS)
    wrong = Answer([], [WRONG])
    first = streamed(path, wrong) if streams else answered(path, wrong)
    world.lanes.answers = [first, *(answered(path, wrong) for _ in range(2))]
    limit = "max_output_tokens" if path == RESPONSES else "max_tokens"

    await world.post(path, body(path, streams=streams, **{limit: 100_000}), key="acme")

    given, again, fallback = (sent.body for sent in world.lanes.opened)
    turns = json.dumps((again.get("input") or again["messages"])[-2:])
    assert 3_000 < again[limit] < 4_096 - 10 - len(turns) // 4
    assert again[limit] < given[limit]
    assert 64 <= fallback[limit] < 1_024 - 10 - len(turns) // 4


async def test_a_lane_is_asked_with_its_own_priorities_only(world):
    """An engine without them refuses a request that has one; one with them serves it first."""
    with_fallbacks(world, "top", "ranked")
    with_tier(world, **HOLDS, priority=7)
    world.lanes.answers = [answered(CHAT, Answer([], [WRONG])) for _ in range(4)]

    await world.post(CHAT, body(CHAT, streams=False), key="acme")

    assert [sent.body.get("priority") for sent in world.lanes.opened] == [None, None, None, 7]

    world.lanes.opened.clear()
    world.lanes.answers = [answered(CHAT, Answer([], [WRONG])) for _ in range(4)]
    await world.post(CHAT, body(CHAT, streams=False, model="ranked"), key="acme")

    assert [sent.body.get("priority") for sent in world.lanes.opened] == [7, 7, None]


async def test_a_lane_without_a_slot_is_passed_by(world, monkeypatch):
    """The client has waited for one already."""
    with_fallbacks(world, "quality", "heavy")
    with_tier(world, **HOLDS)
    wrong, right = Answer([], [WRONG]), answered(CHAT, Answer([], [GOOD]))
    world.lanes.answers = [answered(CHAT, wrong), answered(CHAT, wrong), right]
    take = world.state.admission.take

    def full(lane: str, *args: Any, **more: Any) -> Any:
        if lane == "quality":
            return SimpleNamespace(is_waiting=True, refused=None, leave=lambda: None)
        return take(lane, *args, **more)

    monkeypatch.setattr(world.state.admission, "take", full)

    response = await world.post(CHAT, body(CHAT, streams=False), key="acme")

    assert [sent.url for sent in world.lanes.opened][2:] == ["http://heavy"]
    assert response.headers["x-pointsman-lane"] == "heavy"
