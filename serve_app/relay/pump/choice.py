"""Which twins a process runs: the compiled ones where they are there and of their texts."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from classifier import native
from classifier.native import LEXICON, PUMP, Choice, NativeError
from router.admission.ticket import Ticket
from router.limits.pacer import Paces
from serve_app.config.errors import ConfigError
from serve_app.metrics import Series
from serve_app.protocol.chunks import Chunks
from serve_app.protocol.sse import EventReader
from serve_app.relay import transcript
from serve_app.relay.engine_stream import EngineStream, FirstStream
from serve_app.relay.pump import python
from serve_app.request.reply import StreamState
from serve_app.transport.feed import Feed


def chosen() -> dict[str, Choice]:
    """Return this process's choices, made once. Raises ConfigError where one cannot be had."""
    try:
        return {"pump": native.chosen(PUMP), "classifier": native.chosen(LEXICON)}
    except NativeError as error:
        raise ConfigError(str(error)) from error


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


def twin_of(choice: Choice) -> Twin:
    """Return what a choice for the pump comes to."""
    module = choice.module
    return PYTHON if module is None else Twin(module.Pump, module.Feed, module.Chunks)


@functools.cache
def twin() -> Twin:
    """Return this process's. Raises ConfigError where it cannot be had."""
    return twin_of(chosen()["pump"])


def row() -> dict[str, str]:
    """What moves tokens and what scores prompts here, and why."""
    made = chosen()
    return {
        "pump": made["pump"].twin,
        "reason": made["pump"].reason,
        "classifier": made["classifier"].twin,
        "classifier_reason": made["classifier"].reason,
    }


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
    return twin().Pump(stream, state, series, ticket, pacer, write, suspend, most_bytes)
