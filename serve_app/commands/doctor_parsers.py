"""`pointsman doctor --parsers`: what the installed vLLM's tool parsers make of raw outputs."""

from __future__ import annotations

from collections.abc import Iterator

from serve_app.config.fleet import FleetConfig
from serve_app.doctor.check import Finding, Result, Section
from serve_app.engine.parsers.forms import PARSERS
from serve_app.engine.parsers.outcomes import (
    Suite,
    differences,
    read_suite,
    suite_path,
    write_suite,
)

UPDATE = "read what differs; `pointsman doctor --parsers --update` takes it over"
MAX_TOLD = 20
"""Differences of one parser that are written out; the rest are counted."""


def parser_findings(fleet: FleetConfig, *, updates: bool) -> Iterator[Finding]:
    """Run every parser's cases and compare with what its file has, or write the file."""
    from serve_app.engine.parsers.suite import run_suites

    used = {lane.engine_args.get("tool_call_parser") for lane in fleet.lanes.values()}
    without = sorted(str(name) for name in used - {None, *PARSERS})
    if without:
        yield _found("parsers", f"lanes use {', '.join(without)}, of which there are no cases")
    for parser, now in run_suites():
        is_same, told = _compared(parser, now, updates=updates)
        yield _found(f"parser {parser}", told, is_ok=is_same)


def _found(name: str, told: str, *, is_ok: bool = False) -> Finding:
    result, fix = (Result.OK, "") if is_ok else (Result.FAILURE, UPDATE)
    return Finding(name, Section.FLEET, result, told, fix)


def _compared(parser: str, now: Suite, *, updates: bool) -> tuple[bool, str]:
    path = suite_path(parser)
    if updates:
        write_suite(path, now)
        return True, f"{path}: {len(now.kept)} outputs written"
    try:
        before = read_suite(path)
    except (OSError, ValueError) as error:
        return False, f"{error}; --update writes it"
    return compared(before, now)


def compared(before: Suite, now: Suite) -> tuple[bool, str]:
    """Say whether a parser does what it did, and what it does otherwise."""
    was, is_now = before.made_with.get("vllm"), now.made_with.get("vllm")
    if [kept.case for kept in before.kept] != [kept.case for kept in now.kept]:
        return False, "the file has other cases than the templates; --update writes it"
    found = list(differences(before, now))
    if not found:
        return True, f"{len(now.kept)} outputs of vLLM {is_now} as they were with {was}"
    more = [f"and {len(found) - MAX_TOLD} more"] if len(found) > MAX_TOLD else []
    head = f"vLLM {is_now} differs from {was} in {len(found)} outcomes"
    return False, "\n      ".join([head, *found[:MAX_TOLD], *more])
