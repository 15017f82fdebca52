"""What goes of a store and when, what is joined, and that no row is lost or doubled by it."""

from __future__ import annotations

import os
import stat
from datetime import date

from evals.traces import joining
from evals.traces.folder import LOCK, locked, parts_by_day, prune
from evals.traces.joining import contents, forget_tenant, join_days_before, join_small
from evals.traces.store import read_traces
from tests.unit.evals.traces.trace_files import put, trace

DAY_S = 86_400
TODAY = date(2026, 11, 30)
LATER = 1.9e9
MUCH = 2**40


def names(folder) -> list[str]:
    return [path.name for _, paths in parts_by_day(folder) for path in paths]


def ids(folder) -> list[str]:
    return [x.request_id for x in read_traces(folder)]


def test_files_go_when_their_tenants_days_have_passed(tmp_path):
    for day in range(4):
        put(tmp_path, "2d-i1-1", trace(-day * DAY_S))
    put(tmp_path, "30d-i1-2", trace(-3 * DAY_S))
    put(tmp_path, "mine", trace(-3 * DAY_S))

    gone = prune(tmp_path, MUCH, TODAY, now=0.0)

    assert gone == 1
    assert names(tmp_path) == [
        "30d-i1-2.parquet",
        "mine.parquet",
        *["2d-i1-1.parquet"] * 3,
    ]


def test_the_oldest_days_files_go_until_the_rest_fits(tmp_path):
    paths = [put(tmp_path, "9d-i1-1", trace(-day * DAY_S)) for day in range(3)]
    size = sum(path.stat().st_size for path in paths)

    prune(tmp_path, size, TODAY, now=0.0)
    assert len(names(tmp_path)) == 3
    prune(tmp_path, size - 1, TODAY, now=0.0)

    assert [day for day, _ in parts_by_day(tmp_path)] == [date(2026, 11, 29), TODAY]


def test_what_a_dead_process_left_half_written_goes_after_a_day(tmp_path):
    path = put(tmp_path, "9d-i1-1", trace(0))
    half = path.with_name(f".{path.name}.x1")
    half.write_bytes(b"PAR1")
    os.utime(half, (1000, 1000))

    prune(tmp_path, MUCH, TODAY, now=1000 + DAY_S)
    assert half.exists() and ids(tmp_path) == ["r0"]
    prune(tmp_path, MUCH, TODAY, now=1001 + DAY_S)

    assert not half.exists()


def test_small_files_are_joined_in_the_order_of_time_with_those_kept_as_long(tmp_path):
    put(tmp_path, "9d-a-1", trace(1), trace(4))
    put(tmp_path, "9d-b-1", trace(2), trace(3))
    put(tmp_path, "5d-a-2", trace(5))
    ((_, paths),) = parts_by_day(tmp_path)

    assert join_small(paths, least=3) == []
    (written,) = join_small(paths, least=2)

    assert sorted(names(tmp_path)) == ["5d-a-2.parquet", written.name]
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert ids(tmp_path) == ["r1", "r2", "r3", "r4", "r5"]


def test_what_dies_after_joining_leaves_no_row_twice(tmp_path, monkeypatch):
    put(tmp_path, "9d-a-1", trace(1))
    put(tmp_path, "9d-b-1", trace(2))
    ((_, paths),) = parts_by_day(tmp_path)
    with monkeypatch.context() as patched:
        # As if it had died before it could delete them.
        patched.setattr("pathlib.Path.unlink", lambda *_, **__: None)
        join_small(paths, least=2)
    assert len(names(tmp_path)) == 3

    assert ids(tmp_path) == ["r1", "r2"]
    assert [x.rows for x in contents(tmp_path)] == [2]
    put(tmp_path, "9d-c-1", trace(3))
    assert join_days_before(tmp_path, date(2026, 12, 1)) == 1
    assert ids(tmp_path) == ["r1", "r2", "r3"] and len(names(tmp_path)) == 1


def test_large_files_are_left_and_heaps_have_a_bound(tmp_path, monkeypatch):
    sizes = [put(tmp_path, f"9d-a-{n}", trace(n)).stat().st_size for n in range(1, 8)]
    put(tmp_path, "9d-a-9", *(trace(n, answer=os.urandom(400).hex()) for n in range(10, 60)))
    monkeypatch.setattr(joining, "SMALL_BYTES", 2 * max(sizes))
    monkeypatch.setattr(joining, "JOIN_BYTES", 2 * min(sizes))
    ((_, paths),) = parts_by_day(tmp_path)

    written = join_small(paths, least=2)

    assert len(written) == 3
    assert len(names(tmp_path)) == 5 and "9d-a-9.parquet" in names(tmp_path)
    assert len(ids(tmp_path)) == 57


def test_files_with_one_that_is_damaged_are_not_joined(tmp_path):
    put(tmp_path, "9d-a-1", trace(1))
    put(tmp_path, "9d-a-2", trace(2)).write_bytes(b"no")
    ((_, paths),) = parts_by_day(tmp_path)

    assert join_small(paths, least=2) == []
    assert len(names(tmp_path)) == 2


def test_a_tenant_is_taken_out_of_every_file(tmp_path):
    put(tmp_path, "9d-a-1", trace(1), trace(2, tenant="gone"))
    put(tmp_path, "9d-a-2", trace(3, tenant="gone"))
    put(tmp_path, "9d-a-3", trace(4 - DAY_S, tenant="gone"), trace(5 - DAY_S))
    untouched = put(tmp_path, "9d-a-4", trace(6))
    damaged = put(tmp_path, "9d-a-5", trace(7))
    damaged.write_bytes(b"no")
    before = untouched.stat().st_ino

    done = forget_tenant(tmp_path, "gone")

    assert (done.rows, done.files, done.damaged) == (3, 3, [damaged])
    damaged.unlink()
    assert [x.tenant for x in read_traces(tmp_path)] == ["acme"] * 3
    assert untouched.stat().st_ino == before
    assert "9d-a-2.parquet" not in names(tmp_path)
    assert b"gone" not in b"".join(x.read_bytes() for x in tmp_path.rglob("*.parquet"))


def test_contents_are_told_by_day(tmp_path):
    path = put(tmp_path, "9d-a-1", trace(1), trace(2))
    put(tmp_path, "9d-a-2", trace(3)).write_bytes(b"no")
    put(tmp_path, "9d-a-1", trace(-DAY_S))

    first, second = contents(tmp_path)

    assert (first.day, first.files, first.rows, first.damaged) == (date(2026, 11, 29), 1, 1, 0)
    assert (second.files, second.rows, second.damaged) == (2, 2, 1)
    assert second.bytes == path.stat().st_size + len(b"no")


def test_who_rewrites_waits_for_readers_or_goes(tmp_path):
    put(tmp_path, "9d-a-1", trace(1), trace(2))
    reading = read_traces(tmp_path)
    next(reading)

    with locked(tmp_path, exclusive=True, waits=False) as has:
        assert not has
    reading.close()
    with locked(tmp_path, exclusive=True, waits=False) as has:
        assert has
        with locked(tmp_path, exclusive=False, waits=False) as other:
            assert not other
    assert stat.S_IMODE((tmp_path / LOCK).stat().st_mode) == 0o600
