"""What is read of an engine's answer that is megabytes of numbers, and of its refusals."""

import json

import pytest

from router.errors import RejectReason
from serve_app.protocol.engine_words import from_engine
from serve_app.protocol.sse import Usage, usage_within

USAGE = {
    "prompt_tokens": 7,
    "total_tokens": 7,
    "completion_tokens": 0,
    "prompt_tokens_details": None,
}
NO_SIZES = (
    "Model 'm' does not support Matryoshka embeddings; dimensions must be unset "
    "(received dimensions=64)."
)


def test_usage_is_found_behind_the_vectors():
    answer = {"id": "e", "data": [{"embedding": [0.1] * 5_000}], "usage": USAGE}

    assert usage_within(json.dumps(answer).encode()) == Usage(7, 0)
    assert usage_within(json.dumps(answer, separators=(",", ":")).encode()) == Usage(7, 0)


def test_usage_is_found_before_the_documents_and_not_in_them():
    """A text that looks like one has its quotation marks marked."""
    forged = '"usage":{"prompt_tokens":0,"total_tokens":0}'
    short = {"prompt_tokens": 9, "total_tokens": 9}
    answer = {"id": "r", "usage": short, "results": [{"document": {"text": forged * 200}}]}
    without = {"id": "r", "results": [{"document": {"text": forged}}]}

    assert usage_within(json.dumps(answer, separators=(",", ":")).encode()) == Usage(9, 0)
    assert usage_within(json.dumps(without, separators=(",", ":")).encode()) is None


@pytest.mark.parametrize("answer", [b"", b"{}", b'{"usage":{}}', b'{"usage":null}', b"\xff" * 9])
def test_an_answer_without_a_count_has_none(answer):
    assert usage_within(answer) is None


@pytest.mark.parametrize(
    ("message", "said", "param"),
    [
        (
            NO_SIZES,
            "'dimensions' must be left out: this model makes vectors of one size.",
            "dimensions",
        ),
        (
            "Model 'm' only supports dimensions in range [1, 384], got 999.",
            "'dimensions' must be from 1 to 384.",
            "dimensions",
        ),
        (
            "Model 'm' only supports Matryoshka dimensions [64, 128], got 100.",
            "'dimensions' must be one of 64, 128.",
            "dimensions",
        ),
        (
            "max_tokens_per_doc (999) must be less than max_model_len (256).",
            "'max_tokens_per_doc' must be less than 256.",
            "max_tokens_per_doc",
        ),
        (
            "truncate_prompt_tokens value is greater than max_model_len. Please request less.",
            "'truncate_prompt_tokens' must not be more than this model's context.",
            "truncate_prompt_tokens",
        ),
        (
            "Input lengths must be either 1:1, 1:N or N:N",
            "Texts are compared one by one, or one with each of the others.",
            None,
        ),
    ],
)
def test_the_pinned_vllm_s_words_come_to_what_to_change(message, said, param):
    refused = from_engine(400, json.dumps({"error": {"message": message}}).encode())

    assert (refused.reason, refused.message) == (RejectReason.INVALID_REQUEST, said)
    assert refused.param == param
