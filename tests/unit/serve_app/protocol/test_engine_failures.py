"""An engine's failures: what is told, what is logged, and in how many steps."""

import json
import logging

import pytest

from router.errors import Rejected, RejectReason
from serve_app.protocol import engine_words
from serve_app.protocol.engine_words import (
    FAILED_ON_IT,
    MAX_CHARS,
    NOT_VALID,
    from_engine,
    objection,
    passed,
    shape_of,
)
from serve_app.protocol.sse import EventReader
from tests.unit.serve_app.protocol.test_engine_words import INVALID, KEPT, told

pytestmark = pytest.mark.security


def of_field(loc, said, count=1, given="'SECRET'"):
    error = f"{{'type': 'x_type', 'loc': {loc}, 'msg': {said!r}, 'input': {given}}}"
    return f"{count} validation error{'s' * (count > 1)}:\n  " + "\n  ".join([error] * count)


@pytest.mark.parametrize(
    ("message", "param", "words"),
    [
        (
            of_field(("body", "ignore_eos"), "Input should be a valid boolean"),
            "ignore_eos",
            "'ignore_eos' is not valid: Input should be a valid boolean",
        ),
        (
            of_field(("body", "messages", 3, "role"), "Input should be 'user' or 'assistant'"),
            "messages.3.role",
            "'messages.3.role' is not valid: Input should be 'user' or 'assistant'",
        ),
        (
            of_field(("body", "messages", 0, "content", "list[Block]", 1, "x"), "Field required"),
            "messages.0.content",
            "'messages.0.content' is not valid: Field required",
        ),
        (
            of_field(("body", "response_format", "function-wrap[__log()]", "a"), "Field required"),
            "response_format",
            "'response_format' is not valid: Field required",
        ),
        (
            of_field(("body", "stop", "str"), "Input should be a valid string", count=2),
            "stop",
            "'stop' is not valid.",
        ),
        (
            of_field(("body", "x"), "Input tag 'SECRET' found using 'type' does not match"),
            "x",
            "'x' is not valid.",
        ),
        (
            of_field(("body",), "Value error, Set VLLM_SECRET"),
            None,
            NOT_VALID,
        ),
        (
            of_field(("body", "n"), "Value error, n must be at least 1, got 0."),
            "n",
            "'n' is not valid: n must be at least 1, got 0.",
        ),
        (
            of_field(("body", "metadata", "My SECRET words"), "Input should be a valid string"),
            "metadata",
            "'metadata' is not valid: Input should be a valid string",
        ),
    ],
)
def test_of_a_request_model_s_error_the_field_and_the_rule_are_told(message, param, words):
    """Not the models' names, nor what was sent."""
    assert told(message, param="body.ignored") == Rejected(INVALID, words, param=param)


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ("top_p", "top_p"),
        ("tool_choice.function.name", "tool_choice.function.name"),
        ("body.messages.0.content.list[X].1", "messages.0.content"),
        ("input_tokens", None),
        ("skip_tokenizer_init", None),
        ("SECRET stuff", None),
        ("x" * 200, None),
        (3, None),
        ("", None),
    ],
)
def test_param_is_a_field_of_the_request_or_nothing(given, param):
    assert told("Token id 9 is out of vocabulary", param=given).param == param


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_server_s_fault_is_told_in_our_words(status):
    refused = told("top_p must be in (0, 1], got 1.5.", status)

    assert refused == Rejected(RejectReason.NO_REPLICA, "The model could not answer; try again.")


@pytest.mark.parametrize(
    "body", [b"", b"oops", b"[]", b'{"error": "x"}', b'{"message": 3}', b'{"error": {}}']
)
def test_an_answer_that_cannot_be_read_gets_a_plain_message(body):
    assert from_engine(400, body) == Rejected(INVALID, NOT_VALID)
    assert objection(body) == Rejected(INVALID, FAILED_ON_IT)


def test_anthropic_s_form_is_read_too():
    body = {"type": "error", "error": {"type": "BadRequestError", "message": KEPT[0]}}

    assert from_engine(400, json.dumps(body).encode()).message == KEPT[0]


def test_a_message_is_bounded():
    literal = "Input should be " + ", ".join(["'" + "a" * 60 + "'"] * 40)

    assert len(passed(literal)) == MAX_CHARS


@pytest.mark.parametrize("unit", ["a", "'", "(", "`a` ", "1 validation error: ", "x must be ", " "])
def test_reading_a_long_message_takes_steps_in_proportion(unit):
    """Patterns that could try again and again would stand still on one of these."""
    for start in (
        "",
        "token_id(s) ",
        "tool_choice=",
        "You must set `--enable-",
        "Input should be ",
    ):
        assert told(start + unit * 20_000) is not None


@pytest.mark.parametrize(
    ("message", "shape"),
    [
        ("Unexpected role 'my secret'", "Unexpected role ..."),
        ("Rule: my secret", "Rule"),
        ("key=my secret", "key"),
        ("Call 555 1234 now", "Call N N now"),
        ("Bad [my secret, 1] and more", "Bad ..."),
        ("First line\nmy secret", "First line"),
        ("x" * 1000, "x" * 120),
    ],
)
def test_the_log_has_the_shape_of_what_is_not_told(message, shape):
    assert shape_of(message) == shape


def test_each_kind_is_logged_once(caplog):
    engine_words.note_unsaid.cache_clear()
    with caplog.at_level(logging.WARNING, logger="ray.serve"):
        for secret in ("one", "two"):
            told(f"Strange role '{secret}'")
        told(KEPT[0])

    (record,) = caplog.records
    assert record.getMessage().endswith("Strange role ...")


@pytest.mark.parametrize(
    "message",
    [
        "max_tokens must be at least 1, --max-model-len says so",
        "`tools` must not be an empty array.--enable-auto-tool-choice",
        "Input should be a valid string --x",
    ],
)
def test_no_flag_is_passed_behind_words_that_are(message):
    assert told(message).message == NOT_VALID


def test_a_response_that_failed_is_a_fault_and_not_an_event():
    """Its message is as much the engine's own as that of an `error` event."""
    failed = {"code": "server_error", "message": "SECRET --flag /usr"}
    events = [
        {"type": "response.created", "response": {"error": None}},
        {"type": "response.failed", "response": {"status": "failed", "error": failed}},
    ]
    reader = EventReader(hide_usage=False)

    out = reader.feed(b"".join(b"data: %s\n\n" % json.dumps(x).encode() for x in events))

    assert b"response.created" in out and b"SECRET" not in out
    assert reader.has_failed and reader.refused is None
    assert objection(reader.fault).message == FAILED_ON_IT
