"""The client to the engines, against a server that does as it is told."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from unittest.mock import Mock

import pytest

from serve_app.config.serving import TimeoutConfig
from serve_app.transport.connection import HIGH_WATER, Connection
from serve_app.transport.upstream import (
    BrokenConnection,
    DeadEndpoint,
    SilentConnection,
    Upstream,
)
from tests.unit.serve_app.transport.raw_server import (
    CHUNKED,
    OK,
    Server,
    chunk,
    raw_server,
    says,
    writer_of,
)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with raw_server() as made:
        yield made


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    made = Upstream({"x-secret": "s3"}, TimeoutConfig(connect_s=1, read_s=0.4))
    yield made
    await made.close()


async def test_a_whole_answer_and_the_request_that_asked_for_it(server, upstream) -> None:
    server.answers = [says(OK + b"content-length: 5\r\n\r\nhello")]
    response = await upstream.post(server.url, "/v1/x", b'{"a":1}', {"x-request-id": "r1"})
    assert (response.status, response.content_type) == (200, "text/event-stream")
    assert await response.read() == b"hello"
    assert await response.readany() == b""
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/x HTTP/1.1\r\nhost: 127.0.0.1:")
    assert b"\r\nx-secret: s3\r\nx-request-id: r1" in head
    assert body == b'{"a":1}'


async def test_chunks_come_as_they_are_sent(server, upstream) -> None:
    server.answers = [says(CHUNKED, chunk(b"one"), chunk(b"two"), b"0\r\n\r\n")]
    response = await upstream.post(server.url, "/", b"", {})
    assert [await response.readany() for _ in range(3)] == [b"one", b"two", b""]


async def test_a_chunk_cut_anywhere_is_put_together(server, upstream) -> None:
    wire = CHUNKED + chunk(b"data: one\n\n") + chunk(b"data: two\n\n") + b"0\r\n\r\n"
    server.answers = [says(*(wire[i : i + 7] for i in range(0, len(wire), 7)))]
    response = await upstream.post(server.url, "/", b"", {})
    assert await response.read() == b"data: one\n\ndata: two\n\n"


async def test_connections_are_kept_and_given_to_the_next(server, upstream) -> None:
    server.answers = [says(OK + b"content-length: 2\r\n\r\nok")] * 3
    for _ in range(3):
        response = await upstream.post(server.url, "/", b"", {})
        await response.read()
        response.close()
        response.close()
    assert server.connections == 1
    assert await response.readany() == response.read_nowait() == b""


async def test_closing_early_ends_the_connection(server, upstream) -> None:
    async def endless(writer) -> str:
        writer.write(CHUNKED)
        while True:
            writer.write(chunk(b"x"))
            await writer.drain()
            await asyncio.sleep(0.005)

    server.answers = [endless]
    response = await upstream.post(server.url, "/", b"", {})
    assert await response.readany()
    response.close()
    async with asyncio.timeout(2):
        await server.lost.wait()


async def test_an_unread_rest_ends_the_connection(server, upstream) -> None:
    server.answers = [says(OK + b"content-length: 5\r\n\r\nhello")] * 2
    response = await upstream.post(server.url, "/", b"", {})
    await asyncio.sleep(0.05)
    response.close()
    await (await upstream.post(server.url, "/", b"", {})).read()
    assert server.connections == 2


async def test_a_connection_closed_while_idle_is_replaced(server, upstream) -> None:
    ok = OK + b"content-length: 2\r\n\r\nok"
    server.answers = [says(ok, then="close"), says(ok)]
    for _ in range(2):
        response = await upstream.post(server.url, "/", b"", {})
        assert await response.read() == b"ok"
        response.close()
    assert server.connections == 2


async def test_a_kept_connection_that_dies_under_a_request_is_replaced_once(
    server, upstream
) -> None:
    ok = OK + b"content-length: 2\r\n\r\nok"
    server.answers = [says(ok), says(then="close"), says(ok)]
    for _ in range(2):
        response = await upstream.post(server.url, "/", b"", {})
        assert await response.read() == b"ok"
        response.close()
    server.answers = [says(then="close"), says(then="close"), says(ok)]
    with pytest.raises(BrokenConnection):
        await upstream.post(server.url, "/", b"", {})


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [b"HTTP/1.1 200 OK\r\n"],
        [CHUNKED, chunk(b"one"), b"5\r\nha"],
        [OK + b"content-length: 9\r\n\r\nhello"],
        [b"not HTTP at all\r\n\r\n"],
    ],
)
async def test_an_answer_that_breaks_off_is_a_fault(server, upstream, parts) -> None:
    server.answers = [says(*parts, then="close")]
    with pytest.raises(BrokenConnection):
        await (await upstream.post(server.url, "/", b"", {})).read()


async def test_what_came_before_the_break_is_delivered(server, upstream) -> None:
    server.answers = [says(CHUNKED, chunk(b"one"), then="close")]
    response = await upstream.post(server.url, "/", b"", {})
    await asyncio.sleep(0.1)
    assert await response.readany() == b"one"
    with pytest.raises(BrokenConnection):
        await response.readany()


@pytest.mark.parametrize("parts", [[], [CHUNKED, chunk(b"one")]])
async def test_silence_is_given_up(server, upstream, parts) -> None:
    async def silent(writer) -> str:
        for part in parts:
            writer.write(part)
        await asyncio.sleep(5)
        return ""

    server.answers = [silent]
    with pytest.raises(SilentConnection):
        await (await upstream.post(server.url, "/", b"", {})).read()


async def test_a_slow_reader_is_not_a_silent_engine(server, upstream) -> None:
    server.answers = [says(CHUNKED, chunk(b"one"), b"0\r\n\r\n")]
    response = await upstream.post(server.url, "/", b"", {})
    await asyncio.sleep(1)
    assert await response.read() == b"one"


async def test_what_arrives_is_delivered_where_it_arrives(server, upstream) -> None:
    """No task's turn: what came after the first wait is taken in the connection's callback."""
    server.answers = [says(CHUNKED, chunk(b"one"), chunk(b"two"), b"0\r\n\r\n")]
    response = await upstream.post(server.url, "/", b"", {})
    delivered: list[tuple[bytes, bool]] = []

    def step(data: bytes) -> bool:
        delivered.append((data, asyncio.current_task() is None))
        return True

    assert await response.deliver_to(step) is False
    assert b"".join(data for data, _ in delivered) == b"onetwo"
    assert delivered[-1][1]
    assert await response.readany() == b""
    response.close()
    assert await response.deliver_to(step) is False


@pytest.mark.parametrize("late", [False, True], ids=["arrived before", "arrives"])
async def test_delivery_ends_when_the_step_says_so(server, upstream, late) -> None:
    """The rest is there to be read; a step that takes the last of it ends as the body does."""
    server.answers = [says(CHUNKED, chunk(b"one"), chunk(b"two"), b"0\r\n\r\n")] * 2
    response = await upstream.post(server.url, "/", b"", {})
    if not late:
        await asyncio.sleep(0.1)
    delivered = []

    def step(data: bytes) -> bool:
        delivered.append(data)
        return False

    assert await response.deliver_to(step) is True
    assert len(delivered) == 1
    assert b"".join(delivered) + await response.read() == b"onetwo"


async def test_a_break_and_silence_end_delivery(server, upstream) -> None:
    server.answers = [
        says(CHUNKED, chunk(b"one"), then="close"),
        says(CHUNKED, chunk(b"one"), then="wait"),
    ]
    for fault in (BrokenConnection, SilentConnection):
        response = await upstream.post(server.url, "/", b"", {})
        delivered = []
        with pytest.raises(fault):
            await response.deliver_to(lambda data, delivered=delivered: not delivered.append(data))
        assert delivered == [b"one"]


async def test_what_a_step_raises_is_the_readers(server, upstream) -> None:
    server.answers = [says(CHUNKED, chunk(b"one"), chunk(b"two"), b"0\r\n\r\n")]
    response = await upstream.post(server.url, "/", b"", {})

    def step(data: bytes) -> bool:
        raise KeyError(data)

    with pytest.raises(KeyError, match="one"):
        await response.deliver_to(step)
    response.close()


async def test_a_client_that_does_not_read_stops_the_engine(server, upstream) -> None:
    sent = 0

    async def flood(writer) -> str:
        nonlocal sent
        writer.transport.set_write_buffer_limits(high=2**16)
        writer.write(CHUNKED)
        for _ in range(1000):
            writer.write(chunk(b"x" * 2**15))
            await writer.drain()
            sent += 2**15
        writer.write(b"0\r\n\r\n")
        return ""

    server.answers = [flood]
    response = await upstream.post(server.url, "/", b"", {})
    await asyncio.sleep(0.3)
    blocked, held = sent, len(response.read_nowait())
    assert blocked < 1000 * 2**15 and held < HIGH_WATER + 2**20
    assert held + len(await response.read()) == 1000 * 2**15


async def test_nobody_listens(upstream) -> None:
    with pytest.raises(ConnectionRefusedError):
        await upstream.post("http://127.0.0.1:9", "/", b"", {})


async def test_an_interim_answer_is_not_the_answer(server, upstream) -> None:
    server.answers = [
        says(b"HTTP/1.1 103 Early Hints\r\n\r\n", OK + b"content-length: 2\r\n\r\nok")
    ]
    response = await upstream.post(server.url, "/", b"", {})
    assert (response.status, await response.read()) == (200, b"ok")


@pytest.mark.security
async def test_no_header_can_smuggle_another(server, upstream) -> None:
    with pytest.raises(ValueError, match="line break"):
        await upstream.post(server.url, "/", b"", {"traceparent": "a\r\nx-evil: 1"})


async def test_closing_the_pool_ends_what_is_open(server) -> None:
    async def silent(writer) -> str:
        writer.write(CHUNKED)
        await asyncio.sleep(5)
        return ""

    made = Upstream({}, TimeoutConfig(connect_s=1, read_s=60))
    server.answers = [silent]
    response = await made.post(server.url, "/", b"", {})
    await made.close()
    with pytest.raises(BrokenConnection):
        await response.read()


@pytest.fixture
def quick(monkeypatch):
    """Silences are looked at often."""
    monkeypatch.setattr("serve_app.transport.liveness.SWEEP_S", 0.01)


class Endpoint:
    """An endpoint whose streams are silent, and that answers probes while it lives."""

    def __init__(self, *, lives: bool) -> None:
        self.lives = lives
        self.probes = asyncio.Queue()
        self.tasks = []

    async def serve(self, reader, writer) -> None:
        self.tasks.append(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError), writer_of(writer):
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"GET /health "):
                assert b"x-secret: s3" in head
                self.probes.put_nowait(None)
                if self.lives:
                    writer.write(OK + b"content-length: 0\r\n\r\n")
                    await writer.drain()
                    return
            else:
                writer.write(CHUNKED + chunk(b"one"))
                await writer.drain()
            await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def endpoint_at(*, lives: bool):
    made = Endpoint(lives=lives)
    listening = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    try:
        yield made, f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()
        for task in made.tasks:
            task.cancel()
        await asyncio.gather(*made.tasks, return_exceptions=True)


@pytest.mark.usefixtures("quick")
async def test_a_silent_endpoint_without_a_sign_of_life_is_given_up(upstream) -> None:
    """Long before the read time-out, and for every stream that waits for it."""
    upstream.apply(TimeoutConfig(read_s=60, probe_after_s=0.02, probe_s=0.05))
    async with endpoint_at(lives=False) as (_, url):
        answers = [await upstream.post(url, "/", b"", {}) for _ in range(2)]
        assert [await answer.readany() for answer in answers] == [b"one", b"one"]

        ends = await asyncio.gather(*(a.readany() for a in answers), return_exceptions=True)

        assert [type(end) for end in ends] == [DeadEndpoint, DeadEndpoint]


@pytest.mark.usefixtures("quick")
async def test_a_silent_engine_behind_a_live_endpoint_is_waited_for(upstream) -> None:
    """A slow prefill is no fault: it is asked again and again, and nothing ends."""
    upstream.apply(TimeoutConfig(read_s=60, probe_after_s=0.02, probe_s=30))
    async with endpoint_at(lives=True) as (endpoint, url):
        answer = await upstream.post(url, "/", b"", {})
        await answer.readany()
        waiting = asyncio.create_task(answer.readany())

        for _ in range(3):
            await endpoint.probes.get()

        assert not waiting.done()
        waiting.cancel()


@pytest.mark.usefixtures("quick")
async def test_an_engine_that_stalls_between_tokens_is_given_up(upstream) -> None:
    """Its endpoint may live: no queue explains a silence inside an answer."""
    upstream.apply(TimeoutConfig(read_s=60, stall_s=0.05))
    async with endpoint_at(lives=True) as (_, url):
        answer = await upstream.post(url, "/", b"", {})
        await answer.readany()
        answer.expect_tokens()

        with pytest.raises(DeadEndpoint):
            await answer.readany()


class OnePool:
    """A pool that keeps nothing."""

    def release(self, connection: Connection) -> None:
        del connection

    forget = release


async def test_what_an_engine_sends_after_its_end_is_no_part_of_the_answer() -> None:
    connection, taken = Connection(OnePool(), "http://engine"), []
    transport = Mock(is_closing=Mock(return_value=False))
    connection.connection_made(transport)
    asking = asyncio.create_task(connection.send(b""))
    await asyncio.sleep(0)
    connection.data_received(CHUNKED + chunk(b"data: one\n\n") + b"0\r\n\r\n")
    await asking
    reading = asyncio.create_task(connection.deliver_to(lambda part: taken.append(part) or True))
    await asyncio.sleep(0)

    connection.data_received(chunk(b"data: late\n\n"))

    await reading
    assert taken == []
    assert transport.abort.called
