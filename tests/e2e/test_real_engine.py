"""The product's main job on real vLLM engines, through the stock SDKs."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from benchmarks.support.deployment import pids_of
from tests.e2e.replicas import CHAT, listening_ports
from tests.e2e.support import (
    await_two_chat_replicas,
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

FRANCE = [{"role": "user", "content": "What is the capital of France?"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}},
            "required": ["city"],
        },
    },
}
DIGIT = {
    "type": "object",
    "properties": {"digit": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["digit"],
    "additionalProperties": False,
}
# Far over the shipped threshold: many steps, code and mathematics.
HARD = (
    "Write a Python function that finds the shortest path in a weighted graph with Dijkstra's "
    "algorithm. Prove that it terminates, derive its complexity, then compare it with A* and "
    "explain step by step when each is better: (a) sparse graphs, (b) negative weights."
)


def test_an_answer_comes_whole(client: openai.OpenAI) -> None:
    """A plain chat request is answered by the default lane, with usage."""
    raw = client.chat.completions.with_raw_response.create(
        model="auto", messages=FRANCE, max_tokens=12, temperature=0
    )

    answer = raw.parse()
    assert "Paris" in answer.choices[0].message.content
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert raw.headers["x-pointsman-lane"] == "chat"
    assert raw.headers["x-pointsman-reason"] == "default"
    assert raw.headers["x-pointsman-model"] == answer.model == "smollm2-135m-instruct"
    assert raw.headers["x-session-id"].startswith("derived-")


def test_a_streamed_answer_is_the_same_answer(client: openai.OpenAI) -> None:
    """Token by token, no usage event unless asked, the same greedy text."""
    whole = client.chat.completions.create(
        model="auto", messages=FRANCE, max_tokens=12, temperature=0
    )
    chunks = list(
        client.chat.completions.create(
            model="auto", messages=FRANCE, max_tokens=12, temperature=0, stream=True
        )
    )

    text = "".join(c.choices[0].delta.content or "" for c in chunks)
    assert text == whole.choices[0].message.content
    assert len(chunks) > 5
    assert all(chunk.usage is None for chunk in chunks)


def test_usage_is_streamed_when_asked_for(client: openai.OpenAI) -> None:
    """`stream_options` reaches the engine and its closing event the client."""
    *_, last = client.chat.completions.create(
        model="auto",
        messages=FRANCE,
        max_tokens=4,
        stream=True,
        stream_options={"include_usage": True},
    )

    assert last.choices == []
    assert last.usage.completion_tokens == 4


def test_usage_is_counted_inside_even_when_not_asked_for(
    client: openai.OpenAI, real: str, tenants_file: Path
) -> None:
    """A tenant's tokens are what the engine counted."""
    headers = new_key(tenants_file, "counted", "open", real)

    stream = client.chat.completions.create(
        model="auto",
        messages=FRANCE,
        max_tokens=5,
        stream=True,
        extra_body={"ignore_eos": True},
        extra_headers=headers,
    )
    for _ in stream:
        pass

    def used() -> dict[str, int]:
        counts: dict[str, int] = pointsman("tenants", "usage").get("counted", {})
        return counts

    assert eventually(used, every_s=1)["completion"] == 5


def test_a_named_tool_is_called(client: openai.OpenAI) -> None:
    """`tool_choice` with a name gives arguments that fit the schema."""
    answer = client.chat.completions.create(
        model="auto",
        messages=FRANCE,
        tools=[WEATHER],
        tool_choice={"type": "function", "function": {"name": "get_weather"}},
        max_tokens=60,
        temperature=0,
    )

    (call,) = answer.choices[0].message.tool_calls
    assert call.function.name == "get_weather"
    assert isinstance(json.loads(call.function.arguments)["city"], str)


def test_a_json_schema_is_kept(client: openai.OpenAI) -> None:
    """`response_format` with a schema gives JSON that fits it."""
    answer = client.chat.completions.create(
        model="quality",
        messages=FRANCE,
        response_format={"type": "json_schema", "json_schema": {"name": "d", "schema": DIGIT}},
        max_tokens=40,
        temperature=0,
    )

    assert json.loads(answer.choices[0].message.content)["digit"] in range(10)


def test_logprobs_n_and_seed_come_through(client: openai.OpenAI) -> None:
    """Fields that we know nothing of reach the engine and its answer the client."""
    answer = client.chat.completions.create(
        model="chat", messages=FRANCE, max_tokens=2, logprobs=True, top_logprobs=2, n=2, seed=7
    )

    assert len(answer.choices) == 2
    assert len(answer.choices[0].logprobs.content[0].top_logprobs) == 2


