"""What of an engine's words a client may read: a list, for refusals and failures alike."""

import json

import pytest

from router.errors import Rejected, RejectReason
from serve_app.protocol.engine_words import (
    FAILED_ON_IT,
    NOT_VALID,
    from_engine,
    objection,
)

pytestmark = pytest.mark.security

INVALID = RejectReason.INVALID_REQUEST
TOO_LONG = RejectReason.CONTEXT_LENGTH_EXCEEDED

INSIDES = (
    "--",
    "VLLM_",
    "environment",
    "max_model_len",
    "max_total_tokens",
    "pydantic",
    "chat template string",
    "parameter=",
    "input_value",
    "/usr",
    "SECRET",
)


def told(message, status=400, param=None):
    body = {"error": {"message": message, "param": param, "code": status}}
    return from_engine(status, json.dumps(body).encode())


CONTEXT = (
    "This model's maximum context length is 4096 tokens. However, you requested 5 output tokens "
    "and your prompt contains at least 4092 input tokens, for a total of at least 4097 tokens. "
    "Please reduce the length of the input prompt or the number of requested output tokens."
)

KEPT = [
    "top_p must be in (0, 1], got 1.5.",
    "temperature must be in [0, 2], got 9.0.",
    "temperature must be non-negative, got -1.0.",
    "presence_penalty must be in [-2, 2], got 1e+308.",
    "repetition_penalty must be greater than zero, got 0.0.",
    "top_k must be 0 (disable), or at least 1, got -5.",
    "top_k must be an integer",
    "n must be 1 when using greedy sampling, got 2.",
    "min_tokens must be less than or equal to max_tokens=5, got 50.",
    "`thinking_token_budget` must be a non-negative integer or -1 for unlimited.",
    "`prompt_logprobs` must be a positive value or -1.",
    "`tools` must not be an empty array.",
    "Requested sample logprobs of 50, which is greater than max allowed: 20",
    "when using `top_logprobs`, `logprobs` must be set to true.",
    "`prompt_logprobs` are not available when `stream=True`",
    "Stream options can only be defined when `stream=True`.",
    "stop cannot contain an empty string.",
    "When using `tool_choice`, `tools` must be set.",
    "The tool specified in `tool_choice` does not match any of the specified `tools`",
    "Token id 999999 is out of vocabulary",
    "At most 4 image(s) may be provided in one prompt.",
    "Conversation roles must alternate user/assistant/user/assistant/...",
    "The min_p and logit_bias sampling parameters are not yet supported with speculative decoding.",
]


@pytest.mark.parametrize("message", KEPT)
def test_words_about_the_request_are_passed_with_their_numbers(message):
    refused = told(message)

    assert (refused.reason, refused.message) == (INVALID, message)


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ("temperature must be in [0, 2], got 9.0.", "temperature"),
        ("`top_logprobs` must be an integer.", "top_logprobs"),
        ("stop cannot contain an empty string.", "stop"),
        ("structured_outputs.json_object must be True if set", "structured_outputs"),
        ("max_tokens=9 cannot be greater than max_model_len=max_total_tokens=5.", "max_tokens"),
        ("When using `tool_choice`, `tools` must be set.", None),
        ("Token id 9 is out of vocabulary", None),
    ],
)
def test_a_field_that_only_the_message_names_is_param_too(message, param):
    """Errors on `/v1/messages` have none of their own."""
    assert told(message).param == param


def test_a_field_is_named_and_the_sent_value_is_not():
    refused = told("top_p must be in (0, 1], got 1.5. (parameter=top_p, value=1.5)", param="top_p")

    assert refused == Rejected(INVALID, "top_p must be in (0, 1], got 1.5.", param="top_p")


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (CONTEXT + " (parameter=input_tokens, value=4092)", CONTEXT),
        ("Input length (5000) exceeds model's maximum context length (4096).", "(4096)"),
        (
            (
                "max_tokens=5000 cannot be greater than max_model_len=max_total_tokens=4096. "
                "Please request fewer output tokens. (parameter=max_tokens, value=5000)"
            ),
            "'max_tokens' asks for 5000 tokens: this model's context has 4096.",
        ),
        (
            (
                "The decoder prompt (length 5000) is longer than the maximum model length of 4096. "
                "Make sure that `max_model_len` is no smaller than the number of text tokens."
            ),
            "The prompt of 5000 tokens is longer than this model's context of 4096 tokens.",
        ),
        (
            (
                "The decoder prompt (length 4096) plus the number of requested output tokens "
                "(at least 1) is longer than the maximum model length of 4096. Use `max_model_len`"
            ),
            "leaves no room for an answer in a context of 4096 tokens.",
        ),
    ],
)
def test_what_is_too_long_keeps_its_code_and_its_numbers(message, words):
    """Clients cut their history when they see it, and shorter asks are tried."""
    refused = told(message)

    assert refused.reason is TOO_LONG
    assert words in refused.message
    assert refused.param in (None, "max_tokens")
    assert not any(inside in refused.message for inside in INSIDES)


