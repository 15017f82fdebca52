"""What goes through a pump, compiled or not, is what the long way would make of it."""

from __future__ import annotations

import asyncio
import itertools

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.relay import event_template
from serve_app.relay.event_template import template_of
from serve_app.relay.transcript import data_of
from serve_app.transport.connection import only_chunk
from tests.property.mutations import FUZZED, mangled
from tests.property.test_fuzz_streams import EVENTS, PIECES, as_event
from tests.pumps import IS_BUILT, TWINS, native, streamed, twin
from tests.unit.serve_app.transport.raw_server import chunk

pytestmark = pytest.mark.security

TEXTS = st.text(max_size=6) | st.sampled_from(
    ['token_ids":[1]', '"usage"', "\\", "\n\n", '"', "prompt_token_ids", "\x00", "é", "[[{"]
)
IDS = st.lists(st.integers(0, 2**32), max_size=3) | st.just([7])


@st.composite
def tokens(draw) -> bytes:
    """An event of one stream, mostly as the others are."""
    choice = {"index": 0, "delta": {"content": draw(TEXTS)}, "finish_reason": None}
    if draw(st.integers(0, 9)):
        choice["token_ids"] = draw(IDS)
    data = {"id": "c", "object": "o", "created": 1, "model": "m", "choices": [choice]}
    if not draw(st.integers(0, 9)):
        data["prompt_token_ids"] = [1, 2]
    return b"data: " + orjson.dumps(data) + b"\n\n"


EVENT = tokens() | st.sampled_from(EVENTS).map(as_event)
WILD = EVENT.flatmap(lambda raw: mangled(raw, PIECES))
FRAMING = st.sampled_from(
    [
        *(b"0\r\n\r\n", b"5\r\n", b"\r\n", b"", b"\x00", b"ffffffff\r\n", b"fffffff\r\nx\r\n"),
        *(b"5;name=value\r\nabcde\r\n", b"A\r\n0123456789\r\n", b"0a\r\n0123456789\r\n"),
        *(
            b"-1\r\n\r\n",
            b"0x5\r\nabcde\r\n",
            b"5 \r\nabcde\r\n",
            b"5\nabcde\n",
            b" 5\r\nabcde\r\n",
        ),
        b"ffffffffffffffff\r\nx\r\n",
    ]
)
LONE = st.builds(chunk, EVENT)
ODD = (
    st.builds(chunk, WILD.filter(bool))
    | FRAMING
    | st.builds(lambda x, y: chunk(x + y), EVENT, EVENT)
    | st.builds(lambda x, more: chunk(x) + more, EVENT, FRAMING)
    | LONE.flatmap(lambda raw: mangled(raw, FRAMING))
)


@st.composite
def bodies(draw) -> list[bytes]:
    """A body's pieces as they come: a chunk each, of which a few are odd, cut or joined.

    The first are as they should be: from then on a pump is asked.
    """
    pieces = [chunk(as_event(EVENTS[1]))] * 3 + draw(st.lists(LONE, max_size=20))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(3, len(pieces)))
        pieces[at:at] = [draw(ODD)]
    for _ in range(draw(st.integers(0, 2))):
        number = draw(st.integers(3, len(pieces))) - 1
        at = draw(st.integers(0, len(pieces[number])))
        pieces[number : number + 1] = [pieces[number][:at], pieces[number][at:]]
    return [piece for piece in pieces if piece]


OPTIONS = st.fixed_dictionaries(
    {
        "most_bytes": st.sampled_from([0, 300, 2**16]),
        "shows_ids": st.booleans(),
        "is_kept": st.booleans(),
        "is_paced": st.booleans(),
        "turns": st.lists(st.booleans(), min_size=1, max_size=4),
    }
)


@pytest.mark.parametrize("name", TWINS)
@FUZZED
@given(bodies(), OPTIONS)
def test_a_stream_is_the_same_with_a_pump_and_without(name, pieces, options) -> None:
    """Bytes, counts, charges, what is kept, and how it ends."""
    with_pump = asyncio.run(streamed(twin(name), pieces, **options))
    without = asyncio.run(streamed(None, pieces, **options))

    assert with_pump == without


@pytest.mark.parametrize("name", TWINS)
def test_a_stream_that_is_cut_at_every_byte(name) -> None:
    """One stream of tokens, its second half cut in two at each place in turn."""
    events = [as_event(EVENTS[1])] * 4
    chunks = [*map(chunk, events), chunk(b"data: [DONE]\n\n"), b"0\r\n\r\n"]
    wanted = asyncio.run(streamed(None, chunks))
    before, rest = chunks[:2], b"".join(chunks[2:])

    for at in range(1, len(rest)):
        found = asyncio.run(streamed(twin(name), [*before, rest[:at], rest[at:]]))
        assert b"".join(found.bodies) == b"".join(wanted.bodies)
        assert (found.tokens, found.charged, found.error) == (
            wanted.tokens,
            wanted.charged,
            wanted.error,
        )


@IS_BUILT
@FUZZED
@given(LONE | ODD | st.binary(max_size=12), st.binary(max_size=3))
def test_one_whole_chunk_is_told_alike(data, after) -> None:
    for one in (data, data + after, after + data):
        assert native.only_chunk(one) == only_chunk(one)


@given(st.lists(tokens() | WILD, min_size=1, max_size=8))
def test_a_template_reads_what_the_parser_reads(events) -> None:
    """Or nothing; the compiled one reads the same."""
    templates = (
        template_of(event, data)
        for event in events
        if event.endswith(b"\n\n") and (data := data_of(event[:-2])) is not None
    )
    for template, event in itertools.product(filter(None, templates), events):
        found = template.read(event)
        if native is not None:
            parts = template.prefix, template.middle, template.suffix
            assert native.read_event(event, *parts) == found
        if found is None:
            continue
        data = data_of(event[:-2])
        assert data is not None
        (choice,) = data["choices"]
        assert found == ((choice["token_ids"][0],), choice["delta"].get("content"))
        assert len(choice["token_ids"]) == 1
        assert event_template._only_adds(choice)
