"""A stream's whole way, from an engine's bytes to a client's, under whatever comes in between."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.metrics import Series
from serve_app.protocol.asgi import DirectSend, extension_of
from serve_app.protocol.errors import Dialect
from serve_app.protocol.sse import EventReader
from serve_app.relay.engine_stream import FirstStream
from serve_app.relay.forwarder import Forwarder
from serve_app.request.reply import StreamState
from serve_app.transport.upstream import Response
from tests.pumps import TWINS, Charge, EveryThird, opened, twin
from tests.unit.serve_app.front.listener.wires import Conversation, turns
from tests.unit.serve_app.transport.raw_server import chunk

EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"w%d"}}]}\n\n'
ACTS = st.lists(
    st.sampled_from(
        ["event", "event", "event", "two", "half", "long", "turn", "hold", "go on", "turns"]
    ),
    min_size=4,
    max_size=40,
)
END = st.sampled_from(["whole", "engine dies", "client leaves", "client leaves while full"])


class Way:
    """One request on the own listener whose answer is forwarded from a connection."""

    def __init__(self, connection, *, is_paced: bool) -> None:
        self._connection, self._is_paced = connection, is_paced
        self._response = Response(connection, connection.status, connection.headers)
        self._rest, self._over = b"", 0
        self.sent = b""
        self.errors: list[str] = []
        self.here = Conversation(self)

    async def __call__(self, scope, receive, send) -> None:
        call = SimpleNamespace(
            charge=Charge(EveryThird() if self._is_paced else None),
            served=SimpleNamespace(hold=None, paced_s=0.0, first_tokens_s=None),
            started=0.0,
            reply=SimpleNamespace(stream=StreamState()),
        )
        stream = FirstStream(EventReader(hide_usage=True), None, Dialect.OPENAI)
        direct = DirectSend(send, extension_of(scope))
        made = Forwarder(call, stream, direct, Series((1.0,)), _begin, lambda *_: None)
        try:
            await made.run(self._response)
        except BaseException as error:
            self.errors.append(type(error).__name__)
            raise
        finally:
            self._response.close()
        await send({"type": "http.response.body", "body": b""})

    async def act(self, act: str, number: int) -> None:
        transport = self.here.transport
        if act == "hold":
            transport.holds = True
        elif act == "go on":
            transport.take_all()
        elif act == "turn":
            await asyncio.sleep(0)
        elif act == "turns":
            await turns()
        else:
            self._say(act, number)

    def _say(self, act: str, number: int) -> None:
        event = EVENT % number
        if act == "two":
            self.say([event, event])
        elif act == "long":
            self.say([event.replace(b"w", 5000 * b"w")])
        else:
            self.say([event], cut=number if act == "half" else 0)

    def say(self, events: list[bytes], cut: int = 0, end: bytes = b"") -> None:
        """Let events arrive in one piece; of one that is cut, the rest comes with the next."""
        self.say_rest()
        self.sent += b"".join(events)
        whole = b"".join(map(chunk, events)) + end
        cut = cut % len(whole) or len(whole)
        self._rest = whole[cut:]
        self._arrive(whole[:cut])

    def say_rest(self) -> None:
        rest, self._rest = self._rest, b""
        if rest:
            self._arrive(rest)

    def _arrive(self, data: bytes) -> None:
        is_full, writes = self.here.wire.is_full, self.here.transport.writes
        self._connection.data_received(data)
        # What a client does not read waits on the engine's side, but for the event after an ASGI
        # message that has filled the line: such a message is awaited before the next only.
        self._over = self._over + self.here.transport.writes - writes if is_full else 0
        assert self._over <= 1

    async def end(self, end: str) -> None:
        self.say_rest()
        transport = self.here.transport
        if end == "whole":
            self.say([b"data: [DONE]\n\n"], end=b"0\r\n\r\n")
            transport.take_all()
        elif end == "engine dies":
            self._connection.connection_lost(None)
            transport.take_all()
        else:
            transport.holds = end == "client leaves while full"
            self.say([EVENT % 99])
            transport.close()
        await turns(150)
        assert not self.here.state.tasks
        assert not self._connection.is_waited_for


async def _begin(_, send, __) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})


async def went(name: str, acts: list[str], end: str, *, is_paced: bool) -> Way:
    upstream, connection = await opened(twin(name).Feed)
    with (
        mock.patch("serve_app.front.listener.wire.twin", return_value=twin(name)),
        mock.patch("serve_app.relay.pump.choice.twin", return_value=twin(name)),
        mock.patch("serve_app.front.listener.exchange.logger"),
    ):
        way = Way(connection, is_paced=is_paced)
        await way.here.say(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        for number, act in enumerate(["event", "turns", *acts]):
            await way.act(act, number)
        await way.end(end)
    await upstream.close()
    return way


def unchunked(told: bytes) -> bytes:
    body = b""
    while told:
        size, _, told = told.partition(b"\r\n")
        length = int(size, 16)
        assert told[length : length + 2] == b"\r\n"
        body, told = body + told[:length], told[length + 2 :]
        if not length:
            assert not told
            return body + b"<end>"
    return body


@pytest.mark.parametrize("name", TWINS)
@given(ACTS, END, st.booleans())
def test_nothing_is_lost_or_doubled(name, acts, end, is_paced):
    way = asyncio.run(went(name, acts, end, is_paced=is_paced))

    told = unchunked(way.here.told.partition(b"\r\n\r\n")[2])
    if end == "whole":
        assert (told, way.errors) == (way.sent + b"<end>", [])
    elif end == "engine dies":
        assert (told, way.errors) == (way.sent, ["BrokenConnection"])
    else:
        assert way.sent.startswith(told)
        assert way.errors == ["CancelledError"]
