"""An answer is read from what its client was given, whole or as events, on each route."""

from __future__ import annotations

import json

import pytest

from serve_app.traces.answer import Answer, answer_of

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
RESPONSES, BARE = "/v1/responses", "/v1/completions"

CALL = {"name": "mail", "arguments": '{"to": 1}'}


def events(*data: dict) -> bytes:
    lines = [b": a comment\n\n", *(b"data: " + json.dumps(x).encode() + b"\n\n" for x in data)]
    return b"".join(lines) + b"data: [DONE]\n\n"


def chunk(delta: dict, reason: str | None = None, index: int = 0) -> dict:
    return {"choices": [{"index": index, "delta": delta, "finish_reason": reason}]}


def function(**members) -> dict:
    return {"tool_calls": [{"index": 0, "function": members}]}


WHOLE = {
    CHAT: {
        "choices": [
            {
                "index": 0,
                "finish_reason": "tool_calls",
                "message": {"content": "Hi", "tool_calls": [{"id": "c", "function": CALL}]},
            },
            {"index": 1, "finish_reason": "stop", "message": {"content": "other"}},
        ]
    },
    MESSAGES: {
        "stop_reason": "tool_use",
        "content": [
            {"type": "text", "text": "Hi"},
            {"type": "tool_use", "id": "c", "name": "mail", "input": {"to": 1}},
        ],
    },
    RESPONSES: {
        "status": "completed",
        "output": [
            {"type": "message", "content": [{"type": "output_text", "text": "Hi"}]},
            {"type": "function_call", "call_id": "c", **CALL},
        ],
    },
}
STREAMS = {
    CHAT: events(
        chunk({"role": "assistant"}),
        chunk({"content": "H"}),
        chunk({"content": "other"}, index=1),
        chunk({"content": "i"}),
        chunk(function(name="mail", arguments="")),
        chunk(function(arguments='{"to":')),
        chunk(function(arguments=" 1}")),
        chunk({}, "tool_calls"),
    ),
    MESSAGES: events(
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
        {
            "type": "content_block_start",
            "index": 1,
            "content_block": {"type": "tool_use", "name": "mail"},
        },
        {
            "type": "content_block_delta",
            "index": 1,
            "delta": {"type": "input_json_delta", "partial_json": '{"to": 1}'},
        },
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
    ),
    RESPONSES: events(
        {"type": "response.output_text.delta", "delta": "Hi"},
        {
            "type": "response.output_item.added",
            "output_index": 1,
            "item": {"type": "function_call", "name": "mail"},
        },
        {
            "type": "response.function_call_arguments.delta",
            "output_index": 1,
            "delta": '{"to": 1}',
        },
        {"type": "response.completed", "response": {"status": "completed"}},
    ),
}
REASONS = {CHAT: "tool_calls", MESSAGES: "tool_use", RESPONSES: "completed"}


@pytest.mark.parametrize("path", WHOLE)
def test_a_whole_answer_and_a_stream_of_it_say_the_same(path):
    whole = answer_of(path, json.dumps(WHOLE[path]).encode(), is_stream=False)

    assert (whole.text, whole.finish_reason) == ("Hi", REASONS[path])
    assert [x["name"] for x in whole.tool_calls] == ["mail"]
    assert json.loads(whole.tool_calls[0]["arguments"]) == {"to": 1}
    streamed = answer_of(path, STREAMS[path], is_stream=True)
    assert streamed == Answer("Hi", (CALL,), REASONS[path])


def test_a_bare_answer_is_its_text():
    choice = {"index": 0, "text": "abc", "finish_reason": "length"}
    stream = events(
        {"choices": [{"text": "a"}]}, {"choices": [{"text": "bc", "finish_reason": "length"}]}
    )

    expected = Answer("abc", (), "length")
    whole = json.dumps({"choices": [choice]}).encode()
    assert answer_of(BARE, whole, is_stream=False) == expected
    assert answer_of(BARE, stream, is_stream=True) == expected


@pytest.mark.parametrize(
    "given", [b"", b"[]", b"nonsense", b'{"choices": 1}', b'data: {"a": 1}\n\n']
)
def test_what_is_no_answer_says_nothing(given):
    for path in (*WHOLE, BARE):
        assert not answer_of(path, given, is_stream=True).text
        assert not answer_of(path, given, is_stream=False).text


def test_a_stream_that_broke_off_is_read_as_far_as_it_came():
    cut = STREAMS[CHAT][: STREAMS[CHAT].index(b" 1}")]

    assert answer_of(CHAT, cut, is_stream=True) == Answer(
        "Hi", ({"name": "mail", "arguments": '{"to":'},), None
    )
