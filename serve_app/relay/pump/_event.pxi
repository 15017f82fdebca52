"""Chunks and events as bytes: what is found in them, and what is made of them.

Included by `_native.pyx`. See `python`, `event_template` and `protocol.chunks`.
"""

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
