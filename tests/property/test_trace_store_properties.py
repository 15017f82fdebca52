"""Every trace that is written is read, once, however it is spread over files and joined."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from evals.traces.folder import day_folder, part_path, parts_by_day
from evals.traces.joining import forget_tenant, join_small
from evals.traces.parts import write_traces
from evals.traces.store import read_traces
from evals.traces.trace import Trace

FIRST = datetime(2026, 11, 28, tzinfo=UTC)

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20)
JSON = st.dictionaries(TEXT, TEXT | st.integers(-(2**70), 2**70) | st.none() | st.lists(TEXT))

traces = st.builds(
    Trace,
    time=st.integers(0, 3 * 86_400).map(lambda x: FIRST + timedelta(seconds=x)),
    request_id=TEXT,
    tenant=st.sampled_from(["a", "b"]),
    tier=TEXT,
    body=JSON,
    answer=st.none() | TEXT,
    tool_calls=st.lists(st.dictionaries(TEXT, TEXT, max_size=2), max_size=2).map(tuple),
    score=st.none() | st.floats(allow_nan=False),
    features=st.dictionaries(TEXT, st.floats(allow_nan=False), max_size=2),
    verdicts=st.lists(TEXT, max_size=2).map(tuple),
    prompt_tokens=st.none() | st.integers(0, 2**40),
)


def row(trace: Trace) -> str:
    return str(trace.row() | {"time": trace.time.timestamp()})


@settings(max_examples=15)
@given(st.lists(st.lists(traces, max_size=4), max_size=5), st.booleans())
def test_every_row_comes_back_in_the_order_of_time(parts, joins):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, part in enumerate(parts):
            for day in {trace.time.date() for trace in part}:
                path = part_path(day_folder(folder, day), number % 2 + 1, "i1", number)
                of_day = [trace for trace in part if trace.time.date() == day]
                write_traces(path, sorted(of_day, key=lambda trace: trace.time))
        if joins:
            for _, paths in parts_by_day(folder):
                join_small(paths, least=2)

        found = list(read_traces(folder))
        forget_tenant(folder, "a")
        left = list(read_traces(folder))

    written = [trace for part in parts for trace in part]
    assert Counter(map(row, found)) == Counter(map(row, written))
    assert [x.time for x in found] == sorted(x.time for x in written)
    assert left == [trace for trace in found if trace.tenant != "a"]


@settings(max_examples=15)
@given(st.text(alphabet=st.characters(categories=["Cs", "Lu"])))
def test_half_characters_are_written_as_what_can_be_read(text):
    whole = Trace(
        time=datetime(2026, 11, 30, tzinfo=UTC),
        request_id="r",
        tenant="a",
        tier="t",
        body={"text": text},
        answer=text,
    )
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "x.parquet"
        write_traces(path, [whole])

        (found,) = read_traces(path)

    # JSON has two halves that meet for one character, too.
    assert found.body == json.loads(json.dumps({"text": text}))
    assert found.answer == text.encode("utf-8", "replace").decode()