@pytest.mark.parametrize(
    "message",
    [
        "My essay: context length, maximum length, max_model_len",
        "Unexpected item 'This model's maximum context length is 1 tokens'",
    ],
)
def test_words_of_a_client_s_own_do_not_make_it_too_long(message):
    assert told(message).reason is INVALID


INNER = [
    "Chat template is passed with request, but --trust-request-chat-template is not set. Refused.",
    "You must set `--enable-prompt-embeds` to input `prompt_embeds`. (parameter=prompt_embeds)",
    "You must set `--enable-mm-embeds` to input `image_embeds`",
    '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set',
    "tool_choice='required' requires --tool-call-parser to be set",
    (
        "n must be at most 16384, got 20000. To increase this limit, set the VLLM_MAX_N_SEQUENCES "
        "environment variable."
    ),
    (
        "prompt list length 5 exceeds the maximum allowed count of 4. To increase this limit, set "
        "the VLLM_MAX_COMPLETION_PROMPTS environment variable."
    ),
    (
        "thinking_token_budget is set but reasoning_config is not configured. Please set "
        "--reasoning-parser and/or --reasoning-config to use thinking_token_budget."
    ),
    "This vLLM engine does not support `store=True`. Set `VLLM_ENABLE_RESPONSES_API_STORE=1`.",
    (
        "The supplied chat template string (SECRET) appears path-like, but doesn't exist! "
        "Tried: SECRET and /usr/lib/vllm/templates/SECRET.jinja"
    ),
    "Found unexpected chat template kwargs from request: {'SECRET'}",
    "The file path /usr/x must be a subpath of `--allowed-local-media-path /usr`.",
    "Cannot load local files without `--allowed-local-media-path`.",
    "The URL must be from one of the allowed domains: ['a.SECRET']. Input URL domain: SECRET",
    (
        "The decoder prompt contains a(n) image item with 5 embedding tokens, which exceeds the "
        "pre-allocated encoder cache size 4. Please set --limit-mm-per-prompt at startup."
    ),
    (
        "You must use one kind of structured outputs constraint but none are specified: "
        "{'json': None, '_backend': 'SECRET'}"
    ),
    (
        "2 validation errors for ValidatorIterator\n0.ChatCompletionContentPartTextParam.text\n  "
        "Field required [type=missing, input_value={'type': 'SECRET'}, input_type=dict]\n    For "
        "further information visit https://errors.pydantic.dev/2.14/v/missing"
    ),
    "Unsupported chat content part type: 'SECRET'. Supported types: text.",
    "Grammar error: Invalid type: SECRET",
    'Grammar error: at 1(8): invalid regex "SECRET("',
    "Invalid grammar specification: Failed to convert: Rule 'SECRET' not found",
    "Invalid value for `function`: `SECRET` in `tool_choice`! Correct usage: `{}`",
    "token_id(s) [77, 88] in logit_bias contain out-of-vocab token ids. Vocabulary size: 49152",
    "SECRET of smollm is not served from /usr/share",
    "'bool' object has no attribute 'get'",
    "unhashable type: 'dict'",
    "EngineCore encountered an issue. See stack trace (above) for the root cause.",
    'Traceback (most recent call last):\n  File "/usr/x.py", line 3, in y\nKeyError: 1',
    "Unexpected role SECRET",
    "SECRET",
    "",
]


@pytest.mark.parametrize("message", INNER)
@pytest.mark.parametrize("status", [400, 404, 422])
def test_insides_and_the_request_s_own_words_are_not_passed(message, status):
    refused = told(message, status)

    assert refused.reason is INVALID
    assert refused.message
    assert not any(inside in refused.message for inside in INSIDES)
    assert "77" not in refused.message


@pytest.mark.parametrize("message", [*KEPT, *INNER, CONTEXT])
def test_failures_are_told_by_the_same_list(message):
    refused, failed = told(message), objection(json.dumps({"error": {"message": message}}).encode())

    assert failed.message == (refused.message if refused.message != NOT_VALID else FAILED_ON_IT)
