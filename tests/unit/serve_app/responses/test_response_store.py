"""The file of stored responses: age, room, faults, company, and who may read it."""

import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from serve_app.config.records import ResponsesConfig
from serve_app.responses.rows import DAY_S, Content, NewResponse, Outcome, Total
from serve_app.responses.store import ResponseStore, TooLong

ROOT = Path(__file__).parents[4]
BOUNDS = ResponsesConfig(keep_days=1, max_responses=10, max_bytes=4096)
NOW = 1_000_000.0
MOST = 10**6


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "state" / "r.db"


@pytest.fixture
def store(path):
    with closing(ResponseStore(path)) as made:
        yield made


def put(store, name, previous=None, *, now=NOW, text="x", tenant="acme", bounds=BOUNDS):
    content = Content(b'{"id":1}', b'["%b"]' % text.encode(), b'["out"]')
    return store.put(NewResponse(tenant, name, previous, content), bounds, now=now).outcome


def ids(store, names, now, tenant="acme"):
    """Those that are there."""
    return [name for name in names if store.get(tenant, name, now=now) is not None]


def test_what_was_put_is_got(store):
    put(store, "a")

    assert store.get("acme", "a", now=NOW) == (b'{"id":1}', b'["x"]', b'["out"]')
    assert store.totals() == {"acme": Total(1, 20)}


def test_a_response_expires(store):
    put(store, "a")

    assert ids(store, "a", NOW + 0.9 * DAY_S) and not ids(store, "a", NOW + DAY_S)


def test_a_conversation_that_goes_on_keeps_its_beginning(store):
    put(store, "a")
    put(store, "b", "a", now=NOW + 0.9 * DAY_S)

    later = NOW + 1.8 * DAY_S
    assert len(store.conversation("acme", "b", now=later, most_bytes=MOST)) == 2
    assert store.sweep({"acme": BOUNDS}, now=later) == (0, 0)
    assert store.sweep({}, now=NOW + 2 * DAY_S) == (2, 0)
    assert store.totals() == {}


def test_what_was_used_longest_ago_makes_room(store):
    for number in range(10):
        put(store, f"r{number}", now=NOW + number)
    put(store, "again", "r0", now=NOW + 20, bounds=BOUNDS)

    names = [*(f"r{n}" for n in range(10)), "again"]
    assert ids(store, names, NOW + 20) == [x for x in names if x != "r1"]


def test_a_conversation_over_its_tenant_s_bounds_pushes_nobody_out(store):
    put(store, "other")
    put(store, "a", text="x" * 3000)

    assert put(store, "b", "a", text="x" * 2000) is Outcome.NO_ROOM
    assert put(store, "c", text="x" * 5000) is Outcome.NO_ROOM
    assert ids(store, ["other", "a", "b"], NOW) == ["other", "a"]


@pytest.mark.security
def test_no_tenant_pushes_another_s_out(store):
    put(store, "mine", tenant="other")
    for number in range(30):
        put(store, f"r{number}", text="x" * 1000, now=NOW + number)

    assert ids(store, ["mine"], NOW + 30, tenant="other") == ["mine"]
    assert store.totals()["acme"].bytes <= BOUNDS.max_bytes


def test_an_id_is_given_once(store):
    put(store, "a", text="first")

    assert put(store, "a", text="second") is Outcome.ID_TAKEN
    assert put(store, "a", tenant="other") is Outcome.STORED
    assert store.get("acme", "a", now=NOW).input == b'["first"]'


def test_what_continues_a_deleted_response_is_not_stored(store):
    put(store, "a")
    put(store, "b", "a")
    store.delete("acme", "a", now=NOW)

    assert put(store, "c", "a") is Outcome.PREVIOUS_GONE
    assert put(store, "c", "b") is Outcome.PREVIOUS_GONE
    # Its row is not another's, which a conversation would then go on with.
    put(store, "d")
    assert store.conversation("acme", "b", now=NOW, most_bytes=MOST) is None


def test_a_long_conversation_is_not_read(store):
    put(store, "a", text="x" * 1000)
    put(store, "b", "a", text="x" * 1000)

    with pytest.raises(TooLong):
        store.conversation("acme", "b", now=NOW, most_bytes=2000)
    assert len(store.conversation("acme", "a", now=NOW, most_bytes=2000)) == 1


