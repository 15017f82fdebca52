"""A stream's events on their way to a client that reads, waits, leaves, or fails."""

import asyncio
import contextlib
import math
import time
from types import SimpleNamespace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.limits.pacer import Pacer
from router.recovery.resume import Delivered
from serve_app.config.serving import TimeoutConfig
from serve_app.metrics import Series
from serve_app.protocol.asgi import DirectSend
from serve_app.protocol.errors import Dialect
from serve_app.protocol.sse import EventReader
from serve_app.relay.engine_stream import FirstStream
from serve_app.relay.forwarder import Forwarder
from serve_app.relay.transcript import _IDS, Transcript, _hide_ids
from serve_app.request.reply import StreamState
from serve_app.transport.upstream import BrokenConnection, Upstream
from tests.unit.serve_app.transport.raw_server import CHUNKED, chunk, raw_server, says

EVENTS = [b'data: {"choices":[{"delta":{"content":"%d"}}]}\n\n' % n for n in range(8)]
DONE = b"data: [DONE]\n\n"
END = b"0\r\n\r\n"
WHOLE = says(CHUNKED, *map(chunk, [*EVENTS, DONE]), END)


class Client:
    """Takes ASGI messages; `waits` is an Event that every send waits for."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.in_task: list[bool] = []
        self.waits = asyncio.Event()
        self.waits.set()
        self.is_waited_for = asyncio.Event()
        self.has_two = asyncio.Event()
        self.ends: list[type[BaseException]] = []
        self.fails = False
        self.on_body = lambda: None
        self.written: list[asyncio.Future] = []

    def write(self, data):
        """The listener's: takes it, and says what is to be waited for."""
        if self.fails:
            raise KeyError("sent")
        self.in_task.append(asyncio.current_task() is not None)
        self.bodies.append(data)
        self.on_body()
        if len(self.bodies) == 2:
            self.has_two.set()
        if self.waits.is_set():
            return None
        self.is_waited_for.set()
        waiting = asyncio.get_running_loop().create_future()
        self.written.append(waiting)
        return waiting

    async def send(self, message) -> None:
        try:
            if not self.waits.is_set():
                self.is_waited_for.set()
                await self.waits.wait()
        except asyncio.CancelledError as error:
            self.ends.append(type(error))
            raise
        if self.fails:
            raise KeyError("sent")
        self.in_task.append(asyncio.current_task() is not None)
        self.bodies.append(message["body"])
        self.on_body()
        if len(self.bodies) == 2:
            self.has_two.set()


class Owner:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.begun = 0
        self.usages = []

    async def begin(self, call, send, now) -> None:
        self.begun += 1

    def count(self, call, usage) -> None:
        self.usages.append(usage)


@contextlib.asynccontextmanager
async def forwarding(answer=WHOLE, pacer=None, *, writes=False):
    """A forwarder over a real connection, its client and its owner."""
    upstream = Upstream({}, TimeoutConfig(connect_s=5, read_s=30))
    client, owner = Client(), Owner()
    async with raw_server() as server:
        server.answers = [answer]
        response = await upstream.post(server.url, "/", b"", {})
        call = SimpleNamespace(
            charge=SimpleNamespace(pacer=pacer, covered_tokens=math.inf),
            served=SimpleNamespace(hold=None, paced_s=0.0),
            reply=SimpleNamespace(stream=StreamState()),
        )
        stream = FirstStream(EventReader(hide_usage=False), None, Dialect.OPENAI)
        send = DirectSend(client.send, client.write) if writes else client.send
        forwarder = Forwarder(call, stream, send, Series((1.0,)), owner.begin, owner.count)
        yield SimpleNamespace(
            run=asyncio.create_task(forwarder.run(response)),
            client=client,
            owner=owner,
            stream=stream,
        )
        await upstream.close()


BOTH = pytest.mark.parametrize("writes", [False, True], ids=["send", "write"])


@BOTH
async def test_events_go_on_without_a_tasks_turn(writes):
    """The first one is the task's, which has the head to say; the others need none."""
    taken = asyncio.Event()

    async def one_by_one(writer) -> str:
        writer.write(CHUNKED)
        for event in [*EVENTS, DONE]:
            taken.clear()
            writer.write(chunk(event))
            await taken.wait()
        writer.write(END)
        return ""

    async with forwarding(one_by_one, writes=writes) as it:
        it.client.on_body = taken.set
        await it.run

    assert it.client.bodies == [*EVENTS, DONE]
    assert it.client.in_task == [True] + [False] * len(EVENTS)
    assert it.owner.begun == 1


