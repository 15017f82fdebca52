"""The feedback file: faults, company, and who may read it."""

import os
import stat
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from serve_app.records.feedback_store import DAY_S, Feedback
from tests.unit.serve_app.records.records import NOW, RECORD, UP, make_store, record, rows

ROOT = Path(__file__).parents[4]


def test_the_file_is_its_owners_alone(store, path):
    """It may hold prompts; so may its write-ahead log."""
    store.write([RECORD])

    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert set(modes) == {f"feedback.db{suffix}" for suffix in ("", "-wal", "-shm", ".lock")}
    assert set(modes.values()) == {0o600}


def test_two_processes_write_the_same_file(path):
    """Ingress replicas take turns; each one's requests are all there."""
    command = [sys.executable, "-m", "tests.unit.serve_app.records.feedback_process", str(path)]

    running = [subprocess.Popen([*command, name, "40"], cwd=ROOT) for name in ("a", "b")]
    codes = [process.wait(60) for process in running]

    assert codes == [0, 0]
    assert rows(path, "SELECT count(*) FROM requests") == [(800,)]
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]


def test_a_killed_writer_loses_nothing_that_was_written(path):
    """kill -9 in the middle of its batches: whole ones, and every one it spoke of."""
    command = [sys.executable, "-m", "tests.unit.serve_app.records.feedback_process", str(path)]
    with subprocess.Popen([*command, "a", "1000000"], cwd=ROOT, stdout=subprocess.PIPE) as process:
        told = [int(process.stdout.readline()) for _ in range(20)][-1]
        process.kill()

    with closing(make_store(path)) as store:
        assert store.give("acme", Feedback(f"a-{told}-9", thumb="up"), now=NOW) is None
    count = rows(path, "SELECT count(*) FROM requests")[0][0]
    assert count >= (told + 1) * 10
    assert count % 10 == 0


def damage_start(path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"this is no database " * 500)


def damage_pages(path) -> None:
    """The header stays: the fault shows only where a page is read."""
    with closing(make_store(path)) as store:
        store.write([record(f"r-{number}") for number in range(2_000)])
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))


@pytest.mark.parametrize("damage", [damage_start, damage_pages])
@pytest.mark.parametrize("use", ["write", "give", "sweep"])
def test_a_damaged_file_is_moved_aside_and_a_new_one_begun(path, caplog, damage, use):
    """Whoever finds it; the operator is told where it is."""
    damage(path)

    with closing(make_store(path)) as store:
        {
            "write": lambda: store.write([RECORD]),
            "give": lambda: store.give("acme", UP, now=NOW),
            "sweep": lambda: store.sweep(NOW),
        }[use]()
        store.write([RECORD])

        assert store.give("acme", UP, now=NOW) is None
    assert path.with_name("feedback.db.damaged-1").exists()
    assert "feedback.db.damaged-1" in caplog.text


def test_a_second_damaged_file_gets_a_name_of_its_own(path):
    """Nothing is overwritten."""
    for _ in range(2):
        damage_start(path)
        with closing(make_store(path)) as store:
            store.write([RECORD])

    names = {file.name for file in path.parent.glob("*.damaged-?")}
    assert names == {"feedback.db.damaged-1", "feedback.db.damaged-2"}


def test_another_replica_follows_to_the_new_file(path):
    """It has the old file open and learns of the new one by itself."""
    with closing(make_store(path)) as first, closing(make_store(path)) as second:
        first.write([RECORD])
        second.write([record("r-2")])
        second.file.move_aside()
        second.write([record("r-3")])

        first.write([record("r-4")])

        assert rows(path, "SELECT request_id FROM requests ORDER BY id") == [("r-3",), ("r-4",)]


def test_a_file_that_another_replica_replaced_is_not_moved_again(path):
    """Both find the damage; the new file is not the damaged one."""
    with closing(make_store(path)) as first, closing(make_store(path)) as second:
        first.write([RECORD])
        second.write([RECORD])
        first.file.move_aside()
        first.write([RECORD])

        second.file.move_aside()

        assert second.give("acme", UP, now=NOW) is None
    assert not path.with_name("feedback.db.damaged-2").exists()


def test_a_damaged_file_goes_after_a_week(path):
    """It may hold prompts that have expired since."""
    damage_start(path)
    os.utime(path, (0, 0))  # it was quiet for long: its week begins when it is moved
    with closing(make_store(path)) as store:
        store.write([RECORD])
        aside = path.with_name("feedback.db.damaged-1")
        now = datetime.now(UTC).timestamp()

        store.sweep(now + 6.9 * DAY_S)
        stayed = aside.exists()
        store.sweep(now + 7.1 * DAY_S)

    assert (stayed, aside.exists()) == (True, False)


def test_a_folder_that_cannot_be_written_is_told_to_the_caller(tmp_path):
    """Not on construction: an ingress starts without its feedback."""
    (tmp_path / "file").touch()
    store = make_store(tmp_path / "file" / "feedback.db")

    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        store.write([RECORD])
