"""Public traces and request logs, read to recorded requests.

- **Azure** LLM inference (2023, 2024): CSV with `TIMESTAMP`, `ContextTokens`, `GeneratedTokens`.
- **BurstGPT**: CSV with `Timestamp` in seconds, `Request tokens`, `Response tokens`; the third
  release has `Session ID`, too. Requests that failed have no response tokens, and are left out.
- **Mooncake**: JSON lines with `timestamp` in ms, `input_length`, `output_length` and `hash_ids`,
  one for every 512 tokens of the prompt, the same number for the same content.
- **Request log** of this product (docs/feedback.md): JSON lines. `time` is when a request ended,
  so it came `duration_s` before. Of refused ones the log has no tokens: they are given the median
  of their tenant's others.
"""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from fleet.traffic.recorded import Recorded

Row = Mapping[str, Any]

MOST_IDLE_S = 7 * 86400.0
"""A longer silence is between files of different times, not of the traffic."""


class NoTrace(ValueError):
    """Files of none of the formats, with lines that cannot be read, or years apart."""


def read_traces(paths: Iterable[Path], most: int | None = None) -> list[Recorded]:
    """Read files of one format, by time from 0, at most so many requests.

    Raises OSError, and NoTrace with file and line.
    """
    found: list[tuple[str, Recorded]] = []
    for path in paths:
        with path.open(encoding="utf-8", newline="") as file:
            try:
                found += _read(path, file, most)
            except UnicodeDecodeError as error:
                raise NoTrace(f"{path}: is no text in UTF-8; is it compressed?") from error
    ordered = _in_order(found)[:most]
    gap_s = max((b.at - a.at for a, b in pairwise(ordered)), default=0.0)
    if gap_s > MOST_IDLE_S:
        raise NoTrace(
            f"{gap_s / 86400:.0f} days without a request, each second of which would be simulated: "
            "give files that follow each other"
        )
    return ordered


def _read(path: Path, file: Iterable[str], most: int | None) -> Iterator[tuple[str, Recorded]]:
    lines = iter(file)
    first = next(lines, "")
    if not first:
        return
    is_json = first.lstrip().startswith("{")
    # A file that spreadsheets wrote may begin with a byte order mark.
    names = [name.strip() for name in next(csv.reader([first.lstrip("\ufeff")]))]
    rows: Iterable[Row] = csv.DictReader(lines, fieldnames=names)
    read = None if is_json else _reader(names)
    if is_json:
        rows = _json_rows(path, first, lines)
    count = 0
    for number, row in enumerate(rows, start=1 if is_json else 2):
        read = read or _reader(row)
        if read is None:
            break
        try:
            one = read(row)
        except (KeyError, TypeError, ValueError) as error:
            what = f"it has no {error}" if isinstance(error, KeyError) else error
            raise NoTrace(f"{path}:{number}: cannot be read: {what}") from error
        if one is not None:
            yield one
            count += 1
        if most is not None and count >= most:
            return
    if read is None:
        raise NoTrace(f"{path}: neither an Azure, BurstGPT or Mooncake trace nor a request log")


def _json_rows(path: Path, first: str, lines: Iterator[str]) -> Iterator[Row]:
    number = 0
    for number, line in enumerate((first, *lines), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise NoTrace(f"{path}:{number}: is no JSON: {error}") from error
        if not isinstance(row, dict):
            raise NoTrace(f"{path}:{number}: is no JSON object")
        yield row


def _reader(names: Iterable[str]) -> Callable[[Row], tuple[str, Recorded] | None] | None:
    known = set(names)
    readers = {
        "ContextTokens": _azure,
        "Request tokens": _burstgpt,
        "input_length": _mooncake,
        "duration_s": _logged,
    }
    return next((read for name, read in readers.items() if name in known), None)


def _azure(row: Row) -> tuple[str, Recorded]:
    at = _time(row["TIMESTAMP"])
    return "", Recorded(at, int(row["ContextTokens"]), int(row["GeneratedTokens"]))


def _burstgpt(row: Row) -> tuple[str, Recorded] | None:
    output = int(row["Response tokens"])
    if not output:
        return None
    session = str(row.get("Session ID") or "")
    at = float(row["Timestamp"])
    return session, Recorded(at, int(row["Request tokens"]), output, session=session)


def _mooncake(row: Row) -> tuple[str, Recorded]:
    hashes = tuple(int(x) for x in row.get("hash_ids") or ())
    at = float(row["timestamp"]) / 1000
    return "", Recorded(at, int(row["input_length"]), int(row["output_length"]), hash_ids=hashes)


def _logged(row: Row) -> tuple[str, Recorded]:
    reason, session = row.get("reason"), str(row.get("session") or "")
    one = Recorded(
        _time(row["time"]) - float(row["duration_s"]),
        int(row["prompt_tokens"] or 0),
        int(row["completion_tokens"] or 0),
        tenant=str(row["tenant"]),
        tier=str(row["tier"]),
        session=session,
        history_tokens=int(row.get("cached_tokens") or 0),
        score=row.get("score"),
        model=row.get("model") if reason == "pinned" else None,
        has_tools=bool(row.get("tool_outcomes")) or reason in ("tools", "planning"),
        is_background=bool(row.get("background")),
        is_sub_agent=reason == "sub_agent",
        code=str(row["code"]),
    )
    return session, one


def _time(text: str) -> float:
    at = datetime.fromisoformat(text)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _in_order(found: list[tuple[str, Recorded]]) -> list[Recorded]:
    """Return requests from time 0, with what the log did not tell of refused ones."""
    if not found:
        return []
    begin = min(one.at for _, one in found)
    usual, shared = _usual(x for _, x in found), _shared(x for _, x in found)
    spoken: dict[tuple[str, str], int] = {}
    ordered = []
    for session, one in sorted(found, key=lambda x: x[1].at):
        prompt, output = one.prompt_tokens, one.output_tokens
        if not prompt:
            prompt, output = usual.get(one.tenant) or usual[""]
        history = min(spoken.get((one.tenant, session), 0) if session else 0, prompt - 1)
        ordered.append(
            replace(
                one,
                at=one.at - begin,
                prompt_tokens=prompt,
                output_tokens=output or 1,
                history_tokens=max(history, one.history_tokens),
                shared_tokens=min(shared.get(one.tenant, 0), prompt),
            )
        )
        if session:
            spoken[one.tenant, session] = prompt + output
    return ordered


def _usual(requests: Iterable[Recorded]) -> dict[str, tuple[int, int]]:
    """Return median prompt and answer by tenant, and of all under an empty name."""
    seen: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for one in requests:
        if one.prompt_tokens:
            for name in ("", one.tenant):
                seen[name].append((one.prompt_tokens, one.output_tokens))
    if not seen:
        seen[""] = [(1, 1)]
    return {
        name: (int(median(x for x, _ in pairs)), int(median(x for _, x in pairs)))
        for name, pairs in seen.items()
    }


def _shared(requests: Iterable[Recorded]) -> dict[str, int]:
    """Return with how many tokens all prompts of a tenant begin: the least that was found cached.

    Only for tenants of which anything was.
    """
    found: dict[str, int] = {}
    for one in requests:
        if one.history_tokens:
            known = found.get(one.tenant, one.history_tokens)
            found[one.tenant] = min(known, one.history_tokens)
    return found
