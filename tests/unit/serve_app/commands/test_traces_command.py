"""`pointsman traces`: exports, counts and deletes what is kept."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from evals.traces.folder import day_folder
from evals.traces.parts import write_traces
from evals.traces.store import read_traces
from evals.traces.trace import Trace
from serve_app.cli import main


def trace(day: int, request_id: str, tenant: str = "acme", lane: str = "chat") -> Trace:
    time = datetime(2026, 11, day, 12, tzinfo=UTC)
    return Trace(time=time, request_id=request_id, tenant=tenant, tier="paid", lane=lane)


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("POINTSMAN_STATE", str(tmp_path))
    folder = tmp_path / "traces"
    for number, traces in enumerate(
        ([trace(29, "r1"), trace(29, "r2", "other")], [trace(30, "r3", lane="quality")])
    ):
        day = day_folder(folder, traces[0].time.date())
        write_traces(day / f"9d-i1-{number}.parquet", traces)
    return folder


def run(*args: str) -> int:
    return main(["traces", *args])


def lines(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_export_is_a_line_a_request_with_its_feedback(store, capsys):
    with sqlite3.connect(store.parent / "feedback.db") as db:
        db.execute("CREATE TABLE feedback (tenant, request_id, kind, thumb, preferred_over)")
        db.execute("INSERT INTO feedback VALUES ('acme', 'r1', 'thumb', 'up', NULL)")
    db.close()

    assert run("export", "--fleet", "local") == 0

    found = lines(capsys)
    assert [(x["request_id"], x["thumb"]) for x in found] == [("r1", 1), ("r2", None), ("r3", None)]
    assert found[0]["time"] == "2026-11-29T12:00:00+00:00"


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("--from", "2026-11-30"), ["r3"]),
        (("--to", "2026-11-29", "--tenant", "acme"), ["r1"]),
        (("--lane", "quality"), ["r3"]),
        (("--code", "429"), []),
    ],
)
def test_export_takes_what_is_asked_for(store, capsys, args, expected):
    assert run("export", "--folder", str(store), *args) == 0

    assert [x["request_id"] for x in lines(capsys)] == expected


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_a_file_is_its_owners_alone_and_is_counted(store, tmp_path, capsys, form):
    out = tmp_path / f"out.{form}"

    code = run("export", "--folder", str(store), "--format", form, "--out", str(out), "--json")

    assert code == 0 and lines(capsys) == [{"rows": 3, "file": str(out), "damaged": []}]
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    if form == "parquet":
        assert [x.request_id for x in read_traces(out)] == ["r1", "r2", "r3"]


def test_a_damaged_file_is_named_and_the_status_says_so(store, capsys):
    damaged = store / "day=2026-11-30" / "9d-i1-9.parquet"
    damaged.write_bytes(b"no")

    assert run("export", "--folder", str(store)) == 1

    told = capsys.readouterr()
    assert len(told.out.splitlines()) == 3 and str(damaged) in told.err


def test_parquet_needs_a_file(store, capsys):
    assert run("export", "--folder", str(store), "--format", "parquet") == 1
    assert "--out" in capsys.readouterr().err


def test_days_are_listed(store, capsys):
    assert run("list", "--folder", str(store), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [(x["day"], x["rows"], x["files"]) for x in found] == [
        ("2026-11-29", 2, 1),
        ("2026-11-30", 1, 1),
    ]

    assert run("list", "--folder", str(store)) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("2 days, 3 requests, ")


def test_a_tenant_is_deleted(store, capsys):
    assert run("delete", "--folder", str(store), "--tenant", "acme", "--json") == 0

    assert lines(capsys) == [{"rows": 2, "files": 2, "damaged": []}]
    assert [x.request_id for x in read_traces(store)] == ["r2"]
    assert run("delete", "--folder", str(store), "--tenant", "acme") == 0
    assert capsys.readouterr().out == "0 requests of acme deleted from 0 files\n"


@pytest.mark.parametrize(
    "action", [("list",), ("export",), ("delete", "--tenant", "acme")], ids=lambda x: x[0]
)
def test_a_named_store_that_is_not_there_is_no_empty_one(action, store, capsys):
    """Who deletes a tenant's traces and mistypes the folder must not read that it is done."""
    assert run(*action, "--folder", str(store / "typo")) == 1

    assert "typo: no such folder or file of traces" in capsys.readouterr().err


@pytest.mark.parametrize("action", [("list",), ("delete", "--tenant", "acme")], ids=lambda x: x[0])
@pytest.mark.parametrize("is_named", [True, False])
def test_a_file_in_place_of_a_store_is_told(action, is_named, store, capsys):
    """Nothing was counted or deleted in it."""
    store.rename(store.parent / "elsewhere")
    store.write_bytes(b"x")
    place = ("--folder", str(store)) if is_named else ("--fleet", "local")

    assert run(*action, *place) == 1

    assert "a file, not the folder of a store" in capsys.readouterr().err


def test_days_that_end_before_they_begin_are_told(store, capsys):
    assert run("export", "--folder", str(store), "--from", "2026-11-30", "--to", "2026-11-29") == 1

    assert "--from 2026-11-30 is after --to 2026-11-29" in capsys.readouterr().err


def test_a_reader_that_has_enough_is_no_fault(store):
    """As `| head`: whether the pipe closes while it writes, or before what is buffered goes out."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "serve_app.cli", "traces", "export", "--folder", str(store)]

    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)

    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")
