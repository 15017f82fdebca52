"""Tokens that are read without their JSON: the same comes of them, at a part of the cost."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.agents.forms import form_of
from serve_app.agents.forms.form import MadeCall
from serve_app.agents.gate import Gate, gate
from serve_app.agents.gate.frame import Frame, frame_of
from serve_app.agents.schemas import Schemas
from serve_app.agents.tools import tools_of
from serve_app.protocol.sse import data_line
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

SCHEMAS: dict[str, Any] = {
    "add": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
    "say": {"type": "object"},
}
MADE = MadeCall((0, 0), "call_new", "add", '{"a": 7}')


def made(path: str, *, holds: bool = True) -> Gate:
    form, tools = form_of(path), tools_of(offered(path, SCHEMAS), path)
    assert form is not None and tools is not None
    return Gate(form, tools, Schemas(), holds=holds)


def written(events: list[bytes], *, differ: bool = False) -> list[bytes]:
    """The events as the pinned vLLM orders their members; `differ`: each with one of its own."""
    out = []
    for number, given_event in enumerate(events):
        event, line = given_event, data_line(given_event)
        if line.startswith(b"{"):
            data = dict(sorted(orjson.loads(line).items()))
            data = {"own": number, **data} if differ else data
            event = event.replace(line, orjson.dumps(data))
        out.append(event)
    return out


def chunked(data: st.DataObject, events: list[bytes]) -> list[bytes]:
    rest, chunks = list(events), []
    while rest:
        size = data.draw(st.integers(1, min(3, len(rest))))
        chunks.append(b"".join(rest[:size]))
        del rest[:size]
    return chunks


def through(gated: Gate, path: str, chunks: list[bytes]) -> tuple[Any, ...]:
    """What came at once, in all, and what was found."""
    at_once = b"".join(map(gated.feed, chunks))
    faults = list(gated.faults)
    for fault in faults:
        gated.mend(fault, [MADE])
    found, first = heard(path, at_once + gated.rest()), heard(path, at_once)
    return gated.outcomes, faults, found.text, found.made, found.reason, first.text, first.made


pieces = st.lists(
    st.sampled_from(
        ["a", " b", '"', "\\", "\n", "é", "\u2028", "", "{", "[", "<", "tool_call>", '"name"', ": ",
         '"add"', ', "arguments": {"a": 1}}', "[TOOL_CALLS]", "}", '","x":"']
    ),
    max_size=12,
)  # fmt: skip
calls = st.lists(
    st.tuples(
        st.sampled_from(["add", "say", "sub"]),
        st.sampled_from([['{"a"', ": ", "1", "}"], ['{"a": ', '"x', '\\"', '"', "}"], ["[", "]"]]),
    ),
    max_size=3,
)


@pytest.mark.parametrize("path", PATHS)
@given(text=pieces, said=calls, holds=st.booleans(), data=st.data())
def test_the_same_comes_of_a_stream_whose_events_all_differ(
    path: str,
    text: list[str],
    said: list[tuple[str, list[str]]],
    holds: bool,
    data: st.DataObject,
) -> None:
    """Those are read one by one: no frame fits a second event."""
    events = stream(path, Answer(text, said))
    quick = through(made(path, holds=holds), path, chunked(data, written(events)))
    slow = through(made(path, holds=holds), path, written(events, differ=True))
    assert quick == slow


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("holds", [True, False])
def test_few_events_of_a_long_stream_are_read_as_json(
    path: str, holds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    inner = gate.parsed_json
    monkeypatch.setattr(gate, "parsed_json", lambda line: read.append(line) or inner(line))
    # Some 600 events.
    answer = Answer(['so "', "\n", " on"] * 100, [("say", ['{"a": "', *['b\\"'] * 300, '"}'])])
    events = written(stream(path, answer))
    gated = made(path, holds=holds)
    out = b"".join(map(gated.feed, events))
    assert out == b"".join(events)
    assert len(read) <= 20


@pytest.mark.parametrize("path", PATHS)
def test_events_that_differ_in_more_are_not_learned_for_ever(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = []
    inner = gate.frame_of
    monkeypatch.setattr(gate, "frame_of", lambda *given: frames.append(inner(*given)) or frames[-1])
    gated = made(path)
    for event in written(stream(path, Answer(["a"] * 100)), differ=True):
        gated.feed(event)
    assert len([frame for frame in frames if frame is not None]) == gate.MAX_TRIES


def test_reasoning_passes_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    inner = gate.parsed_json
    monkeypatch.setattr(gate, "parsed_json", lambda line: read.append(line) or inner(line))
    events = [chunk({"reasoning": f"<tool_call>{number} "}) for number in range(50)]
    gated = made(CHAT)
    assert [gated.feed(event) for event in events] == events
    assert len(read) == 1


def learned(path: str, event: bytes) -> Frame | None:
    form, data = form_of(path), orjson.loads(data_line(event))
    assert form is not None
    return frame_of(event, data, list(form.read(data)), form)


def chunk(delta: dict[str, Any], **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": None, **more}
    return b"data: " + orjson.dumps({"id": "c", "choices": [choice]}) + b"\n\n"


@pytest.mark.parametrize(
    "other",
    [
        chunk({"content": "b"}, finish_reason="stop"),
        chunk({"content": "b"}, index=1),
        chunk({"content": "b", "tool_calls": [{"index": 0, "function": {"name": "add"}}]}),
        chunk({"reasoning": "b"}),
        chunk({"content": None}),
        chunk({"content": ["b"]}),
        chunk({"content": "b"}).replace(b'"b"', b'"b\\ud800"'),
        chunk({"content": "b"}).replace(b'"b"', b'"b","tool_calls":"x"'),
        chunk({"content": "b"}) + b"data: x\n\n",
    ],
)
def test_another_event_has_not_the_frame(other: bytes) -> None:
    frame = learned(CHAT, chunk({"content": "a"}))
    assert frame is not None
    assert frame.token(chunk({"content": 'a\n"é'})) == 'a\n"é'
    assert frame.token(other) is None


def delta(number: object, text: str, **more: Any) -> bytes:
    data = {"delta": text, "item_id": "m", "output_index": 0, "sequence_number": number, **more}
    kind = "response.output_text.delta"
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps({**data, "type": kind}))


def test_the_number_of_an_event_may_be_any() -> None:
    frame = learned(RESPONSES, delta(7, "a"))
    assert frame is not None
    assert frame.token(delta(1234, 'b"\\')) == 'b"\\'
    for other in (delta("7", "a"), delta(None, "a"), delta(7, "a", output_index=1)):
        assert frame.token(other) is None


@pytest.mark.parametrize(
    ("path", "event"),
    [
        (CHAT, chunk({"content": "a"}, finish_reason="stop")),
        (CHAT, chunk({"role": "assistant", "content": ""})),
        (CHAT, chunk({"content": "content"})),
        (CHAT, chunk({"content": "c"})),
        (CHAT, chunk({"tool_calls": [{"index": 0, "function": {"name": "x", "arguments": "a"}}]})),
        (MESSAGES, b'data: {"type":"message_delta","delta":{"text":"a"}}\n\n'),
        (RESPONSES, b'data: {"type":"response.output_text.done","delta":"a"}\n\n'),
    ],
)
def test_no_frame_is_learned_of_what_is_no_token_or_stands_there_twice(
    path: str, event: bytes
) -> None:
    assert learned(path, event) is None
