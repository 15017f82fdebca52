"""Traces are read as they were written, in order, and without what is damaged."""

from __future__ import annotations

import sqlite3
import stat
from dataclasses import replace
from datetime import date

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evals.traces.parts import write_traces
from evals.traces.schema import SCHEMA
from evals.traces.store import DamagedTraces, read_traces
from tests.unit.evals.traces.trace_files import put, trace


def ids(*args, **kwargs) -> list[str]:
    return [x.request_id for x in read_traces(*args, **kwargs)]


def test_files_of_a_day_are_read_as_one_in_the_order_of_time(tmp_path):
    put(tmp_path, "a-1", trace(1), trace(4), trace(6))
    put(tmp_path, "b-1", trace(2), trace(3))
    put(tmp_path, "a-2", trace(7))
    put(tmp_path, "a-1", trace(-90_000))

    assert ids(tmp_path) == ["r-90000", "r1", "r2", "r3", "r4", "r6", "r7"]


def test_only_what_is_asked_for_is_read(tmp_path):
    put(tmp_path, "a-1", trace(1), trace(2, tenant="other"), trace(3, lane="quality"))
    put(tmp_path, "a-1", trace(-90_000, code="broken"))

    assert ids(tmp_path, tenant="other") == ["r2"]
    assert ids(tmp_path, tenant="acme", lane="quality") == ["r3"]
    assert ids(tmp_path, code="broken") == ["r-90000"]
    assert ids(tmp_path, days=(date(2026, 11, 30), None)) == ["r1", "r2", "r3"]
    assert ids(tmp_path, days=(None, date(2026, 11, 29))) == ["r-90000"]


def test_a_file_alone_is_read_like_a_store(tmp_path):
    path = tmp_path / "mine.parquet"
    write_traces(path, [trace(1), trace(2)])

    assert ids(path) == ["r1", "r2"]
    assert ids(tmp_path / "none") == []


def test_a_file_alone_has_traces_of_several_days(tmp_path):
    """No folder says which day they are of."""
    path = tmp_path / "mine.parquet"
    write_traces(path, [trace(-90_000), trace(1), trace(86_400)])

    assert ids(path, days=(date(2026, 11, 30), date(2026, 11, 30))) == ["r1"]
    assert ids(path, days=(None, date(2026, 11, 29)), lane="chat") == ["r-90000"]
    assert ids(path, days=(date(2026, 12, 1), None)) == ["r86400"]


def test_a_damaged_file_is_named_and_the_others_are_read(tmp_path):
    put(tmp_path, "a-1", trace(1))
    broken = put(tmp_path, "a-2", trace(2))
    broken.write_bytes(broken.read_bytes()[:-9])
    empty = put(tmp_path, "a-3", trace(3))
    empty.write_bytes(b"")
    told = []

    found = ids(tmp_path, on_damaged=lambda path, _: told.append(path.name))

    assert found == ["r1"]
    assert sorted(told) == ["a-2.parquet", "a-3.parquet"]
    with pytest.warns(DamagedTraces, match=r"a-[23]\.parquet"):
        list(read_traces(tmp_path))


def test_a_file_whose_middle_is_damaged_gives_what_is_before_it(tmp_path):
    path = put(tmp_path, "a-1", *(trace(n, answer=f"{n}" * 400) for n in range(1000)))
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2 : len(raw) // 2 + 3_000] = b"\xff" * 3_000
    path.write_bytes(raw)
    told = []

    found = ids(tmp_path, on_damaged=lambda path, _: told.append(path.name))

    assert told == ["a-1.parquet"]
    assert found == [f"r{n}" for n in range(len(found))] and len(found) < 1000


def test_what_another_version_wrote_is_read(tmp_path):
    row = {k: v for k, v in trace(1).row().items() if k not in ("signals", "score")}
    older = pa.schema([x for x in SCHEMA if x.name in row]).append(pa.field("gone", pa.string()))
    (tmp_path / "day=2026-11-30").mkdir()
    table = pa.Table.from_pylist([row | {"gone": "x"}], schema=older)
    pq.write_table(table, tmp_path / "day=2026-11-30" / "a-1.parquet")

    assert list(read_traces(tmp_path)) == [trace(1)]


def test_files_are_the_owners_alone_and_a_failed_one_leaves_the_one_before(tmp_path):
    path = tmp_path / "a.parquet"
    write_traces(path, [trace(1)])

    def fails():
        yield trace(2)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_traces(path, fails())

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ids(path) == ["r1"]
    assert [x.name for x in tmp_path.iterdir()] == ["a.parquet"]


def test_feedback_is_joined_by_tenant_and_request(tmp_path):
    put(tmp_path, "a-1", trace(1), trace(2), trace(3, tenant="other"), trace(4))
    file = tmp_path / "feedback.db"
    with sqlite3.connect(file) as db:
        db.execute("CREATE TABLE feedback (tenant, request_id, kind, thumb, preferred_over)")
        rows = [
            ("acme", "r1", "thumb", "down", None),
            ("acme", "r1", "preference", None, "r9"),
            ("acme", "r2", "thumb", "up", None),
            ("acme", "r3", "thumb", "up", None),
        ]
        db.executemany("INSERT INTO feedback VALUES (?, ?, ?, ?, ?)", rows)
    db.close()

    found = list(read_traces(tmp_path, feedback=file))

    assert [(x.thumb, x.preferred_over) for x in found] == [
        (-1, "r9"), (1, None), (None, None), (None, None),
    ]  # fmt: skip
    unjoined = next(iter(read_traces(tmp_path, feedback=tmp_path / "none.db")))
    assert unjoined == replace(found[0], thumb=None, preferred_over=None)
