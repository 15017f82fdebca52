"""Of an engine's routes, those that Pointsman asks are there; the others are not, for nobody."""

import asyncio
import socket

import pytest

from serve_app.engine.lane_endpoint import ENGINE_ASKS
from serve_app.transport.endpoint import SECRET_HEADER, EndpointServer, Guard
from serve_app.websocket.owner import ASKS as OWNER_ASKS

pytestmark = pytest.mark.security

SECRET = "s3cret"

OTHERS = [
    ("GET", "/"),
    ("GET", "/docs"),
    ("GET", "/openapi.json"),
    ("GET", "/redoc"),
    ("GET", "/version"),
    ("GET", "/load"),
    ("GET", "/ping"),
    ("GET", "/server_info"),
    ("GET", "/is_sleeping"),
    ("GET", "/v1/models"),
    ("GET", "/v1/responses/resp_1"),
    ("POST", "/v1/responses/resp_1/cancel"),
    ("POST", "/tokenize"),
    ("POST", "/pooling"),
    ("POST", "/rerank"),
    ("POST", "/v1/score"),
    ("POST", "/v2/embed"),
    ("POST", "/classify"),
    ("POST", "/v1/audio/transcriptions"),
    ("POST", "/v1/load_lora_adapter"),
    ("POST", "/v1/unload_lora_adapter"),
    ("POST", "/sleep"),
    ("POST", "/wake_up"),
    ("POST", "/collective_rpc"),
    ("POST", "/reset_prefix_cache"),
    ("POST", "/invocations"),
    ("POST", "/scale_elastic_ep"),
    ("POST", "/start_profile"),
    ("POST", "/inference/v1/generate"),
    ("POST", "/v1/chat/completions/batch"),
    ("POST", "/v1/chat/completions/render"),
    ("POST", "/simulated/faults"),
]
SPELLINGS = [
    "//tokenize",
    "/./tokenize",
    "/v1/../tokenize",
    "/v1/chat/completions/../../../tokenize",
    "/v1/chat/completions/%2e%2e/%2e%2e/%2e%2e/tokenize",
    "/%74okenize",
    "/tokenize/",
    "/tokenize?x=/v1/chat/completions",
    "/TOKENIZE",
    "/health/../tokenize",
    "//v1/chat/completions",
    "/v1//chat/completions",
    "/v1/chat/completions/",
    "/V1/chat/completions",
    "/v1/chat/completions;x",
    "/v1/chat/completions%00",
    "http://127.0.0.1/tokenize",
    "*",
]


class App:
    """Notes what reaches it."""

    def __init__(self) -> None:
        self.seen = []

    async def __call__(self, scope, receive, send):
        self.seen.append((scope["method"], scope["path"]))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})


async def ask(guard, method, path, secret=SECRET):
    sent = []

    async def send(message):
        sent.append(message)

    headers = [(SECRET_HEADER, secret.encode())]
    scope = {"type": "http", "method": method, "path": path, "headers": headers}
    await guard(scope, None, send)
    return sent[0]["status"]


@pytest.mark.parametrize(("method", "path"), OTHERS)
async def test_what_nobody_asks_is_not_found_with_the_secret(method, path):
    app = App()
    guard = Guard(app, SECRET, ENGINE_ASKS)

    assert await ask(guard, method, path) == 404
    assert (app.seen, guard.served_total) == ([], 0)


@pytest.mark.parametrize("path", ["/tokenize", "/v1/chat/completions", "/nothing"])
async def test_without_the_secret_nobody_learns_what_there_is(path):
    assert await ask(Guard(App(), SECRET, ENGINE_ASKS), "POST", path, secret="guess") == 401


@pytest.mark.parametrize(
    ("listed", "method", "path"),
    [
        *((ENGINE_ASKS, *ask) for ask in sorted(ENGINE_ASKS)),
        *((OWNER_ASKS, *ask) for ask in sorted(OWNER_ASKS)),
    ],
)
async def test_what_is_asked_is_there(listed, method, path):
    app = App()

    assert await ask(Guard(app, SECRET, listed), method, path) == 200
    assert app.seen == [(method, path)]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "post"])
async def test_a_listed_path_is_there_for_its_method_alone(method):
    assert await ask(Guard(App(), SECRET, ENGINE_ASKS), method, "/v1/completions") == 404


@pytest.fixture
async def endpoint():
    app = App()
    made = EndpointServer(app, secret=SECRET, host="127.0.0.1", listed=ENGINE_ASKS)
    made.app = app
    await made.start()
    yield made
    await made.stop()


def raw(port, target):
    """The status line's code for a target that no client library would send as it is."""
    lines = [
        f"POST {target} HTTP/1.1",
        "host: x",
        f"{SECRET_HEADER.decode()}: {SECRET}",
        "content-length: 2",
        "connection: close",
    ]
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(("\r\n".join(lines) + "\r\n\r\n{}").encode())
        return int(sock.makefile("rb").readline().split()[1])


@pytest.mark.parametrize("target", SPELLINGS)
async def test_no_spelling_leads_to_another_route(endpoint, target):
    """On the wire: the server decodes what the guard compares."""
    status = await asyncio.to_thread(raw, endpoint.port, target)

    assert status in (400, 404)
    assert endpoint.app.seen == []


async def test_an_escaped_listed_path_is_that_path_and_no_other(endpoint):
    assert await asyncio.to_thread(raw, endpoint.port, "/v1/chat/%63ompletions") == 200
    assert endpoint.app.seen == [("POST", "/v1/chat/completions")]


@pytest.mark.parametrize(("method", "path"), sorted(ENGINE_ASKS))
async def test_an_ingress_replica_s_endpoint_has_its_own_alone(method, path):
    assert await ask(Guard(App(), SECRET, OWNER_ASKS), method, path) == 404


def test_what_is_listed_is_what_there_is_a_use_for():
    """Whoever adds a path to a list says so here."""
    assert {path for method, path in ENGINE_ASKS if method == "POST"} == {
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/responses",
        "/v1/messages",
        "/v1/messages/count_tokens",
        "/v1/embeddings",
        "/v1/rerank",
        "/v2/rerank",
        "/score",
        "/detokenize",
    }
    assert {path for method, path in ENGINE_ASKS if method == "GET"} == {
        "/health",
        "/metrics",
        "/metrics/",
    }
