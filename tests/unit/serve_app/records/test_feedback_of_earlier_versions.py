"""A feedback file that an earlier version wrote."""

import sqlite3
from contextlib import closing

from serve_app.config.records import FeedbackConfig
from serve_app.records import feedback_file
from serve_app.records.feedback_store import FeedbackStore
from tests.unit.serve_app.records.records import NOW, UP, record

ADDED = ("experiment", "arm", "session", "other_experiment", "other_arm")


def test_a_file_without_arms_gets_them_and_keeps_its_rows(tmp_path):
    """What was there is found; what comes has its arm."""
    path = tmp_path / "feedback.db"
    lines = feedback_file._SCHEMA.splitlines()
    old = "\n".join(x for x in lines if x.strip() not in [f"{name} TEXT," for name in ADDED])
    with closing(sqlite3.connect(path)) as db:
        db.executescript(old)
        assert "arm" not in {row[1] for row in db.execute("PRAGMA table_info(requests)")}
        row = ("acme", "r-1", NOW, NOW + 9, "chat", "small", "default")
        query = "INSERT INTO requests (tenant, request_id, at, expires, lane, model, reason)"
        with db:
            db.execute(f"{query} VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    store = FeedbackStore(path, FeedbackConfig())
    store.write([record("r-2", experiment="models", arm="control", session_key="s")])
    missing = store.give("acme", UP, now=NOW)
    store.close()

    with closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT request_id, experiment, arm FROM requests ORDER BY id").fetchall()
    assert missing is None
    assert rows == [("r-1", None, None), ("r-2", "models", "control")]
