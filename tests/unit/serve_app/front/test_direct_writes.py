"""The own listener's `write` beside ASGI's `send`: nobody who looks at bodies is passed by."""

from __future__ import annotations

import ast
import re
from functools import partial
from pathlib import Path

import pytest

from evals.traces.store import read_traces
from serve_app.config.records import TracesConfig
from serve_app.config.tenants import TenantsConfig
from serve_app.front.http_request import HttpRequest
from serve_app.pipeline.trace_keeping import TraceKeeping
from serve_app.protocol.asgi import WRITE, DirectSend, write_of
from serve_app.request.shown import Shown
from serve_app.responses.delivery import Delivery
from serve_app.routing.policies import build_policies
from tests.unit.serve_app.conftest import FakeScorer, Written
from tests.unit.serve_app.responses.storing import RESPONSES, store_responses

CHAT = "/v1/chat/completions"
ASKED = {"messages": [{"role": "user", "content": "Hi"}], "stream": True}
EVENTS = [
    b'data: {"choices":[{"index":0,"delta":{"content":"%d"},"finish_reason":null}]}\n\n' % number
    for number in range(6)
] + [
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
    b"data: [DONE]\n\n",
]
SERVE_APP = Path(__file__).parents[4] / "serve_app"


async def asked(world, path, body, *, writes):
    """A stream's bytes, and those of them that were written."""
    written = Written(world.gateway)
    world.gateway = written if writes else written.app
    try:
        answer = await world.post(path, body, key="acme", headers={"x-request-id": "r1"})
    finally:
        world.gateway = written.app
    return answer.content, b"".join(written.written)


async def test_a_stream_is_the_same_by_both_ways_and_goes_by_write(world, stream):
    told = []
    for writes in (False, True):
        world.lanes.answers = [stream(*EVENTS)]
        told.append(await asked(world, CHAT, ASKED, writes=writes))

    assert told[0] == (told[1][0], b"")
    # The first event is the task's, the end is the pipeline's.
    assert b"".join(EVENTS[1:]) == told[1][1]


async def test_what_is_kept_for_traces_is_what_was_written(world, stream):
    tenants = world.tenants.model_dump()
    tenants["tenants"]["acme"]["keep_traces_days"] = 9
    found, old = TenantsConfig.model_validate(tenants), world.state.policies
    world.state.apply(build_policies(old.fleet, found, FakeScorer(), lambda _: 0.5))
    world.traces = TraceKeeping(TracesConfig(), world.folder / "traces", "i1", print)
    world.use(world.lanes)
    for writes in (False, True):
        world.lanes.answers = [stream(*EVENTS)]
        _, written = await asked(world, CHAT, ASKED, writes=writes)
        assert bool(written) is writes
    world.traces.close()

    traces = list(read_traces(world.folder / "traces"))
    assert [(x.answer, x.finish_reason) for x in traces] == [("012345", "stop")] * 2


async def test_a_stream_that_is_stored_is_written_by_nobody_but_who_stores_it(world):
    store_responses(world)
    told = [
        await asked(
            world, RESPONSES, {"model": "chat", "input": "Hi", "stream": True}, writes=writes
        )
        for writes in (False, True)
    ]

    assert [written for _, written in told] == [b"", b""]
    ids = [re.search(rb'"id": ?"(resp_[^"]*)"', whole)[1].decode() for whole, _ in told]
    for response_id in ids:
        async with world.client(key="acme") as client:
            found = await client.get(f"{RESPONSES}/{response_id}")
        assert found.json()["output"][0]["content"][0]["text"] == "Hello."


async def _passed_on(send, message) -> None:
    await send(message)


async def _send(message) -> None: ...


def _write(data) -> None: ...


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda send: Delivery(send, "t", None, None),
        lambda send: Shown(send, 10),
        lambda send: partial(_passed_on, send),
    ],
    ids=["stored", "traces", "anybody"],
)
def test_a_send_that_is_put_before_another_has_no_write_of_its_own_accord(wrapped):
    direct = DirectSend(_send, _write)
    assert write_of(direct) is _write
    assert write_of(wrapped(direct)) is None


def request(method="POST", headers=(), **scope) -> HttpRequest:
    base = {"type": "http", "method": method, "path": "/", "headers": list(headers)}
    return HttpRequest({**base, **scope}, None, _send)


def test_a_request_has_a_write_where_its_bodies_go_on_as_they_are():
    extensions = {WRITE: _write}
    assert write_of(request(extensions=extensions).sender) is _write
    for other in (
        request("HEAD", extensions=extensions),
        request(headers=[(b"content-length", b"1")], extensions=extensions),
        request(extensions=None),
        request(extensions={}),
        request(),
    ):
        assert write_of(other.sender) is None


def test_who_makes_a_direct_send_is_known():
    """Whoever is added looks at `Shown`: it writes itself what it has noted."""
    makers, readers = set(), set()
    for path in SERVE_APP.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                name = str(path.relative_to(SERVE_APP))
                makers |= {name} if node.func.id == "DirectSend" else set()
                readers |= {name} if node.func.id == "extension_of" else set()
            if isinstance(node, ast.Constant) and node.value == WRITE:
                assert path.name == "asgi.py"
    assert makers == {"front/http_request.py", "request/shown.py"}
    assert readers == {"front/http_request.py"}
