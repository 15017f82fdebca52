"""The journal of a writer of usage, and finding those of dead ones."""

import os

import pytest

from serve_app.tenancy.store import Counts, Finished, Position, Slot
from serve_app.tenancy.usage_journal import DeadWriter, UsageJournal, dead_writers

SLOT = Slot("2026-03-04", 'ac"me\n', "chat")


def finished(number):
    return Finished(number, SLOT, Counts(1, number, 0, 2))


def abandon(journal):
    """What a kill does: the descriptors are closed, and nothing else."""
    journal.close(is_accounted=False)


def replayed(journal, since=Position()):
    return [x.id for x in DeadWriter(journal.writer, journal.folder).replay(since)]


@pytest.fixture
def journal(tmp_path):
    return UsageJournal(tmp_path / "usage", max_file_bytes=150)


def test_lines_come_back_from_any_position(journal):
    """As they were written."""
    positions = []
    for number in range(3):
        positions.append(journal.position)
        journal.append(finished(number))

    assert [replayed(journal, since) for since in positions] == [[0, 1, 2], [1, 2], [2]]
    assert replayed(journal, journal.position) == []
    dead = DeadWriter(journal.writer, journal.folder)
    assert next(iter(dead.replay(Position()))) == finished(0)


def test_files_turn_and_old_ones_go(journal):
    """The order goes on over files."""
    for number in range(9):
        journal.turn()
        journal.append(finished(number))
    at = journal.position

    assert at.file == 2
    assert replayed(journal) == list(range(9))
    journal.forget(Position(2, 0))
    assert replayed(journal, Position(2, 0)) == [8]
    assert len(list(journal.folder.glob("*.log"))) == 1


def test_an_unfinished_last_line_is_left_out(journal):
    """The process died while it wrote."""
    journal.append(finished(1))
    (path,) = journal.folder.glob("*.log")
    with path.open("ab") as file:
        file.write(b"[2,")

    assert replayed(journal) == [1]


def test_a_line_that_does_not_fit_leaves_no_half_of_itself(journal, monkeypatch):
    """Or it would swallow the next one."""
    journal.append(finished(1))
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:5]))
    with pytest.raises(OSError, match="no room"):
        journal.append(finished(2))
    monkeypatch.undo()

    journal.append(finished(3))

    assert replayed(journal) == [1, 3]


def test_a_writer_that_lives_is_nobody_s_to_recover(journal):
    """Its lock is held."""
    assert list(dead_writers(journal.folder)) == []

    abandon(journal)

    assert [x.writer for x in dead_writers(journal.folder)] == [journal.writer]


def test_only_one_recovers_a_dead_writer_at_a_time(journal):
    """Its lock is the recoverer's while it does."""
    abandon(journal)

    for _ in dead_writers(journal.folder):
        assert list(dead_writers(journal.folder)) == []


def test_a_recovered_writer_is_gone(journal):
    """Nothing is left to be found."""
    journal.append(finished(1))
    abandon(journal)

    for dead in dead_writers(journal.folder):
        dead.delete()

    assert list(journal.folder.iterdir()) == []


def test_an_accounted_writer_leaves_nothing(journal):
    """An orderly end."""
    journal.append(finished(1))

    journal.close(is_accounted=True)

    assert list(journal.folder.iterdir()) == []
