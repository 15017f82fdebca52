"""One token of a stream from an engine's bytes to its client's, in one call.

A step that has nothing to wait for and nothing to decide: what came is one chunk, in it one whole
event, without a word in it that has to be read, and the stream is at a place where its tokens are
only counted. Whatever is not that goes the long way (`relay/forwarder`), with nothing of it taken.
`_native.pyx` is this in C; both do the same to the byte, and have the same tests.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from math import inf
from time import monotonic, perf_counter
from typing import Any

from router.admission.ticket import Ticket
from router.limits.pacer import DUE, Paces
from serve_app.metrics import Series
from serve_app.relay.engine_stream import FirstStream
from serve_app.relay.transcript import HIDDEN, MEMBER, Transcript
from serve_app.request.reply import StreamState
from serve_app.transport.connection import only_chunk

# Of an event's one list of ids. Any other text in its place, and one of the prompt's, is read.
_IDS = re.compile(rb"[0-9, ]*\]")
_PROMPT = b"prompt_"


class Pump:
    """Passes the plain events of one stream on where they arrive.

    It has no state of its own: what it counts is written to those whose it is. Between `arm` and
    `disarm` nobody else writes there.

    Args:
        series: takes the gaps between events.
        pacer: the tenant's tokens-per-second ceiling; what is not due is put into `state.held`.
        write: sends an event; returns None, or what has to be awaited before the next.
        suspend: takes that.
        most_bytes: of raw events in the transcript; the oldest over it are read.

    """

    def __init__(
        self,
        stream: FirstStream,
        state: StreamState,
        series: Series,
        ticket: Ticket | None,
        pacer: Paces | None,
        write: Callable[[bytes], Any],
        suspend: Callable[[Any], None],
        most_bytes: int,
    ) -> None:
        self._stream, self._reader, self._state = stream, stream.reader, state
        self._transcript = stream.transcript
        self._strips = stream.transcript is not None and stream.transcript.strips
        self._most_bytes = most_bytes
        self._observe = series.observe
        self._deliver = None if ticket is None else ticket.deliver
        self._hold = None if pacer is None else pacer.hold
        self._write, self._suspend = write, suspend
        self._limit = -inf

    def arm(self, limit: float) -> None:
        """Take events from now on, while all tokens of the reply are `limit` at most."""
        self._limit = limit

    def disarm(self) -> None:
        """Take nothing."""
        self._limit = -inf

    def push(self, data: bytes) -> bool | None:
        """Pass one plain event on; return whether another may follow, None: it is none.

        Raises what sending, the pacer and the ticket raise.
        """
        if self._limit == -inf:
            return None
        event = only_chunk(data)
        found = ids_within(event)
        if found is None:
            return None
        stream, state, reader = self._stream, self._state, self._reader
        ids = stream.ids + found[2] if stream.is_steady else stream.ids
        events, old = reader.events + 1, stream.ids or reader.events
        tokens = ids or events
        total = state.tokens + tokens
        if total > self._limit:
            return None
        now = monotonic()
        reader.events, stream.ids, stream.tokens, stream.newest = events, ids, tokens, event
        out = event if self._transcript is None else self._kept(self._transcript, event, found)
        is_due = self._hold is None or self._is_due(out, tokens - old, total, now)
        if self._deliver is not None:
            self._deliver(total)
        if not is_due:
            return False
        self._observe(now - state.last)
        state.last = now
        state.newest = out
        waits = self._write(out)
        if waits is None:
            return True
        self._suspend(waits)
        return False

    def _kept(self, transcript: Transcript, event: bytes, ids: tuple[int, int, int]) -> bytes:
        """Keep the event, and return it as the client gets it."""
        transcript.raw.append(event)
        transcript.size += len(event)
        while transcript.size > self._most_bytes:
            transcript.read(transcript.raw.popleft())
        begin, end, _ = ids
        return b"%b%b%b" % (event[:begin], HIDDEN, event[end:]) if end and self._strips else event

    def _is_due(self, out: bytes, new: int, total: int, now: float) -> bool:
        """Book an event under the ceiling; put it aside where it may not go now."""
        assert self._hold is not None
        position = self._hold(new, now=now)
        if position == DUE:
            return True
        self._state.held.append((position, out))
        self._state.read = total, perf_counter()
        return False


def ids_within(event: bytes) -> tuple[int, int, int] | None:
    """Where the token ids of a plain event begin and end, and how many; None: it is not plain.

    All are 0 where it has none.
    """
    if not event or event.find(b"\n\n") != len(event) - 2:
        return None
    if event.find(b'"usage"') >= 0 or event.find(b'"error"') >= 0:
        return None
    begin = event.find(MEMBER)
    if begin < 0:
        return 0, 0, 0
    begun = begin + len(MEMBER)
    listed = _IDS.match(event, begun)
    if listed is None or begin < len(_PROMPT) or event.find(MEMBER, begun) >= 0:
        return None
    if event.startswith(_PROMPT, begin - len(_PROMPT)):
        return None
    end = listed.end()
    return begin, end, event.count(b",", begun, end) + (end - 1 > begun)
