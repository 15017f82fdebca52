"""Real engines as their operators know them: leaving clients, refusals, metrics, reloads."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from benchmarks.support.deployment import pids_of
from tests.e2e.replicas import CHAT, listening_ports
from tests.e2e.support import (
    chat,
    eventually,
    is_idle,
    new_key,
    pointsman,
    reload,
    running,
    status_of,
)
from tests.e2e.tenants import Headers, add_tenants
from tests.e2e.test_real_engine import FRANCE

PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses")


GROUPS = {"alone": None, "stranger": None, "one": "one", "other": "one"}


@pytest.fixture(scope="module")
def grouped(real: str, tenants_file: Path) -> dict[str, list[Headers]]:
    """Tenants of the groups for each route, who have asked for nothing yet."""
    config = {
        f"{name}{path.replace('/', '-')}": {"tier": "open", "cache_group": group}
        for path in PATHS
        for name, group in GROUPS.items()
    }
    keys = iter(add_tenants(tenants_file, real, config))
    return {path: [next(keys) for _ in GROUPS] for path in PATHS}


@pytest.mark.parametrize("path", PATHS)
def test_a_tenants_prefixes_are_its_own_unless_it_shares_a_group(
    real: str, http: httpx.Client, grouped: dict[str, list[Headers]], path: str
) -> None:
    """By the engine's own counters, on every route: no hit across tenants, one in a group."""
    name = path.rpartition("/")[2]
    text = f"About {name}. " + "You answer in one short sentence. " * 20
    forms = {
        "completions": {"prompt": text, "max_tokens": 1},
        "messages": {"system": text, "messages": FRANCE, "max_tokens": 1},
        "responses": {"instructions": text, "input": "Hi?", "max_output_tokens": 1},
    }
    chat_form = {"messages": [{"role": "system", "content": text}, *FRANCE], "max_tokens": 1}
    body = {"model": "quality", **forms.get(path.removeprefix("/v1/"), chat_form)}
    alone, stranger, one, other = grouped[path]

    def cached(headers: dict[str, str]) -> float:
        def hits() -> float:
            rows = eventually(
                lambda: status_of(http, real).get("lanes", {}).get("quality", {}).get("replicas")
            )
            return rows[0]["prefix_cache_hits"]

        before = hits()
        answer = http.post(f"{real}{path}", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        return hits() - before

    assert [cached(alone), cached(stranger), cached(one)] == [0, 0, 0]
    assert cached(alone) >= 96
    assert cached(other) >= 96


@pytest.mark.busy
def test_two_clients_killed_mid_stream_free_the_engine(real: str, http: httpx.Client) -> None:
    """`num_requests_running` is back at 0 long before the answers would end."""
    body = chat("Tell me a long story.", stream=True, max_tokens=1900, ignore_eos=True)
    streams = [httpx.Client(timeout=60) for _ in range(2)]
    opened = []
    for own in streams:
        response = own.send(
            own.build_request("POST", f"{real}/v1/chat/completions", json=body), stream=True
        )
        # The iterator is kept: dropping it would close the connection.
        chunks = response.iter_bytes()
        next(chunks)
        opened.append((response, chunks))
    eventually(lambda: running(http, real) == 2)

    for (response, _), own in zip(opened, streams, strict=True):
        response.close()
        own.close()

    eventually(lambda: is_idle(http, real))


def test_too_long_a_prompt_is_400_in_form(client: openai.OpenAI) -> None:
    """The engine's own judgement, under the contract's code."""
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(
            model="chat", messages=[{"role": "user", "content": "word " * 2500}], max_tokens=5
        )

    assert refused.value.code == "context_length_exceeded"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "fault",
    [
        {"logit_bias": {"99999999": 1}},
        {"response_format": "json_object"},
        {"structured_outputs": {"regex": "("}},
        {"stop": 5},
    ],
    ids=str,
)
def test_what_the_engine_calls_bad_is_a_400_in_a_stream_too(
    real: str, http: httpx.Client, fault: dict[str, Any], stream: bool
) -> None:
    """vLLM looks at some of it only when the stream has begun."""
    body = {**chat("Hello", model="chat", max_tokens=4), **fault, "stream": stream}

    response = http.post(f"{real}/v1/chat/completions", json=body)

    assert response.status_code == 400
    assert response.json()["error"]["code"] == "invalid_request"


def test_the_engines_refusal_does_not_quote_the_prompt(real: str, http: httpx.Client) -> None:
    """A validation error says what is wrong, not what was sent."""
    body = chat("x") | {"messages": [{"role": "user", "content": [{"type": "MYSECRET", "a": 1}]}]}

    answer = http.post(f"{real}/v1/chat/completions", json=body)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request")
    assert "MYSECRET" not in answer.text


