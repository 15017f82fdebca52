"""Whatever an engine says in a stream is passed on alike however it is cut, and never a fault."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import Rejected
from router.limits.pacer import DUE
from router.recovery.resume import Delivered, ResumePoint
from serve_app.protocol import sse as streaming
from serve_app.protocol.errors import Dialect
from serve_app.protocol.sse import EventReader, Usage, read_usage
from serve_app.relay import forwarder
from serve_app.relay.engine_stream import MAX_WAITING_BYTES, FirstStream
from serve_app.relay.repeat.told import Told
from serve_app.relay.repeat.told_stream import ToldStream
from serve_app.relay.resumed_stream import ResumedStream
from serve_app.relay.tool_use import Messages
from serve_app.relay.transcript import MAX_RAW_BYTES, Transcript
from serve_app.request.reply import StreamState
from tests.property.mutations import FUZZED, VALUES, cut, mangled, spoilt

pytestmark = pytest.mark.security

DONE = "[DONE]"
CHUNK = {"id": "c", "object": "o", "created": 1, "model": "m"}
EVENTS = [
    {**CHUNK, "prompt_token_ids": [1, 2], "choices": [{"index": 0, "delta": {"role": "a"}}]},
    {**CHUNK, "choices": [{"index": 0, "delta": {"content": "Hi"}, "token_ids": [5]}]},
    {**CHUNK, "choices": [{"index": 0, "text": "Hi", "token_ids": [5, 6], "logprobs": None}]},
    {**CHUNK, "choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0}]}}]},
    {**CHUNK, "choices": [{"index": 0, "delta": {"reasoning": "Hm"}, "finish_reason": "stop"}]},
    {
        **CHUNK,
        "choices": [],
        "usage": {
            "prompt_tokens": 2,
            "completion_tokens": 3,
            "prompt_tokens_details": {"cached_tokens": 1},
        },
    },
    {"error": {"message": "No.", "type": "BadRequestError", "param": None, "code": 400}},
    {"error": {"message": "EngineCore died", "code": 500}},
    {"type": "error", "error": {"message": "No."}},
    {"type": "message_start", "message": {"usage": {"input_tokens": 2, "output_tokens": 1}}},
    {"type": "content_block_start", "content_block": {"type": "tool_use", "id": "t"}},
    {"type": "content_block_delta", "delta": {"text": "Hi"}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
    {"type": "response.output_text.delta", "delta": "Hi"},
    {"type": "response.completed", "response": {"usage": {"input_tokens": 2, "output_tokens": 3}}},
    DONE,
]
SMALL = st.none() | st.booleans() | st.integers(-2, 2**33) | st.text(max_size=4)
PIECES = st.binary(max_size=6) | st.sampled_from(
    [
        *(b"\n", b"\n\n", b"\r\n\r\n", b"data: ", b"data:", b": comment\n\n", b"data: null\n\n"),
        *(b'"usage"', b'"error"', b"event: error\n", b'token_ids":[', b'token_ids":[1]'),
        *(b"\x00", b"\xff", b"data: " + b"[" * 400 + b"]" * 400 + b"\n\n"),
        *(b'data: {"error":' + b"[" * 300, b'data: {"message":' * 300),
        b'data: {"usage":' + b'{"message":' * 500 + b"1" + b"}" * 501,
    ]
)


def as_event(data: object) -> bytes:
    text = DONE if data == DONE else json.dumps(data)
    return b"data: " + text.encode() + b"\n\n"


def spoilt_event(event: object) -> st.SearchStrategy[bytes]:
    return st.just(event) | spoilt(event, VALUES | SMALL) if event != DONE else st.just(event)


whole = st.lists(st.sampled_from(EVENTS).flatmap(spoilt_event).map(as_event), max_size=8)
"""Streams of whole events, whatever stands in them."""
wild = whole.map(b"".join).flatmap(lambda raw: mangled(raw, PIECES))
"""The same with anything between and in them."""


def original(kind: str) -> FirstStream:
    """A source as the pipeline makes it for a route."""
    if kind == "anthropic":
        return Messages(EventReader(hide_usage=False), None, Dialect.ANTHROPIC)
    if kind == "responses":
        return FirstStream(EventReader(hide_usage=False), None, Dialect.RESPONSES)
    has_ids = kind != "plain"
    transcript = Transcript(Delivered(), is_chat=kind != "text", has_ids=has_ids, shows_ids=False)
    return FirstStream(EventReader(hide_usage=True), transcript, Dialect.OPENAI)


KINDS = st.sampled_from(["chat", "text", "plain", "anthropic", "responses"])


def state(source: FirstStream) -> tuple[object, ...]:
    """All that is told of a stream once it has been read."""
    return (
        source.tokens,
        source.reader.is_counted,
        source.usage,
        source.has_failed,
        source.reader.refused,
    )


@FUZZED
@given(whole, KINDS, st.data())
def test_however_a_stream_is_cut_it_is_read_alike(events, kind, data) -> None:
    """Bytes, counts and faults are the stream's, not the pieces'."""
    raw = b"".join(events)
    one, other = original(kind), original(kind)

    at_once = one.feed(raw) + one.end()
    in_pieces = b"".join(map(other.feed, data.draw(cut(raw)))) + other.end()

    assert in_pieces == at_once
    assert state(other) == state(one)


class Steady:
    """A pacer under which everything is due, that keeps what was booked."""

    def __init__(self) -> None:
        self.booked = 0

    def hold(self, tokens: int, now: float) -> float:
        self.booked += tokens
        return DUE


@FUZZED
@given(whole, KINDS, st.data())
def test_under_a_ceiling_every_token_is_booked_however_they_come(events, kind, data) -> None:
    """And what goes out is the same."""
    raw = b"".join(events)
    one, other = original(kind), original(kind)
    pacer = Steady()

    plain = one.feed(raw)
    paced = [
        forwarder.book(other, piece, pacer, StreamState().held, 0.0)
        for piece in data.draw(cut(raw))
        if piece
    ]

    assert b"".join(paced) == plain
    assert pacer.booked == other.tokens == one.tokens


@FUZZED
@given(wild, KINDS, st.data())
def test_no_garbage_of_an_engine_is_a_fault_of_ours(raw, kind, data) -> None:
    """What was passed on ends with a whole event, and counts are counts."""
    source = original(kind)

    outs = [source.feed(piece) for piece in data.draw(cut(raw))] + [source.end()]

    assert all(out.endswith(b"\n\n") for out in outs if out)
    assert source.tokens >= 0
    assert source.reader.refused is None or isinstance(source.reader.refused, Rejected)
    usage = source.usage
    assert usage is None or (
        isinstance(usage, Usage) and min(usage.total, usage.cached_tokens) >= 0
    )
    if source.transcript is not None:
        delivered = source.transcript.delivered
        assert all(0 <= token < 2**32 for token in delivered.ids)
        assert delivered.chars == sum(map(len, delivered.parts))


@FUZZED
@given(wild, wild, st.booleans(), st.data())
def test_no_garbage_is_a_fault_where_a_stream_goes_on(first, second, is_chat, data) -> None:
    """The second engine's events are translated, or left out."""
    begun = FirstStream(
        EventReader(hide_usage=True),
        Transcript(Delivered(), is_chat=is_chat, has_ids=True, shows_ids=False),
        Dialect.OPENAI,
    )
    begun.feed(first)
    transcript = begun.transcript
    assert transcript is not None
    at = data.draw(st.integers(0, len(transcript.delivered.ids)))
    source = ResumedStream(transcript, ResumePoint(at, ""), wants_usage=data.draw(st.booleans()))

    outs = [source.feed(piece) for piece in data.draw(cut(second))] + [source.end()]

    assert all(out.endswith(b"\n\n") for out in outs if out)
    assert source.tokens >= 0


