"""Compiled validators of tools' argument schemas, kept from request to request.

A coding client sends the same forty tools with every turn: a schema is compiled once. A
schema comes from a client, so nothing in it may reach out or run long: references to
other documents are not followed, and patterns run in linear time, or, with look-around,
within a bound of steps.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import jsonschema_rs
import orjson

MAX_KEPT = 2048
"""Validators kept; the one that was used longest ago goes first."""

MAX_REGEX_BYTES = 2**20
"""Memory that one compiled pattern may take."""

MAX_STEPS = 100_000
"""Of a pattern that the linear engine does not know, on one text: some milliseconds."""

_PATTERNS = (
    jsonschema_rs.RegexOptions(size_limit=MAX_REGEX_BYTES),
    jsonschema_rs.FancyRegexOptions(backtrack_limit=MAX_STEPS, size_limit=MAX_REGEX_BYTES),
)


class Schemas:
    """Validators by schema. One for a process: schemas are no secrets of a tenant's answers."""

    def __init__(self, max_kept: int = MAX_KEPT) -> None:
        self._max_kept = max_kept
        self._kept: OrderedDict[bytes, Any] = OrderedDict()

    def validator(self, schema: object) -> Any | None:
        """Return the validator of a schema, or None for one that no validator can be made of.

        What cannot be compiled (a reference to elsewhere, no schema at all) is for the
        model to follow; its calls have to be objects, and nothing more.
        """
        try:
            key = orjson.dumps(schema)
        except (TypeError, orjson.JSONEncodeError):
            return None
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        found = self._kept[key] = _compile(schema)
        if len(self._kept) > self._max_kept:
            self._kept.popitem(last=False)
        return found


def _compile(schema: object) -> Any | None:
    if not isinstance(schema, (dict, bool)):
        return None
    for patterns in _PATTERNS:
        try:
            return jsonschema_rs.validator_for(
                schema, offline=True, validate_formats=False, pattern_options=patterns
            )
        except (ValueError, jsonschema_rs.ReferencingError, OverflowError, RecursionError):
            continue
    return None
