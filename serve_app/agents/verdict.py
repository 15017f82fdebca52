"""What is right or wrong with one tool call, and with an answer that makes none."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import orjson

from serve_app.agents.schemas import Schemas
from serve_app.agents.tools import Tools

MAX_WHY_CHARS = 200
"""Of what is said about a call: to the model that made it, and to the client."""


class CallOutcome(StrEnum):
    """How a call, or its absence, was judged: the values of the metric's label."""

    VALID = "valid"
    NOT_JSON = "not_json"
    NOT_OBJECT = "not_object"
    SCHEMA = "schema"
    UNKNOWN_TOOL = "unknown_tool"
    TOO_MANY = "too_many"
    IN_TEXT = "in_text"
    NO_CALL = "no_call"
    EMPTY = "empty"
    CUT_SHORT = "cut_short"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One judgement.

    Attributes:
        why: in words for the model and the client; empty for what is valid. It may quote
            the arguments, so it goes to no log and no metric.

    """

    outcome: CallOutcome
    why: str = ""

    @property
    def is_valid(self) -> bool:
        """Whether the client may act on the call."""
        return self.outcome is CallOutcome.VALID


class JudgedCall(NamedTuple):
    """A call that a client was given; `outcome`: how it was, as the model made it first."""

    id: str
    name: str
    outcome: CallOutcome


VALID = Verdict(CallOutcome.VALID)
TOO_MANY = Verdict(CallOutcome.TOO_MANY, "one call was allowed, and this is a further one")
IN_TEXT = Verdict(CallOutcome.IN_TEXT, "the call stands in the text instead of being made")
NO_CALL = Verdict(CallOutcome.NO_CALL, "a call was to be made, and there is none")
EMPTY = Verdict(CallOutcome.EMPTY, "the answer has neither text nor a call")
# The client's own limit on the answer, which the answer's end says.
CUT_SHORT = Verdict(CallOutcome.CUT_SHORT, "the answer ended at its limit, within the call")


def judge(name: str, arguments: str, tools: Tools, schemas: Schemas) -> Verdict:
    """Judge one call by the tools that were offered.

    `arguments` is the JSON text as the engine gave it; empty is an empty object, as
    engines write calls of tools without parameters.
    """
    if name not in tools.schemas:
        known = ", ".join(list(tools.schemas)[:20])
        return _verdict(CallOutcome.UNKNOWN_TOOL, f"no tool of that name is offered, only {known}")
    try:
        given = orjson.loads(arguments) if arguments.strip() else {}
    except orjson.JSONDecodeError as error:
        return _verdict(CallOutcome.NOT_JSON, f"the arguments are no JSON: {error.msg}")
    if not isinstance(given, dict):
        return _verdict(CallOutcome.NOT_OBJECT, "the arguments have to be one JSON object")
    validator = schemas.validator(tools.schemas[name])
    if validator is None or validator.is_valid(given):
        return VALID
    return _verdict(CallOutcome.SCHEMA, _first_fault(validator, given))


def _first_fault(validator: Any, given: dict[str, Any]) -> str:
    error = next(validator.iter_errors(given))
    path = "/".join(str(step) for step in error.instance_path)
    return f"at /{path}: {error.message}"


def _verdict(outcome: CallOutcome, why: str) -> Verdict:
    return Verdict(outcome, why if len(why) <= MAX_WHY_CHARS else why[: MAX_WHY_CHARS - 3] + "...")
