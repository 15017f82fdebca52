"""The usage log of a writer of usage, and finding those of dead ones."""

import os

import pytest

from serve_app.tenancy.store import Counts, Finished, Position, Slot
from serve_app.tenancy.usage_log import DeadWriter, UsageLog, dead_writers

SLOT = Slot("2026-03-04", 'ac"me\n', "chat")


def finished(number):
    return Finished(number, SLOT, Counts(1, number, 0, 2))


def abandon(log):
    """What a kill does: the descriptors are closed, and nothing else."""
    log.close(is_accounted=False)


def replayed(log, since=Position()):
    return [x.id for x in DeadWriter(log.writer, log.folder).replay(since)]


@pytest.fixture
def log(tmp_path):
    return UsageLog(tmp_path / "usage", max_file_bytes=150)


def test_lines_come_back_from_any_position(log):
    """As they were written."""
    positions = []
    for number in range(3):
        positions.append(log.position)
        log.append(finished(number))

    assert [replayed(log, since) for since in positions] == [[0, 1, 2], [1, 2], [2]]
    assert replayed(log, log.position) == []
    dead = DeadWriter(log.writer, log.folder)
    assert next(iter(dead.replay(Position()))) == finished(0)


def test_files_turn_and_old_ones_go(log):
    """The order goes on over files."""
    for number in range(9):
        log.turn()
        log.append(finished(number))
    at = log.position

    assert at.file == 2
    assert replayed(log) == list(range(9))
    log.forget(Position(2, 0))
    assert replayed(log, Position(2, 0)) == [8]
    assert len(list(log.folder.glob("*.log"))) == 1


def test_an_unfinished_last_line_is_left_out(log):
    """The process died while it wrote."""
    log.append(finished(1))
    (path,) = log.folder.glob("*.log")
    with path.open("ab") as file:
        file.write(b"[2,")

    assert replayed(log) == [1]


def test_a_line_that_does_not_fit_leaves_no_half_of_itself(log, monkeypatch):
    """Or it would swallow the next one."""
    log.append(finished(1))
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:5]))
    with pytest.raises(OSError, match="no room"):
        log.append(finished(2))
    monkeypatch.undo()

    log.append(finished(3))

    assert replayed(log) == [1, 3]


def test_a_writer_that_lives_is_nobody_s_to_recover(log):
    """Its lock is held."""
    assert list(dead_writers(log.folder)) == []

    abandon(log)

    assert [x.writer for x in dead_writers(log.folder)] == [log.writer]


def test_only_one_recovers_a_dead_writer_at_a_time(log):
    """Its lock is the recoverer's while it does."""
    abandon(log)

    for _ in dead_writers(log.folder):
        assert list(dead_writers(log.folder)) == []


def test_a_recovered_writer_is_gone(log):
    """Nothing is left to be found."""
    log.append(finished(1))
    abandon(log)

    for dead in dead_writers(log.folder):
        dead.delete()

    assert list(log.folder.iterdir()) == []


def test_an_accounted_writer_leaves_nothing(log):
    """An orderly end."""
    log.append(finished(1))

    log.close(is_accounted=True)

    assert list(log.folder.iterdir()) == []
