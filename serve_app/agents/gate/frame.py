"""Reads the tokens of a stream without reading their JSON.

Events that bring a token differ from the one before in one string, and in `/v1/responses`
in a number that counts them. What stands around that string is learned from an event that
was read as a whole. Where it stands around another JSON string, the event says the same as
the first, with that string: so much holds for any JSON, whatever the model wrote.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import orjson

from serve_app.agents.forms.form import Data, Form, Key, Piece, What
from serve_app.protocol.sse import data_line, parsed_json

_PROBE = "?"
_NUMBER = re.compile(rb'"sequence_number": ?(\d+)')
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')


@dataclass(slots=True)
class Frame:
    """What surrounds the string.

    Attributes:
        what: of which kind its tokens are; None: of none that the gate looks at, as
            reasoning is.
        key: of the answer, or of the call.
        head, tail: bytes of the event before and after the string's quotes.
        end: what comes behind the event's number, which ends `tail`; None: it has none.

    """

    what: What | None
    key: Key
    head: bytes
    tail: bytes
    end: bytes | None = None

    def token(self, event: bytes) -> str | None:
        """Return the string of an event with this frame; None for another event."""
        if not event.startswith(self.head):
            return None
        if self.end is not None:
            return self._numbered(event, self.end)
        if not event.endswith(self.tail):
            return None
        return _string(event[len(self.head) : -len(self.tail)])

    def _numbered(self, event: bytes, end: bytes) -> str | None:
        found = _STRING.match(event, len(self.head))
        if found is None or not event.startswith(self.tail, found.end()):
            return None
        is_number = event[found.end() + len(self.tail) : -len(end)].isdigit()
        return _string(found[0]) if is_number and event.endswith(end) else None


def _string(written: bytes) -> str | None:
    try:
        found = orjson.loads(written)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, str) else None


def frame_of(event: bytes, data: Data, pieces: list[Piece], form: Form) -> Frame | None:
    """Learn the frame of an event that was read; None: it is no token, or not to be told."""
    said = form.token_of(data)
    if said is None or len(pieces) > 1:
        return None
    written = orjson.dumps(said)
    head, _, tail = event.partition(written)
    if not tail or written in tail:
        return None
    # What the string is a part of may be told by its value alone: so another is tried.
    probe = parsed_json(data_line(head + orjson.dumps(_PROBE) + tail))
    if not isinstance(probe, dict) or form.token_of(probe) != _PROBE:
        return None
    if [*form.read(probe)] != [Piece(x.what, x.key, _PROBE) for x in pieces]:
        return None
    what, key = (pieces[0].what, pieces[0].key) if pieces else (None, (0, -1))
    number = _NUMBER.search(tail)
    if number is None:
        return Frame(what, key, head, tail)
    return Frame(what, key, head, tail[: number.start(1)], tail[number.end(1) :])
