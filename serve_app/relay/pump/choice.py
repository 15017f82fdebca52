"""Which twin moves tokens: the compiled one where it is there and of this text, else Python's."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple

from router.admission.ticket import Ticket
from router.limits.pacer import Paces
from serve_app.config.errors import ConfigError
from serve_app.config.settings import pump_wanted
from serve_app.metrics import Series
from serve_app.protocol.chunks import Chunks
from serve_app.protocol.sse import EventReader
from serve_app.relay import transcript
from serve_app.relay.engine_stream import EngineStream, FirstStream
from serve_app.relay.pump import build, python
from serve_app.request.reply import StreamState
from serve_app.transport.feed import Feed

BY_WISH = "POINTSMAN_PUMP=python"


class Twin(NamedTuple):
    """What stands in a token's way, compiled or in Python.

    Attributes:
        Pump: one token from bytes to bytes.
        Feed: what comes from an engine.
        Chunks: what goes to a client.

    """

    Pump: type[python.Pump]
    Feed: type[Feed]
    Chunks: type[Chunks]


PYTHON = Twin(python.Pump, Feed, Chunks)


@dataclass(frozen=True, slots=True)
class Choice:
    """What moves this process's tokens, and why."""

    pump: str
    reason: str
    twin: Twin

    @property
    def is_wanted(self) -> bool:
        """Whether the other twin would not be taken if it were there."""
        return self.pump == "native" or self.reason == BY_WISH

    def row(self) -> dict[str, str]:
        return {"pump": self.pump, "reason": self.reason}


@functools.cache
def chosen() -> Choice:
    """Return this process's choice, made once. Raises ConfigError where it cannot be had."""
    return choose(pump_wanted(), _built)


def choose(wanted: str, built: Callable[[], ModuleType]) -> Choice:
    """Return the twin for what is wanted; `built` imports the compiled one."""
    if wanted == "python":
        return _python(BY_WISH)
    try:
        native = built()
    except ImportError as error:
        return _without(wanted, f"not built ({error.msg}); scripts/install says why")
    if _digest() != native.SOURCE:
        return _without(wanted, "built from another text: run scripts/install")
    return Choice("native", "built from this text", Twin(native.Pump, native.Feed, native.Chunks))


def _digest() -> str | None:
    try:
        return build.digest()
    except OSError:
        return None


def _built() -> ModuleType:
    return import_module(build.MODULE)


def _without(wanted: str, reason: str) -> Choice:
    if wanted == "native":
        raise ConfigError(f"POINTSMAN_PUMP=native: {reason}")
    return _python(reason)


def _python(reason: str) -> Choice:
    return Choice("python", reason, PYTHON)


def pump_for(
    stream: EngineStream,
    state: StreamState,
    series: Series,
    ticket: Ticket | None,
    pacer: Paces | None,
    write: Callable[[bytes], Any],
    suspend: Callable[[Any], None],
) -> python.Pump | None:
    """Return a pump for the stream; None: each of its events has to be looked into."""
    if type(stream) is not FirstStream or type(stream.reader) is not EventReader:
        return None
    most_bytes = transcript.MAX_RAW_BYTES
    return chosen().twin.Pump(stream, state, series, ticket, pacer, write, suspend, most_bytes)
