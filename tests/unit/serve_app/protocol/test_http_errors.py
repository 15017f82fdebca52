"""Refusals and faults as HTTP."""

import json

import pytest

from router.errors import Rejected, RejectReason
from serve_app.protocol.errors import (
    MAPPINGS,
    Dialect,
    error_body,
    error_event,
    error_headers,
    status_of,
)

pytestmark = pytest.mark.security

STATUS_TABLE = {
    400: {
        "invalid_json",
        "invalid_request",
        "context_length_exceeded",
        "tool_depth_exceeded",
        "previous_response_not_found",
    },
    401: {"invalid_api_key"},
    403: {"model_not_allowed", "admin_only"},
    404: {"model_not_found"},
    413: {"request_too_large"},
    429: {"request_rate", "token_rate", "token_quota", "tenant_concurrency", "shed"},
    502: {"tool_call_invalid"},
    503: {"no_replica", "draining", "response_store_unavailable"},
    504: {"deadline_exceeded"},
}
WRONG = Rejected(RejectReason.INVALID_REQUEST, "Wrong.", param="n")


def test_every_reason_is_mapped():
    """No refusal can surprise the HTTP layer."""
    assert set(MAPPINGS) == set(RejectReason)


@pytest.mark.parametrize("reason", RejectReason)
def test_each_reason_has_the_status_of_the_interface(reason):
    """The published table of statuses and codes holds."""
    assert reason.value in STATUS_TABLE[status_of(reason)]


def test_the_table_of_statuses_names_every_reason():
    """The published table and the reasons are the same set."""
    assert set().union(*STATUS_TABLE.values()) == {reason.value for reason in RejectReason}


@pytest.mark.parametrize("dialect", [Dialect.OPENAI, Dialect.RESPONSES])
def test_an_openai_body_has_message_type_param_and_code(dialect):
    """OpenAI SDKs read these four."""
    body = json.loads(error_body(WRONG, dialect))

    assert body == {
        "error": {
            "message": "Wrong.",
            "type": "invalid_request_error",
            "param": "n",
            "code": "invalid_request",
        }
    }


def test_an_anthropic_body_says_error_at_the_top():
    """Anthropic SDKs read `type` at both levels."""
    rejected = Rejected(RejectReason.NO_REPLICA, "None.")

    body = json.loads(error_body(rejected, Dialect.ANTHROPIC))

    assert body["type"] == "error"
    assert body["error"]["type"] == "overloaded_error"
    assert body["error"]["code"] == "no_replica"


def test_an_openai_stream_ends_with_a_data_event():
    """The event is one `data:` line holding the error body."""
    event = error_event(WRONG, Dialect.OPENAI)

    assert event == b"data: " + error_body(WRONG, Dialect.OPENAI) + b"\n\n"


@pytest.mark.parametrize("dialect", [Dialect.RESPONSES, Dialect.ANTHROPIC])
def test_the_other_streams_end_with_a_named_error_event(dialect):
    """Responses and Anthropic clients dispatch on the event's name and type."""
    event = error_event(WRONG, dialect)

    assert event.startswith(b"event: error\ndata: ")
    assert event.endswith(b"\n\n")
    data = json.loads(event.split(b"data: ")[1])
    assert data["type"] == "error"
    assert data["error"]["message"] == "Wrong."


@pytest.mark.parametrize(("wait", "said"), [(0.0, b"1"), (0.2, b"1"), (1.0, b"1"), (2.01, b"3")])
def test_retry_after_is_rounded_up_to_whole_seconds(wait, said):
    """A client that obeys never comes too early, and never in a tight loop."""
    headers = dict(error_headers(Rejected(RejectReason.TOKEN_RATE, "", wait)))

    assert headers[b"retry-after"] == said


@pytest.mark.parametrize("reason", RejectReason)
def test_what_is_worth_a_retry_says_when_even_where_no_wait_is_known(reason):
    """Without a known wait, a second is guessed."""
    headers = dict(error_headers(Rejected(reason, "")))

    assert headers.get(b"retry-after") == (b"1" if status_of(reason) in (429, 503) else None)


@pytest.mark.parametrize("reason", RejectReason)
def test_only_a_spent_quota_tells_the_sdk_not_to_retry(reason):
    """Rates recover within a minute; a quota does not."""
    headers = dict(error_headers(Rejected(reason, "", 5.0)))

    expected = b"false" if reason is RejectReason.TOKEN_QUOTA else None
    assert headers.get(b"x-should-retry") == expected
