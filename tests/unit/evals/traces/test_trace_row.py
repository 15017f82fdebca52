"""Rows of traces, there and back."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa

from evals.traces.schema import SCHEMA
from evals.traces.trace import Trace, trace_of

WHOLE = Trace(
    time=datetime(2026, 11, 30, tzinfo=UTC),
    request_id="r1",
    tenant="acme",
    tier="paid",
    body={"messages": [{"role": "user", "content": "Größe?"}]},
    answer="12",
    tool_calls=({"name": "size", "arguments": "{}"},),
    lane="chat",
    propensity=0.5,
    features={"words": 1.0},
    verdicts=("valid",),
)


def test_a_trace_comes_back_as_it_was() -> None:
    table = pa.Table.from_pylist([WHOLE.row()], schema=SCHEMA)

    assert [trace_of(row) for row in table.to_pylist()] == [WHOLE]


def test_a_column_that_a_file_does_not_have_is_its_default() -> None:
    row = WHOLE.row() | {"later": 1}
    del row["signals"], row["verdicts"]

    found = trace_of(row)

    assert (found.signals, found.verdicts, found.answer) == ({}, (), "12")
