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

cdef double DUE = float("-inf")
cdef Py_ssize_t MOST_DIGITS = 7

cdef const char *DIGITS = b"0123456789abcdef"
cdef const char *USAGE = b'"usage"'
cdef const char *ERROR = b'"error"'
cdef const char *MEMBER = b'token_ids":['
cdef const char *PROMPT = b'prompt_'
cdef const char *HIDDEN = b'token_ids":null'

cdef enum:
    MARK_LENGTH = 7
    MEMBER_LENGTH = 12
    PROMPT_LENGTH = 7
    HIDDEN_LENGTH = 15


cdef inline int hex_digit(char digit) noexcept nogil:
    if c'0' <= digit <= c'9':
        return digit - c'0'
    if c'a' <= digit <= c'f':
        return digit - c'a' + 10
    return -1


cdef Py_ssize_t content_start(const char *data, Py_ssize_t size) noexcept nogil:
    """Where the content of the one chunk begins that `data` is; 0: it is not that.

    As `only_chunk`: lower-case digits without a zero in front, seven at most, no extension.
    """
    cdef Py_ssize_t at = 0, length = 0
    cdef int digit
    if size < 6 or data[0] == c'0':
        return 0
    while at <= MOST_DIGITS and at < size:
        digit = hex_digit(data[at])
        if digit < 0:
            break
        length = length * 16 + digit
        at += 1
    if at == 0 or at > MOST_DIGITS:
        return 0
    # Two ends of lines, and as many bytes as were said.
    if size - at - 4 != length or length == 0:
        return 0
    if data[at] != c'\r' or data[at + 1] != c'\n':
        return 0
    if data[size - 2] != c'\r' or data[size - 1] != c'\n':
        return 0
    return at + 2


cdef struct Found:
    # Of the mark's first letter within the event, and behind its last; no mark: both 0.
    Py_ssize_t begin
    Py_ssize_t end
    Py_ssize_t ids


cdef bint is_plain(const char *event, Py_ssize_t size, Found *found) noexcept nogil:
    """Whether this is one whole event that can be passed on unread; and where its ids are.

    Each quotation mark is looked at once. A mark in a text of the model's has a backslash in
    front of its quotation mark and looks like a member all the same: the long way judges it.
    """
    cdef const char *end = event + size
    cdef const char *at
    cdef Py_ssize_t place
    found.begin = found.end = found.ids = 0
    if size < 2 or event[size - 1] != c'\n' or event[size - 2] != c'\n':
        return False
    at = event
    # Lines of the event: the first empty one is its last.
    while True:
        at = <const char *>memchr(at, c'\n', end - at)
        if at + 1 == end:
            # "\n" alone before the end: the pair began one earlier.
            break
        if at[1] == c'\n':
            if at + 2 != end:
                return False
            break
        at += 1
    at = event
    while True:
        at = <const char *>memchr(at, c'"', end - at)
        if at == NULL:
            return True
        place = at - event
        if size - place >= MARK_LENGTH:
            if at[1] == c'u' and memcmp(at, USAGE, MARK_LENGTH) == 0:
                return False
            if at[1] == c'e' and memcmp(at, ERROR, MARK_LENGTH) == 0:
                return False
        # The member's quotation mark is behind its name.
        if (
            place >= 9 and size - place >= 3 and at[1] == c':' and at[2] == c'['
            and memcmp(at - 9, MEMBER, MEMBER_LENGTH) == 0
        ):
            if found.end or not read_ids(event, size, place - 9, found):
                return False
        at += 1


