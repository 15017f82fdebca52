"""What a client has been told of an answer, and what of the same answer it has not.

Some streams cannot go on from where they broke off: the engine has no way to continue a
reasoning, a tool call, or an answer of `/v1/messages`. Their request is asked again of
another replica, and what the client has already is left out of the new stream. That holds
as long as the model says the same again; where it does not, the stream ends. Only what it
says to itself may differ: a reasoning that was not over is begun again.

What was told is what came out of the gate for tool calls, so a call that was held when the
replica was lost was never told, and may become another.
"""

from __future__ import annotations

from collections import deque

from serve_app.bodies.json_body import dump
from serve_app.protocol.sse import data_line, parsed_json
from serve_app.relay.repeat.cursor import Cursor
from serve_app.relay.repeat.names import Names
from serve_app.relay.repeat.parts import Data, Mark, mark_of, parts_of

MAX_RAW_BYTES = 2**16
"""Of events that are kept as they came, and read only when the stream has broken off."""

MAX_CHARS = 2**18
"""Of one answer's text. What is longer cannot be repeated."""

MAX_PIECES = 512
"""Pieces of text that are kept apart."""

_DONE = b"data: [DONE]"
_DONE_MARK: Mark = ("done",)


class Told:
    """One client's stream.

    Args:
        hides_ids: the engine tells token ids that the client did not ask for.

    Attributes:
        has_diverged: the repeated answer is not what was told.

    """

    def __init__(self, *, hides_ids: bool = False) -> None:
        self._hides_ids = hides_ids
        self._raw: deque[bytes] = deque()
        self._size = 0
        self._parts: list[tuple[Mark, str]] = []
        self._blocks: list[str] = []
        self._text: list[str] = []
        self._chars = 0
        self._is_lost = False
        self._names = Names()
        self._cursor: Cursor | None = None
        self.has_diverged = False

    @property
    def can_repeat(self) -> bool:
        """Whether all that was told is still known, which is found out by reading it."""
        self._read_all()
        return not self._is_lost

    @property
    def is_behind(self) -> bool:
        """Whether the client has more of the answer than the stream that repeats it."""
        return self._cursor is not None and not self._cursor.is_past

    @property
    def other_ids(self) -> dict[str, str]:
        """Ids by which the client knows what the newest engine calls otherwise."""
        return self._names.others

    def pass_on(self, events: bytes) -> bytes:
        """Take whole events, and return those that the client has not been told."""
        if self._cursor is not None:
            events = self._untold(events, self._cursor)
        if events and not self._is_lost:
            self._raw.append(events)
            self._size += len(events)
            while self._size > MAX_RAW_BYTES:
                self._read(self._raw.popleft())
        return events

    def begin_again(self) -> None:
        """From here on the events are another engine's, from the answer's start."""
        self._read_all()
        self._close_text()
        self._cursor = Cursor(list(self._parts))
        self._names.begin_again()

    # -- what was told ------------------------------------------------------

    def _read_all(self) -> None:
        while self._raw:
            self._read(self._raw.popleft())

    def _read(self, events: bytes) -> None:
        self._size -= len(events)
        for event in events.split(b"\n\n"):
            if event == _DONE:
                self._note(_DONE_MARK, None)
            data = parsed_json(data_line(event))
            if isinstance(data, dict):
                self._names.learn(data)
                for part in parts_of(data):
                    self._note(part.mark, part.text)

    def _note(self, mark: Mark, text: str | None) -> None:
        if text is None or not self._parts or self._parts[-1][0] != mark:
            self._close_text()
            self._parts.append((mark, ""))
        if text is not None:
            self._text.append(text)
            self._chars += len(text)
            if len(self._text) >= MAX_PIECES:
                # A string of one token takes ten times the memory of its characters.
                self._blocks.append("".join(self._text))
                self._text.clear()
        if self._chars > MAX_CHARS or len(self._parts) > MAX_CHARS // 64:
            self._is_lost = True
            self._parts, self._blocks, self._text = [], [], []
            self._raw.clear()
            self._size = 0

    def _close_text(self) -> None:
        if self._text or self._blocks:
            mark, before = self._parts[-1]
            self._parts[-1] = mark, "".join((before, *self._blocks, *self._text))
            self._blocks, self._text = [], []

    # -- the same again -----------------------------------------------------

    def _untold(self, events: bytes, cursor: Cursor) -> bytes:
        out = []
        for event in events.split(b"\n\n"):
            if self.has_diverged:
                break
            if event:
                out.append(self._untold_event(event, cursor))
        return b"".join(out)

    def _untold_event(self, event: bytes, cursor: Cursor) -> bytes:
        data = parsed_json(data_line(event))
        if not isinstance(data, dict):
            is_told = event == _DONE and cursor.meet(mark_of(_DONE_MARK, {})) is None
            self.has_diverged = cursor.has_diverged
            return b"" if is_told else event + b"\n\n"
        if cursor.is_past:
            return self._named(event, data)
        left = [cursor.meet(part) for part in parts_of(data)]
        if cursor.has_diverged:
            self.has_diverged = True
            return b""
        if None in left:
            self._names.skip(data)
        return b"".join(self._named(event, part.data) for part in left if part is not None)

    def _named(self, event: bytes, data: Data) -> bytes:
        """An event under the names by which the client knows the answer."""
        if self._hides_ids and isinstance(choices := data.get("choices"), list):
            data = {name: value for name, value in data.items() if name != "prompt_token_ids"}
            data["choices"] = [_without_ids(x) if isinstance(x, dict) else x for x in choices]
        named = b"data: " + dump(self._names.apply(data)) + b"\n\n"
        head, mark, _ = event.partition(b"\ndata:")
        return head + b"\n" + named if mark else named


def _without_ids(choice: Data) -> Data:
    shown = {name: value for name, value in choice.items() if name != "prompt_token_ids"}
    return {**shown, "token_ids": None} if "token_ids" in shown else shown
