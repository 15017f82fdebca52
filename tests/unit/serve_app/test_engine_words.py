"""What of an engine's words about its own failure a client may read."""

import json

import pytest

from serve_app.engine_words import FAILED_ON_IT, MAX_CHARS, objection, plain_words
from serve_app.wire import Prompt

pytestmark = pytest.mark.security

PROMPT = Prompt("You are a pirate of the seven seas.", ("My password is hunter two.",), 60, 2)


@pytest.mark.parametrize(
    "message",
    [
        "Speculative decoding does not support this sampling method yet.",
        "The grammar is too large for this model.",
        "Prompt embeddings are not supported here",
    ],
)
def test_a_sentence_about_the_request_is_passed_on(message):
    assert plain_words(message, PROMPT) == message


@pytest.mark.parametrize(
    "message",
    [
        "",
        "'bool' object has no attribute 'get'",
        "The 'bool' object has no attribute for this.",
        "list index out of range",
        "EngineCore encountered an issue. See stack trace (above) for the root cause.",
        "Failed to open <path> for reading.",
        "Could not read /usr/lib/python3/x.py today.",
        "Raised by vllm.v1.engine.core at the end.",
        "Set VLLM_USE_V1 to change this behaviour.",
        "The call to compile() did not work.",
        "Something at 0x7f3a went wrong here.",
        "A RuntimeError was raised in the sampler.",
        'Traceback (most recent call last):\n  File "x.py", line 3, in y\nKeyError: 1',
        "Internal server error",
        "CUDA out of memory on device zero.",
        "Expected scalar type of the tensor to match.",
        'Unsupported value "rm -rf" was given here.',
        "They said: My password is hunter two, which is no schema.",
        "One can be a pirate of the seven seas.",
        "no",
        "\x00\x01",
    ],
)
def test_internals_and_the_prompt_are_not(message):
    assert plain_words(message, PROMPT) == ""


def test_of_several_sentences_the_plain_ones_are_left():
    message = "The grammar is too large. See vllm.xgrammar for it.\nUse a smaller schema, please."

    assert plain_words(message, PROMPT) == "The grammar is too large. Use a smaller schema, please."


def test_a_prompt_of_one_word_is_not_repeated_either():
    assert (
        plain_words("This model knows no Abracadabra today.", Prompt("", ("abracadabra",), 11, 1))
        == ""
    )


def test_without_a_prompt_every_plain_sentence_stays():
    assert plain_words("The grammar is too large.", Prompt("", (), 0, 1)) != ""


def test_a_long_message_is_cut():
    assert len(plain_words("The grammar is too large. " * 1000, PROMPT)) == MAX_CHARS


@pytest.mark.parametrize(
    "body",
    [
        b"Internal Server Error",
        b"",
        b"[]",
        json.dumps({"error": {"message": None}}).encode(),
        json.dumps({"error": {"message": "'bool' object has no attribute 'get'"}}).encode(),
    ],
)
def test_where_nothing_may_be_read_we_say_what_to_do(body):
    refused = objection(body, PROMPT)

    assert (refused.reason, refused.message) == ("invalid_request", FAILED_ON_IT)