def test_stop_ends_the_answer(client: openai.OpenAI) -> None:
    """`stop` reaches the engine."""
    answer = client.chat.completions.create(
        model="auto", messages=FRANCE, max_tokens=12, temperature=0, stop=["Paris"]
    )

    assert "Paris" not in answer.choices[0].message.content


def test_completions_answer(client: openai.OpenAI) -> None:
    """The older route, two prompts at once."""
    answer = client.completions.create(model="chat", prompt=["One", "Two"], max_tokens=3)

    assert len(answer.choices) == 2


def test_responses_answer_and_stream(client: openai.OpenAI) -> None:
    """The Responses API, whole and streamed."""
    answer = client.responses.create(model="auto", input="Say hi.", max_output_tokens=6)
    with client.responses.create(
        model="auto", input="Say hi.", max_output_tokens=6, stream=True
    ) as stream:
        kinds = [event.type for event in stream]

    assert answer.usage.output_tokens == 6 or answer.status == "completed"
    assert kinds[0] == "response.created"
    assert kinds[-1] in ("response.completed", "response.incomplete")


def test_anthropic_messages_answer_and_stream(claude: anthropic.Anthropic) -> None:
    """`/v1/messages` with Anthropic's own SDK."""
    answer = claude.messages.create(model="auto", max_tokens=6, messages=FRANCE)
    with claude.messages.stream(model="auto", max_tokens=6, messages=FRANCE) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()

    assert answer.content[0].type == "text"
    assert text == final.content[0].text
    assert final.usage.output_tokens == 6
    assert claude.messages.count_tokens(model="auto", messages=FRANCE).input_tokens > 30


def test_anthropic_errors_come_in_its_own_dialect(claude: anthropic.Anthropic) -> None:
    """The SDK understands our refusals."""
    with pytest.raises(anthropic.NotFoundError) as refused:
        claude.messages.create(model="nope", max_tokens=6, messages=FRANCE)

    assert refused.value.body["error"]["type"] == "not_found_error"


def test_a_complex_question_goes_to_the_stronger_lane_and_its_session_stays(
    client: openai.OpenAI,
) -> None:
    """`complex` at first, `sticky` on the short turn after it."""
    first = client.chat.completions.with_raw_response.create(
        model="auto", messages=[{"role": "user", "content": HARD}], max_tokens=2
    )
    history = [
        {"role": "user", "content": HARD},
        {"role": "assistant", "content": "Sure."},
        {"role": "user", "content": "Thanks. And in French?"},
    ]
    second = client.chat.completions.with_raw_response.create(
        model="auto", messages=history, max_tokens=2
    )

    assert (first.headers["x-pointsman-lane"], first.headers["x-pointsman-reason"]) == (
        "quality",
        "complex",
    )
    assert (second.headers["x-pointsman-lane"], second.headers["x-pointsman-reason"]) == (
        "quality",
        "sticky",
    )
    assert first.headers["x-session-id"] == second.headers["x-session-id"]


def test_route_tells_the_decision_without_making_it(real: str) -> None:
    """`pointsman route` explains: score against threshold, and the features."""
    decision = pointsman("route", HARD, "--url", real)

    assert (decision["lane"], decision["reason"]) == ("quality", "complex")
    assert decision["score"] >= decision["threshold"]
    assert decision["would_admit"] is True
    assert decision["features"]["log_bytes"] > 0


def test_sessions_stay_on_the_replica_that_has_their_prefix(real: str, http: httpx.Client) -> None:
    """Turns of a session find their history cached; sessions spread over two replicas."""
    await_two_chat_replicas(http, real)
    system = "You answer in one short sentence. " * 8
    homes: dict[int, set[str]] = {}
    cached = 0
    # Twelve: six live on one replica in 3 of 100 runs.
    for number in range(12):
        messages = [{"role": "system", "content": f"Tenant {number}. {system}"}]
        for turn in range(3):
            messages.append({"role": "user", "content": f"Question {turn} of {number}?"})
            answer = http.post(
                f"{real}/v1/chat/completions",
                json={"model": "chat", "messages": messages, "max_tokens": 2, "temperature": 0},
                headers={"x-session-id": f"sticky-{number}", "x-pointsman-debug": "1"},
            )
            body = answer.json()
            messages.append(body["choices"][0]["message"])
            homes.setdefault(number, set()).add(answer.headers["x-pointsman-replica"])
            details = body["usage"]["prompt_tokens_details"] or {}
            cached += bool(turn and details.get("cached_tokens"))

    assert all(len(replicas) == 1 for replicas in homes.values())
    assert len(set.union(*homes.values())) == 2
    assert cached == 24


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
