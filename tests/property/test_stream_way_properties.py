"""A stream's whole way, from an engine's bytes to a client's, under whatever comes in between."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.front.listener import wire
from serve_app.metrics import Series
from serve_app.protocol.asgi import DirectSend, extension_of
from serve_app.protocol.errors import Dialect
from serve_app.protocol.sse import EventReader
from serve_app.relay.engine_stream import FirstStream
from serve_app.relay.forwarder import Forwarder
from serve_app.relay.pump.choice import Choice
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


async def went(
    name: str, acts: list[str], end: str, *, is_paced: bool
) -> tuple[bytes, bytes, list[str]]:
    """What the engine's events were, the body that the client was told, and how it ended."""
    upstream, connection = await opened(twin(name).Feed)
    response = Response(connection, connection.status, connection.headers)
    sent, half, errors = [], b"", []

    async def begin(_, send, __) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def app(scope, receive, send) -> None:
        write = extension_of(scope)
        call = SimpleNamespace(
            charge=Charge(EveryThird() if is_paced else None),
            served=SimpleNamespace(hold=None, paced_s=0.0, first_tokens_s=None),
            started=0.0,
            reply=SimpleNamespace(stream=StreamState()),
        )
        stream = FirstStream(EventReader(hide_usage=True), None, Dialect.OPENAI)
        made = Forwarder(
            call, stream, DirectSend(send, write), Series((1.0,)), begin, lambda *_: None
        )
        try:
            await made.run(response)
        except BaseException as error:
            errors.append(type(error).__name__)
            raise
        finally:
            response.close()
        await send({"type": "http.response.body", "body": b""})

    def arrive(data: bytes) -> None:
        is_full, writes = here.wire.is_full, here.transport.writes
        connection.data_received(data)
        # What a client does not read waits in the engine's socket.
        assert not is_full or here.transport.writes == writes

    choice = Choice(name, "", twin(name))
    with (
        mock.patch("serve_app.front.listener.wire.chosen", lambda: choice),
        mock.patch("serve_app.relay.pump.choice.chosen", lambda: choice),
        mock.patch("serve_app.front.listener.exchange.logger"),
    ):
        here = Conversation(app, wire.Wire)
        await here.say(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        for number, act in enumerate(["event", "turns", *acts]):
            event = EVENT % number
            if act in {"event", "two", "half", "long"} and half:
                arrive(half)
                half = b""
            if act == "event":
                sent.append(event)
                arrive(chunk(event))
            elif act == "two":
                sent += [event, event]
                arrive(2 * chunk(event))
            elif act == "half":
                sent.append(event)
                whole = chunk(event)
                cut = number % len(whole)
                half = whole[cut:]
                if cut:
                    arrive(whole[:cut])
            elif act == "long":
                event = EVENT.replace(b"w", b"w" * 5000) % number
                sent.append(event)
                arrive(chunk(event))
            elif act == "hold":
                here.transport.holds = True
            elif act == "go on":
                here.transport.take_all()
            elif act == "turn":
                await asyncio.sleep(0)
            else:
                await turns()
        if half:
            arrive(half)
        if end == "whole":
            sent.append(b"data: [DONE]\n\n")
            arrive(chunk(sent[-1]) + b"0\r\n\r\n")
            here.transport.take_all()
        elif end == "engine dies":
            connection.connection_lost(None)
            here.transport.take_all()
        else:
            if end.endswith("full"):
                here.transport.holds = True
                event = EVENT % 99
                sent.append(event)
                arrive(chunk(event))
            here.transport.close()
        for _ in range(12):
            await turns()
        assert not here.state.tasks
        assert not connection._waiter or connection._waiter.done()
    await upstream.close()
    _, _, told = here.told.partition(b"\r\n\r\n")
    return b"".join(sent), unchunked(told), errors


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
    sent, told, errors = asyncio.run(went(name, acts, end, is_paced=is_paced))
    if end == "whole":
        assert told == sent + b"<end>"
        assert errors == []
    else:
        assert sent.startswith(told)
        assert errors == (["BrokenConnection"] if end == "engine dies" else ["CancelledError"])
    if end == "engine dies":
        # All that had come whole has gone on.
        assert told == sent
