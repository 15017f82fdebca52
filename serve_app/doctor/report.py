"""Findings for people, for programs, and as an exit status."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from serve_app.doctor.check import Finding, Result

MARKS = {
    Result.OK: "ok  ",
    Result.WARNING: "warn",
    Result.FAILURE: "FAIL",
    Result.NOT_APPLICABLE: "n/a ",
}


def as_json(findings: Sequence[Finding]) -> str:
    return json.dumps([finding.row() for finding in findings])


def as_lines(findings: Sequence[Finding]) -> Iterator[str]:
    """Each section's findings below its name, then how many there are of each result."""
    section = None
    for finding in findings:
        if finding.section is not section:
            section = finding.section
            yield f"{section}:"
        yield f"{MARKS[finding.result]}  {finding.check}: {finding.detail}"
        if finding.fix:
            yield f"      fix: {finding.fix}"
    counts = {result: sum(x.result is result for x in findings) for result in Result}
    yield ", ".join(f"{counts[result]} {result}" for result in Result)


def exit_status(findings: Sequence[Finding], *, strict: bool) -> int:
    """Return 1 when a check failed; with `strict` also when one warned; 0 otherwise."""
    bad = {Result.FAILURE, Result.WARNING} if strict else {Result.FAILURE}
    return int(any(finding.result in bad for finding in findings))
