"""The words on which clients compact a conversation."""

from __future__ import annotations

import json
import re

import pytest

from router.errors import Rejected, RejectReason
from serve_app.protocol.errors import Dialect, error_event
from serve_app.protocol.too_long import prompt_too_long, session_too_long, too_long
from tests.unit.serve_app.test_model_names import fleet_with, with_fleet

BOTH = (
    "This model's maximum context length is 4096 tokens. However, you requested 3000 output tokens"
    " and your prompt contains {} input tokens, for a total of 9000 tokens."
)
PROMPTS = [
    "The prompt of 5000 tokens is longer than this model's context of 4096 tokens.",
    "The prompt of 5000 tokens leaves no room for an answer in a context of 4096 tokens.",
    "Input length (5000) exceeds model's maximum context length (4096).",
    BOTH.format(5000),
    BOTH.format("at least 5000"),
]


@pytest.mark.parametrize("message", PROMPTS)
def test_a_prompt_that_is_too_long_is_told_in_each_apis_words(message: str) -> None:
    assert too_long(message, is_anthropic=True) == (
        "prompt is too long: 5000 tokens > 4096 maximum"
    )
    assert too_long(message, is_anthropic=False) == (
        "This model's maximum context length is 4096 tokens. However, your messages resulted "
        "in 5000 tokens. Please reduce the length of the messages."
    )


def test_an_answer_that_does_not_fit_is_not_the_prompts_fault() -> None:
    message = BOTH.format(2000)
    assert too_long(message, is_anthropic=True).startswith(
        "input length and `max_tokens` exceed context limit: 2000 + 3000 > 4096"
    )
    assert too_long(message, is_anthropic=False) == message


@pytest.mark.parametrize("is_anthropic", [True, False])
def test_without_numbers_the_words_stay(is_anthropic: bool) -> None:
    for message in ("This model's maximum context length is 4096 tokens.", "Shorten it."):
        assert too_long(message, is_anthropic=is_anthropic) == message


def test_an_estimate_is_told_as_one_where_nobody_reads_the_number() -> None:
    """Clients of Anthropic's API read numbers at this place, and nothing else."""
    message = prompt_too_long(9000, 4096)

    assert too_long(message, is_anthropic=True) == "prompt is too long: 9000 tokens > 4096 maximum"
    assert too_long(message, is_anthropic=False).endswith(
        "your messages resulted in about 9000 tokens. Please reduce the length of the messages."
    )


@pytest.mark.parametrize(
    ("message", "most"),
    [
        (BOTH.format(4090).replace("3000", "64"), 4032),
        ("The prompt of 4096 tokens leaves no room for an answer in a context of 4096 tokens.", 0),
        (session_too_long(4000, 512, 4096), 3584),
        (session_too_long(5000, 512, 4096), 4096),
    ],
    ids=["room for less than the least", "exactly full", "a session", "far over a session"],
)
def test_a_prompt_that_leaves_no_room_for_an_answer_is_too_long_itself(message, most) -> None:
    """Asked again with a smaller answer it would be refused again: it has to be shortened."""
    told = re.fullmatch(
        r"prompt is too long: (\d+) tokens > (\d+) maximum", too_long(message, is_anthropic=True)
    )

    assert told is not None
    assert int(told[1]) > int(told[2])
    assert int(told[2]) == (most or 4095)


REFUSED = json.dumps(
    {
        "error": {
            "message": BOTH.format(5000),
            "type": "BadRequestError",
            "param": "input_tokens",
            "code": 400,
        }
    }
)
HI = {"messages": [{"role": "user", "content": "hi"}]}
LONG = {"messages": [{"role": "user", "content": "word " * 10_000}]}
ROUTES = [
    ("/v1/chat/completions", "messages", "This model's maximum context length is 4096 tokens."),
    ("/v1/completions", "prompt", "This model's maximum context length is 4096 tokens."),
    ("/v1/responses", "input", "This model's maximum context length is 4096 tokens."),
    ("/v1/messages", "messages", "prompt is too long: "),
]
every_route = pytest.mark.parametrize(("path", "field", "words"), ROUTES)


def body_of(body, field, **more):
    text = body["messages"][0]["content"]
    return {**(body if field == "messages" else {field: text}), "max_tokens": 5, **more}


@pytest.mark.parametrize("stream", [True, False])
@every_route
async def test_what_is_sure_not_to_fit_is_refused_before_an_engine_is_asked(
    world, path, field, words, stream
) -> None:
    """With both numbers, and the field."""
    answer = await world.post(path, body_of(LONG, field, stream=stream), key="acme")

    error = answer.json()["error"]
    assert answer.status_code == 400 and error["message"].startswith(words)
    assert (error["code"], error["param"]) == ("context_length_exceeded", field)
    assert re.search(r"\b1\d{4} tokens", error["message"]) and "4096" in error["message"]
    assert world.lanes.opened == [] and world.reserved() == 0


@pytest.mark.parametrize("stream", [True, False])
@every_route
async def test_what_an_engine_counts_is_told_in_the_same_words(
    world, engine, path, field, words, stream
) -> None:
    """Its own refusal comes before the first event."""
    world.lanes.answers = [engine(json.loads(REFUSED), 400) for _ in range(5)]

    answer = await world.post(path, body_of(HI, field, stream=stream), key="acme")

    error = answer.json()["error"]
    assert answer.status_code == 400 and error["message"].startswith(words)
    assert "5000 tokens" in error["message"] and error["code"] == "context_length_exceeded"


@pytest.mark.parametrize("dialect", list(Dialect))
def test_a_stream_that_has_begun_ends_with_the_same_words(dialect) -> None:
    """It was kept alive while it waited."""
    refused = Rejected(RejectReason.CONTEXT_LENGTH_EXCEEDED, BOTH.format(5000))

    event = error_event(refused, dialect).decode()

    words = "prompt is too long: 5000 tokens > 4096 maximum"
    assert (words in event) == (dialect is Dialect.ANTHROPIC)
    assert "5000 tokens" in event and "context_length_exceeded" in event


@every_route
async def test_a_session_that_is_full_is_told_in_these_words_too(world, path, field, words) -> None:
    """What a client may fill is what its model card said."""
    with_fleet(world, fleet_with(), kv={"tokens_per_session": 200})
    body = {"messages": [{"role": "user", "content": "word " * 300}]}

    answer = await world.post(path, body_of(body, field), key="acme")

    message = answer.json()["error"]["message"]
    is_anthropic = path == "/v1/messages"
    start = "prompt is too long: " if is_anthropic else "The maximum context length is 200 tokens"
    assert answer.status_code == 400 and message.startswith(start)
