"""Where a client's stream comes from: the interface, and the first engine's stream."""

from __future__ import annotations

from typing import Protocol

from router.errors import Rejected
from serve_app.protocol.errors import Dialect
from serve_app.protocol.sse import EventReader, Usage
from serve_app.relay.transcript import DONE, Journal, count_ids

# The first event of each dialect that carries some of the answer.
_CONTENT = {Dialect.ANTHROPIC: b"content_block_delta", Dialect.RESPONSES: b'.delta"'}

MAX_WAITING_BYTES = 2**20
"""Of lines before the answer's first: an engine that goes on so is shown to its client."""


class Source(Protocol):
    """Turns an engine's bytes into the client's, and keeps account.

    Attributes:
        tokens: passed on so far: the ids that the engine says, else one an event.
        is_counted: the engine has told its closing count.
        is_over: the answer has ended; what else comes is not read.
        is_steady: every token comes as an event.

    """

    tokens: int
    is_counted: bool
    is_over: bool
    is_steady: bool

    def feed(self, chunk: bytes) -> bytes:
        """Take bytes from the engine, return the client's whole events."""

    def end(self) -> bytes:
        """The engine's answer is whole: what is still to be passed on."""

    @property
    def is_complete(self) -> bool:
        """The client has the end mark: a fault after it is none."""

    @property
    def usage(self) -> Usage | None:
        """Tokens of the whole request, when they are known."""

    @property
    def has_failed(self) -> bool:
        """The engine said that it failed, or ended without the end mark."""

    @property
    def fault(self) -> bytes:
        """Its words, if it said so; empty where it only ended."""

    @property
    def refused(self) -> Rejected | None:
        """What it said is wrong with the request, if that is why."""


class Original:
    """The first engine's stream, passed on as it comes.

    Args:
        reader: counts and hides.
        journal: keeps what was passed on, where the stream could go on elsewhere.
        dialect: of the route. Lines before the first of the answer wait for it, so that
            a fault before it can be retried unseen.

    Attributes:
        waits: these lines; None: they have gone out, or there are none.

    """

    def __init__(self, reader: EventReader, journal: Journal | None, dialect: Dialect) -> None:
        self._reader = reader
        self.journal = journal
        self._mark = _CONTENT.get(dialect, b"")
        self.waits: bytes | None = b"" if self._mark else None
        self._last = b""
        self._is_openai = dialect is Dialect.OPENAI
        self._is_cut_short = False
        self._ids = 0
        self.tokens = 0
        self.is_counted = False
        self.is_over = False
        self.is_steady = journal is not None and journal.has_ids

    def feed(self, chunk: bytes) -> bytes:
        reader = self._reader
        out = reader.feed(chunk)
        if self.is_steady and out:
            self._ids += count_ids(out)
        self.tokens, self.is_counted = self._ids or reader.events, reader.is_counted
        if out:
            self._last = out
            if self.journal is not None:
                out = self.journal.pass_on(out)
            elif self.waits is not None:
                out = self._wait_for_content(self.waits, out)
        else:
            self.is_over = reader.is_endless
        return out

    def _wait_for_content(self, before: bytes, out: bytes) -> bytes:
        waited = before + out
        if self._mark not in out and len(waited) < MAX_WAITING_BYTES:
            self.waits = waited
            return b""
        self.waits = None
        return waited

    def end(self) -> bytes:
        """Lines that waited for an answer that was empty."""
        self._is_cut_short = self._is_openai and not self.is_complete
        waited, self.waits = self.waits or b"", None
        return b"" if self._reader.has_failed else waited

    @property
    def is_complete(self) -> bool:
        return self._is_openai and self._last.endswith(DONE)

    @property
    def usage(self) -> Usage | None:
        return self._reader.usage

    @property
    def has_failed(self) -> bool:
        return self._reader.has_failed or self._is_cut_short

    @property
    def fault(self) -> bytes:
        return self._reader.fault

    @property
    def refused(self) -> Rejected | None:
        return self._reader.refused
