"""Reading a stream of events in passing."""

import itertools
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serve_app.protocol.sse import EventReader, Usage, read_usage

DONE = b"data: [DONE]\n\n"
NAMES = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def event(data, name=None) -> bytes:
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + json.dumps(data).encode() + b"\n\n"


def delta(text, **fields) -> bytes:
    return event({"choices": [{"index": 0, "delta": {"content": text}}], **fields})


def closing(**details) -> bytes:
    return event({"choices": [], "usage": {**NAMES, **details}})


STREAM = [delta("Hello"), delta(' "usage" and "error" '), delta("."), closing(), DONE]
ANTHROPIC = [
    event(
        {"type": "message_start", "message": {"usage": {"input_tokens": 12, "output_tokens": 1}}},
        "message_start",
    ),
    event({"type": "content_block_delta", "delta": {"text": "Hi"}}, "content_block_delta"),
    event({"type": "message_delta", "usage": {"output_tokens": 9}}, "message_delta"),
    event({"type": "message_stop"}, "message_stop"),
]
RESPONSES = [
    event({"type": "response.created", "response": {"usage": None, "error": None}}, "created"),
    event({"type": "response.output_text.delta", "delta": "Hi"}, "delta"),
    event(
        {
            "type": "response.completed",
            "response": {
                "error": None,
                "usage": {
                    "input_tokens": 12,
                    "output_tokens": 9,
                    "input_tokens_details": {"cached_tokens": 8},
                },
            },
        },
        "completed",
    ),
]

texts = st.text() | st.sampled_from(['"usage"', '"error"', "data: \n\n", '{"usage": {}}'])
streams = st.builds(
    lambda words, tail: [*map(delta, words), *tail],
    st.lists(texts, max_size=6),
    st.sampled_from([[], [DONE], [closing(), DONE], [closing()]]),
)


def read(stream: bytes, cuts=(), *, hide_usage=False):
    reader = EventReader(hide_usage=hide_usage)
    edges = [0, *sorted(cuts), len(stream)]
    parts = [stream[a:b] for a, b in itertools.pairwise(edges)]
    return b"".join(map(reader.feed, parts)), reader


@given(streams, st.booleans(), st.data())
def test_however_a_stream_is_cut_the_same_bytes_and_usage_come_out(events, hide_usage, data):
    """Chunk borders belong to TCP and mean nothing."""
    stream = b"".join(events)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=20))

    whole, reader = read(stream, hide_usage=hide_usage)
    out, cut_reader = read(stream, cuts, hide_usage=hide_usage)

    assert out == whole
    assert (cut_reader.usage, cut_reader.events) == (reader.usage, reader.events)
    assert not cut_reader.has_failed


@given(streams)
@example(STREAM)
@example(ANTHROPIC)
@example(RESPONSES)
def test_a_stream_with_usage_wanted_passes_byte_for_byte(events):
    """Nothing is rewritten, whatever words stand in the text."""
    stream = b"".join(events)

    out, _ = read(stream, range(len(stream)))

    assert out == stream


@given(streams)
@example(STREAM)
def test_only_the_closing_usage_event_is_hidden(events):
    """A client that did not ask for usage sees everything else."""
    out, reader = read(b"".join(events), hide_usage=True)

    assert out == b"".join(item for item in events if item != closing())
    assert reader.usage == (Usage(7, 3) if closing() in events else None)


@given(streams, st.data())
def test_every_chunk_passed_on_ends_with_a_whole_event(events, data):
    """An error event can follow at any time."""
    stream = b"".join(events)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    reader = EventReader(hide_usage=True)

    outs = [reader.feed(stream[a:b]) for a, b in itertools.pairwise([0, *cuts])]

    assert all(out.endswith(b"\n\n") for out in outs if out)


@pytest.mark.parametrize("hide_usage", [True, False])
def test_events_are_counted_without_the_closing_usage_event(hide_usage):
    """One event is one token; the closing one carries none."""
    _, reader = read(delta("a") * 3 + closing(), hide_usage=hide_usage)

    assert reader.events == 3


def test_an_event_that_is_not_whole_is_held_back():
    """Half an event is never passed on, and not counted."""
    out, reader = read(delta("a") + delta("b")[:-1])

    assert out == delta("a")
    assert reader.events == 1


