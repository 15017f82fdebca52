"""Requests and the feedback on them, in one SQLite file that all ingress replicas share.

A request's row lives for days and only lets feedback find it. Feedback copies what
it needs from that row: it lives for a year, its prompt as long as the tenant keeps
prompts. Times are seconds since 1970.

A prompt that has expired is gone from the file's bytes, not only from its tables:
SQLite overwrites what it deletes (`secure_delete`), but may have left an older copy
where it once moved a row between pages. So after a sweep that deleted prompts the
whole file is rewritten. `user_version` says that this is due, should the process
die in between.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from serve_app.bodies.parsed_request import Prompt
from serve_app.config.records import FeedbackConfig
from serve_app.records.feedback_file import feedback_file
from serve_app.records.request_record import RequestRecord

FILE_NAME = "feedback.db"
TABLES = ("requests", "feedback")
DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Feedback:
    """One judgement: a thumb, or that one answer was better than another's."""

    request_id: str
    thumb: str | None = None
    preferred_over: str | None = None

    @property
    def kind(self) -> str:
        """A request has at most one of each kind; the newest counts."""
        return "thumb" if self.preferred_over is None else "preference"


class FeedbackStore:
    """Owns the file. Calls from several threads take turns.

    Nothing is opened before the first call, so that no start fails for it. `file` is where.
    """

    def __init__(self, path: Path, config: FeedbackConfig) -> None:
        self.file = feedback_file(path)
        self._config = config

    def write(self, records: list[RequestRecord]) -> None:
        """Keep requests, in one transaction; only the newest `max_requests` stay."""
        rows = [_request_row(record, self._config.request_ttl_days) for record in records]

        def insert(db: sqlite3.Connection) -> None:
            with db:
                db.execute("BEGIN IMMEDIATE")
                db.executemany(_INSERT_REQUEST, rows)
                _keep_newest(db, "requests", self._config.max_requests)

        self.file.run(insert)

    def give(self, tenant: str, feedback: Feedback, *, now: float) -> str | None:
        """Keep feedback, or name the field whose request this tenant does not have."""

        def insert(db: sqlite3.Connection) -> str | None:
            with db:
                judged = _find(db, tenant, feedback.request_id, now)
                if judged is None:
                    return "request_id"
                other = None
                if feedback.preferred_over is not None:
                    other = _find(db, tenant, feedback.preferred_over, now)
                    if other is None:
                        return "preferred_over"
                db.execute("BEGIN IMMEDIATE")
                db.execute(_INSERT_FEEDBACK, _feedback_row(tenant, feedback, judged, other, now))
                _keep_newest(db, "feedback", self._config.max_feedback)
            return None

        return self.file.run(insert)

    def sweep(self, now: float | None = None) -> None:
        """Delete what has expired, and every trace of expired prompts."""
        at = datetime.now(UTC).timestamp() if now is None else now

        def expire(db: sqlite3.Connection) -> None:
            with db:
                db.execute("BEGIN IMMEDIATE")
                before = _prompts(db)
                for table in TABLES:
                    db.execute(_FORGET_PROMPTS.format(table=table), (at,))
                db.execute("DELETE FROM requests WHERE expires <= ?", (at,))
                oldest = at - self._config.keep_days * DAY_S
                db.execute("DELETE FROM feedback WHERE at <= ?", (oldest,))
                if _prompts(db) < before:
                    db.execute("PRAGMA user_version = 1")
            _rewrite_if_due(db)

        self.file.run(expire)
        self.file.forget_damaged(now=at)

    def close(self) -> None:
        self.file.close()


