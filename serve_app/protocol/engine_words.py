"""What an engine says is wrong with a request, as far as a client should read it.

Engines answer with the text of exceptions: some say which value is out of which bounds,
others name flags, environment variables and templates, quote the request, or tell where
a program tripped. So there is a list of what is passed on (`engine_messages`), for whole
answers and events, 4xx and 5xx; of the rest the client hears in words of ours, and the
log has the shape.
"""

from __future__ import annotations

import functools
import logging
import re
from typing import Any

import orjson

from router.errors import Rejected, RejectReason
from serve_app.protocol.engine_messages import IN_OUR_WORDS, PASSED, TOO_LONG

logger = logging.getLogger("ray.serve")

NOT_NOW = frozenset({502, 503, 504})
"""Statuses that speak of the replica and not of what was asked."""

FAILED_ON_IT = (
    "The model cannot work with this request: one of its fields has a value that makes it fail. "
    "Leave optional fields out, one after the other, to find which."
)
NOT_VALID = "The request is not valid for this model."

MAX_READ = 4_000
"""Characters of a message that are looked at; some quote a whole request."""

MAX_CHARS = 400
MAX_LEVELS = 20
"""Of a field's path in `param`."""

# What vLLM puts behind its own words: which value it did not like.
_VALUE = re.compile(r" ?\(parameter=.*", re.DOTALL)

# `1 validation error:\n  {'type': 'bool_type', 'loc': ('body', 'n'), 'msg': '...', 'input': ...`
_FIELD = re.compile(
    r"(?P<count>\d+) validation errors?:\s+\{'type': '\w+', 'loc': \((?P<loc>[^\n]{0,300}?)\), "
    r"'msg': (?P<quote>['\"])(?P<said>[^\n]{0,300}?)(?P=quote)[,}]"
)
_STEP = re.compile(r"[a-z][a-z0-9_]{0,40}|\d{1,6}")
# A flag, whatever follows the words that are listed.
_FLAG = re.compile(r"--[a-z]")
# Names of types, which pydantic puts into the path of what may be several things.
_TYPES = frozenset({"str", "int", "float", "bool", "bytes", "dict", "list", "none"})
# Names of the engine's own, which no request has.
_NOT_FIELDS = frozenset({"input_tokens", "type", "skip_tokenizer_init"})

_NAMED = re.compile(r"[`']?([a-z][a-z0-9_]*)(?:\.[a-z_]+)?[`']? (?:must|cannot|asks for|has token)")

_QUOTED = re.compile(r"'[^']*'?|\"[^\"]*\"?|`[^`]*`?|[\[({<].*")
_SHAPE_CHARS = 120


def from_engine(status: int, body: bytes) -> Rejected:
    """Return what a client hears of an engine's error response, or of an error event's data."""
    if status >= 500:
        return Rejected(RejectReason.NO_REPLICA, "The model could not answer; try again.")
    return _refusal(body, NOT_VALID)


def objection(body: bytes) -> Rejected:
    """Return the refusal of a request on which a healthy engine failed."""
    return _refusal(body, FAILED_ON_IT)


def engine_error(body: bytes) -> dict[str, Any]:
    """Return the error object of an engine's answer, empty when it has none."""
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    error = data.get("error", data) if isinstance(data, dict) else {}
    return error if isinstance(error, dict) else {}


def _refusal(body: bytes, otherwise: str) -> Rejected:
    error = engine_error(body)
    message = error.get("message")
    given = error.get("param")
    param = _path(given.split(".")) if isinstance(given, str) else None
    if not isinstance(message, str):
        return Rejected(RejectReason.INVALID_REQUEST, otherwise, param=param)
    field = _FIELD.match(message)
    if field is not None:
        param = _path([step.strip(" '\"") for step in field["loc"].split(",")])
        return Rejected(RejectReason.INVALID_REQUEST, _of_field(field, param), param=param)
    said = passed(message)
    if said is None:
        note_unsaid(shape_of(message))
    elif param is None:
        param = _named(said)
    is_long = said is not None and TOO_LONG.match(said) is not None
    reason = RejectReason.CONTEXT_LENGTH_EXCEEDED if is_long else RejectReason.INVALID_REQUEST
    return Rejected(reason, said or otherwise, param=param)


def passed(message: str) -> str | None:
    """Return what of an engine's message a client may read, if anything."""
    message = _VALUE.sub("", message[:MAX_READ].removeprefix("Value error, "))
    for pattern, words in IN_OUR_WORDS:
        found = pattern.match(message)
        if found is not None:
            return found.expand(words)
    for pattern in PASSED:
        found = pattern.match(message)
        if found is not None:
            return None if _FLAG.search(found[0]) else found[0][:MAX_CHARS]
    return None


def _named(said: str) -> str | None:
    """Return the field that a message begins with. Dialects without `param` name it only there."""
    found = _NAMED.match(said)
    return None if found is None else found[1]


def _of_field(error: re.Match[str], param: str | None) -> str:
    """Say which field is refused, and what it must be where it may be one thing only."""
    said = passed(error["said"]) if error["count"] == "1" else None
    if param is None:
        return said or NOT_VALID
    return f"'{param}' is not valid." if said is None else f"'{param}' is not valid: {said}"


def _path(steps: list[str]) -> str | None:
    """Return the request's field at a path in the engine's models, as far as it leads."""
    own: list[str] = []
    for step in steps[1:] if steps[0] == "body" else steps:
        if not _STEP.fullmatch(step) or step in _TYPES or len(own) == MAX_LEVELS:
            break
        own.append(step)
    return None if not own or own[0].isdecimal() or own[0] in _NOT_FIELDS else ".".join(own)


def shape_of(message: str) -> str:
    """A message without what it may have from the request: quotations, numbers, all after a colon.

    Logs hold no prompts.
    """
    first = message[: 4 * _SHAPE_CHARS].partition("\n")[0]
    bare = _QUOTED.sub("...", first).partition(":")[0].partition("=")[0]
    return re.sub(r"\d+", "N", bare)[:_SHAPE_CHARS]


@functools.lru_cache(maxsize=256)
def note_unsaid(shape: str) -> None:
    """Log a kind of message that clients do not see, once while it is remembered."""
    logger.warning("an engine refused a request with words that are not passed on: %s", shape)
