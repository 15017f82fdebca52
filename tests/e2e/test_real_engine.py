"""The product's main job on real vLLM engines, through the stock SDKs."""

from __future__ import annotations

import json
from pathlib import Path

import anthropic
import httpx
import openai
import pytest

from tests.e2e.support import (
    await_two_chat_replicas,
    eventually,
    new_key,
    pointsman,
)

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
