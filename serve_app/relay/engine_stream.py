"""An engine's stream as its client gets it: what all have, and the first engine's."""

from __future__ import annotations

from serve_app.protocol.errors import Dialect
from serve_app.protocol.sse import EventReader, Usage
from serve_app.relay.transcript import DONE, Transcript, count_ids

# The first event of each dialect that carries some of the answer.
_CONTENT = {Dialect.ANTHROPIC: b"content_block_delta", Dialect.RESPONSES: b'.delta"'}

MAX_WAITING_BYTES = 2**20
"""Of lines before the answer's first: an engine that goes on so is shown to its client."""


class EngineStream:
    """Turns an engine's bytes into the client's events, and keeps account.

    Attributes:
        reader: splits events, hides usage, and has what the engine said of its fault.
        ids: of the answer, as far as the engine says them.
        tokens: passed on so far: `ids`, else one an event.
        is_over: the answer has ended; what else comes is not read.
        is_steady: every token comes as an event.

    """

    def __init__(self, reader: EventReader, *, is_steady: bool) -> None:
        self.reader = reader
        self.ids = 0
        self.tokens = 0
        self.is_over = False
        self.is_steady = is_steady

    def feed(self, chunk: bytes) -> bytes:
        """Take bytes from the engine, return the client's whole events."""
        raise NotImplementedError

    def end(self) -> bytes:
        """Return what is still to be passed on when the engine's answer is whole."""
        return b""

    @property
    def untold_tokens(self) -> int:
        """Those of `tokens` of which the client has nothing yet."""
        return 0

    @property
    def is_plain(self) -> bool:
        """Whether an event in which nothing has to be read is only counted and passed on."""
        return False

    @property
    def is_complete(self) -> bool:
        """Whether the client has the end mark: a fault after it is none."""
        raise NotImplementedError

    @property
    def usage(self) -> Usage | None:
        """Tokens of the whole request, when they are known."""
        return self.reader.usage

    @property
    def has_failed(self) -> bool:
        """Whether the engine said that it failed, or ended without the end mark."""
        raise NotImplementedError


class FirstStream(EngineStream):
    """The first engine's stream, passed on as it comes.

    The transcript keeps what was passed on, where the stream could go on elsewhere. Lines
    before the first of the answer wait for it in `waits`, so that a fault before it can be
    retried unseen; None: they have gone out, or the dialect has none. `newest`: the events that
    were read last.
    """

    def __init__(
        self, reader: EventReader, transcript: Transcript | None, dialect: Dialect
    ) -> None:
        super().__init__(reader, is_steady=transcript is not None and transcript.has_ids)
        self.transcript = transcript
        self._mark = _CONTENT.get(dialect, b"")
        self.waits: bytes | None = b"" if self._mark else None
        self.newest = b""
        self._is_openai = dialect is Dialect.OPENAI
        self._is_cut_short = False

    def feed(self, chunk: bytes) -> bytes:
        reader = self.reader
        out = reader.feed(chunk)
        if self.is_steady and out:
            self.ids += count_ids(out)
        self.tokens = self.ids or reader.events
        if out:
            self.newest = out
            if self.transcript is not None:
                out = self.transcript.pass_on(out)
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
        """Return lines that waited for an answer that was empty."""
        self._is_cut_short = self._is_openai and not self.is_complete
        waited, self.waits = self.waits or b"", None
        return b"" if self.reader.has_failed else waited

    @property
    def untold_tokens(self) -> int:
        return self.tokens if self.waits else 0

    @property
    def is_plain(self) -> bool:
        return self.waits is None and self.reader.is_plain

    @property
    def is_complete(self) -> bool:
        return self._is_openai and self.newest.endswith(DONE)

    @property
    def has_failed(self) -> bool:
        return self.reader.has_failed or self._is_cut_short
