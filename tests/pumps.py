"""The twins of `serve_app.relay.pump`, and one stream that goes through either of them."""

from __future__ import annotations

import asyncio
import math
from types import SimpleNamespace
from unittest import mock

import pytest

from classifier.native import PUMP
from router.admission.fair_queue import Account
from router.admission.ticket import Ticket, Tier
from router.limits.pacer import DUE
from router.recovery.resume import Delivered
from serve_app.config.serving import TimeoutConfig
from serve_app.metrics import Series
from serve_app.protocol.errors import Dialect
from serve_app.protocol.sse import EventReader
from serve_app.relay.engine_stream import FirstStream
from serve_app.relay.forwarder import Forwarder
from serve_app.relay.pump.choice import Twin, twin_of
from serve_app.relay.transcript import Transcript
from serve_app.request.reply import StreamState
from serve_app.transport.connection import Connection
from serve_app.transport.feed import Feed
from serve_app.transport.upstream import Response, Upstream
from tests.twins import names, twins
from tests.unit.serve_app.transport.raw_server import CHUNKED

native = twins(PUMP)["native"].module if "native" in twins(PUMP) else None
IS_BUILT = pytest.mark.skipif(native is None, reason="the native pump is not built of this text")
TWINS = names(PUMP)


def twin(name: str) -> Twin:
    return twin_of(twins(PUMP)[name])


class EveryThird:
    """A pacer under which every third event waits, for no time at all."""

    def __init__(self) -> None:
        self.booked: list[int] = []

    def hold(self, tokens: int, *, now: float) -> float:
        self.booked.append(tokens)
        return 1.0 if len(self.booked) % 3 == 0 else DUE

    def wait_s(self, position: float, *, now: float) -> float:
        return 0.0


class Charge:
    """Charges in steps of ten tokens."""

    def __init__(self, pacer) -> None:
        self.pacer, self.covered_tokens, self.covered = pacer, 10, []

    def cover(self, tokens: int, *, now: float) -> float:
        self.covered.append(tokens)
        return tokens + 10


async def opened(feed: type[Feed] = Feed) -> tuple[Upstream, Connection]:
    """A connection on which a chunked answer has begun."""
    upstream = Upstream({}, TimeoutConfig(connect_s=1, read_s=30))
    connection = Connection(upstream, "http://engine", feed)
    connection.connection_made(
        SimpleNamespace(
            write=lambda _: None,
            is_closing=lambda: False,
            abort=lambda: None,
            pause_reading=lambda: None,
            resume_reading=lambda: None,
        )
    )
    asking = asyncio.create_task(connection.send(b""))
    await asyncio.sleep(0)
    connection.data_received(CHUNKED)
    await asking
    return upstream, connection


async def feed(connection, task, pieces: list[bytes], turns: list[bool]) -> None:
    """Let the pieces arrive, with turns of the task between them."""
    await asyncio.sleep(0)
    for number, piece in enumerate(pieces):
        if not connection.is_open or task.done():
            break
        connection.data_received(piece)
        if turns[number % len(turns)]:
            await have_turns()
    await have_turns()


async def have_turns() -> None:
    for _ in range(4):
        await asyncio.sleep(0)


async def streamed(
    kind: Twin | None,
    pieces: list[bytes],
    *,
    turns: list[bool] | None = None,
    most_bytes: int = 2**16,
    shows_ids: bool = False,
    is_kept: bool = True,
    is_paced: bool = False,
    charge: Charge | None = None,
    fails_at: int = 10**9,
) -> SimpleNamespace:
    """Forward a body's pieces, with or without a pump, and return all that came of it.

    `turns`: after which pieces the task has its turn; None: after each. `fails_at`: the send
    that raises KeyError, the response's begin counted.
    """
    upstream, connection = await opened(Feed if kind is None else kind.Feed)
    pacer = EveryThird() if is_paced else None
    account = Account("t", 1.0, 0.0)
    ticket = Ticket(Tier("t"), account, 1, 1, math.inf)
    charge = Charge(pacer) if charge is None else charge
    call = SimpleNamespace(
        charge=charge,
        served=SimpleNamespace(
            hold=SimpleNamespace(ticket=ticket), paced_s=0.0, first_tokens_s=None
        ),
        started=0.0,
        reply=SimpleNamespace(stream=StreamState()),
    )
    transcript = None
    if is_kept:
        transcript = Transcript(Delivered(), is_chat=True, has_ids=True, shows_ids=shows_ids)
    stream = FirstStream(EventReader(hide_usage=True), transcript, Dialect.OPENAI)
    bodies, counts, series = [], [], Series((1.0, 2.0))

    async def send(message) -> None:
        if len(bodies) >= fails_at:
            raise KeyError("sent")
        bodies.append(message["body"])

    async def begin(*_) -> None:
        bodies.append(b"begin")

    def pump_for(*given):
        if kind is None:
            return None
        return kind.Pump(*given, most_bytes)

    with (
        mock.patch("serve_app.relay.forwarder.pump_for", pump_for),
        mock.patch("serve_app.relay.transcript.MAX_RAW_BYTES", most_bytes),
    ):
        forwarder = Forwarder(
            call, stream, send, series, begin, lambda _, usage: counts.append(usage)
        )
        response = Response(connection, connection.status, connection.headers)
        task = asyncio.create_task(forwarder.run(response))
        await feed(connection, task, pieces, turns or [True])
        if not task.done():
            connection.connection_lost(None)
        (error,) = await asyncio.gather(task, return_exceptions=True)
    delivered = None if transcript is None else transcript.delivered
    await upstream.close()
    return SimpleNamespace(
        bodies=bodies,
        error=type(error),
        tokens=stream.tokens,
        ids=stream.ids,
        events=stream.reader.events,
        newest=(stream.newest, call.reply.stream.newest),
        failed=stream.has_failed,
        usage=(stream.usage, len(counts)),
        gaps=sum(series.counts),
        charged=(ticket.charged_tokens, account.counter, charge.covered),
        first=call.served.first_tokens_s is not None,
        held=len(call.reply.stream.held),
        booked=None if pacer is None else pacer.booked,
        delivered=delivered,
        text=None if delivered is None else delivered.text,
        raw=None if transcript is None else transcript.size,
    )
