"""HTTP/1.1 on one connection: framing, order, ends, and who hears of them."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import socket
import weakref
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from serve_app.front.listener.departure import has_left
from serve_app.front.listener.exchange import Exchange
from serve_app.front.listener.refusals import HEADER_WITHIN_S, MAX_HEADER_BYTES
from serve_app.front.listener.wire import IN_LINE, UNREAD_BYTES
from serve_app.protocol.asgi import WRITE
from tests.pumps import TWINS, twin
from tests.unit.serve_app.front.listener.wires import Conversation, Echo, turns, whole

HOST = b"host: x\r\n"
GET = b"GET /%b HTTP/1.1\r\n" + HOST + b"\r\n"
CHUNKED = b"POST /%b HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked\r\n\r\n"
LENGTH = b"POST /%b HTTP/1.1\r\n" + HOST + b"content-length: %d\r\n\r\n%b"


def asking(
    path: bytes = b"", *lines: bytes, method: bytes = b"GET", version: bytes = b"1.1"
) -> bytes:
    head = [b"%b /%b HTTP/%b" % (method, path, version), b"host: x", *lines]
    return b"\r\n".join([*head, b"", b""])


def bodies(here: Conversation) -> list[bytes]:
    return [json.loads(body)[3].encode("latin-1") for _, _, body in here.answers]


def paths(here: Conversation) -> list[str]:
    return [json.loads(body.rstrip(b"."))[2] for _, _, body in here.answers]


# -- whole requests, one after another ----------------------------------------------------------


EVERYTHING = b"".join(
    [
        GET % b"1?a=%20b",
        LENGTH % (b"2%C3%BC", 5, b"hello"),
        CHUNKED % b"chunks3" + b"3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nx-after: 1\r\n\r\n",
        b"\r\n",
        LENGTH % (b"write4", 0, b""),
        asking(b"5", b"connection: upgrade", b"upgrade: h2c"),
        LENGTH[:-6].replace(b"content", b"connection: upgrade\r\nupgrade: h2c\r\ncontent")
        % (b"6", 4)
        + b"\r\n\r\nGET ",
        asking(b"7", b"connection: close"),
    ]
)


@pytest.fixture(autouse=True, params=TWINS)
def written_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both twins write bodies."""
    monkeypatch.setattr("serve_app.front.listener.wire.twin", lambda: twin(request.param))


@pytest.fixture
async def everything() -> bytes:
    here = Conversation(Echo())
    await here.say(EVERYTHING)
    return _without_ids(here.told)


def _without_ids(told: bytes) -> bytes:
    return b"\r\n".join(x for x in told.split(b"\r\n") if not x.startswith(b"x-request-id"))


async def test_requests_sent_at_once_are_answered_in_their_order(everything: bytes) -> None:
    here = Conversation(Echo())
    await here.say(EVERYTHING)
    assert paths(here) == ["/1", "/2ü", "/chunks3", "/write4", "/5", "/6", "/7"]
    assert [json.loads(x[2].rstrip(b"."))[3] for x in here.answers] == [
        "", "hello", "abc0123456789", "", "", "GET ", ""
    ]  # fmt: skip
    assert here.transport.is_closed
    assert _without_ids(here.told) == everything


async def test_where_the_bytes_are_cut_makes_no_difference(everything: bytes) -> None:
    for cut in range(1, len(EVERYTHING)):
        here = Conversation(Echo())
        await here.say(EVERYTHING[:cut], EVERYTHING[cut:])
        assert _without_ids(here.told) == everything, cut


async def test_byte_by_byte_makes_no_difference(everything: bytes) -> None:
    here = Conversation(Echo())
    await here.say(*(EVERYTHING[at : at + 1] for at in range(len(EVERYTHING))))
    assert _without_ids(here.told) == everything


async def test_what_follows_a_body_in_chunks_is_no_header() -> None:
    app = Echo()
    here = Conversation(app)
    await here.say(CHUNKED % b"" + b"0\r\nx-api-key: stolen\r\n\r\n" + GET % b"2")
    assert [[name for name, _ in scope["headers"]] for scope, _ in app.asked] == [
        [b"host", b"transfer-encoding", b"x-request-id"],
        [b"host", b"x-request-id"],
    ]


