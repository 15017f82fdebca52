"""Walls around real engines: their routes, their words, and what they would fetch."""

from __future__ import annotations

import json
import os
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.support.deployment import pids_of
from tests.e2e.replicas import CHAT, listening_ports

pytestmark = pytest.mark.security

HI = [{"role": "user", "content": "Hi"}]
SECRET = "my grandmother's maiden name is Zwetschgenbaum"

INSIDES = re.compile(
    r"--[a-z]|VLLM_|environ|max_model_len|max_total_tokens|pydantic|parameter=|input_value|/usr/"
    r"|\.py\b|Param\b|Error\b|maiden"
)


@pytest.fixture
def http(real: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=real, timeout=120) as client:
        yield client


def is_guarded(port: int) -> bool:
    """Whether what listens demands a secret, as endpoints do."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=5).status_code == 401
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="module")
def endpoint(real: str) -> Iterator[httpx.Client]:
    """An engine's own endpoint, with the secret that the deployment keeps."""
    secret = Path(os.environ["POINTSMAN_STATE"], "endpoint-secret").read_text().strip()
    headers = {"x-pointsman-endpoint": secret}
    for port in filter(is_guarded, listening_ports(pids_of(CHAT))):
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60
        ) as client:
            found = client.get("/metrics/")
            if found.status_code == 200 and "vllm:" in found.text:
                yield client
                return
    pytest.fail("no engine's endpoint answers")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/tokenize"),
        ("POST", "/invocations"),
        ("POST", "/pooling"),
        ("POST", "/v1/load_lora_adapter"),
        ("POST", "/v1/chat/completions/render"),
        ("POST", "/v1/chat/completions/batch"),
        ("POST", "/inference/v1/generate"),
        ("POST", "/scale_elastic_ep"),
        ("POST", "/collective_rpc"),
        ("POST", "/sleep"),
        ("GET", "/v1/models"),
        ("GET", "/version"),
        ("GET", "/load"),
        ("GET", "/docs"),
        ("GET", "/openapi.json"),
        ("GET", "/server_info"),
        ("GET", "/v1/chat/completions"),
    ],
)
def test_with_the_secret_an_engine_has_the_routes_that_are_asked_only(
    endpoint: httpx.Client, method: str, path: str
) -> None:
    ask = {"model": "smollm2-135m-instruct", "prompt": "Hi", "messages": HI}
    body = ask if method == "POST" else None

    assert endpoint.request(method, path, json=body).status_code == 404
    assert endpoint.get("/health").status_code == 200


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1/chat/completions", {"chat_template": "{{ 1 }}" + SECRET}),
        ("/v1/chat/completions", {"chat_template_kwargs": {"chat_template": "x"}}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": [{"type": "x"}]}]}),
        (
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": [{"y": SECRET}]}]},
        ),
        ("/v1/chat/completions", {"thinking_token_budget": 5}),
        ("/v1/chat/completions", {"top_p": 7}),
        ("/v1/chat/completions", {"stop": {"a": SECRET}}),
        ("/v1/chat/completions", {"structured_outputs": {"grammar": SECRET}}),
        ("/v1/chat/completions", {"structured_outputs": {"what": SECRET}}),
        ("/v1/chat/completions", {"response_format": {"type": SECRET}}),
        ("/v1/completions", {"prompt": "x", "prompt_embeds": "aGk="}),
        ("/v1/completions", {"prompt": [10**9]}),
        ("/v1/completions", {"prompt": ["x", {"a": SECRET}]}),
        ("/v1/messages", {"messages": [{"role": "robot", "content": SECRET}]}),
        ("/v1/messages", {"temperature": 9}),
        ("/v1/responses", {"input": "Hi", "truncation": SECRET}),
        ("/v1/responses", {"input": "Hi", "temperature": 9}),
    ],
)
@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
def test_a_refusal_says_nothing_of_flags_models_or_the_prompt(
    http: httpx.Client, path: str, fields: dict[str, Any], is_streamed: bool
) -> None:
    base = {} if path in ("/v1/completions", "/v1/responses") else {"messages": HI}
    limit = "max_output_tokens" if path == "/v1/responses" else "max_tokens"
    answer = http.post(path, json={**base, limit: 4, "stream": is_streamed, **fields})

    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["message"] and not INSIDES.search(json.dumps(error))


def test_words_about_the_request_stay(http: httpx.Client) -> None:
    ask = {"messages": HI, "max_tokens": 4}
    hot = http.post("/v1/chat/completions", json={**ask, "temperature": 9})
    long = http.post("/v1/chat/completions", json={**ask, "messages": [
        {"role": "user", "content": "word " * 1500}
    ]})  # fmt: skip

    assert "temperature must be in [0, 2]" in hot.json()["error"]["message"]
    assert hot.json()["error"]["param"] == "temperature"
    assert long.json()["error"]["code"] == "context_length_exceeded"
    assert "1024" in long.json()["error"]["message"]


@pytest.fixture
def bait() -> Iterator[tuple[str, list[bytes]]]:
    """A service inside the network that notes whoever connects."""
    server = socket.create_server(("127.0.0.1", 0))
    caught: list[bytes] = []

    def listen() -> None:
        while True:
            try:
                met, _ = server.accept()
            except OSError:
                return
            with met:
                met.settimeout(5)
                caught.append(met.recv(1000))

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}/cat.png", caught
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join(timeout=10)


def test_no_form_of_a_url_makes_an_engine_connect(
    http: httpx.Client, bait: tuple[str, list[bytes]]
) -> None:
    url, caught = bait
    image = {"type": "image_url", "image_url": {"url": url}}
    blocks = {"type": "image", "source": {"type": "url", "url": url}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [blocks]}
    asks: list[tuple[str, dict[str, Any]]] = [
        *(
            ("/v1/chat/completions", {"messages": [{"role": "user", "content": [part]}]})
            for part in (image, {"image_url": url}, {"audio_url": url}, {"video_url": url})
        ),
        ("/v1/chat/completions", {"messages": [{"role": "tool", "content": [image]}]}),
        *(
            ("/v1/messages", {"messages": [{"role": "user", "content": [part]}]})
            for part in (blocks, result)
        ),
        *(
            ("/v1/responses", {"input": [{"role": "user", "content": [part]}]})
            for part in ({"type": "input_image", "image_url": url}, image)
        ),
    ]
    for path, body in asks:
        answer = http.post(path, json={**body, "max_tokens": 2})
        assert answer.status_code == 400
        assert "url" in answer.json()["error"]["message"]

    # Whoever connects is noted: this one is, and nobody before it.
    with pytest.raises(httpx.HTTPError):
        httpx.get(url, timeout=10)
    assert len(caught) == 1
