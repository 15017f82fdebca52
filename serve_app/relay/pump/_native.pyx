# cython: language_level=3
"""The compiled twin of `python.Pump`, `transport.feed.Feed` and `protocol.chunks.Chunks`.

One token in one call from the event loop's to the transport's, without objects in between.
What it does, and in which order, is said there; all have the same tests. Nothing is written
before it is certain that what came is one plain event, so whatever is not goes the long way with
nothing of it taken. Lengths and places are `Py_ssize_t` offsets into one `bytes` object, each
compared with its end before it is read.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.string cimport memchr, memcmp, memcpy

from time import monotonic, perf_counter

cdef extern from *:
    """
    #ifndef NATIVE_SOURCE
    #define NATIVE_SOURCE ""
    #endif
    static const char *native_source = NATIVE_SOURCE;
    """
    const char *native_source

SOURCE = native_source.decode("ascii")
"""Digest of the text that this was built from."""
include "_event.pxi"


cdef class Chunks:
    """Writes pieces of a body that goes on. See `protocol.chunks.Chunks`."""

    cdef object _line, _write, _otherwise
    cdef public bint streams

    def __init__(self, line, write, otherwise):
        self._line, self._write, self._otherwise = line, write, otherwise
        self.streams = False

    def write(self, data not None):
        # A number would be so many zeros.
        return self.put(data if type(data) is bytes else bytes(memoryview(data)))

    def close(self, otherwise):
        self.streams, self._otherwise = False, otherwise

    cdef object put(self, bytes data):
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
        if not self.streams:
            self._otherwise(data)
        elif size:
            self._write(framed(PyBytes_AS_STRING(data), size))
        return self._line.drained() if self._line.is_full else None


cdef class Pump:
    """Passes the plain events of one stream on where they arrive. See `python.Pump`."""

    cdef object _stream, _reader, _transcript, _state, _deliver, _hold, _write, _suspend, _raw
    cdef object _series, _counts, _held, _template
    cdef Chunks _chunks
    cdef bytes _prefix, _middle, _suffix
    cdef tuple _bounds
    cdef bint _counts_ids, _strips
    cdef double _limit, _last
    cdef Py_ssize_t _events, _ids, _before, _most_bytes

    def __init__(self, stream, state, series, ticket, pacer, write, suspend, Py_ssize_t most_bytes):
        self._stream, self._reader, self._state = stream, stream.reader, state
        self._transcript = transcript = stream.transcript
        self._strips = transcript is not None and transcript.strips
        self._raw = None if transcript is None else transcript.raw
        self._most_bytes = most_bytes
        self._counts_ids = stream.is_steady
        self._series, self._counts, self._bounds = series, series.counts, series.bounds
        self._deliver = None if ticket is None else ticket.deliver
        self._hold = None if pacer is None else pacer.hold
        self._held = state.held
        self._write, self._suspend = write, suspend
        owner = getattr(write, "__self__", None)
        # That very method: another function may be bound to the same object.
        is_known = type(owner) is Chunks and write == owner.write
        self._chunks = <Chunks>owner if is_known else None
        self._limit = DUE

    def arm(self, double limit):
        self._limit = limit
        self._events, self._ids = self._reader.events, self._stream.ids
        self._before, self._last = self._state.tokens, self._state.last

    def disarm(self):
        self._limit = DUE

    def push(self, bytes data not None):
        return self.pass_on(data)

    cdef object pass_on(self, bytes data):
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data), start, length, ids, tokens, new, old, kept
        cdef const char *text = PyBytes_AS_STRING(data)
        cdef const char *event
        cdef Found found
        cdef double now, gap
        if self._limit == DUE:
            return None
        start = content_start(text, size)
        if start == 0:
            return None
        event, length = text + start, size - start - 2
        if not is_plain(event, length, &found):
            return None
        ids = self._ids + (found.ids if self._counts_ids else 0)
        old = self._ids or self._events
        tokens = ids or self._events + 1
        if self._before + tokens > self._limit:
            return None
        clock = monotonic()
        now = clock
        whole = PyBytes_FromStringAndSize(event, length)
        self._events += 1
        self._ids = ids
        self._reader.events = self._events
        self._stream.ids = ids
        self._stream.tokens = tokens
        self._stream.newest = whole
        if self._transcript is None:
            out = whole
        else:
            self._raw.append(whole)
            kept = <Py_ssize_t>self._transcript.size + length
            self._transcript.size = kept
            while kept > self._most_bytes:
                self._read(self._raw.popleft())
                kept = self._transcript.size
            out = without_ids(event, length, &found) if self._strips and found.end else whole
        tokens += self._before
        is_held = False
        if self._hold is not None:
            new = tokens - self._before - old
            position = self._hold(new, now=clock)
            if <double>position != DUE:
                is_held = True
                self._held.append((position, out))
                self._state.read = tokens, perf_counter()
        if self._deliver is not None:
            self._deliver(tokens)
        if is_held:
            return False
        gap = now - self._last
        self._observe(gap)
        self._last = now
        self._state.last = clock
        self._state.newest = out
        waits = self._write(out) if self._chunks is None else self._chunks.put(out)
        if waits is None:
            return True
        self._suspend(waits)
        return False

    cdef _read(self, bytes event):
        """Note the oldest event: by the stream's template, or else by the parser."""
        cdef Py_ssize_t token
        template = self._transcript.template
        if template is not None:
            if template is not self._template:
                self._template = template
                self._prefix, self._middle = template.prefix, template.middle
                self._suffix = template.suffix
            text = text_within(event, self._prefix, self._middle, self._suffix, &token)
            if text is not None:
                self._transcript.size -= PyBytes_GET_SIZE(event)
                self._transcript.noted.add((token,), text)
                return
        self._transcript.read(event)

    cdef _observe(self, double gap):
        cdef Py_ssize_t place = 0, most = len(self._bounds)
        while place < most and <double>self._bounds[place] < gap:
            place += 1
        self._counts[place] += 1
        self._series.sum += gap


cdef class Feed:
    """Gives what comes on a connection to a pump, else to `otherwise`. See `transport.feed.Feed`."""

    cdef object _otherwise, _finish, _clock, _push
    cdef Pump _pump
    cdef public double heard_at
    cdef public bint is_between_chunks

    def __init__(self, otherwise, finish, clock):
        self._otherwise, self._finish, self._clock = otherwise, finish, clock

    @property
    def push(self):
        return self._push

    @push.setter
    def push(self, push):
        owner = getattr(push, "__self__", None)
        self._push = push
        self._pump = <Pump>owner if type(owner) is Pump and push == owner.push else None

    def data_received(self, data):
        cdef Pump pump = self._pump
        self.heard_at = self._clock()
        push = self._push
        if push is not None and self.is_between_chunks:
            try:
                if pump is not None and type(data) is bytes:
                    goes_on = pump.pass_on(<bytes>data)
                else:
                    goes_on = push(data)
            except Exception as error:
                self._push, self._pump = None, None
                self._finish(error)
                return
            if goes_on:
                return
            if goes_on is not None:
                self._push, self._pump = None, None
                self._finish(None)
                return
        self._otherwise(data)

    def close(self):
        self._otherwise, self._finish, self.push = nothing, nothing, None


def nothing(_):
    """Take what comes after the end."""
