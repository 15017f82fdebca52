"""Which twins a process runs: the compiled ones where they are there and of their texts."""

from __future__ import annotations

import functools
from collections.abc import Callable

from classifier import native
from classifier.native import LEXICON, PUMP, Choice, NativeError
from router.admission.ticket import Ticket
from router.limits.pacer import Paces
from serve_app.config.errors import ConfigError
from serve_app.metrics import Series
from serve_app.protocol.sse import EventReader
from serve_app.relay import transcript
from serve_app.relay.engine_stream import EngineStream, FirstStream
from serve_app.relay.pump import python
from serve_app.request.reply import StreamState


def chosen() -> dict[str, Choice]:
    """Return this process's choices, made once. Raises ConfigError where one cannot be had."""
    try:
        return {"pump": native.chosen(PUMP), "classifier": native.chosen(LEXICON)}
    except NativeError as error:
        raise ConfigError(str(error)) from error


def row() -> dict[str, str]:
    """What moves tokens and what scores prompts here, and why."""
    made = chosen()
    return {
        "pump": made["pump"].twin,
        "reason": made["pump"].reason,
        "classifier": made["classifier"].twin,
        "classifier_reason": made["classifier"].reason,
    }


@functools.cache
def _kind() -> type[python.Pump]:
    module = chosen()["pump"].module
    kind: type[python.Pump] = python.Pump if module is None else module.Pump
    return kind


def pump_for(
    stream: EngineStream,
    state: StreamState,
    series: Series,
    ticket: Ticket | None,
    pacer: Paces | None,
    give: Callable[[bytes], bool],
) -> python.Pump | None:
    """Return a pump for the stream; None: each of its events has to be looked into."""
    if type(stream) is not FirstStream or type(stream.reader) is not EventReader:
        return None
    most_bytes = transcript.MAX_RAW_BYTES
    return _kind()(stream, state, series, ticket, pacer, give, most_bytes)
