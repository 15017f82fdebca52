"""Parquet files of traces: written whole or not at all, readable by their owner alone."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from evals.traces.folder import JOINED
from evals.traces.schema import SCHEMA
from evals.traces.trace import Trace

GROUP_ROWS = 512
"""Rows of a row group: what a reader holds of one file, 50 MB where all bodies are the longest."""


def write_traces(path: Path, traces: Iterable[Trace]) -> int:
    """Write a file of traces in the order given; return how many they were.

    The folder has to be there. A file of that name is replaced when the new one is complete, and
    stays as it was when `traces` raises.
    """
    return write_rows(path, (trace.row() for trace in traces))


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Do what `write_traces` does, with traces that are rows already."""
    return write_batches(path, _batches(iter(rows)))


def _batches(rows: Iterator[Mapping[str, Any]]) -> Iterator[Any]:
    while group := list(islice(rows, GROUP_ROWS)):
        yield pa.RecordBatch.from_pylist(group, schema=SCHEMA)


def write_batches(path: Path, batches: Iterable[Any], joined: Sequence[str] = ()) -> int:
    """Write record batches of `SCHEMA`, each as a row group; return the number of rows.

    `joined`: names of the files that it takes the place of.
    """
    # mkstemp's mode is 0600. The name's end is not a part's: nobody reads half a file.
    fd, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    rows = 0
    schema = SCHEMA.with_metadata({JOINED: json.dumps(joined)}) if joined else SCHEMA
    try:
        with os.fdopen(fd, "wb") as file:
            with pq.ParquetWriter(file, schema, compression="zstd") as writer:
                for batch in batches:
                    writer.write_batch(batch.replace_schema_metadata(schema.metadata))
                    rows += batch.num_rows
            file.flush()
            os.fsync(file.fileno())
        Path(partial).replace(path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
    return rows


def batches_of(path: Path, wanted: Any = None) -> Iterator[Any]:
    """Read the record batches of a file as `SCHEMA`, whichever version wrote it.

    `wanted`: an expression that rows have to meet; None: all of them.

    Raises:
        OSError, pyarrow.ArrowException: the file cannot be read (on).

    """
    found = ds.dataset(path, schema=SCHEMA, format="parquet")
    yield from found.to_batches(
        filter=wanted,
        batch_size=GROUP_ROWS,
        batch_readahead=0,
        fragment_readahead=0,
        use_threads=False,
    )
