"""Parquet files of traces: written whole or not at all, readable by their owner alone."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from evals.traces.trace import SCHEMA, Trace

SUFFIX = ".parquet"

GROUP_ROWS = 512
"""Rows of a row group: what a reader holds of one file, 30 MB of the longest bodies and answers."""


def write_traces(path: Path, traces: Iterable[Trace]) -> int:
    """Write a file of traces in the order given; return how many they were.

    The folder has to be there. A file of that name is replaced when the new one is complete, and
    stays as it was when `traces` raises.
    """
    return write_batches(path, _batches(iter(traces)))


def _batches(traces: Iterator[Trace]) -> Iterator[pa.RecordBatch]:
    while rows := [trace.row() for trace in islice(traces, GROUP_ROWS)]:
        yield pa.RecordBatch.from_pylist(rows, schema=SCHEMA)


def write_batches(path: Path, batches: Iterable[Any]) -> int:
    """Write record batches of `SCHEMA`, each as a row group; return the number of rows."""
    # mkstemp's mode is 0600. The name's end is not a part's: nobody reads half a file.
    fd, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    rows = 0
    try:
        with os.fdopen(fd, "wb") as file:
            with pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
                for batch in batches:
                    writer.write_batch(batch)
                    rows += batch.num_rows
            file.flush()
            os.fsync(file.fileno())
        Path(partial).replace(path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
    return rows