async def test_a_head_and_what_follows_it_at_once_are_one_write() -> None:
    for path in (b"", b"chunks", b"write"):
        here = Conversation(Echo())
        await here.say(GET % path)
        # Of pieces: the first with the head, the second, the last.
        assert here.transport.writes == (1 if not path else 3)


async def test_a_head_that_nothing_follows_goes_out_alone() -> None:
    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await whole(receive)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.Event().wait()

    here = Conversation(app)
    await here.say(GET % b"")
    assert here.told.endswith(b"transfer-encoding: chunked\r\n\r\n")


async def test_nothing_is_left_to_the_collector_of_cycles() -> None:
    app = Echo()
    asked = GET % b"write" + LENGTH % (b"", 2, b"ab")

    async def talk() -> None:
        here = Conversation(app)
        await here.say(asked)
        await here.say(GET % b"wait" + asked)
        await here.leave()
        app.asked.clear()

    await talk()
    gc.collect()
    gc.disable()
    try:
        await talk()
        assert gc.collect() == 0
    finally:
        gc.enable()


class Ends:
    """An application of which each request ends in its own way."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path != "/before":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            scope["extensions"][WRITE](b"a")
            scope["extensions"][WRITE](b"b")
        if path == "/waits":
            await asyncio.Event().wait()
        if path == "/full":
            # Before its client has left, it waits for that.
            await (scope["extensions"][WRITE](b"c") or asyncio.Event().wait())
        if path in {"/before", "/within"}:
            raise KeyError(path)
        if path == "/late":
            await send({"type": "http.response.body", "body": b""})
            scope["extensions"][WRITE](b"after its end")


@pytest.mark.parametrize("way", [b"before", b"within", b"waits", b"full", b"late", b"left"])
@pytest.mark.parametrize(
    "asked",
    [
        asking(b"%b") * 3,
        asking(b"%b", version=b"1.0"),
        asking(b"%b", method=b"HEAD"),
        asking(b"%b", b"connection: close") + asking(b"%b"),
        asking(b"%b", b"content-length: 9", method=b"POST") + b"part",
        asking(b"%b", b"transfer-encoding: chunked", method=b"POST") + b"no size\r\n",
    ],
)
async def test_an_exchange_is_freed_however_it_ends(
    monkeypatch: pytest.MonkeyPatch, asked: bytes, way: bytes
) -> None:
    made: list[weakref.ref[Exchange]] = []

    class Watched(Exchange):
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            made.append(weakref.ref(self))

    async def talk() -> None:
        here = Conversation(Ends())
        here.transport.holds = way == b"full"
        await here.say(asked.replace(b"%b", way))
        await here.leave()

    monkeypatch.setattr("serve_app.front.listener.wire.Exchange", Watched)
    # A record that the tests' handler keeps holds the frames.
    monkeypatch.setattr(logging.getLogger("ray.serve"), "disabled", True)
    gc.disable()
    try:
        await talk()
        await turns()
        assert made
        assert not [x() for x in made if x() is not None]
    finally:
        gc.enable()


# -- kinds of answers ---------------------------------------------------------------------------


async def test_both_ways_to_write_a_body_are_the_same_bytes() -> None:
    told = []
    for path in (b"chunks", b"write!"):
        here = Conversation(Echo())
        await here.say(GET % path)
        told.append(_without_ids(here.told).replace(path, b"path"))
    assert told[0] == told[1]


@pytest.mark.parametrize("path", [b"", b"chunks", b"write"])
async def test_head_is_answered_without_a_body(path: bytes) -> None:
    here = Conversation(Echo())
    await here.say(asking(path, method=b"HEAD") * 2)
    assert here.told.count(b"HTTP/1.1 200 OK\r\n") == 2
    assert here.told.endswith(b"\r\n\r\n")
    assert b"HEAD" not in here.told
    assert b"transfer-encoding" not in here.told


@pytest.mark.parametrize("path", [b"chunks", b"write"])
async def test_to_http_1_0_a_body_ends_with_the_connection(path: bytes) -> None:
    here = Conversation(Echo())
    await here.say(asking(path, version=b"1.0"))
    ((status, headers, body),) = here.answers
    assert (status, headers[b"connection"]) == (200, b"close")
    assert b"transfer-encoding" not in headers
    assert json.loads(body[:-1])[1] == "1.0"
    assert here.transport.is_closed


async def test_a_status_without_a_body_has_none() -> None:
    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await whole(receive)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b"none"})

    here = Conversation(app)
    await here.say(GET % b"")
    assert here.told.startswith(b"HTTP/1.1 204 No Content\r\n")
    assert here.told.endswith(b"\r\n\r\n")
    assert b"transfer-encoding" not in here.told


async def test_a_body_is_waited_for_with_100_continue() -> None:
    here = Conversation(Echo())
    head = asking(b"", b"expect: 100-continue", b"content-length: 2", method=b"POST")
    await here.say(head)
    assert here.told == b"HTTP/1.1 100 Continue\r\n\r\n"
    await here.say(b"ab")
    assert here.statuses == [100, 200]


async def test_who_is_answered_early_is_not_told_to_continue() -> None:
    here = Conversation(Echo())
    await here.say(asking(b"early", b"expect: 100-continue", b"content-length: 2", method=b"POST"))
    assert here.statuses == [200]


async def test_http_1_0_knows_no_100_continue() -> None:
    here = Conversation(Echo())
    lines = (b"expect: 100-continue", b"content-length: 2")
    await here.say(asking(b"", *lines, method=b"POST", version=b"1.0") + b"ab")
    assert here.statuses == [200]


@pytest.mark.parametrize("header", [(b"x", b"a\r\nb: c"), (b"x\n", b"a"), (b"x", b"a\0")])
async def test_a_header_that_would_be_two_is_never_sent(
    header: tuple[bytes, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await whole(receive)
        await send({"type": "http.response.start", "status": 200, "headers": [header]})

    here = Conversation(app)
    with caplog.at_level(logging.CRITICAL):
        await here.say(GET % b"")
    assert here.statuses == [500]


@pytest.mark.parametrize("begins", [True, False])
async def test_an_application_that_fails_ends_its_request(
    begins: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await whole(receive)
        if begins:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"a", "more_body": True})
        raise ValueError("secret")

    here = Conversation(app)
    with caplog.at_level(logging.CRITICAL):
        await here.say(GET % b"")
    assert here.transport.is_closed
    assert b"secret" not in here.told
    if begins:
        # Without the last chunk: nobody takes it for whole.
        assert here.told.endswith(b"1\r\na\r\n")
    else:
        assert [(x[0], json.loads(x[2])["error"]["code"]) for x in here.answers] == [
            (500, "internal_error")
        ]


@pytest.mark.parametrize("length", [1, 3])
async def test_a_body_of_another_length_than_was_said_breaks_off(
    length: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await whole(receive)
        lines = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": lines})
        await send({"type": "http.response.body", "body": b"a" * length})

    here = Conversation(app)
    with caplog.at_level(logging.CRITICAL):
        await here.say(GET % b"" * 2)
    assert here.transport.is_closed
    assert b"aa" not in here.told


# -- what is not HTTP, and what would be read in two ways -----------------------------------------


@pytest.mark.parametrize(
    ("status", "sent"),
    [
        (400, b"\0\1\2\r\n\r\n"),
        (400, asking(b"", b"bad name: 1")),
        (400, asking(b"", b"a: b", b" folded")),
        (400, asking(b"", b"a : b")),
        (400, asking(b"", b"a: b\0c")),
        (400, b"GET / HTTP/1.1\nhost: x\n\n"),
        (400, b"CONNECT a:1 HTTP/1.1\r\nhost: x\r\n\r\n"),
        (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        (400, b"GET http://x HTTP/1.1\r\nhost: x\r\n\r\n"),
        (400, asking(b"", b"content-length: 1", b"content-length: 2", method=b"POST")),
        (400, asking(b"", b"content-length: 1, 1", method=b"POST")),
        (400, asking(b"", b"content-length: +1", method=b"POST")),
        (400, asking(b"", b"content-length: -1", method=b"POST")),
        (400, asking(b"", b"content-length: 0x1", method=b"POST")),
        (400, asking(b"", b"content-length: 1", b"transfer-encoding: chunked", method=b"POST")),
        (400, asking(b"", b"transfer-encoding: chunked", b"content-length: 1", method=b"POST")),
        (400, asking(b"", b"transfer-encoding: chunked, identity", method=b"POST")),
        (400, asking(b"", b"transfer-encoding: chunked, chunked", method=b"POST")),
        (501, asking(b"", b"transfer-encoding: gzip, chunked", method=b"POST")),
        (501, asking(b"", b"transfer-encoding: identity", method=b"POST")),
        (501, asking(b"", b"transfer-encoding: xchunked", method=b"POST")),
        (505, asking(version=b"2.0")),
        (505, asking(version=b"0.9")),
    ],
)  # fmt: skip
async def test_what_may_be_read_in_two_ways_is_not_read(status: int, sent: bytes) -> None:
    app = Echo()
    here = Conversation(app)
    await here.say(sent + GET % b"smuggled")
    assert here.statuses == [status]
    assert json.loads(here.answers[0][2])["error"]["code"] == "invalid_request"
    assert here.transport.is_ended
    assert app.asked == []
    # It is deaf from here on, and lingers.
    await here.say(GET % b"later")
    assert here.statuses == [status]


@pytest.mark.parametrize(
    "chunk", [b"x\r\n", b"-1\r\na\r\n", b"0x1\r\na\r\n", b"1 \r\na\r\n", b"1\r\nab", b"1\na\r\n"]
)
async def test_a_bad_chunk_is_answered_once_and_the_request_cancelled(chunk: bytes) -> None:
    app = Echo()
    here = Conversation(app)
    await here.say(CHUNKED % b"", chunk + b"0\r\n\r\n" + GET % b"smuggled")
    assert here.statuses == [400]
    assert app.ends == ["cancelled"]
    assert app.asked == []
    assert not here.state.tasks


async def test_a_bad_chunk_after_the_answer_has_begun_ends_the_connection() -> None:
    app = Echo()
    here = Conversation(app)
    await here.say(CHUNKED % b"early", b"x\r\n")
    assert here.statuses == [200]
    assert here.transport.is_closed


async def test_those_before_what_is_not_http_are_answered_first() -> None:
    app = Echo()
    here = Conversation(app)
    await here.say(GET % b"wait" + GET % b"2" + b"\0\r\n\r\n")
    assert here.told == b""
    app.go.set()
    await turns()
    assert here.statuses == [200, 200, 400]
    assert here.transport.is_ended


async def test_a_request_in_line_whose_body_is_bad_is_never_run() -> None:
    app = Echo()
    here = Conversation(app)
    await here.say(GET % b"wait" + CHUNKED % b"2", b"x\r\n")
    app.go.set()
    await turns()
    assert here.statuses == [200, 400]
    assert [scope["path"] for scope, _ in app.asked] == ["/wait"]


async def test_nothing_follows_who_said_that_it_is_the_last() -> None:
    for last in (asking(b"1", b"connection: close"), asking(b"1", version=b"1.0")):
        app = Echo()
        here = Conversation(app)
        await here.say(last + GET % b"2", GET % b"3")
        assert paths(here) == ["/1"]
        assert here.transport.is_closed


@pytest.mark.parametrize("rest", [b"x-%d: %b\r\n", b"1;%d=%b\r\na\r\n"])
async def test_lines_without_an_end_are_refused(rest: bytes) -> None:
    here = Conversation(Echo())
    endless = rest[: rest.index(b"\r")].replace(b"%d", b"1").replace(b"%b", b"a")
    await here.say(CHUNKED % b"" if rest.startswith(b"1") else b"GET / HTTP/1.1\r\n", endless)
    for _ in range(2 * MAX_HEADER_BYTES // 4000):
        await here.say(b"a" * 4000)
    assert here.statuses == [431]


async def test_what_comes_after_the_last_chunk_is_bounded() -> None:
    here = Conversation(Echo())
    await here.say(CHUNKED % b"" + b"0\r\n")
    for number in range(2 * MAX_HEADER_BYTES // 4000):
        await here.say(b"x-%d: " % number + b"a" * 4000 + b"\r\n")
    assert here.statuses == [431]


# -- more than is taken -------------------------------------------------------------------------


async def test_many_requests_at_once_wait_unread_and_are_all_answered() -> None:
    app = Echo()
    here = Conversation(app)
    await here.say(GET % b"wait" + b"".join(GET % b"%d" % x for x in range(4000)))
    assert here.transport.is_paused
    assert len(here.wire._line) < 200 + IN_LINE
    app.go.set()
    await turns(50_000)
    assert paths(here) == ["/wait", *(f"/{x}" for x in range(4000))]
    assert not here.transport.is_paused


async def test_a_body_is_read_as_it_is_taken() -> None:
    takes = asyncio.Event()
    sizes = []

    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await takes.wait()
        while (message := await receive()).get("more_body"):
            sizes.append(len(message["body"]))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    here = Conversation(app)
    size = 3 * UNREAD_BYTES
    await here.say(LENGTH % (b"", size, b""), b"a" * (UNREAD_BYTES + 1))
    assert here.transport.is_paused
    takes.set()
    await turns()
    assert not here.transport.is_paused
    await here.say(b"a" * (2 * UNREAD_BYTES - 1))
    assert here.statuses == [200]
    assert not here.transport.is_paused


async def test_a_client_that_does_not_read_is_waited_for_by_both_ways() -> None:
    for path in (b"chunks", b"write"):
        app = Echo()
        here = Conversation(app)
        here.transport.holds = True
        await here.say(GET % path)
        assert app.ends == []
        assert b"\r\n0\r\n\r\n" not in here.told
        here.transport.take_all()
        await turns()
        assert (here.statuses, app.ends) == ([200], ["answered"])


async def test_who_leaves_while_it_is_waited_for_cancels_its_request() -> None:
    for path in (b"chunks", b"write", b"wait"):
        app = Echo()
        here = Conversation(app)
        here.transport.holds = True
        await here.say(GET % path + GET % b"2")
        await here.leave()
        assert app.ends == ["cancelled"]
        assert not here.state.tasks
        assert not here.state.connections


async def test_who_leaves_before_its_request_has_begun_leaves_nothing() -> None:
    app = Echo()
    here = Conversation(app)
    here.wire.data_received(GET % b"")
    here.wire.connection_lost(None)
    await turns()
    assert (app.begun, here.state.tasks, here.state.connections) == (0, set(), set())


async def test_to_who_has_left_nothing_is_written() -> None:
    ends = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            assert await receive() == {"type": "http.disconnect"}
            await send({"type": "http.response.start", "status": 200, "headers": []})
            assert scope["extensions"][WRITE](b"late") is None
            ends.append("told")

    here = Conversation(app)
    await here.say(GET % b"")
    await here.leave()
    assert (here.told, ends) == (b"", ["told"])


def test_who_has_left_behind_unread_bytes_is_noticed() -> None:
    ours, theirs = socket.socketpair()

    class Transport:
        def get_extra_info(self, _: str) -> socket.socket:
            return ours

    with ours, theirs:
        theirs.send(b"unread")
        assert not has_left(Transport())  # type: ignore[arg-type]
        theirs.close()
        assert has_left(Transport())  # type: ignore[arg-type]


async def test_who_leaves_while_nothing_is_read_is_looked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = Echo()
    here = Conversation(app)
    await here.say(GET % b"wait" + GET % b"" * 8000)
    assert here.transport.is_paused
    monkeypatch.setattr("serve_app.front.listener.wire.has_left", lambda _: True)
    here.wire.look(here.wire.loop.time())
    await turns()
    assert app.ends == ["cancelled"]


# -- early answers, ends, sockets -----------------------------------------------------------------


async def test_a_body_that_was_not_waited_for_is_dropped() -> None:
    app = Echo()
    here = Conversation(app)
    await here.say(LENGTH % (b"early", 6, b"abc"))
    assert here.statuses == [200]
    await here.say(b"def" + GET % b"2")
    assert paths(here) == ["/early", "/2"]


async def test_a_body_that_nobody_waits_for_has_its_time_and_no_second_answer() -> None:
    here = Conversation(Echo())
    await here.say(LENGTH % (b"early", 6, b"abc"))
    here.wire.look(here.wire.loop.time() + HEADER_WITHIN_S)
    assert here.statuses == [200]
    assert here.transport.is_closed


async def test_between_two_requests_a_connection_has_its_time() -> None:
    here = Conversation(Echo(), timeout_keep_alive=90)
    await here.say(GET % b"")
    here.wire.look(here.wire.loop.time() + 89)
    assert not here.transport.is_closed
    here.wire.look(here.wire.loop.time() + 90)
    assert here.transport.is_closed
    assert here.statuses == [200]


async def test_while_an_answer_is_under_way_no_time_runs() -> None:
    app = Echo()
    here = Conversation(app)
    await here.say(GET % b"wait" + b"GET / HT")
    here.wire.look(here.wire.loop.time() + 1000)
    assert not here.transport.is_closed
    app.go.set()
    await turns()
    here.wire.look(here.wire.loop.time() + 1000)
    assert here.statuses == [200, 408]


async def test_at_the_end_those_in_line_are_answered_and_the_last_is_told() -> None:
    app = Echo()
    here = Conversation(app)
    await here.say(GET % b"wait" + GET % b"2")
    here.wire.shutdown()
    app.go.set()
    await turns()
    assert [headers.get(b"connection") for _, headers, _ in here.answers] == [None, b"close"]
    assert here.transport.is_closed


async def test_at_the_end_who_asks_nothing_is_hung_up_on() -> None:
    here = Conversation(Echo())
    await here.say(GET % b"")
    here.wire.shutdown()
    assert here.transport.is_closed


class Sockets(asyncio.Protocol):
    """In the place of uvicorn's protocol of WebSockets."""

    said: bytes = b""

    def __init__(self, **_: object) -> None:
        Sockets.said = b""

    def data_received(self, data: bytes) -> None:
        Sockets.said += data


