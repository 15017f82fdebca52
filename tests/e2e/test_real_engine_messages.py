"""Forced tool calls on a real engine's `/v1/messages`, through the stock client."""

from __future__ import annotations

from typing import Any

import anthropic
import openai
import pytest

WEATHER: dict[str, Any] = {
    "name": "get_weather",
    "description": "The weather of a city.",
    "input_schema": {
        "type": "object",
        # Bounded, so that a small model ends.
        "properties": {"city": {"enum": ["Paris", "Rome", "Oslo"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
NAMED = {"type": "tool", "name": "get_weather"}
ASK: dict[str, Any] = {
    "model": "chat",
    "max_tokens": 200,
    "extra_body": {"temperature": 0},
    "messages": [{"role": "user", "content": "What is the weather in Paris?"}],
    "tools": [WEATHER],
}
CHOICES = pytest.mark.parametrize("choice", [NAMED, {"type": "any"}], ids=["named", "any"])


def assert_is_call(answer: anthropic.types.Message) -> None:
    """The answer is one that an agent acts on."""
    (block,) = [block for block in answer.content if block.type == "tool_use"]
    assert block.name == "get_weather"
    assert block.input in [{"city": city} for city in ("Paris", "Rome", "Oslo")]
    assert answer.stop_reason == "tool_use"


@CHOICES
def test_a_forced_call_ends_as_one(claude: anthropic.Anthropic, choice: dict[str, Any]) -> None:
    """vLLM says `end_turn` of a named tool: an agent's loop would end there."""
    assert_is_call(claude.messages.create(**ASK, tool_choice=choice))


@CHOICES
def test_a_streamed_forced_call_ends_as_one(
    claude: anthropic.Anthropic, choice: dict[str, Any]
) -> None:
    """The last `message_delta` says why, and the client's own sum of the events agrees."""
    with claude.messages.stream(**ASK, tool_choice=choice) as events:
        reasons = [event.delta.stop_reason for event in events if event.type == "message_delta"]
        answer = events.get_final_message()

    assert reasons == ["tool_use"]
    assert_is_call(answer)


def test_other_ends_stay_what_they_are(claude: anthropic.Anthropic) -> None:
    """A forced call that is cut off, and an answer without one."""
    cut = claude.messages.create(**{**ASK, "max_tokens": 5}, tool_choice=NAMED)
    with claude.messages.stream(**{**ASK, "max_tokens": 5}, tool_choice=NAMED) as events:
        streamed_cut = events.get_final_message()
    plain = {name: value for name, value in ASK.items() if name != "tools"}
    stopped = claude.messages.create(**{**plain, "max_tokens": 3})

    assert [x.stop_reason for x in (cut, streamed_cut, stopped)] == ["max_tokens"] * 3


@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ({"type": "function", "function": {"name": "get_weather"}}, "stop"),
        ("required", "tool_calls"),
    ],
    ids=["named", "required"],
)
def test_chat_says_what_openai_says(
    client: openai.OpenAI, choice: Any, reason: str, is_streamed: bool
) -> None:
    """There a named tool ends with `stop`, and nothing is changed."""
    asked: dict[str, Any] = {
        "model": "chat",
        "max_tokens": 200,
        "temperature": 0,
        "messages": ASK["messages"],
        "tool_choice": choice,
        "tools": [
            {
                "type": "function",
                "function": {"name": "get_weather", "parameters": WEATHER["input_schema"]},
            }
        ],
    }
    if is_streamed:
        chunks = client.chat.completions.create(**asked, stream=True)
        reasons = [choice.finish_reason for chunk in chunks for choice in chunk.choices]
    else:
        reasons = [x.finish_reason for x in client.chat.completions.create(**asked).choices]

    assert [found for found in reasons if found] == [reason]
