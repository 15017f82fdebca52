"""Where cases come from: the store of traces, and files that people wrote."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path

from evals.replay.cases import Case, WrongCase, gold_case, trace_case
from evals.replay.draw import Draw
from evals.traces.store import read_traces
from evals.traces.trace import Trace
from serve_app.commands.client import CommandError
from serve_app.commands.traces import tell_damaged


def gold_cases(paths: Iterable[Path]) -> list[Case]:
    """Read the cases of JSON lines. Raises CommandError with file and line."""
    found: dict[str, Case] = {}
    for path in paths:
        for where, line in _lines(path):
            case = _case(line, where)
            if case.digest in found:
                raise CommandError(f"{where}: the same request as case '{found[case.digest].name}'")
            found[case.digest] = case
    return list(found.values())


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{path}: cannot be read: {error}") from error
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield f"{path}:{number}", line


def _case(line: str, where: str) -> Case:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise CommandError(f"{where}: not JSON") from error
    if not isinstance(row, dict):
        raise CommandError(f"{where}: not a JSON object")
    try:
        return gold_case(row, where)
    except WrongCase as error:
        raise CommandError(str(error)) from error


def traces_of(
    folder: Path, days: tuple[date | None, date | None], feedback: Path | None
) -> Iterator[Trace]:
    """Read what clients asked on these days; a file that cannot be read is told and left out."""
    if not folder.exists():
        raise CommandError(f"{folder}: there are no traces (docs/evals.md says how they are kept)")
    given = feedback if feedback is not None and feedback.exists() else None
    for trace in read_traces(folder, days=days, feedback=given, on_damaged=tell_damaged):
        if trace.is_traffic:
            yield trace


def draw_of(
    traces: Iterable[Trace], draw: Draw, skipped: Counter[str], only_lane: str | None = None
) -> None:
    """Draw from the cases of traces, of one lane's where one is named, and count the others."""
    for trace in traces:
        if only_lane is not None and trace.lane != only_lane:
            continue
        case = trace_case(trace)
        if isinstance(case, Case):
            draw.add(case)
        else:
            skipped[case] += 1