_INSERT_REQUEST = """
INSERT OR REPLACE INTO requests (
    tenant, request_id, at, expires, lane, model, reason, score, classifier, prompt,
    prompt_expires, experiment, arm, session
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

_INSERT_FEEDBACK = """
INSERT OR REPLACE INTO feedback (
    tenant, request_id, kind, at, thumb, preferred_over,
    lane, model, reason, score, classifier, prompt, prompt_expires,
    experiment, arm, session,
    other_lane, other_model, other_score, other_experiment, other_arm, asked
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

_COUNT_PROMPTS = "SELECT count(*) FROM {table} WHERE prompt IS NOT NULL"

_FORGET_PROMPTS = (
    "UPDATE {table} SET prompt = NULL WHERE prompt IS NOT NULL AND prompt_expires <= ?"
)

_KEEP_NEWEST = "DELETE FROM {table} WHERE id <= (SELECT max(id) FROM {table}) - ?"


def _request_row(record: RequestRecord, ttl_days: float) -> tuple[Any, ...]:
    at = record.time.timestamp()
    prompt = prompt_expires = None
    if record.prompt is not None:
        prompt = _messages(record.prompt)
        prompt_expires = at + record.keep_prompt_days * DAY_S
    return (
        record.tenant,
        record.request_id,
        at,
        at + ttl_days * DAY_S,
        record.lane,
        record.model,
        record.reason,
        record.score,
        record.classifier,
        prompt,
        prompt_expires,
        record.experiment,
        record.arm,
        record.session,
    )


def _messages(prompt: Prompt) -> bytes:
    messages = [{"role": "system", "content": prompt.system}] if prompt.system else []
    messages += [{"role": "user", "content": text} for text in prompt.users]
    try:
        return orjson.dumps(messages)
    except (orjson.JSONEncodeError, TypeError):
        # A lone surrogate: half a character that no UTF-8 can hold.
        for message in messages:
            message["content"] = message["content"].encode("utf-8", "replace").decode()
        return orjson.dumps(messages)


def _find(
    db: sqlite3.Connection, tenant: str, request_id: str, now: float
) -> tuple[Any, ...] | None:
    """Lane, model, reason, score, classifier, prompt, its expiry, experiment, arm, session, time.

    None if unknown.
    """
    found: tuple[Any, ...] | None = db.execute(
        "SELECT lane, model, reason, score, classifier, prompt, prompt_expires, experiment, arm,"
        " session, at FROM requests WHERE tenant = ? AND request_id = ? AND expires > ?",
        (tenant, request_id, now),
    ).fetchone()
    return found


def _feedback_row(
    tenant: str,
    feedback: Feedback,
    judged: tuple[Any, ...],
    other: tuple[Any, ...] | None,
    now: float,
) -> tuple[Any, ...]:
    *copied, asked = judged
    lane, model, _, score, _, _, _, experiment, arm, _, before = other or (None,) * 11
    return (
        tenant,
        feedback.request_id,
        feedback.kind,
        now,
        feedback.thumb,
        feedback.preferred_over,
        *copied,
        lane,
        model,
        score,
        experiment,
        arm,
        asked if before is None else min(asked, before),
    )


def _keep_newest(db: sqlite3.Connection, table: str, rows: int) -> None:
    """Bound a table by its ids, which only grow: the cost is that of the rows that go."""
    db.execute(_KEEP_NEWEST.format(table=table), (rows,))


def _prompts(db: sqlite3.Connection) -> int:
    counts = (db.execute(_COUNT_PROMPTS.format(table=table)).fetchone()[0] for table in TABLES)
    return sum(counts)


def _rewrite_if_due(db: sqlite3.Connection) -> None:
    if db.execute("PRAGMA user_version").fetchone()[0] == 0:
        return
    db.execute("VACUUM")
    # The log of changes holds the old pages until it is cut.
    is_in_use = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    if not is_in_use:
        db.execute("PRAGMA user_version = 0")


def labelled_rows(store_path: Path, *, now: float | None = None) -> Iterator[dict[str, Any]]:
    """Feedback with a kept prompt, for training, oldest first.

    Each row has `source`, `messages`, `lane`, `model`, `score`, and either `thumb`
    or `preferred_over` with the other answer's `lane`, `model` and `score`.
    """
    if not store_path.exists():
        return
    at = datetime.now(UTC).timestamp() if now is None else now
    query = (
        "SELECT prompt, lane, model, score, thumb, other_lane, other_model, other_score"
        " FROM feedback WHERE prompt IS NOT NULL AND prompt_expires > ? ORDER BY id"
    )
    with closing(sqlite3.connect(f"{store_path.resolve().as_uri()}?mode=ro", uri=True)) as db:
        for prompt, lane, model, score, thumb, *other in db.execute(query, (at,)):
            row = {
                "source": "feedback",
                "messages": orjson.loads(prompt),
                "lane": lane,
                "model": model,
                "score": score,
            }
            if thumb is not None:
                row["thumb"] = thumb
            else:
                row["preferred_over"] = dict(zip(("lane", "model", "score"), other, strict=True))
            yield row


def thumbs_of(store_path: Path) -> Iterator[tuple[str, str, str]]:
    """Tenant, request id and `up` or `down` of each request that has a thumb."""
    query = "SELECT tenant, request_id, thumb FROM feedback WHERE thumb IS NOT NULL"
    with closing(sqlite3.connect(f"{store_path.resolve().as_uri()}?mode=ro", uri=True)) as db:
        yield from db.execute(query)
