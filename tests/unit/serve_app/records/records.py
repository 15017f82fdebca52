"""Finished requests as the recorder makes them, and a store to keep them in."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime

from serve_app.bodies.parsed_request import Prompt
from serve_app.config.records import FeedbackConfig
from serve_app.records.feedback_store import Feedback, FeedbackStore
from serve_app.records.request_record import RequestRecord

AT = datetime(2026, 3, 4, 5, 6, 7, 890, tzinfo=UTC)
NOW = AT.timestamp()

RECORD = RequestRecord(
    time=AT,
    request_id="r-1",
    tenant="acme",
    tier="paid",
    lane="chat",
    model="small",
    reason="default",
    score=0.25,
    threshold=0.5,
    classifier="v1",
    shadow_score=None,
    shadow_classifier=None,
    code="200",
    prompt_tokens=7,
    completion_tokens=3,
    duration_s=1.5,
    ttft_s=0.25,
)


UP = Feedback("r-1", thumb="up")


def record(request_id="r-1", *, text=None, days=1, **fields) -> RequestRecord:
    """A record; with `text`, of a tenant that keeps prompts for `days`."""
    if text is not None:
        fields |= {"prompt": Prompt("", (text,), len(text), 1), "keep_prompt_days": days}
    return RECORD._replace(request_id=request_id, **fields)


def make_store(path, **config) -> FeedbackStore:
    return FeedbackStore(path, FeedbackConfig(**config))


def rows(path, query) -> list[tuple]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(query).fetchall()
