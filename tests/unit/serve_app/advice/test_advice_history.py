"""The history's file: what survives, what is bounded, and who writes."""

import os
import sqlite3
import stat
from contextlib import closing

import pytest

from serve_app.advice.history import FINE_KEPT_S, Damaged, History
from serve_app.config.advice import AdviceConfig

PERIOD_S = 15.0
BEGIN = 1_700_000_100.0 // 3600 * 3600


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "advice.db"


@pytest.fixture
def history(path):
    made = History(path, AdviceConfig())
    yield made
    made.close()


def values(total, weight=1.0):
    return {("load", "chat"): (total, weight)}


def fill(history, count, *, begin=BEGIN, total=1.0):
    wider = []
    for number in range(1, count + 1):
        wider += history.add(begin + number * PERIOD_S, values(total))
    return wider


def test_points_survive_a_restart(path, history):
    fill(history, 3)
    history.close()

    with closing(History(path, AdviceConfig())) as again:
        assert again.points(PERIOD_S, BEGIN, BEGIN + 30) == [
            (BEGIN + 15, values(1)),
            (BEGIN + 30, values(1)),
        ]
        assert again.last() == BEGIN + 45


def test_five_minutes_and_hours_are_sums_of_what_they_are_made_of(history):
    wider = fill(history, 240, total=2.0)

    assert [(step, end) for step, end, _ in wider if step == 3600] == [(3600, BEGIN + 3600)]
    assert history.points(300, BEGIN, BEGIN + 300) == [(BEGIN + 300, values(40, 20))]
    assert history.points(3600, BEGIN, BEGIN + 3600) == [(BEGIN + 3600, values(480, 240))]


def test_old_points_are_deleted_by_their_width(history):
    fill(history, 240)

    history.prune(BEGIN + 3600 + FINE_KEPT_S)

    assert history.points(PERIOD_S, 0, 2 * BEGIN) == []
    assert len(history.points(300, 0, 2 * BEGIN)) == 12


def test_the_file_stays_within_its_bytes(path):
    config = AdviceConfig(max_bytes=1024 * 1024)
    with closing(History(path, config)) as history:
        for number in range(1, 300):
            noise = {(os.urandom(8).hex(), "chat"): (number, 1.0) for _ in range(400)}
            history.add(BEGIN + number * PERIOD_S, noise)
        before = history.points(PERIOD_S, 0, 2 * BEGIN)

        history.prune(BEGIN + 300 * PERIOD_S)

        left = history.points(PERIOD_S, 0, 2 * BEGIN)
        assert 0 < len(left) < len(before)
        assert left[-1] == before[-1], "the newest stay"
    with closing(sqlite3.connect(path)) as db:
        pages, free = (
            db.execute(f"PRAGMA {x}").fetchone()[0] for x in ("page_count", "freelist_count")
        )
        assert (pages - free) * 4096 <= config.max_bytes


def test_the_file_is_its_owners_alone(path, history):
    fill(history, 1)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_one_of_two_writes_and_the_other_follows_it(path, history):
    other = History(path, AdviceConfig())

    assert history.try_to_write()
    assert history.try_to_write()
    assert not other.try_to_write()
    history.close()
    assert other.try_to_write()
    other.close()


@pytest.mark.parametrize("damage", [b"not a database at all, " * 400, b""])
def test_a_damaged_file_is_begun_anew(path, history, damage, caplog):
    fill(history, 1)
    history.close()
    for part in path.parent.glob("advice.db-*"):
        part.unlink()
    path.write_bytes(damage)

    history.add(BEGIN + 60, values(3))

    assert [at for at, _ in history.points(PERIOD_S, BEGIN, 2 * BEGIN)] == [BEGIN + 60]
    assert ("begun anew" in caplog.text) is bool(damage)


def test_a_row_that_is_not_what_was_written_is_damage_too(path, history):
    fill(history, 1)
    history.close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE points SET data = x'00'")
        db.commit()

    assert history.points(PERIOD_S, 0, 2 * BEGIN) == []


def test_who_only_reads_leaves_a_damaged_file_alone(path):
    path.parent.mkdir()
    path.write_bytes(b"something else" * 1000)
    reader = History(path, AdviceConfig(), repairs=False)

    with pytest.raises(Damaged):
        reader.last()

    assert path.read_bytes().startswith(b"something else")


def test_what_is_kept_by_name_is_replaced(history):
    assert history.kept("advice") is None

    history.keep("advice", {"rows": [1]})
    history.keep("advice", {"rows": [2]})

    assert history.kept("advice") == {"rows": [2]}
