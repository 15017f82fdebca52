"""Sums of scores and tool calls, by lane and tenant."""

from datetime import UTC, datetime

import pytest

from serve_app.records.request_record import RequestRecord
from serve_app.records.streams import ALL, MOST_TENANTS, Streams

RECORD = RequestRecord(
    time=datetime(2026, 1, 1, tzinfo=UTC),
    request_id="r",
    tenant="acme",
    tier="standard",
    lane="chat",
    model="small",
    reason="default",
    score=0.25,
    threshold=0.5,
    classifier="v",
    shadow_score=None,
    shadow_classifier=None,
    code="200",
    prompt_tokens=1,
    completion_tokens=1,
    duration_s=1.0,
    ttft_s=None,
)


def test_sums_are_of_the_time_since_they_were_taken():
    streams = Streams()
    streams.note(RECORD)
    streams.note(RECORD._replace(tenant="other", score=None, tool_outcomes=("valid", "schema")))

    first, second = streams.take(), streams.take()

    assert first == {
        "chat": {ALL: (1, 0.25, 2, 1), "acme": (1, 0.25, 0, 0), "other": (0, 0.0, 2, 1)}
    }
    assert second == {}


def test_a_score_is_of_the_lane_that_routing_chose_and_a_call_of_the_one_that_made_it():
    """An experiment that begins to move requests is no drift of scores and shares."""
    streams = Streams()
    streams.note(RECORD._replace(lane="candidate", tool_outcomes=("valid",)), "chat")

    assert streams.take() == {
        "chat": {ALL: (1, 0.25, 0, 0), "acme": (1, 0.25, 0, 0)},
        "candidate": {ALL: (0, 0.0, 1, 1), "acme": (0, 0.0, 1, 1)},
    }


@pytest.mark.parametrize("record", [RECORD._replace(lane=None), RECORD._replace(score=None)])
def test_a_request_without_lane_score_or_calls_is_in_no_stream(record):
    streams = Streams()
    streams.note(record)

    assert streams.take() == {}


def test_a_flood_of_tenants_is_counted_together():
    streams = Streams()
    for n in range(MOST_TENANTS + 50):
        streams.note(RECORD._replace(tenant=f"t{n}"))

    tenants = streams.take()["chat"]

    assert len(tenants) == MOST_TENANTS + 1
    assert tenants[ALL][0] == MOST_TENANTS + 50