def test_metrics_cover_ingress_and_every_engine(real: str, http: httpx.Client) -> None:
    """`vllm:*` names untouched, one series per replica, beside our own."""
    assert http.post(f"{real}/v1/chat/completions", json=chat("Hello.")).status_code == 200

    def of_every_engine() -> str | None:
        text = http.get(f"{real}/metrics").text
        series = [x for x in text.splitlines() if x.startswith("vllm:num_requests_running{")]
        return text if len(series) == 3 else None

    text = eventually(of_every_engine)
    assert text.count("# TYPE vllm:num_requests_running ") == 1
    assert "pointsman_requests_total{" in text
    assert "pointsman_escalation_threshold{" in text
    # What each engine runs with, weights and KV cache, for `pointsman doctor --live`.
    for told in (
        r'^pointsman_engine_info\{.*quantization="none"',
        r'^vllm:cache_config_info\{.*kv_cache_size_tokens="\d+"',
    ):
        assert len(re.findall(told, text, re.MULTILINE)) == 3
    # What an engine shows when it is asked to, by each of them; and that none stands still.
    for name in ("vllm:kv_block_reuse_gap_seconds_count", "pointsman_engine_stalled"):
        assert sum(x.startswith(f"{name}{{") for x in text.splitlines()) == 3
    assert "pointsman_engine_stalled{" in text and "pointsman_card_" not in text


def test_status_tells_why_requests_wait_in_an_engine(real: str, http: httpx.Client) -> None:
    """In the row of each replica, with what is known of its cache and its cards."""

    def rows() -> list[dict[str, Any]] | None:
        lanes = status_of(http, real)["lanes"].values()
        found = [row for lane in lanes for row in lane["replicas"]]
        return found if len(found) == 3 else None

    for row in eventually(rows):
        assert row["waiting"] == row["waiting_capacity"] + row["waiting_deferred"]
        assert (row["stalled"], row["cards"]) == (False, [])
        assert "kv_block_idle_before_evict_s" in row


def test_an_engine_endpoint_demands_the_secret(http: httpx.Client, real: str) -> None:
    """Every port that an engine replica listens on refuses a stranger on every path."""
    ports = listening_ports(pids_of(CHAT))
    refused = 0
    for port in ports:
        for path in ("/metrics", "/tokenize", "/v1/models", "/health"):
            try:
                status = http.get(f"http://127.0.0.1:{port}{path}", timeout=2).status_code
            except httpx.HTTPError:
                continue  # a gRPC port
            assert status == 401
            refused += 1

    assert refused >= 4


@pytest.mark.busy
def test_reload_during_a_stream_lets_it_end(
    real: str, http: httpx.Client, tenants_file: Path
) -> None:
    """A new key works at once, a revoked one no longer, and the open stream goes on."""
    usage = {"include_usage": True}
    body = chat("Count.", stream=True, max_tokens=60, ignore_eos=True, stream_options=usage)
    with http.stream("POST", f"{real}/v1/chat/completions", json=body) as response:
        lines = response.iter_lines()
        next(lines)

        headers = new_key(tenants_file, "during", "open", real)
        listed = pointsman("tenants", "list", tenants=tenants_file)
        key_id = next(row["keys"][0]["id"] for row in listed if row["tenant"] == "during")
        pointsman("tenants", "revoke", key_id, tenants=tenants_file)

        with httpx.Client(timeout=60) as other:
            eventually(lambda: other.get(f"{real}/v1/models", headers=headers).status_code == 401)
        rest = list(lines)

    events = [line for line in rest if line]
    assert events[-1] == "data: [DONE]"
    assert json.loads(events[-2].removeprefix("data: "))["usage"]["completion_tokens"] == 60


@pytest.mark.busy
def test_a_bad_file_keeps_the_old_policies(real: str, tenants_file: Path) -> None:
    """A reload with a mistake changes nothing and says what is wrong."""
    good = tenants_file.read_text()
    try:
        tenants_file.write_text(good.replace("tiers:", "teirs:"))
        with pytest.raises(AssertionError):
            pointsman("reload", "--url", real)

        with httpx.Client(timeout=60) as http:
            warnings = status_of(http, real)["warnings"]
            assert http.get(f"{real}/v1/models").status_code == 200
        assert any("did you mean 'tiers'" in warning for warning in warnings)
    finally:
        tenants_file.write_text(good)
        reload(real)


@pytest.mark.busy
def test_the_tokens_per_second_ceiling_holds_on_a_real_engine(
    real: str, http: httpx.Client, tenants_file: Path
) -> None:
    """10 tokens a second and one second's worth ahead, counted from before the request.

    A token is read after it was sent: a slow machine can only add to the times.
    """
    headers = new_key(tenants_file, "slow-real", "slow", real)
    usage = {"include_usage": True}
    body = chat("Tell me.", stream=True, max_tokens=40, ignore_eos=True, stream_options=usage)
    begun = time.monotonic()
    with http.stream("POST", f"{real}/v1/chat/completions", json=body, headers=headers) as stream:
        lines = [(time.monotonic(), line) for line in stream.iter_lines() if line]
    times = [at for at, line in lines if '"content":"' in line]

    assert json.loads(lines[-2][1].removeprefix("data: "))["usage"]["completion_tokens"] == 40
    # A busy engine merges tokens.
    assert len(times) >= 20
    assert all(at - begun > (number - 11) / 10 for number, at in enumerate(times, start=1))
