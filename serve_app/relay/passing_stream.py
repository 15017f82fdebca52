"""An engine's stream of which only a part is passed on."""

from __future__ import annotations

from serve_app.protocol.sse import Usage
from serve_app.relay.engine_stream import EngineStream


class PassingStream(EngineStream):
    """Another stream, of which a subclass decides what its client gets, and when."""

    def __init__(self, stream: EngineStream) -> None:
        super().__init__(stream.reader, is_steady=stream.is_steady)
        self._stream = stream
        self._told_tokens = 0

    @property
    def untold_tokens(self) -> int:
        return self.tokens - self._told_tokens

    @property
    def is_complete(self) -> bool:
        return self._stream.is_complete

    @property
    def usage(self) -> Usage | None:
        return self._stream.usage

    @property
    def has_failed(self) -> bool:
        return self._stream.has_failed
