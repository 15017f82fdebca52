"""A chunked stream that arrives in any pieces, and what is delivered of it."""

import asyncio
import itertools
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.config.serving import TimeoutConfig
from serve_app.transport.connection import Connection, only_chunk
from serve_app.transport.feed import Feed
from serve_app.transport.upstream import Response, Upstream
from tests.pumps import TWINS, twin
from tests.unit.serve_app.transport.raw_server import CHUNKED, chunk

# Some look like framing themselves.
CONTENTS = st.binary(min_size=1, max_size=40) | st.sampled_from(
    [b"a", b"\r\n", b"1\r\nx\r\n", b"0\r\n\r\n", b"7\r\n", b"\r\n3\r\n", b"x" * 300]
)


@st.composite
def streams(draw) -> tuple[list[bytes], list[bytes]]:
    """Contents of chunks, and the bytes of the stream in pieces.

    It is cut between chunks, as an endpoint writes them, and anywhere; a cut just after a
    chunk's begin leaves a digit of its size with the chunk before.
    """
    contents = draw(st.lists(CONTENTS, min_size=1, max_size=8))
    chunks = [*map(chunk, contents), b"0\r\n\r\n"]
    whole, cuts = b"".join(chunks), set()
    for end in (sum(map(len, chunks[: n + 1])) for n in range(len(contents))):
        cuts |= draw(st.sets(st.sampled_from([end, end + 1, end + 2]), max_size=2))
    cuts |= draw(st.sets(st.integers(1, len(whole)), max_size=4))
    marks = [0, *sorted(cut for cut in cuts if cut < len(whole)), len(whole)]
    return contents, [whole[a:b] for a, b in itertools.pairwise(marks)]


async def delivered(pieces: list[bytes], feed: type[Feed] = Feed) -> tuple[bytes, bool]:
    """What a reader gets of a stream's pieces, and whether the connection can be used again."""
    upstream = Upstream({}, TimeoutConfig(connect_s=1, read_s=30))
    connection = Connection(upstream, "http://engine", feed)
    transport = SimpleNamespace(
        write=lambda data: None, is_closing=lambda: False, abort=lambda: None
    )
    connection.connection_made(transport)
    asking = asyncio.create_task(connection.send(b""))
    await asyncio.sleep(0)
    connection.data_received(CHUNKED)
    await asking
    response = Response(connection, connection.status, connection.headers)
    got: list[bytes] = []

    def step(data: bytes) -> bool:
        got.append(data)
        return True

    delivering = asyncio.create_task(response.deliver_to(step))
    await asyncio.sleep(0)
    for piece in pieces:
        connection.data_received(piece)
    assert await delivering is False
    response.close()
    is_kept = connection in upstream._idle.get("http://engine", [])
    await upstream.close()
    return b"".join(got), is_kept


@pytest.mark.parametrize("name", TWINS)
@given(streams())
def test_a_stream_is_the_same_in_whatever_pieces_it_comes(name, given_stream):
    """Nothing of the framing is passed on, and nothing of the content lost."""
    contents, pieces = given_stream

    assert asyncio.run(delivered(pieces, twin(name).Feed)) == (b"".join(contents), True)


def test_a_size_that_is_cut_between_its_digits_is_no_size():
    """21 is 0x15; what follows its first digit could be a chunk of 5, and is not."""
    content = b"abcde\r\n" + 14 * b"y"
    pieces = [chunk(b"first") + b"1", b"5\r\nabcde\r\n", 14 * b"y" + b"\r\n0\r\n\r\n"]

    assert asyncio.run(delivered(pieces)) == (b"first" + content, True)


@given(CONTENTS, st.binary(max_size=3), st.binary(max_size=3))
def test_one_whole_chunk_is_told_from_everything_else(content, before, after):
    """The last chunk of all is left to the parser."""
    data = before + chunk(content) + after

    assert only_chunk(chunk(content)) == content
    found = only_chunk(data)
    assert found == b"" or data == chunk(found)
    assert only_chunk(b"0\r\n\r\n") == only_chunk(b"") == only_chunk(b"5\r\nabc\r\n") == b""
