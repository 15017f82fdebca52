"""Taking out of texts what says who somebody is, or opens a door: shipped patterns and a hook.

What stands in the place of something says what it was: `[email]`. Names and addresses of people
have no pattern; for those an operator names a function of their own.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from operator import itemgetter
from typing import Any

from evals.traces.checks import is_phone_text
from evals.traces.patterns import CARD, PATTERNS, PHONE, Pattern
from evals.traces.reading import readings
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
"""Names of members, in lower case without `_` and `-`, whose texts and numbers are secret."""

_HIDDEN = "[secret]"

_PHONE_KEYS = frozenset(
    (
        *("phone", "phonenumber", "telephone", "telephonenumber", "tel", "telefon", "fax"),
        *("mobile", "mobilephone", "mobilenumber", "cell", "cellphone", "whatsapp"),
    )
)
"""Names of members whose digits are a number to call, in whatever form."""

MAX_REMEMBERED = 8192
"""Texts of which is known what came of them; 64 MB if each was the longest and was changed."""

_REMEMBERED_CHARS = 64, 8192
"""Of shorter ones looking is as quick; longer ones rarely come twice."""

_DIGIT = re.compile(r"\d")

_LEAST_CHARS = 15
"""A shorter name is nothing that is looked for; Norway's accounts have so many."""

MAX_DEPTH = 300
"""Deeper values are left out whole: bodies are no deeper (`serve_app.bodies.json_body`)."""


class HookError(Exception):
    """The operator's function did not return a text."""


class Redactor:
    """Redacts texts, JSON and traces.

    Args:
        hook: applied to each text after the patterns, and the same for the same text; what it
            raises is passed on.
        patterns: in the order in which they name what several find.

    """

    def __init__(self, hook: Hook | None = None, patterns: Sequence[Pattern] = PATTERNS) -> None:
        self._hook, self._patterns = hook, patterns
        self._known: OrderedDict[bytes, tuple[str | None, int]] = OrderedDict()

    def text(self, text: str) -> tuple[str, int]:
        """Return a text without what is taken out of it, and in how many places that was.

        Conversations come again with each turn, so what came of a text is remembered: by its
        digest, and as nothing where it stayed as it was.
        """
        if not _REMEMBERED_CHARS[0] <= len(text) <= _REMEMBERED_CHARS[1]:
            return self._redacted(text)
        key = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        known = self._known.get(key)
        if known is None:
            found, count = self._redacted(text)
            known = self._known[key] = (None if found == text else found), count
            if len(self._known) > MAX_REMEMBERED:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(key)
        return (text if known[0] is None else known[0]), known[1]

    def _redacted(self, text: str) -> tuple[str, int]:
        spans = [] if len(text) < _LEAST_CHARS and text.isidentifier() else self._spans(text)
        found, count = self._without(text, spans) if spans else (text, 0)
        if self._hook is None:
            return found, count
        told = self._hook(found)
        if not isinstance(told, str):
            raise HookError(f"the redaction hook returned {type(told).__name__}, not str")
        return told, count + (told != found)

    def _spans(self, text: str) -> list[tuple[int, int, int]]:
        return [
            (*reading.written(first, last), order)
            for reading in readings(text)
            for first, last, order in self._found(reading.text)
        ]

    def _found(self, text: str) -> Iterator[tuple[int, int, int]]:
        # Needles are looked for in it, nothing else: places in it may be other ones.
        lowered = text.lower()
        has_digit = _DIGIT.search(text) is not None
        for order, pattern in enumerate(self._patterns):
            if pattern.may_be_in(lowered, has_digit=has_digit):
                for first, last in pattern.spans(text):
                    yield first, last, order

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
        is_card = any(CARD.spans(written))
        return (f"[{CARD.name}]", 1) if is_card else (value, 0)

    def _members(self, members: Mapping[str, Any], depth: int) -> tuple[dict[str, Any], int]:
        found: dict[str, Any] = {}
        total = 0
        for name, value in members.items():
            key, in_key = self.text(name)
            while key in found:
                # Two names that are one without what was taken out.
                key += "+"
            plain = _plain(name)
            if plain in _SECRET_KEYS and _says_something(value):
                found[key], in_value = _HIDDEN, 1
            elif plain in _PHONE_KEYS and is_phone_text(value):
                found[key], in_value = f"[{PHONE.name}]", 1
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


def _says_something(value: Any) -> bool:
    """Whether it may be a secret: schemas describe passwords, and flags ask for them."""
    is_said = isinstance(value, str | int | float | list | tuple) and not isinstance(value, bool)
    return is_said and value not in ("", [], ())


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")
