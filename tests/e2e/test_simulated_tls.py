"""The TLS fronts of docs/ports.md before a deployment: nothing is lost, held back or let in."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import openai
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.e2e.fronts import Front, front
from tests.e2e.streams import words
from tests.e2e.support import chat, eventually, new_key, running

pytestmark = pytest.mark.security


@pytest.fixture(scope="module", params=["nginx", "caddy"])
def tls(
    simulated: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Front]:
    """A front before the simulated deployment."""
    with front(request.param, tmp_path_factory.mktemp(request.param)) as made:
        yield made


@pytest.fixture(scope="module", autouse=True)
def half_a_header(tls: Front) -> Iterator[ssl.SSLSocket]:
    """A connection that waits for ten seconds while the other tests run."""
    port = urlsplit(tls.url).port
    assert port is not None
    raw = socket.create_connection(("localhost", port), 60)
    with tls.trust.wrap_socket(raw, server_hostname="localhost") as half:
        half.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        yield half


@pytest.fixture(scope="module")
def key(simulated: str, tenants_file: Path) -> str:
    """A tenant's key: nobody comes through a proxy without one."""
    headers = new_key(tenants_file, "behind-tls", "open", simulated)
    return headers["authorization"].removeprefix("Bearer ")


@pytest.fixture
def https(tls: Front, key: str) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {key}"}
    with httpx.Client(verify=tls.trust, base_url=tls.url, timeout=60, headers=headers) as made:
        yield made


def test_the_stock_sdk_gets_whole_answers_and_streams(tls: Front, key: str) -> None:
    with (
        httpx.Client(verify=tls.trust) as http,
        openai.OpenAI(
            base_url=f"{tls.url}/v1", api_key=key, http_client=http, max_retries=0
        ) as client,
    ):
        messages = [{"role": "user", "content": "hello"}]
        fields = {"model": "auto", "messages": messages, "max_tokens": 20}
        whole = client.chat.completions.create(**fields)
        assert len(whole.choices[0].message.content.split()) == 20
        pieces = [
            chunk.choices[0].delta.content or ""
            for chunk in client.chat.completions.create(**fields, stream=True)
            if chunk.choices
        ]
    assert len("".join(pieces).split()) == 20


@pytest.mark.busy
def test_the_first_token_comes_while_the_engine_works_on_the_last(
    https: httpx.Client, simulated: str, http: httpx.Client
) -> None:
    body = chat("hello", max_tokens=250, stream=True)
    with https.stream("POST", "/v1/chat/completions", json=body) as response:
        text = response.iter_text()
        read = next(text)
        while not words(read):
            read += next(text)
        assert running(http, simulated) >= 1
        read += "".join(text)
    assert len(words(read)) == 250


def test_a_socket_stays_one(tls: Front, key: str) -> None:
    address = tls.url.replace("https", "wss") + "/v1/chat/ws"
    headers = {"authorization": f"Bearer {key}"}
    with connect(address, ssl=tls.trust, additional_headers=headers) as ws:
        ws.send(json.dumps({"id": "a", "type": "chat", "body": chat("hello", max_tokens=10)}))
        kinds = []
        while "done" not in kinds:
            kinds.append(json.loads(ws.recv(timeout=60))["type"])
    assert kinds.count("chunk") >= 1 and "error" not in kinds
    with pytest.raises(InvalidStatus) as refused:
        connect(address, ssl=tls.trust)
    assert refused.value.response.status_code == 401


def test_a_large_body_comes_through_and_a_larger_one_is_refused_in_json(
    https: httpx.Client,
) -> None:
    """3 MB of a field that is no text for the engine; 5 MB are more than the ingress takes."""
    large = chat("hello", max_tokens=3, metadata={"note": "x" * 3_000_000})
    answer = https.post("/v1/chat/completions", json=large)
    assert answer.status_code in (200, 400)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    larger = chat("x" * 5_000_000, max_tokens=3)
    answer = https.post("/v1/chat/completions", json=larger)
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "request_too_large"


@pytest.mark.parametrize("path", ["/v1/models", "/status", "/metrics", "/v1/chat/completions"])
def test_nobody_comes_in_without_a_key(tls: Front, path: str) -> None:
    with httpx.Client(verify=tls.trust, base_url=tls.url, timeout=60) as http:
        answer = http.post(path, json=chat("hello")) if "chat" in path else http.get(path)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"


@pytest.mark.busy
def test_half_a_header_is_not_waited_for(half_a_header: ssl.SSLSocket) -> None:
    """HAProxy by itself waits for an hour."""

    def is_closed() -> bool:
        try:
            return not half_a_header.recv(1000)
        except OSError:
            return True

    eventually(is_closed)
