"""One check: what it is called, where it belongs, and what it found, with the exact fix."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from serve_app.config.errors import ConfigError

WARNING = "warning: "
"""Begins the detail of a warning in JSON, as it always has."""


class Section(StrEnum):
    """What a check is of, in the order in which they are shown."""

    FILES = "files"
    FLEET = "fleet"
    MACHINE = "machine"
    DEPLOYMENT = "deployment"


class Result(StrEnum):
    """What a check found."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check found, without its name.

    Attributes:
        detail: what was seen; of a check that does not apply, why not.
        fix: the command, or the changed line of a file; empty where nothing is wrong.

    """

    result: Result
    detail: str
    fix: str = ""


def ok(detail: str) -> Verdict:
    return Verdict(Result.OK, detail)


def warning(detail: str, fix: str) -> Verdict:
    return Verdict(Result.WARNING, detail, fix)


def failure(detail: str, fix: str) -> Verdict:
    return Verdict(Result.FAILURE, detail, fix)


def not_applicable(why: str) -> Verdict:
    return Verdict(Result.NOT_APPLICABLE, why)


@dataclass(frozen=True, slots=True)
class Check:
    """A check that has not run yet.

    Attributes:
        examine: looks, and may raise ConfigError, OSError or PackageNotFoundError, whose
            text is then the detail of a failure.
        fix: what mends a failure that `examine` raised.

    """

    name: str
    section: Section
    examine: Callable[[], Verdict]
    fix: str = ""

    def run(self) -> Finding:
        try:
            verdict = self.examine()
        except (ConfigError, OSError, importlib.metadata.PackageNotFoundError) as error:
            verdict = failure(str(error), self.fix)
        return Finding(self.name, self.section, verdict.result, verdict.detail, verdict.fix)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    check: str
    section: Section
    result: Result
    detail: str
    fix: str = ""

    def row(self) -> dict[str, Any]:
        """The finding as JSON: `check`, `ok` and `detail` are older than the other keys."""
        mark = WARNING if self.result is Result.WARNING else ""
        return {
            "check": self.check,
            "ok": self.result is not Result.FAILURE,
            "detail": mark + self.detail,
            "section": str(self.section),
            "result": str(self.result),
            "fix": self.fix,
        }