def test_bounds_that_were_lowered_hold_after_a_sweep(store):
    for number in range(10):
        put(store, f"r{number}", now=NOW + number)
    lower = ResponsesConfig(keep_days=1, max_responses=3, max_bytes=4096)

    assert store.sweep({"acme": lower}, now=NOW + 10) == (0, 7)
    assert ids(store, [f"r{n}" for n in range(10)], NOW + 10) == ["r7", "r8", "r9"]
    sooner = ResponsesConfig(keep_days=0.0001, max_responses=3, max_bytes=4096)
    assert store.sweep({"acme": sooner}, now=NOW + 20) == (3, 0)


def test_a_tenant_that_left_the_file_keeps_its_responses_until_they_expire(store):
    """The file may have been a slip."""
    put(store, "a")

    assert store.sweep({}, now=NOW + 0.9 * DAY_S) == (0, 0)
    assert store.sweep({}, now=NOW + DAY_S) == (1, 0)


def test_a_sweep_is_done_in_pieces_that_tear_no_conversation(store, monkeypatch):
    monkeypatch.setattr("serve_app.responses.rows.PIECE_ROWS", 1)
    for name, previous in (("a", None), ("b", "a"), ("c", "b")):
        put(store, name, previous)
    late = NOW + DAY_S

    for left in ("ab", "a", ""):
        assert store.sweep({}, now=late) == (1, 0)
        # As they were: what is there is whole.
        assert ids(store, "abc", NOW) == list(left)


def test_deleted_text_is_gone_from_the_file(store, path):
    """Not only from its tables."""
    put(store, "a", text="a-word-to-be-forgotten")
    put(store, "b")
    while store.forget("acme"):
        pass
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    left = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert b"forgotten" not in left


def test_the_file_shrinks_when_its_responses_go(store, path):
    large = ResponsesConfig(max_bytes=10**8)
    put(store, "a", text="x" * 3_000_000, bounds=large)
    store.delete("acme", "a", now=NOW)
    for _ in range(10):
        store.sweep({}, now=NOW)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    assert path.stat().st_size < 200_000


@pytest.mark.security
def test_the_file_is_its_owner_s_alone(store, path):
    put(store, "a")

    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert set(modes) == {f"r.db{suffix}" for suffix in ("", "-wal", "-shm", ".lock")}
    assert set(modes.values()) == {0o600}


def test_a_damaged_file_is_moved_aside_and_forgotten_after_a_week(store, path):
    put(store, "a")
    store.close()
    path.write_bytes(b"no database" * 1000)

    assert put(store, "b") is Outcome.STORED
    (aside,) = path.parent.glob("r.db.damaged-?")
    moved = aside.stat().st_mtime
    store.sweep({}, now=moved + 6 * DAY_S)
    assert aside.exists()
    store.sweep({}, now=moved + 8 * DAY_S)
    assert not aside.exists()


def test_two_processes_store_into_the_same_file(path, store):
    """Each evicts the other's oldest: more than 60 are kept, so never what it goes on from."""
    command = [sys.executable, "-m", "tests.unit.serve_app.responses.responses_process", str(path)]

    running = [
        subprocess.Popen([*command, name, "60", "80"], cwd=ROOT, stdout=subprocess.DEVNULL)
        for name in ("a", "b")
    ]
    codes = [process.wait(120) for process in running]

    assert codes == [0, 0]
    assert 60 < store.totals()["acme"].responses <= 80


def test_a_killed_process_leaves_whole_responses(path, store):
    command = [sys.executable, "-m", "tests.unit.serve_app.responses.responses_process", str(path)]
    with subprocess.Popen(
        [*command, "a", "1000000", "1000000"], cwd=ROOT, stdout=subprocess.PIPE
    ) as process:
        told = [int(process.stdout.readline()) for _ in range(20)][-1]
        process.kill()

    # Its clock was the real one.
    found = store.conversation("acme", f"a-{told}", now=0, most_bytes=MOST)
    assert [x.input for x in found] == [b'["%d"]' % n for n in (told - 1, told)]
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
