"""The HTTP endpoint of an engine replica."""

import asyncio
import io
import logging
from logging.handlers import MemoryHandler

import httpx
import pytest

from serve_app.transport.endpoint import OBSERVED_PATHS, SECRET_HEADER, EndpointServer, Guard

pytestmark = pytest.mark.security

SECRET = "s3cret"
LISTED = frozenset({("POST", "/x"), *(("GET", path) for path in OBSERVED_PATHS)})
ALLOWED = [(SECRET_HEADER, SECRET.encode())]


class FakeApp:
    """Answers 200; waits, fails or stays silent when told to."""

    def __init__(self, error=None, gate=None) -> None:
        self.calls = 0
        self.entered = asyncio.Event()
        self._error = error
        self._gate = gate

    async def __call__(self, scope, receive, send):
        self.calls += 1
        self.entered.set()
        if self._gate is not None:
            await self._gate.wait()
        if self._error is not None:
            raise self._error
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})


async def drive(app, headers, *, path="/x", kind="http", method="POST"):
    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": kind, "method": method, "path": path, "headers": headers}
    await app(scope, None, send)
    return sent


@pytest.mark.parametrize("path", ["/", "/metrics", "/metrics/", "/health", "/v1/chat/completions"])
@pytest.mark.parametrize(
    "headers",
    [[], [(SECRET_HEADER, b"wrong")], [(SECRET_HEADER, b"")], [(b"authorization", b"s3cret")]],
    ids=["none", "wrong", "empty", "elsewhere"],
)
async def test_every_path_is_refused_without_the_secret(path, headers):
    """The engine's own routes are nobody's business, metrics included."""
    app = FakeApp()
    guard = Guard(app, SECRET, LISTED)

    sent = await drive(guard, headers, path=path)

    assert sent[0]["status"] == 401
    assert b"s3cret" not in sent[1]["body"]
    assert (app.calls, guard.served_total) == (0, 0)


@pytest.mark.parametrize("headers", [[], ALLOWED], ids=["no secret", "secret"])
async def test_websockets_are_refused_with_or_without_the_secret(headers):
    """The ingress never opens one, so nobody may."""
    app = FakeApp()

    sent = await drive(Guard(app, SECRET, LISTED), headers, kind="websocket")

    assert sent == [{"type": "websocket.close", "code": 1008}]
    assert app.calls == 0


async def test_the_secret_opens_the_endpoint():
    """A request of the ingress passes, and is counted."""
    guard = Guard(FakeApp(), SECRET, LISTED)

    sent = await drive(guard, [(b"host", b"x"), *ALLOWED])

    assert sent[0]["status"] == 200
    assert (guard.in_flight, guard.served_total) == (0, 1)


async def test_lifespan_messages_pass_unguarded():
    """They come from the server, not from a caller."""
    app = FakeApp()

    await drive(Guard(app, SECRET, LISTED), [], kind="lifespan")

    assert app.calls == 1


async def test_nothing_stays_in_flight_when_the_app_raises():
    """A fault ends a request like an answer does."""
    guard = Guard(FakeApp(error=RuntimeError("engine")), SECRET, LISTED)

    with pytest.raises(RuntimeError):
        await drive(guard, ALLOWED)

    assert guard.in_flight == 0


async def test_nothing_stays_in_flight_when_a_request_is_cancelled():
    """A client that leaves ends its request."""
    app = FakeApp(gate=asyncio.Event())
    guard = Guard(app, SECRET, LISTED)
    task = asyncio.create_task(drive(guard, ALLOWED))
    await app.entered.wait()
    before = guard.in_flight

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert (before, guard.in_flight) == (1, 0)


@pytest.fixture
async def server():
    """Starts endpoints on loopback and stops them afterwards."""
    started = []

    async def start(app):
        endpoint = EndpointServer(app, secret=SECRET, host="127.0.0.1", listed=LISTED)
        started.append(endpoint)
        await endpoint.start()
        return endpoint

    yield start
    for endpoint in started:
        await endpoint.stop()


