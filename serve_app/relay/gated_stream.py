"""An engine's stream whose tool calls are let through when they are valid."""

from __future__ import annotations

from serve_app.agents.gate import Gate
from serve_app.relay.engine_stream import EngineStream
from serve_app.relay.passing_stream import PassingStream


class GatedStream(PassingStream):
    """Another stream behind a gate. What is held counts as read, and not as passed on."""

    def __init__(self, stream: EngineStream, gate: Gate) -> None:
        super().__init__(stream)
        self._gate = gate

    def feed(self, chunk: bytes) -> bytes:
        out = self._stream.feed(chunk)
        self.tokens, self.is_over = self._stream.tokens, self._stream.is_over
        if out:
            out = self._gate.feed(out)
            if out:
                self._told_tokens = self.tokens
        return out

    def end(self) -> bytes:
        rest = self._stream.end()
        return self._gate.feed(rest) if rest else rest
