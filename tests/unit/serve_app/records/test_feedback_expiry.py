"""How long and how much is kept, and that a prompt is gone when it goes."""

import random
import re
import sqlite3
from contextlib import closing

import pytest

from serve_app.records.feedback_store import DAY_S, Feedback, labelled_rows
from tests.unit.serve_app.records.records import AT, NOW, RECORD, UP, make_store, record, rows


def bytes_of(path) -> bytes:
    """Every byte that SQLite has on disk."""
    return b"".join(file.read_bytes() for file in sorted(path.parent.glob(f"{path.name}*")))


def test_only_the_newest_requests_are_kept(path):
    """The oldest go first."""
    with closing(make_store(path, max_requests=3)) as store:
        store.write([record(f"r-{number}") for number in range(5)])
        store.write([record("r-5")])

    assert rows(path, "SELECT request_id FROM requests ORDER BY id") == [
        ("r-3",),
        ("r-4",),
        ("r-5",),
    ]


def test_only_the_newest_feedback_is_kept(path):
    """A file has an end however long a year is."""
    with closing(make_store(path, max_feedback=2)) as store:
        store.write([record(f"r-{number}") for number in range(4)])
        for number in range(4):
            store.give("acme", Feedback(f"r-{number}", thumb="up"), now=NOW)

    assert rows(path, "SELECT request_id FROM feedback ORDER BY id") == [("r-2",), ("r-3",)]


@pytest.mark.parametrize(
    ("days", "requests", "feedback", "prompts"),
    [(0.9, 1, 1, 2), (1, 1, 1, 0), (7, 0, 1, 0), (364.9, 0, 1, 0), (365, 0, 0, 0)],
)
def test_each_kind_of_row_has_its_time(store, path, days, requests, feedback, prompts):
    """A prompt for a day, a request for a week, feedback for a year."""
    store.write([record(text="hello", days=1)])
    store.give("acme", UP, now=NOW)

    store.sweep(NOW + days * DAY_S)

    assert rows(path, "SELECT count(*), count(prompt) FROM requests")[0][0] == requests
    assert rows(path, "SELECT count(*) FROM feedback") == [(feedback,)]
    kept = "SELECT prompt FROM requests UNION ALL SELECT prompt FROM feedback"
    assert rows(path, f"SELECT count(prompt) FROM ({kept})") == [(prompts,)]


def test_a_prompt_in_feedback_outlives_its_request(store):
    """Training reads it for as long as the tenant keeps prompts."""
    store.write([record(text="hello", days=30)])
    store.give("acme", UP, now=NOW)

    store.sweep(NOW + 29 * DAY_S)

    assert len(list(labelled_rows(store.file.path, now=NOW + 29 * DAY_S))) == 1


def test_an_expired_prompt_is_gone_from_the_files_bytes(store, path):
    """The write-ahead log is part of the file."""
    store.write([record(text="SECRET one"), record("r-2", text="kept words", days=2)])
    store.give("acme", UP, now=NOW)
    assert b"SECRET one" in bytes_of(path)

    store.sweep(NOW + DAY_S)

    assert b"SECRET" not in bytes_of(path)
    assert b"kept words" in bytes_of(path)


def test_a_sweep_removes_copies_that_no_row_has_any_more(store, path):
    """Such as SQLite leaves where it moves rows between pages; here, one that it did not wipe."""
    store.write([record(text="SECRET " * 2_000), record("r-2", text="another")])
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA secure_delete = OFF")
        db.execute("UPDATE requests SET prompt = NULL WHERE request_id = 'r-1'")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert b"SECRET" in bytes_of(path)

    store.sweep(NOW + DAY_S)

    assert b"SECRET" not in bytes_of(path)


def test_a_prompt_that_goes_for_its_age_in_rows_is_wiped(path):
    """`max_requests` deletes without a sweep."""
    with closing(make_store(path, max_requests=10)) as store:
        store.write([record(f"a-{number}", text=f"SECRET{number}") for number in range(10)])
        store.write([record(f"b-{number}") for number in range(10)])

    assert b"SECRET" not in bytes_of(path)


@pytest.mark.parametrize("seed", range(2))
def test_no_trace_of_an_expired_prompt_after_weeks_of_use(path, seed):
    """Rows come, shrink and go in any order."""
    rng, expiry = random.Random(seed), {}
    with closing(make_store(path, request_ttl_days=40)) as store:
        for day in range(120):
            batch = []
            for _ in range(rng.randint(1, 60)):
                number, days = len(expiry), rng.choice([5, 20, 60])
                expiry[number] = day + days
                text = f"SECRET{number:06}_" * rng.choice([1, 2, 5, 20, 50])
                at = AT.fromtimestamp(NOW + day * DAY_S, AT.tzinfo)
                batch.append(record(f"{rng.getrandbits(64):x}", text=text, days=days, time=at))
            store.write(batch)
            store.sweep(NOW + (day + 1) * DAY_S)

        found = {int(number) for number in re.findall(rb"SECRET(\d{6})_", bytes_of(path))}

    assert found
    assert [number for number in found if expiry[number] <= 120] == []


def test_a_rewrite_that_was_interrupted_is_made_up_for(store, path):
    """A process that dies between deleting and rewriting leaves a note."""
    store.write([RECORD])
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 1")

    store.sweep(NOW)

    assert rows(path, "PRAGMA user_version") == [(0,)]


def test_a_sweep_without_prompts_does_not_rewrite_the_file(store, path):
    """Expired rows alone are no reason to write everything anew."""
    store.write([record(f"r-{number}") for number in range(1_000)])
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = rows(path, "PRAGMA page_count")

    store.sweep(NOW + 7 * DAY_S)

    assert rows(path, "SELECT count(*) FROM requests") == [(0,)]
    assert rows(path, "PRAGMA page_count") == before
