"""Any bytes on a connection of the own listener; uvicorn's protocol is the judge of good ones."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serve_app.front.doorway import readable
from serve_app.front.listener.wire import Wire
from tests.unit.serve_app.front.listener.wires import Conversation, Echo, turns

TOKEN = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_.!~", min_size=1, max_size=8)
FIELD = st.tuples(
    TOKEN.map(lambda name: f"x-{name}".encode()),
    st.binary(max_size=12).map(lambda raw: bytes(x for x in raw if x > 0x20 and x != 0x7F)),
)
METHODS = ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"]


@st.composite
def requests(draw: Callable[[st.SearchStrategy[Any]], Any]) -> bytes:
    """A request that HTTP knows."""
    is_old = draw(st.sampled_from([False, False, False, True]))
    method = draw(st.sampled_from(METHODS))
    path = draw(st.sampled_from(["", "chunks/"] if not is_old else [""])) + draw(TOKEN)
    query = draw(st.sampled_from(["", "?a=1&b=%20", "?", "#part"]))
    lines = [b"host: x", b"X-Request-Id: r1"]
    lines += [b"%b: %b" % field for field in draw(st.lists(FIELD, max_size=4))]
    if draw(st.booleans()):
        lines.append(b"Connection: " + draw(st.sampled_from([b"keep-alive", b"close", b"x"])))
    body = draw(st.binary(max_size=30))
    framing = draw(st.sampled_from(["none", "length", "chunks"]))
    if framing == "none":
        body = b""
    elif framing == "length" or is_old:
        lines.append(b"Content-Length: %d" % len(body))
    else:
        lines.append(b"Transfer-Encoding: chunked")
        at = draw(st.integers(0, len(body)))
        pieces = [x for x in (body[:at], body[at:]) if x]
        body = b"".join(b"%X\r\n%b\r\n" % (len(x), x) for x in pieces) + b"0\r\n\r\n"
    version = b"1.0" if is_old else b"1.1"
    head = f"{method} /%41{path}{query} HTTP/".encode() + version
    return b"\r\n".join([head, *lines, b"", body])


def cut_at(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, *(cut % (len(data) + 1) for cut in cuts), len(data)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


async def _heard(protocol: type[Any], parts: list[bytes]) -> tuple[list[Any], bytes, bool]:
    app = Echo()
    here = Conversation(app, protocol)
    await here.say(*parts)
    seen = []
    for scope, body in app.asked:
        told = {k: v for k, v in scope.items() if k not in ("extensions", "asgi")}
        if protocol is not Wire:
            told["headers"] = readable(told["headers"])
        seen.append((told, body))
    bytes_told, is_closed = (
        here.told.replace(b"x-request-id: r1\r\n", b""),
        here.transport.is_closed,
    )
    await here.leave()
    return seen, bytes_told, is_closed


@given(st.lists(requests(), min_size=1, max_size=4), st.lists(st.integers(0, 10**6), max_size=4))
def test_good_requests_are_read_and_answered_as_uvicorn_does(
    sent: list[bytes], cuts: list[int]
) -> None:
    """The same scopes, bodies and bytes of answers, the date left out; ours cut anywhere."""

    async def compared() -> None:
        data = b"".join(sent)
        ours = await _heard(Wire, cut_at(data, cuts))
        theirs = await _heard(HttpToolsProtocol, [data])
        assert ours == theirs

    asyncio.run(compared())


SCRAPS = [
    b"GET / HTTP/1.1\r\n", b"POST /early HTTP/1.1\r\n", b"POST /wait HTTP/1.1\r\n",
    b"GET /write HTTP/1.1\r\n", b"GET /chunks HTTP/1.0\r\n", b"host: x\r\n", b"\r\n", b"\r\n\r\n",
    b"content-length: 3\r\n", b"content-length: 0\r\n", b"transfer-encoding: chunked\r\n",
    b"transfer-encoding: gzip, chunked\r\n", b"connection: close\r\n", b"expect: 100-continue\r\n",
    b"connection: upgrade\r\nupgrade: h2c\r\n", b"connection: upgrade\r\nupgrade: websocket\r\n",
    b"3\r\nabc\r\n", b"0\r\n\r\n", b"0\r\nx: y\r\n\r\n", b"abc", b"a: b\r\n", b" ", b"\0", b"\xff",
    b"CONNECT x:1 HTTP/1.1\r\n", b"HEAD / HTTP/1.1\r\n", b"a" * 5000,
]  # fmt: skip
ACTS = st.one_of(
    st.sampled_from(SCRAPS).map(lambda x: ("say", x)),
    requests().map(lambda x: ("say", x)),
    st.sampled_from(["go", "look", "late", "fill", "drain", "stop"]).map(lambda x: (x, b"")),
)


class Mute:
    """In the place of a protocol of WebSockets: takes what it is given."""

    def __init__(self, **_: Any) -> None:
        self.said = b""

    def connection_made(self, transport: Any) -> None:
        transport.told += b"SOCKET"

    def data_received(self, data: bytes) -> None:
        self.said += data

    def connection_lost(self, exc: Exception | None) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...


async def _act(here: Conversation, app: Echo, act: str, data: bytes) -> None:
    is_ours = here.wire in here.state.connections
    if act == "say":
        await here.say(data)
    elif act == "go":
        app.go.set()
    elif act in ("look", "late") and is_ours:
        here.wire.look(here.wire.loop.time() + (0 if act == "look" else 1000))
    elif act == "fill":
        here.transport.holds = True
    elif act == "drain":
        here.transport.take_all()
    elif act == "stop" and is_ours:
        here.wire.shutdown()
    await turns()


@given(st.lists(ACTS, max_size=14), st.booleans())
def test_no_bytes_upset_a_connection(acts: list[tuple[str, bytes]], bytewise: bool) -> None:
    """Nothing is raised, nothing answered twice, and who has left leaves no request behind."""

    async def upset() -> None:
        faults: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, what: faults.append(what))
        app = Echo()
        here = Conversation(app, ws=Mute)
        for act, data in acts:
            parts = [data[at : at + 1] for at in range(len(data))] if len(data) < 300 else [data]
            for part in parts if bytewise and data else [data]:
                await _act(here, app, act, part)
        told, _, _ = here.told.partition(b"SOCKET")
        answers = told.count(b"HTTP/1.1 ") - told.count(b"HTTP/1.1 100 ")
        # One refusal at most, and it is the last.
        refusals = sum(told.count(b"HTTP/1.1 %d " % x) for x in (400, 408, 431, 501, 505))
        assert refusals <= 1
        assert answers - refusals <= app.begun
        assert app.ends.count("answered") <= answers - refusals
        await here.leave()
        assert not here.state.tasks
        assert len(app.ends) == app.begun
        assert not here.state.connections
        assert faults == []

    asyncio.run(upset())
