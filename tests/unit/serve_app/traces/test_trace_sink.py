"""Traces are gathered, written by day and by how long they are kept, and what fails is counted."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import pytest

from evals.traces import parts
from evals.traces.folder import parts_by_day
from evals.traces.store import read_traces
from evals.traces.trace import Trace
from serve_app.traces import sink as sinks
from serve_app.traces.kept import Kept
from serve_app.traces.sink import TraceSink

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)


def kept(number: float, keep_days: int = 9, size: int = 10, **other) -> Kept:
    time = NOON + timedelta(seconds=number)
    trace = Trace(time=time, request_id=f"r{number}", tenant="acme", tier="paid", **other)
    return Kept(trace, keep_days, policies=None, size=size)


class Clock:
    now = NOON

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def lost():
    return []


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def sink(tmp_path, lost, clock):
    folder = tmp_path / "traces"
    complete = lambda x: x.trace  # noqa: E731
    return TraceSink(folder, "i1", 2**30, complete, on_lost=lost.append, clock=clock)


def names(sink) -> list[str]:
    return [f"{day.day}/{x.name}" for day, paths in parts_by_day(sink._folder) for x in paths]


def ids(sink) -> list[str]:
    return [x.request_id for x in read_traces(sink._folder)]


def test_a_file_is_of_one_day_and_of_those_kept_as_long(sink):
    sink.write([kept(2), kept(1), kept(3, keep_days=5), kept(-86_400)])
    assert names(sink) == []

    sink.flush()

    assert names(sink) == ["29/9d-i1-1.parquet", "30/5d-i1-2.parquet", "30/9d-i1-1.parquet"]
    assert ids(sink) == ["r-86400", "r1", "r2", "r3"]


def test_a_full_buffer_is_written_at_once(sink, monkeypatch):
    monkeypatch.setattr(sinks, "BUFFER_BYTES", 1000)

    sink.write([kept(1, answer="a" * 600), kept(2, answer="a" * 600), kept(3)])

    assert ids(sink) == ["r1", "r2"]


def test_numbers_go_on_where_another_of_its_name_ended(sink, lost, clock):
    sink.write([kept(1)])
    sink.flush()
    again = TraceSink(sink._folder, "i1", 2**30, lambda x: x.trace, on_lost=lost.append)

    again.write([kept(2)])
    again.flush()

    assert names(sink) == ["30/9d-i1-1.parquet", "30/9d-i1-2.parquet"]


def test_tending_writes_deletes_and_joins(sink, clock, monkeypatch):
    monkeypatch.setattr(sinks, "JOIN_FROM", 3)
    sink.write([kept(-86_400 * 11, keep_days=10), kept(-86_400 * 11, keep_days=11)])
    for number in range(3):
        sink.write([kept(number)])
        sink.tend()

    assert ids(sink) == [f"r{-86_400 * 11}", "r0", "r1", "r2"]
    assert len(names(sink)) == 2


def test_days_that_are_over_are_joined_whatever_their_number(sink, clock):
    for number in range(2):
        sink.write([kept(number)])
        sink.tend()
    assert len(names(sink)) == 2

    clock.now += timedelta(days=1)
    sink.tend()

    assert len(names(sink)) == 1 and ids(sink) == ["r0", "r1"]


def test_a_trace_that_cannot_be_redacted_is_lost_alone_and_never_quoted(sink, lost, caplog):
    def fails(x):
        if x.trace.answer:
            raise ValueError("SECRET")
        return x.trace

    sink._complete = fails
    with caplog.at_level(logging.WARNING, "ray.serve"):
        sink.write([kept(1), kept(2, answer="SECRET"), kept(3, answer="SECRET")])
    sink.flush()

    assert ids(sink) == ["r1"]
    assert lost == [1, 1]
    assert [x.message for x in caplog.records] == [
        "traces: one cannot be redacted, and is dropped: ValueError"
    ]
    assert sink.taken_bytes == 30


def test_what_cannot_be_written_is_counted_and_the_next_is_tried_again(sink, lost, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(parts, "write_rows", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
        sink.write([kept(1), kept(2)])
        sink.tend()
    assert lost == [2]

    sink.write([kept(3)])
    sink.tend()

    assert ids(sink) == ["r3"]


def test_a_store_of_nothing_is_tended(sink):
    sink.tend()

    assert not sink._folder.exists()
