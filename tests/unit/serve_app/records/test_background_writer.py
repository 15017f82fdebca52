"""A bounded queue and its thread: nothing waits for it, and what is lost is counted."""

import logging
import sqlite3
import threading

import pytest

from serve_app.records.background_writer import BackgroundWriter

SOON_S = 10.0


class Sink:
    """Keeps what is written, and lets a test wait for it."""

    def __init__(self) -> None:
        self.written, self.lost = [], 0
        self.faults = []
        self.called = threading.Event()

    def write(self, batch) -> None:
        self.called.set()
        if self.faults:
            raise self.faults.pop(0)
        self.written.append(list(batch))

    def on_lost(self, items) -> None:
        self.lost += items

    def writer(self, **options) -> BackgroundWriter:
        return BackgroundWriter("test", self.write, on_lost=self.on_lost, **options)


@pytest.fixture
def sink() -> Sink:
    return Sink()


def test_close_writes_what_is_left(sink):
    """What was put before close() is written, in order, without waiting for its time."""
    writer = sink.writer(flush_s=3600)
    writer.start()

    for number in range(5):
        writer.put(number)
    writer.close(SOON_S)

    assert [item for batch in sink.written for item in batch] == [0, 1, 2, 3, 4]
    assert not writer.thread.is_alive()


def test_what_gathers_may_go_in_parts_of_which_each_is_lost_alone(sink):
    writer = sink.writer(most=4)
    sink.faults = [OSError("full")]
    for number in range(10):
        writer.put(number)

    writer.start()
    writer.close(SOON_S)

    assert sink.written == [[4, 5, 6, 7], [8, 9]]
    assert sink.lost == 4


def test_what_gathers_is_one_batch(sink):
    """One call for all that came within the flush interval."""
    writer = sink.writer()
    for number in range(100):
        writer.put(number)

    writer.start()
    writer.close(SOON_S)

    assert [len(batch) for batch in sink.written] == [100]


def test_a_batch_is_written_without_another_put(sink):
    """The flush interval ends a batch, not the next item."""
    writer = sink.writer(flush_s=0.01)
    writer.start()

    writer.put(1)

    assert sink.called.wait(SOON_S)
    writer.close(SOON_S)
    assert sink.written == [[1]]


def test_a_full_queue_loses_and_counts_what_comes_next(sink):
    """put() returns at once; the oldest stay."""
    writer = sink.writer(capacity=3)

    for number in range(5):
        writer.put(number)
    writer.start()
    writer.close(SOON_S)

    assert (sink.written, sink.lost) == ([[0, 1, 2]], 2)


def test_a_batch_that_cannot_be_written_is_counted_and_the_thread_goes_on(sink):
    """A full disk costs records, not the thread."""
    sink.faults = [OSError(28, "No space left on device")]
    writer = sink.writer(flush_s=0.0)
    writer.start()

    writer.put("first")
    assert sink.called.wait(SOON_S)
    writer.put("second")
    writer.close(SOON_S)

    assert (sink.written, sink.lost) == ([["second"]], 1)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (sqlite3.OperationalError("database is locked"), "database is locked"),
        (ValueError("the prompt"), "ValueError"),
    ],
)
def test_the_log_tells_a_fault_once_and_never_quotes_an_item(sink, caplog, fault, told):
    """An error of a library may carry what it choked on."""
    sink.faults = [fault, fault]
    caplog.set_level(logging.INFO, logger="ray.serve")
    writer = sink.writer()

    for _ in range(3):
        writer.put("the prompt")
        writer._write_all()

    assert caplog.text.count(told) == 1
    assert "the prompt" not in caplog.text
    assert "writes again" in caplog.text
    assert (sink.lost, sink.written) == (2, [["the prompt"]])


def test_housekeeping_runs_at_the_start_and_again(sink):
    """Without any item: a quiet deployment forgets too."""
    times = threading.Semaphore(0)
    writer = sink.writer(tend=times.release, tend_s=0.01, flush_s=0.0)

    writer.start()

    assert all(times.acquire(timeout=SOON_S) for _ in range(3))
    writer.close(SOON_S)


def test_housekeeping_that_fails_does_not_end_the_thread(sink):
    """It is tried again at its next time; items are written meanwhile."""

    def tend() -> None:
        raise OSError(5, "Input/output error")

    writer = sink.writer(tend=tend)
    writer.start()
    writer.put(1)
    writer.close(SOON_S)

    assert (sink.written, sink.lost) == ([[1]], 0)


def test_close_does_not_wait_for_a_stuck_disk(sink):
    """A shutdown is bounded by what close() is given."""
    stuck = threading.Event()
    writer = BackgroundWriter("test", lambda _: stuck.wait(SOON_S), on_lost=sink.on_lost)
    writer.start()
    writer.put(1)

    writer.close(0.01)

    assert writer.thread.is_alive()
    stuck.set()
    writer.thread.join(SOON_S)


def test_a_writer_that_never_started_closes(sink):
    """An ingress that fails in its constructor is torn down too."""
    sink.writer().close()

    assert sink.written == []