async def test_a_started_endpoint_answers_at_the_url_it_published(server):
    """The kernel chooses the port; the guard stands before the app."""
    endpoint = await server(FakeApp())

    async with httpx.AsyncClient(base_url=endpoint.url, trust_env=False) as client:
        refused = await client.get("/metrics")
        answered = await client.post("/x", headers={SECRET_HEADER.decode(): SECRET})

    assert refused.status_code == 401
    assert (answered.status_code, answered.text) == (200, "ok")
    assert "server" not in answered.headers


async def test_drain_waits_for_requests_in_flight(server):
    """A stream that has begun finishes before the replica goes."""
    gate = asyncio.Event()
    app = FakeApp(gate=gate)
    endpoint = await server(app)
    headers = {SECRET_HEADER.decode(): SECRET}
    async with httpx.AsyncClient(base_url=endpoint.url, trust_env=False) as client:
        request = asyncio.create_task(client.post("/x", headers=headers))
        await app.entered.wait()

        drain = asyncio.create_task(endpoint.drain(settle_s=0.0))
        done, _ = await asyncio.wait([drain], timeout=0.1)
        gate.set()
        response = await request
        await asyncio.wait_for(drain, timeout=2)

    assert not done
    assert response.status_code == 200


async def test_a_drain_does_not_wait_for_those_who_look_on(server):
    """Metrics and health are asked all the time, by the replica itself too."""
    gate = asyncio.Event()
    endpoint = await server(FakeApp(gate=gate))
    headers = {SECRET_HEADER.decode(): SECRET}
    async with httpx.AsyncClient(base_url=endpoint.url, trust_env=False) as client:
        open_ones = [
            asyncio.create_task(client.get(path, headers=headers))
            for path in ("/metrics/", "/metrics", "/health")
        ]
        await asyncio.wait_for(endpoint.drain(settle_s=0.1), timeout=2)
        assert (endpoint.guard.in_flight, endpoint.guard.served_total) == (0, 0)
        gate.set()
        answers = await asyncio.gather(*open_ones)

    assert [answer.status_code for answer in answers] == [200] * 3


async def test_drain_of_a_quiet_endpoint_ends_after_settling():
    """Nothing in flight and nothing new: the wait is over."""
    endpoint = EndpointServer(FakeApp(), secret=SECRET, host="127.0.0.1", listed=LISTED)

    await endpoint.start()

    await asyncio.wait_for(endpoint.drain(settle_s=0.0), timeout=1)

    await endpoint.stop()


class Streaming:
    """Sends one part and then nothing, until its client has gone."""

    def __init__(self) -> None:
        self.sent, self.gone = asyncio.Event(), asyncio.Event()

    async def __call__(self, scope, receive, send):
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        self.sent.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        self.gone.set()


async def test_a_drain_has_a_deadline_and_tells_what_is_left(server):
    """The stream goes on meanwhile; closing breaks it off after what was sent."""
    app = Streaming()
    endpoint = await server(app)
    headers = {SECRET_HEADER.decode(): SECRET}
    async with (
        httpx.AsyncClient(base_url=endpoint.url, trust_env=False) as client,
        client.stream("POST", "/x", headers=headers) as response,
    ):
        await app.sent.wait()
        parts = response.aiter_raw()
        assert await anext(parts) == b"first"

        left = await endpoint.drain(settle_s=0.0, within_s=0.1)
        assert (left, app.gone.is_set()) == (1, False)
        await endpoint.stop()

        with pytest.raises(httpx.RemoteProtocolError):
            await anext(parts)
        await asyncio.wait_for(app.gone.wait(), timeout=2)
    assert endpoint.guard.in_flight == 0


async def test_an_endpoint_leaves_the_logs_of_its_process_alone():
    """Serve's handler buffers: closed, it would take every line and write none."""
    written = io.StringIO()
    handler = MemoryHandler(1, target=logging.StreamHandler(written))
    log = logging.getLogger("ray.serve.test")
    log.addHandler(handler)
    endpoint = EndpointServer(FakeApp(), secret=SECRET, host="127.0.0.1", listed=LISTED)
    try:
        await endpoint.start()
        log.warning("still heard")
        await endpoint.stop()
    finally:
        log.removeHandler(handler)

    assert "still heard" in written.getvalue()
