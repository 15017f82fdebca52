"""Taking out of texts what says who somebody is, or opens a door: shipped patterns and a hook.

What stands in the place of something says what it was: `[email]`. Names and addresses of people
have no pattern; for those an operator names a function of their own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Any

from evals.traces.patterns import CARD, PATTERNS, Pattern
from evals.traces.trace import Trace

Hook = Callable[[str], str]
"""Takes one text and returns it without what an operator wants out of it."""

_SECRET_KEYS = frozenset(
    (
        *("password", "passwd", "passphrase", "secret", "clientsecret", "privatekey", "secretkey"),
        *("apikey", "xapikey", "accesskey", "secretaccesskey", "accesstoken", "refreshtoken"),
        *("idtoken", "authtoken", "sessiontoken", "authorization", "cookie", "setcookie"),
        *("cvv", "cvc", "pin"),
    )
)
"""Names of members, in lower case without `_` and `-`, whose text is a secret whatever it is."""

_HIDDEN = "[secret]"

MAX_DEPTH = 300
"""Deeper values are left out whole: bodies are no deeper (`serve_app.bodies.json_body`)."""


class HookError(Exception):
    """The operator's function did not return a text."""


class Redactor:
    """Redacts texts, JSON and traces.

    Args:
        hook: applied to each text after the patterns; what it raises is passed on.
        patterns: in the order in which they name what several find.

    """

    def __init__(self, hook: Hook | None = None, patterns: Sequence[Pattern] = PATTERNS) -> None:
        self._hook, self._patterns = hook, patterns

    def text(self, text: str) -> tuple[str, int]:
        """Return a text without what is taken out of it, and in how many places that was."""
        # Needles are looked for in it, nothing else: places in it may be other ones.
        lowered = text.lower()
        spans = [
            (*span, order)
            for order, pattern in enumerate(self._patterns)
            for span in pattern.spans(text, lowered)
        ]
        found, count = self._without(text, spans) if spans else (text, 0)
        if self._hook is None:
            return found, count
        told = self._hook(found)
        if not isinstance(told, str):
            raise HookError(f"the redaction hook returned {type(told).__name__}, not str")
        return told, count + (told != found)

    def _without(self, text: str, spans: list[tuple[int, int, int]]) -> tuple[str, int]:
        parts, at, count = [], 0, 0
        for first, last, order in _apart(spans):
            parts += [text[at:first], f"[{self._patterns[order].name}]"]
            at, count = last, count + 1
        return "".join([*parts, text[at:]]), count

    def json(self, value: Any) -> tuple[Any, int]:
        """Return a value of JSON with its texts redacted, names of members among them."""
        return self._json(value, MAX_DEPTH)

    def _json(self, value: Any, depth: int) -> tuple[Any, int]:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return self._number(value)
        if not isinstance(value, Mapping | list | tuple):
            return value, 0
        if depth == 0:
            return _HIDDEN, 1
        if isinstance(value, Mapping):
            return self._members(value, depth - 1)
        found = [self._json(item, depth - 1) for item in value]
        return [item for item, _ in found], sum(count for _, count in found)

    def _number(self, value: int) -> tuple[Any, int]:
        # Longer ones no card has, and Python refuses to write the longest.
        if not 10**12 <= value < 10**19:
            return value, 0
        written = str(value)
        is_card = any(CARD.spans(written, written))
        return (f"[{CARD.name}]", 1) if is_card else (value, 0)

    def _members(self, members: Mapping[str, Any], depth: int) -> tuple[dict[str, Any], int]:
        found: dict[str, Any] = {}
        total = 0
        for name, value in members.items():
            key, in_key = self.text(name)
            while key in found:
                # Two names that are one without what was taken out.
                key += "+"
            if isinstance(value, str) and value and _plain(name) in _SECRET_KEYS:
                found[key], in_value = _HIDDEN, 1
            else:
                found[key], in_value = self._json(value, depth)
            total += in_key + in_value
        return found, total

    def arguments(self, text: str) -> tuple[str, int]:
        """Return a call's arguments, as they were written where nothing is taken out."""
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return self.text(text)
        if not isinstance(value, dict | list):
            return self.text(text)
        found, count = self.json(value)
        return (json.dumps(found, ensure_ascii=False), count) if count else (text, 0)

    def trace(self, trace: Trace) -> Trace:
        """Return a trace with its body, answer, calls and signals redacted."""
        body, total = self.json(trace.body)
        signals, count = self.json(trace.signals)
        total += count
        answer = trace.answer
        if answer is not None:
            answer, count = self.text(answer)
            total += count
        calls = []
        for call in trace.tool_calls:
            arguments, count = self.arguments(str(call.get("arguments", "")))
            calls.append({**call, "arguments": arguments})
            total += count
        return replace(
            trace,
            body=body,
            signals=signals,
            answer=answer,
            tool_calls=tuple(calls),
            redactions=trace.redactions + total,
        )


def _apart(spans: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Join spans that overlap; the first pattern that found any of one gives its name."""
    found: list[tuple[int, int, int]] = []
    for first, last, order in sorted(spans, key=itemgetter(0)):
        if found and first < found[-1][1]:
            before = found[-1]
            found[-1] = before[0], max(before[1], last), min(before[2], order)
        else:
            found.append((first, last, order))
    return found


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")
