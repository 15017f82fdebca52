"""What parsers made of the suite's cases, and the files that keep it.

A file has one line for what it was made with and one for each case. A line that lacks the
outcome of a stream had the same as the whole answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from serve_app.engine.parsers.forms import Case

MODES = ("whole", "streamed", "bursts")
"""Not streamed; streamed a token at a time; streamed eight tokens at a time, as an engine
under load or with speculative decoding gives them."""

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Outcome:
    """One answer as the client gets it.

    Attributes:
        calls: name and text of the arguments of each.
        error: the exception's type, where the parser raised one.

    """

    content: str | None = None
    calls: tuple[tuple[str | None, str], ...] = ()
    reasoning: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """A case and its outcome in every mode."""

    case: Case
    outcomes: dict[str, Outcome]


@dataclass(slots=True)
class Suite:
    """One parser's cases with what they came to."""

    made_with: dict[str, str] = field(default_factory=dict)
    kept: list[Kept] = field(default_factory=list)


def suite_path(parser: str) -> Path:
    return HERE / f"{parser}.jsonl"


def read_suite(path: Path) -> Suite:
    """Read one parser's file.

    Raises:
        OSError: there is none.
        ValueError: it has another form.

    """
    lines = path.read_text().splitlines()
    try:
        return Suite(json.loads(lines[0]), [_kept(json.loads(line)) for line in lines[1:]])
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: no parser suite: {error!r}") from error


def write_suite(path: Path, suite: Suite) -> None:
    lines = [suite.made_with, *map(_line, suite.kept)]
    path.write_text("".join(json.dumps(line, ensure_ascii=True) + "\n" for line in lines))


def differences(before: Suite, now: Suite) -> Iterator[str]:
    """Say of each case and mode what came out otherwise."""
    for old, new in zip(before.kept, now.kept, strict=True):
        for mode in MODES:
            was, is_now = old.outcomes[mode], new.outcomes[mode]
            if was != is_now:
                yield f"{old.case.name} ({mode}): was {told(was)}, is {told(is_now)}"


def told(outcome: Outcome) -> str:
    """Write an outcome for people, on one line."""
    if outcome.error is not None:
        return outcome.error
    calls = [f"{name}({arguments})" for name, arguments in outcome.calls]
    said = [f"text {outcome.content!r}"] if outcome.content else []
    thought = [f"reasoning {outcome.reasoning!r}"] if outcome.reasoning else []
    return "; ".join(thought + said + calls) or "nothing"


def _line(kept: Kept) -> dict[str, Any]:
    case = {name: value for name, value in asdict(kept.case).items() if value}
    whole = kept.outcomes["whole"]
    modes = {
        mode: {name: value for name, value in asdict(outcome).items() if value}
        for mode, outcome in kept.outcomes.items()
        if mode == "whole" or outcome != whole
    }
    return {**case, **modes}


def _kept(line: dict[str, Any]) -> Kept:
    whole = _outcome(line["whole"])
    outcomes = {mode: _outcome(line[mode]) if mode in line else whole for mode in MODES}
    case = Case(
        line["name"],
        line.get("text", ""),
        tuple((name, arguments) for name, arguments in line.get("meant", ())),
        line.get("is_cut", False),
        line.get("reasoning"),
    )
    return Kept(case, outcomes)


def _outcome(given: dict[str, Any]) -> Outcome:
    calls = tuple((name, arguments) for name, arguments in given.get("calls", ()))
    return Outcome(given.get("content"), calls, given.get("reasoning"), given.get("error"))
