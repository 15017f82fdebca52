"""An engine's stream of which is known what its client has been told."""

from __future__ import annotations

from serve_app.relay.engine_stream import EngineStream
from serve_app.relay.passing_stream import PassingStream
from serve_app.relay.repeat.told import Told


class ToldStream(PassingStream):
    """Another stream, without what its client has already.

    Tokens that are left out are not counted as passed on: they were, by the first engine.
    """

    def __init__(self, stream: EngineStream, told: Told) -> None:
        super().__init__(stream)
        self._told = told
        self._left_out = 0

    def feed(self, chunk: bytes) -> bytes:
        out, was_behind = self._stream.feed(chunk), self._told.is_behind
        if out:
            out = self._told.pass_on(out)
        if was_behind:
            self._left_out = self._stream.tokens - (1 if out else 0)
        self.tokens = self._stream.tokens - self._left_out
        self.is_over = self._stream.is_over or self._told.has_diverged
        if out:
            self._told_tokens = self.tokens
        return out

    def end(self) -> bytes:
        rest = self._stream.end()
        return self._told.pass_on(rest) if rest else rest

    @property
    def has_failed(self) -> bool:
        return self._stream.has_failed and not self._told.has_diverged
