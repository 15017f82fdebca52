"""`score`: JSON lines in, the same lines with a score out, in several processes."""

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path

import orjson

from classifier.artifact import load_artifact
from classifier.features.conversation import conversation_of, parse_row
from classifier.progress import progress
from classifier.scorer import Scorer

LINES_A_TASK = 2000
# Starting a process and loading an artefact takes about a second.
LINES_WORTH_A_PROCESS = 10_000


def score_file(source: Path, target: Path, artifact: Path) -> int:
    """Score every line of `source` into `target`, in order; returns how many.

    Blank lines are left out. Raises ValueError naming the line that cannot be read;
    `target` then does not exist.
    """
    partial = target.with_name(target.name + ".part")
    count = 0
    try:
        with partial.open("wb") as out, progress(source.stat().st_size, "scoring") as bar:
            for scored, lines, size in _scored(source, artifact):
                out.write(scored)
                count += lines
                bar.update(size)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return count


def _scored(source: Path, artifact: Path) -> Iterator[tuple[bytes, int, int]]:
    """Scored lines, their number and the bytes read, task by task."""
    with source.open("rb") as lines:
        first = list(islice(lines, LINES_WORTH_A_PROCESS))
        if len(first) < LINES_WORTH_A_PROCESS:
            _open(artifact)
            for task in _tasks(iter(first), str(source)):
                yield _score_task(task)
            return
        lines.seek(0)
        with ProcessPoolExecutor(os.cpu_count(), initializer=_open, initargs=(artifact,)) as pool:
            yield from pool.map(_score_task, _tasks(lines, str(source)))


def _tasks(lines: Iterator[bytes], name: str) -> Iterator[tuple[list[bytes], str, int]]:
    number = 1
    while part := list(islice(lines, LINES_A_TASK)):
        yield part, name, number
        number += len(part)


_scorer: list[Scorer] = []


def _open(artifact: Path) -> None:
    _scorer[:] = [load_artifact(artifact).scorer()]


def _score_task(task: tuple[list[bytes], str, int]) -> tuple[bytes, int, int]:
    lines, name, first = task
    out = []
    for number, line in enumerate(lines, first):
        if line.strip():
            row = parse_row(line, f"{name}:{number}")
            row["score"] = _scorer[0].score(conversation_of(row))
            out.append(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
    return b"".join(out), len(out), sum(map(len, lines))