async def test_a_client_that_waits_gets_everything_in_order():
    """A send that has to wait is ended by the task; what came meanwhile follows it at once.

    The third send begins in the connection's callback and waits there.
    """
    sent = asyncio.Event()

    async def answer(writer) -> str:
        await WHOLE(writer)
        sent.set()
        return ""

    async with forwarding(answer) as it:
        it.client.on_body = lambda: len(it.client.bodies) == 2 and it.client.waits.clear()
        await sent.wait()
        it.client.on_body = lambda: None
        it.client.waits.set()
        await it.run

    assert b"".join(it.client.bodies) == b"".join([*EVENTS, DONE])
    assert len(it.client.bodies) < len(EVENTS) + 1


async def test_what_is_written_to_a_client_that_does_not_read_is_waited_for():
    """Each chunk is taken, and the next one only when the client has read."""
    async with forwarding(writes=True) as it:
        await it.client.has_two.wait()
        it.client.waits.clear()
        await it.client.is_waited_for.wait()
        taken = len(it.client.bodies)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(it.client.bodies) == taken
        it.client.waits.set()
        it.client.written[0].set_result(None)
        await it.run

    assert b"".join(it.client.bodies) == b"".join([*EVENTS, DONE])


async def test_a_client_that_leaves_while_a_write_is_waited_for():
    async with forwarding(writes=True) as it:
        await it.client.has_two.wait()
        it.client.waits.clear()
        await it.client.is_waited_for.wait()
        it.run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await it.run

    assert b"".join([*EVENTS, DONE]).startswith(b"".join(it.client.bodies))


async def test_a_client_that_leaves_while_it_is_waited_for():
    """The send that was begun in a callback hears of the cancelling, as it would in a task."""
    async with forwarding() as it:
        await it.client.has_two.wait()
        it.client.waits.clear()
        await it.client.is_waited_for.wait()
        await asyncio.sleep(0)
        it.run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await it.run

    assert it.client.ends == [asyncio.CancelledError]


@pytest.mark.parametrize("first_waits", [False, True], ids=["at once", "after a wait"])
async def test_what_sending_raises_is_the_tasks(first_waits):
    async with forwarding() as it:
        await it.client.has_two.wait()
        it.client.fails = True
        if first_waits:
            it.client.waits.clear()
            await it.client.is_waited_for.wait()
            it.client.waits.set()
        with pytest.raises(KeyError, match="sent"):
            await it.run


async def test_what_writing_raises_is_the_tasks():
    async with forwarding(writes=True) as it:
        await it.client.has_two.wait()
        it.client.fails = True
        with pytest.raises(KeyError, match="sent"):
            await it.run


@BOTH
async def test_a_ceiling_holds_events_back_and_loses_none(writes):
    """Events wait for the task where the rate does not let them go; order is kept."""
    pacer = Pacer(50, now=time.monotonic())
    begun = time.monotonic()
    async with forwarding(pacer=pacer, writes=writes) as it:
        await it.run

    assert b"".join(it.client.bodies) == b"".join([*EVENTS, DONE])
    assert pacer.booked == len(EVENTS) + 1
    assert time.monotonic() - begun > len(EVENTS) / 50


@BOTH
async def test_a_break_is_raised_after_what_came(writes):
    answer = says(CHUNKED, *map(chunk, EVENTS[:3]), then="close")
    async with forwarding(answer, writes=writes) as it:
        with pytest.raises(BrokenConnection):
            await it.run

    assert b"".join(it.client.bodies) == b"".join(EVENTS[:3])


def test_a_long_stream_is_read_one_for_one_and_kept_in_bounds(monkeypatch):
    """No token waits for all of those before it to be read."""
    monkeypatch.setattr("serve_app.relay.transcript.MAX_RAW_BYTES", 1000)
    transcript = Transcript(Delivered(), is_chat=True, has_ids=True, shows_ids=False)
    read: list[int] = []
    reading, note, parsed = transcript.read, transcript._note, []
    monkeypatch.setattr(transcript, "read", lambda events: (read.append(1), reading(events)))
    monkeypatch.setattr(transcript, "_note", lambda data: (parsed.append(1), note(data)))
    event = b'data: {"choices":[{"delta":{"content":"%d "},"token_ids":[%d]}]}\n\n'

    for n in range(100, 200):
        before = len(read)
        transcript.pass_on(event % (n, n))
        assert len(read) - before <= 1

    assert 100 - 1000 // len(event) <= len(read) < 100
    assert list(transcript.delivered.ids) == list(range(100, 200))
    assert transcript.delivered.text == "".join(f"{n} " for n in range(100, 200))
    assert len(read) == 100
    # The others differ in text and id alone.
    assert len(parsed) == 1


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["token_ids", "prompt_token_ids", "other"]),
            st.lists(st.integers(0, 2**31), max_size=4) | st.none() | st.just('token_ids":[1]'),
        ),
        max_size=4,
    )
)
def test_hiding_ids_is_one_substitution_however_many_there_are(members):
    """The short way and the pattern agree, with marks in texts and empty lists, too."""
    events = b"".join(b"data: %b\n\n" % orjson.dumps({"a": {k: v}}) for k, v in members)

    assert _hide_ids(events) == _IDS.sub(b'token_ids":null', events)
