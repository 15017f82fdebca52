"""Why an answer on `/v1/messages` ended: a tool call says so, by whatever choice it was made."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.protocol.errors import Dialect
from serve_app.protocol.sse import EventReader
from serve_app.relay.tool_use import Messages, with_reason

MESSAGES = "/v1/messages"
CHAT = "/v1/chat/completions"
ASK = {
    "messages": [{"role": "user", "content": "Weather?"}],
    "max_tokens": 60,
    "tools": [{"name": "weather", "input_schema": {"type": "object"}}],
    "tool_choice": {"type": "tool", "name": "weather"},
}
TRICKY = '"type":"tool_use" "stop_reason":"end_turn" \\"type\\":\\"tool_use\\"'
# Numbers that a reader of doubles would change.
INPUT = {"stop_reason": "end_turn", "type": "tool_use", "id": 2**70, "x": 0.1, "Ort": "Zürich"}
TEXT, CALL = {"type": "text", "text": TRICKY}, {"type": "tool_use", "id": "t", "input": INPUT}


def event(data) -> bytes:
    """As vLLM writes it."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return f"event: {data['type']}\ndata: {text}\n\n".encode()


def whole(reason, *blocks) -> bytes:
    usage = {"input_tokens": 2, "output_tokens": 5}
    answer = {
        "id": "m1",
        "type": "message",
        "content": list(blocks),
        "stop_reason": reason,
        "usage": usage,
    }
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()


def block(kind, text) -> list[bytes]:
    start = {"tool_use": {"type": "tool_use", "id": "t", "name": "weather", "input": {}}}
    delta = {"type": "input_json_delta", "partial_json": text}
    if kind == "text":
        delta = {"type": "text_delta", "text": text}
    head = {"type": "content_block_start", "content_block": start.get(kind, TEXT | {"text": ""})}
    parts = [head, {"type": "content_block_delta", "delta": delta}, {"type": "content_block_stop"}]
    return [event({**part, "index": 0}) for part in parts]


def streamed(reason, *kinds, text=TRICKY) -> list[bytes]:
    usage = {"input_tokens": 2, "output_tokens": 5}
    message = {"id": "m1", "content": [], "stop_reason": None, "usage": usage}
    end = {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}
    return [
        event({"type": "message_start", "message": message}),
        *(part for kind in kinds for part in block(kind, text)),
        event(end),
        event({"type": "message_stop"}),
    ]


@pytest.mark.parametrize(
    ("reason", "blocks", "right"),
    [
        ("end_turn", [CALL], "tool_use"),
        ("end_turn", [TEXT, CALL, CALL], "tool_use"),
        ("end_turn", [TEXT], "end_turn"),
        ("max_tokens", [CALL], "max_tokens"),
        ("stop_sequence", [CALL], "stop_sequence"),
        ("tool_use", [CALL], "tool_use"),
    ],
)
async def test_a_whole_answer_with_a_tool_call(world, engine, reason, blocks, right):
    """Everything else stays as the engine wrote it, byte for byte."""
    answer = engine()
    answer.parts = [whole(reason, *blocks)]
    world.lanes.answers = [answer]

    got = await world.post(MESSAGES, ASK, key="acme")

    assert got.content == whole(right, *blocks)
    assert got.headers["content-length"] == str(len(got.content))


@pytest.mark.parametrize(
    ("reason", "kinds", "right"),
    [
        ("end_turn", ["tool_use"], "tool_use"),
        ("end_turn", ["text", "tool_use"], "tool_use"),
        ("end_turn", ["text"], "end_turn"),
        ("max_tokens", ["tool_use"], "max_tokens"),
        ("stop_sequence", ["text", "tool_use"], "stop_sequence"),
        ("tool_use", ["tool_use"], "tool_use"),
    ],
)
async def test_a_stream_with_a_tool_call(world, stream, reason, kinds, right):
    world.lanes.answers = [stream(*streamed(reason, *kinds))]

    got = await world.post(MESSAGES, {**ASK, "stream": True}, key="acme")

    assert got.content == b"".join(streamed(right, *kinds))
    assert world.count("pointsman_tokens_total", tenant="acme", kind="completion") == 5


async def test_a_call_without_arguments_is_one_too(world, stream):
    """No delta comes, so the whole answer waits for its end."""
    events = [x for x in streamed("end_turn", "tool_use") if b"_delta\ndata" not in x[:40]]
    events.insert(-1, streamed("end_turn")[1])
    world.lanes.answers = [stream(*events)]

    got = await world.post(MESSAGES, {**ASK, "stream": True}, key="acme")

    assert json.loads(got.content.split(b"data: ")[-2].split(b"\n")[0])["delta"] == {
        "stop_reason": "tool_use"
    }


@given(
    st.lists(st.sampled_from(["text", "tool_use"]), max_size=3),
    st.text() | st.just(TRICKY),
    st.data(),
)
def test_however_a_stream_is_cut_it_ends_alike(kinds, text, data):
    """What a model says, and where TCP cuts it, decides nothing."""
    stream = b"".join(streamed("end_turn", *kinds, text=text))
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=20))
    edges = [0, *sorted(cuts), len(stream)]
    source = Messages(EventReader(hide_usage=False), None, Dialect.ANTHROPIC)

    parts = [source.feed(stream[a:b]) for a, b in itertools.pairwise(edges)]

    right = "tool_use" if "tool_use" in kinds else "end_turn"
    assert b"".join(parts) + source.end() == b"".join(streamed(right, *kinds, text=text))


def test_an_answer_of_another_form_is_left_alone():
    """Nothing is invented where there is no reason to mend."""
    body = json.dumps({"content": [CALL]}, separators=(",", ":")).encode()

    assert with_reason(body) == body


async def test_chat_keeps_what_openai_says_of_a_named_tool(world, engine):
    """There `stop` is right."""
    answer = {"choices": [{"finish_reason": "stop", "message": {"tool_calls": [CALL]}}]}
    world.lanes.answers = [engine(answer)]

    got = await world.post(CHAT, ASK, key="acme")

    assert got.json() == answer