def test_usage_beside_a_token_is_read_and_passed_on():
    """`continuous_usage_stats` puts usage into every event; the largest counts."""
    usages = [{**NAMES, "completion_tokens": n} for n in (1, 2, 3)]
    stream = b"".join(delta("a", usage=usage) for usage in usages)

    out, reader = read(stream, hide_usage=True)

    assert out == stream
    assert reader.usage == Usage(7, 3)
    assert reader.events == 3


@pytest.mark.parametrize("hide_usage", [True, False])
@pytest.mark.parametrize(
    ("events", "usage"),
    [(ANTHROPIC, Usage(12, 9)), (RESPONSES, Usage(12, 9, 8))],
    ids=["anthropic", "responses"],
)
def test_usage_of_the_other_dialects_is_merged_from_their_events(events, usage, hide_usage):
    """Anthropic splits usage over two events; Responses nests it. None is ever hidden.

    The event with which a message begins is no token.
    """
    stream = b"".join(events)

    out, reader = read(stream, hide_usage=hide_usage)

    assert out == stream
    assert reader.usage == usage
    assert reader.events == len(events) - (events is ANTHROPIC)
    assert not reader.has_failed


@pytest.mark.parametrize(
    "fault",
    [
        event({"error": {"message": "died", "type": "InternalServerError", "code": 500}}),
        event({"type": "error", "error": {"type": "api_error", "message": "died"}}, "error"),
        event({"type": "error", "message": "died", "code": "x"}, "error"),
    ],
    ids=["openai", "anthropic", "responses"],
)
def test_an_engine_fault_is_flagged_and_not_passed_on(fault):
    """The engine's words stay inside; our own error event follows."""
    out, reader = read(delta("a") + fault)

    # The last form carries the word only as its type.
    assert out == delta("a")
    assert reader.has_failed


def test_nothing_is_passed_on_after_a_fault():
    """vLLM sends [DONE] after its error event; a client that sees it stops reading."""
    fault = event({"error": {"message": "died", "code": 500}})

    out, reader = read(delta("a") + fault + DONE)

    assert reader.has_failed
    assert out == delta("a")


@pytest.mark.parametrize(
    "odd",
    [
        b': ping "usage"\n\n',
        b'data: {"usage"\n\n',
        b'data: ["usage"]\n\n',
        event({"usage": None, "choices": []}),
        event({"usage": {"other": 1}, "choices": []}),
    ],
    ids=["comment", "broken JSON", "array", "null", "other usage"],
)
def test_an_event_that_only_looks_like_usage_is_passed_on(odd):
    """What cannot be read as usage is the client's."""
    out, reader = read(odd, hide_usage=True)

    assert out == odd
    assert reader.usage is None


@pytest.mark.parametrize(
    ("data", "usage"),
    [
        ({"usage": NAMES}, Usage(7, 3)),
        ({"usage": {"prompt_tokens": 7, "completion_tokens": None}}, Usage(7, 0)),
        ({"usage": {**NAMES, "prompt_tokens_details": {"cached_tokens": 4}}}, Usage(7, 3, 4)),
        (
            {"usage": {**NAMES, "completion_tokens_details": {"reasoning_tokens": 2}}},
            Usage(7, 3, 0, 2),
        ),
        (
            {"usage": {**NAMES, "completion_tokens_details": {"reasoning_tokens": None}}},
            Usage(7, 3),
        ),
        ({"usage": {**NAMES, "completion_tokens_details": 3}}, Usage(7, 3)),
        ({"usage": {**NAMES, "prompt_tokens_details": None}}, Usage(7, 3)),
        (
            {"usage": {"input_tokens": 7, "output_tokens": 3, "cache_read_input_tokens": 2}},
            Usage(9, 3, 2),
        ),
        (
            {
                "usage": {
                    "input_tokens": 2,
                    "output_tokens": 3,
                    "cache_read_input_tokens": 32,
                    "cache_creation_input_tokens": 16,
                }
            },
            Usage(50, 3, 32),
        ),
        ({"response": {"usage": {"input_tokens": 1, "output_tokens": 2}}}, Usage(1, 2)),
        ({"usage": {}}, None),
        ({"message": "text"}, None),
        ({}, None),
        ([], None),
        (None, None),
    ],
)
def test_usage_is_read_from_any_dialect(data, usage):
    """Names differ; the counts mean the same."""
    assert read_usage(data) == usage


def test_total_is_prompt_and_completion():
    """What a reservation is settled with."""
    assert Usage(7, 3, 5).total == 10
