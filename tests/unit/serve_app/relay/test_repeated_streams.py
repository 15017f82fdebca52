"""Streams that no engine can go on with: asked again, and shown from where the client has them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import pytest

from serve_app.agents.gate import Gate
from serve_app.relay.repeat.told import Told
from serve_app.transport.upstream import BrokenConnection
from simulator.script.model import Script
from tests.unit.serve_app.agents.answers import (
    CHAT,
    MESSAGES,
    PATHS,
    RESPONSES,
    Answer,
    heard,
    offered,
    stream,
)
from tests.unit.serve_app.conftest import FakeResponse, with_tier
from tests.unit.serve_app.simulated_lanes import Break, SimulatedLanes

SCHEMA = {
    "type": "object",
    "properties": {"path": {"type": "string"}},
    "required": ["path"],
}
STEP = {
    "reasoning": "First I look at all of it.",
    "text": "I list the files.",
    "calls": [{"run": {"path": "here"}}, {"read": {"path": "notes.txt"}}],
}
HOLDS = {"agents": {"turn_depth": None, "task_depth": None}}
RECOVERED = "pointsman_stream_recoveries_total"


def script_of(**changes: Any) -> Script:
    return Script.model_validate({"turns": [{"steps": [{**STEP, **changes}]}]})


def body(path: str, **more: Any) -> dict[str, Any]:
    turns = [{"role": "user", "content": "Go."}]
    limit = {"max_tokens": 500} if path == MESSAGES else {}
    field = "input" if path == RESPONSES else "messages"
    usage = {"stream_options": {"include_usage": True}} if path == CHAT else {}
    tools = {"run": SCHEMA, "read": SCHEMA}
    return offered(path, tools, **{field: turns, "stream": True, **limit, **usage, **more})


@pytest.fixture
def recover(world):
    """Posts a body over scripted lanes whose answers break as told."""

    async def post(path, *cuts, key="acme", steps=(1, 1), **scripts):
        lanes = SimulatedLanes(cuts=list(cuts), scripts={"": script_of(), **scripts}, step=steps[0])
        lanes.divide("r2", steps[1])
        world.use(lanes)
        answer = await world.post(path, body(path), key=key)
        return answer.content, lanes

    return post


def events_of(raw: bytes) -> list[dict[str, Any]]:
    lines = [x.partition(b"data: ")[2] for x in raw.split(b"\n\n")]
    return [json.loads(x) for x in lines if x and x != b"[DONE]"]


def thought(raw: bytes) -> str:
    """What a client has of the reasoning."""
    said = ""
    for data in events_of(raw):
        if data.get("type") == "response.reasoning_text.delta":
            said += data["delta"]
        elif data.get("type") == "content_block_delta":
            said += data["delta"].get("thinking", "")
        for choice in data.get("choices", ()):
            said += choice["delta"].get("reasoning") or ""
    return said


def check_names(path: str, raw: bytes) -> None:
    """One answer under one name, whose events and parts are in order."""
    events = events_of(raw)
    if path == CHAT:
        heads = {(x["id"], x["object"], x["created"], x["model"]) for x in events}
        assert len(heads) == 1 and raw.count(b"[DONE]") == 1
        roles = [c["delta"].get("role") for x in events for c in x["choices"]]
        assert roles.count("assistant") == 1
    elif path == MESSAGES:
        assert [x["type"] for x in events].count("message_start") == 1
        opened = [x["index"] for x in events if x["type"] == "content_block_start"]
        closed = [x["index"] for x in events if x["type"] == "content_block_stop"]
        assert opened == closed == list(range(len(opened)))
    else:
        assert [x["sequence_number"] for x in events] == list(range(len(events)))
        assert len({x["response"]["id"] for x in events if "response" in x}) == 1
        items = [x["item"]["id"] for x in events if x["type"] == "response.output_item.added"]
        done = [x["item"]["id"] for x in events if x["type"] == "response.output_item.done"]
        assert items == done
        assert all(x["item_id"] == items[x["output_index"]] for x in events if "item_id" in x)
        calls = [x["item"] for x in events if x.get("item", {}).get("call_id")]
        assert len({x["call_id"] for x in calls}) == len(calls) // 2


def check_same(path: str, raw: bytes, expected: bytes) -> None:
    """A client has of one stream what it has of another."""
    check_names(path, raw)
    one, other = heard(path, raw), heard(path, expected)
    assert (one.text, one.made, one.reason) == (other.text, other.made, other.reason)
    # A stream that lacks its last lines only is closed by us, who know no count.
    assert one.usage == other.usage or (not one.usage and path == CHAT)
    assert thought(raw) == thought(expected)


@pytest.mark.parametrize("holds", [True, False], ids=["held", "counted"])
@pytest.mark.parametrize("path", PATHS)
async def test_a_cut_within_reasoning_text_or_a_call_is_not_seen(world, recover, path, holds):
    """At every event; ids, numbers and counts are those of one answer."""
    if holds:
        with_tier(world, **HOLDS)
    expected, _ = await recover(path)
    whole = heard(path, expected)
    assert [json.loads(given) for _, given in whole.made] == [
        {"path": "here"},
        {"path": "notes.txt"},
    ]
    assert whole.text == STEP["text"] and thought(expected) == STEP["reasoning"]

    for events in range(1, expected.count(b"\n\n"), 1 if holds else 4):
        raw, lanes = await recover(path, Break(events))

        check_same(path, raw, expected)
        assert all(asked["stream"] for _, _, asked in lanes.opened)
    assert world.count(RECOVERED, outcome="failed") == 0
    assert world.count(RECOVERED, outcome="resumed") >= 5
    assert (world.reserved(), world.in_flight) == (0, 0)


@pytest.mark.parametrize("path", PATHS)
async def test_a_repeated_answer_may_be_divided_otherwise(recover, path):
    """Of an event that the client has in part it gets the rest."""
    expected, _ = await recover(path)
    for events in range(1, expected.count(b"\n\n"), 5):
        raw, _ = await recover(path, Break(events), steps=(1, 3))

        check_same(path, raw, expected)
    by_three, _ = await recover(path, steps=(3, 3))
    for events in range(1, by_three.count(b"\n\n"), 3):
        raw, _ = await recover(path, Break(events), steps=(3, 1))

        check_same(path, raw, expected)


@pytest.mark.parametrize("path", PATHS)
async def test_two_cuts_in_one_stream_are_not_seen(recover, path):
    """Also where the second comes before the client has heard anything new."""
    expected, _ = await recover(path)
    many = expected.count(b"\n\n")

    for cuts in ((Break(many // 2), Break(many // 3)), (Break(many // 3), Break(many // 2))):
        raw, lanes = await recover(path, *cuts)

        check_same(path, raw, expected)
        assert len(lanes.opened) == 3


@pytest.mark.parametrize("path", PATHS)
async def test_under_a_ceiling_a_repeated_stream_is_the_same(recover, path):
    expected, _ = await recover(path)

    raw, _ = await recover(path, Break(expected.count(b"\n\n") // 2), key="slow")

    check_same(path, raw, expected)


@pytest.mark.parametrize("path", PATHS)
async def test_an_answer_that_says_something_else_ends_with_one_error_event(world, recover, path):
    """Words that the client has cannot be taken back; the replica is not to blame for it."""
    expected, _ = await recover(path)
    said = expected[: expected.index(b"files")].count(b"\n\n") + 1
    other = script_of(text="Something else.")

    raw, lanes = await recover(path, Break(said), r2=other)

    *_, last = events_of(raw)
    assert last["error"]["code" if path != MESSAGES else "type"]
    assert heard(path, raw[: raw.rindex(b"data: ")]).text in STEP["text"]
    assert len(lanes.opened) == 2
    assert world.count(RECOVERED, outcome="failed") == 1
    assert world.count(RECOVERED, outcome="resumed") == 0
    assert (world.reserved(), world.in_flight) == (0, 0)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("thinks", ["First the other thing.", "First I", ""])
async def test_reasoning_that_was_not_over_may_be_another(recover, path, thinks):
    """It is begun again in the same place; the answer after it is whole."""
    expected, _ = await recover(path)
    said = expected[: expected.index(b"look")].count(b"\n\n") + 1

    raw, _ = await recover(path, Break(said), r2=script_of(reasoning=thinks))

    if not thinks:
        assert events_of(raw)[-1].get("error")
        return
    check_names(path, raw)
    found, whole = heard(path, raw), heard(path, expected)
    assert (found.text, found.made, found.reason) == (whole.text, whole.made, whole.reason)
    assert thought(raw).endswith(thinks) or thought(raw).startswith(thinks)


@pytest.mark.parametrize("path", PATHS)
async def test_a_call_that_was_held_may_become_another(world, recover, path):
    """The client never had it."""
    with_tier(world, **HOLDS)
    expected, _ = await recover(path)
    said = expected[: expected.index(b"notes")].count(b"\n\n") - 1
    other = script_of(calls=[{"run": {"path": "here"}}, {"read": {"path": "other.txt"}}])

    raw, _ = await recover(path, Break(said), r2=other)

    check_names(path, raw)
    made = [json.loads(given)["path"] for _, given in heard(path, raw).made]
    assert made == ["here", "other.txt"]


@pytest.mark.parametrize("path", PATHS)
async def test_a_client_that_leaves_pays_for_what_was_said_once(world, path):
    """Also where the engine begins with a count of no tokens, and after a repetition."""
    expected = stream_of(path)
    said = [event for event in expected if b"word" in event]
    first = expected[: expected.index(said[3])]
    second = expected[: expected.index(said[5])]
    gone = FakeResponse(*second, asyncio.Event(), content_type="text/event-stream")
    lost = FakeResponse(*first, BrokenConnection(), content_type="text/event-stream")
    world.lanes.answers = [lost, gone]

    task = asyncio.create_task(world.post(path, body(path), key="acme"))
    await gone.waits.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task

    name = "pointsman_tokens_total"
    found = world.count(name, tenant="acme", kind="completion")
    # Lines without a word count as well.
    assert 5 <= found <= len(second)
    assert (world.reserved(), world.in_flight) == (0, 0)


def stream_of(path: str) -> list[bytes]:
    return stream(path, Answer([f"word {number} " for number in range(9)]))


@pytest.mark.parametrize("path", PATHS)
async def test_calls_are_remembered_by_the_ids_that_the_client_has(path, recover, monkeypatch):
    """Their results come back under those."""
    gates = []
    inner = Gate.know_calls_as
    monkeypatch.setattr(
        Gate, "know_calls_as", lambda gate, ids: gates.append(gate) or inner(gate, ids)
    )
    expected, _ = await recover(path)
    events = expected.count(b"\n\n")

    raw, _ = await recover(path, Break(events - 4))

    said = heard(path, raw)
    ids = [said.ids[at] for at in sorted(said.ids)]
    assert [call.id for call in gates[-1].delivered] == ids


async def test_a_stream_with_log_probabilities_ends(world):
    """They stand beside the text in its events: neither could be divided."""
    lanes = SimulatedLanes(cuts=[Break(12)], scripts={"": script_of()})
    world.use(lanes)
    asked = body(RESPONSES, include=["message.output_text.logprobs"])

    answer = await world.post(RESPONSES, asked, key="acme")

    assert len(lanes.opened) == 1
    assert events_of(answer.content)[-1]["type"] == "error"


async def test_what_was_too_long_to_keep_ends(recover, monkeypatch):
    monkeypatch.setattr("serve_app.relay.repeat.told.MAX_RAW_BYTES", 200)
    expected, _ = await recover(CHAT)
    kept, _ = await recover(CHAT, Break(20))
    monkeypatch.setattr("serve_app.relay.repeat.told.MAX_CHARS", 10)

    raw, lanes = await recover(CHAT, Break(20))

    check_same(CHAT, kept, expected)
    assert events_of(raw)[-1]["error"]["code"] == "no_replica" and len(lanes.opened) == 1


def test_what_turns_out_too_long_while_it_is_read_is_not_said_twice(monkeypatch):
    """The last of it is read when the stream has broken off."""
    monkeypatch.setattr("serve_app.relay.repeat.told.MAX_CHARS", 1000)
    told = Told()
    told.pass_on(b"".join(stream(CHAT, Answer(["word "] * 300))[:-3]))

    assert not told.can_repeat


def test_text_in_thousands_of_pieces_is_known_whole():
    events = stream(CHAT, Answer([f"{number} " for number in range(3000)]))
    told = Told()
    told.pass_on(b"".join(events[:2500]))
    assert told.can_repeat

    told.begin_again()

    new = told.pass_on(b"".join(events))
    assert heard(CHAT, new).text == heard(CHAT, b"".join(events[2500:])).text
    assert new.count(b"\n\n") == len(events) - 2500 and not told.has_diverged


async def test_a_replica_that_gives_nothing_is_not_counted_as_one_that_went_on(world, recover):
    """Of three attempts the second broke off before a new word."""
    await recover(CHAT, Break(12), Break(3))

    assert world.count(RECOVERED, outcome="resumed") == 1


@pytest.mark.parametrize("holds", [True, False], ids=["held", "counted"])
async def test_a_repeated_response_is_stored_as_its_client_got_it(world, recover, holds):
    """Its calls, whichever engine began them, have the ids that a client answers."""
    if holds:
        with_tier(world, **HOLDS)
    expected, _ = await recover(RESPONSES)
    with_tier(world, responses={}, **(HOLDS if holds else {}))

    for cut in range(1, expected.count(b"\n\n"), 4):
        raw, lanes = await recover(RESPONSES, Break(cut))

        events = events_of(raw)
        items = [x["item"] for x in events if x["type"] == "response.output_item.done"]
        calls = {x["call_id"] for x in items if x["type"] == "function_call"}
        async with world.client(key="acme") as client:
            path = f"{RESPONSES}/{events[0]['response']['id']}"
            stored = (await client.get(path)).json()
            # The simulated engines begin anew, and give the same ids again.
            await client.delete(path)
        told = events[-1]["response"]
        assert len(lanes.opened) == 2 and told["store"] is True
        assert stored["output"] == told["output"]
        assert {x["call_id"] for x in told["output"] if x["type"] == "function_call"} == calls
        assert len(calls) == len(STEP["calls"])