UPGRADE = asking(b"ws", b"Connection: keep-alive, Upgrade", b"Upgrade: WebSocket", b"x: \xff")


async def test_a_websocket_is_handed_over_with_all_that_it_said() -> None:
    app, Sockets.said = Echo(), b""
    here = Conversation(app, ws=Sockets)
    await here.say(GET % b"wait" + UPGRADE + b"frame")
    assert Sockets.said == b""
    app.go.set()
    await turns()
    await here.say(b"more")
    head = UPGRADE.replace(b"Connection", b"connection").replace(b"Upgrade:", b"upgrade:")
    assert Sockets.said == head + b"frame" + b"more"
    assert paths(here) == ["/wait"]
    assert not here.state.connections


@pytest.mark.parametrize(
    "sent",
    [
        asking(b"ws", b"connection: upgrade", b"upgrade: websocket", version=b"1.0"),
        asking(b"ws", b"connection: upgrade", b"upgrade: websocket", b"content-length: 1") + b"a",
        asking(b"ws", b"connection: upgrade", b"upgrade: h2c"),
        asking(b"ws", b"connection: keep-alive", b"upgrade: websocket"),
    ],
)
async def test_what_cannot_be_a_websocket_is_a_request(sent: bytes) -> None:
    here = Conversation(Echo(), ws=Sockets)
    await here.say(sent)
    assert paths(here) == ["/ws"]