@FUZZED
@given(wild, wild, KINDS, st.data())
def test_no_garbage_is_a_fault_where_an_answer_is_repeated(first, second, kind, data) -> None:
    """What is new of it is whole events; of the same again nothing is."""
    told = Told(hides_ids=data.draw(st.booleans()))
    begun = ToldStream(original(kind), told)
    for piece in data.draw(cut(first)):
        begun.feed(piece)
    begun.end()
    again = data.draw(st.sampled_from([first, second]))

    told.begin_again()
    source = ToldStream(original(kind), told)
    outs = [source.feed(piece) for piece in data.draw(cut(again))] + [source.end()]

    assert all(out.endswith(b"\n\n") for out in outs if out)
    assert source.tokens >= 0
    assert again is not first or not told.has_diverged


@FUZZED
@given(spoilt(EVENTS[5], VALUES) | spoilt(EVENTS[9], VALUES) | spoilt(EVENTS[14], VALUES))
def test_usage_is_counts_or_nothing(data) -> None:
    """Of any answer: a negative or fractional count is none."""
    usage = read_usage(data)

    if usage is not None:
        counts = (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens)
        assert all(type(x) is int and x >= 0 for x in counts)


@pytest.fixture
def small(monkeypatch):
    """A bound that a test can reach."""
    monkeypatch.setattr(streaming, "MAX_EVENT_BYTES", 10_000)


@pytest.mark.parametrize("kind", ["chat", "text", "plain", "anthropic", "responses"])
def test_a_line_without_end_is_given_up(small, kind) -> None:
    """What is kept of it is bounded, the stream has failed, and nothing more is read."""
    source = original(kind)
    source.feed(as_event(EVENTS[1]))
    tokens = source.tokens

    for _ in range(200):
        assert source.feed(b"data: " + b"x" * 994) == b""
        assert len(source.reader._tail) <= 11_000

    assert source.has_failed and source.is_over and source.reader.fault == b""
    assert source.tokens == tokens
    assert source.feed(as_event(EVENTS[1])) == b""


def test_a_long_event_in_small_pieces_is_looked_at_once() -> None:
    """A megabyte in pieces of ten bytes is passed on whole."""
    event = as_event({"choices": [{"index": 0, "delta": {"content": "x" * 2**20}}]})
    reader = EventReader(hide_usage=False)

    outs = [reader.feed(event[at : at + 10]) for at in range(0, len(event), 10)]

    assert b"".join(outs) == event and reader.events == 1
    assert [len(out) for out in outs if out] == [len(event)]


def test_lines_before_an_answer_are_kept_up_to_a_bound() -> None:
    """An engine that only says that it is there does not fill our memory."""
    source = original("anthropic")
    ping = as_event({"type": "ping", "x": "y" * 1_000})

    out = 0
    for _ in range(3 * MAX_WAITING_BYTES // len(ping)):
        out += len(source.feed(ping))
        assert len(source.waits or b"") <= MAX_WAITING_BYTES + len(ping)

    assert out > MAX_WAITING_BYTES


def test_what_a_stream_has_said_is_kept_raw_up_to_a_bound() -> None:
    """The rest is kept as ids and text."""
    source = original("chat")

    for _ in range(2_000):
        source.feed(as_event(EVENTS[1]))
        assert source.transcript is not None and source.transcript.size <= MAX_RAW_BYTES

    assert len(source.transcript.delivered.ids) == source.tokens == 2_000
