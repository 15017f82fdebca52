"""Traces to write, and files of a store to write them into."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from evals.traces.folder import day_folder
from evals.traces.parts import write_traces
from evals.traces.trace import Trace

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)


def trace(number: float, **other) -> Trace:
    values = {"tenant": "acme", "tier": "paid", "lane": "chat", "code": "200", **other}
    return Trace(time=NOON + timedelta(seconds=number), request_id=f"r{number}", **values)


def put(folder: Path, name: str, *traces: Trace) -> Path:
    """A file of traces, in the folder of the first one's day."""
    path = day_folder(folder, traces[0].time.date()) / f"{name}.parquet"
    write_traces(path, traces)
    return path