cdef bint read_ids(const char *event, Py_ssize_t size, Py_ssize_t begin, Found *found) noexcept nogil:
    """Whether the list at a member's begin is the answer's, and nothing but ids."""
    cdef Py_ssize_t at = begin + MEMBER_LENGTH, commas = 0
    cdef char letter
    if begin < PROMPT_LENGTH:
        return False
    if memcmp(event + begin - PROMPT_LENGTH, PROMPT, PROMPT_LENGTH) == 0:
        return False
    while at < size:
        letter = event[at]
        if letter == c']':
            found.begin, found.end = begin, at + 1
            found.ids = commas + (at > begin + MEMBER_LENGTH)
            return True
        if letter == c',':
            commas += 1
        elif letter != c' ' and not (c'0' <= letter <= c'9'):
            return False
        at += 1
    return False


cdef bytes without_ids(const char *event, Py_ssize_t size, Found *found):
    cdef Py_ssize_t rest = size - found.end
    cdef bytes out = PyBytes_FromStringAndSize(NULL, found.begin + HIDDEN_LENGTH + rest)
    cdef char *to = PyBytes_AS_STRING(out)
    memcpy(to, event, found.begin)
    memcpy(to + found.begin, HIDDEN, HIDDEN_LENGTH)
    memcpy(to + found.begin + HIDDEN_LENGTH, event + found.end, rest)
    return out


cdef str text_within(bytes event, bytes prefix, bytes middle, bytes suffix, Py_ssize_t *token):
    """The text of an event of a template, and its id; None: it is another. See `EventTemplate`."""
    cdef const char *data = PyBytes_AS_STRING(event)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(event), before = PyBytes_GET_SIZE(prefix)
    cdef Py_ssize_t between = PyBytes_GET_SIZE(middle), after = PyBytes_GET_SIZE(suffix)
    cdef Py_ssize_t at = before, end, digits = 0
    cdef unsigned char letter
    if size < before + between + after or memcmp(data, PyBytes_AS_STRING(prefix), before) != 0:
        return None
    if memcmp(data + size - after, PyBytes_AS_STRING(suffix), after) != 0:
        return None
    end = size - after
    while at < end:
        letter = <unsigned char>data[at]
        if letter == c'"':
            break
        if letter == c'\\' or letter < 0x20:
            return None
        at += 1
    if at == before or end - at <= between:
        return None
    if memcmp(data + at, PyBytes_AS_STRING(middle), between) != 0:
        return None
    token[0] = 0
    for place in range(at + between, end):
        letter = <unsigned char>data[place]
        if not c'0' <= letter <= c'9' or (letter == c'0' and digits == 0) or digits == 9:
            return None
        token[0] = token[0] * 10 + letter - c'0'
        digits += 1
    try:
        return PyUnicode_DecodeUTF8(data + before, at - before, NULL)
    except UnicodeDecodeError:
        return None


def read_event(bytes event not None, bytes prefix not None, bytes middle not None, bytes suffix not None):
    """The token id and the text of an event of a template; None: it is another."""
    cdef Py_ssize_t token = 0
    text = text_within(event, prefix, middle, suffix, &token)
    return None if text is None else ((token,), text)


def only_chunk(bytes data not None):
    """The content of the one chunk that `data` is; empty if it is not that."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
    cdef const char *text = PyBytes_AS_STRING(data)
    cdef Py_ssize_t start = content_start(text, size)
    if start == 0:
        return b""
    return PyBytes_FromStringAndSize(text + start, size - start - 2)


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


cdef bytes framed(const char *data, Py_ssize_t size):
    """One chunk: the size in lower-case digits, the data, and two ends of lines."""
    cdef Py_ssize_t digits = 1, left = size >> 4
    cdef bytes out
    cdef char *to
    while left:
        digits += 1
        left >>= 4
    out = PyBytes_FromStringAndSize(NULL, digits + size + 4)
    to = PyBytes_AS_STRING(out)
    left = size
    for place in range(digits - 1, -1, -1):
        to[place] = DIGITS[left & 15]
        left >>= 4
    to += digits
    to[0], to[1] = c'\r', c'\n'
    memcpy(to + 2, data, size)
    to[size + 2], to[size + 3] = c'\r', c'\n'
    return out


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
