"""What is seen in one text: its words' bytes, its signs, its surface features; and words' keys.

Included by `_native.pyx`. See `surface` and `grams`.
"""

cdef enum:
    HEAD = 600
    TAIL = 600
    MOST_READ = 1201  # head, an end of line, tail
    MOST_NEW = 10809  # words of one text: no character is more than 18 in ASCII
    MARGIN = 16  # a list item is looked at 13 code points ahead
    WORD = 24  # bytes of a word at most, and of its zero-padded key
    LONGEST_SHORT_WORD = 8
    SURFACE = 25
    COLUMNS = 4  # norm, need, kind, pieces
    MANY = 10  # classes of bytes
    # Of n-grams, by their size and last two bytes: 40 bytes are in words, and one code is below them.
    CODES = 41
    BUCKETS = 3 * 41 * 41 + 1

cdef struct Entry:
    # One cache line. Of a piece inside words, the key begins with a byte that is in no word.
    double row[COLUMNS]
    uint64_t key[3]
    uint32_t turn  # the last text that it was in, and how often
    uint32_t count

cdef struct Read:
    uint32_t text[MOST_READ + MARGIN]
    Py_ssize_t size
    const uint8_t *ascii
    Py_ssize_t ascii_size
    Py_ssize_t words
    Py_ssize_t distinct
    Py_ssize_t letters
    Py_ssize_t long_words
    Py_ssize_t number_words
    double surface[SURFACE]
    double need
    double kind
    double foreign

cdef uint8_t IN_WORD[256]  # 0: it stands between words
cdef uint8_t CODE[256]  # rises with the byte
cdef uint16_t CLASS_OF[128]
cdef uint8_t BEGINS[128]  # a sign, a shape or an end of a sentence
cdef uint8_t INSIDE = 1


def _fill_tables():
    cdef int code = 0, byte
    cdef bytes to_words = TO_WORDS
    for byte in range(256):
        IN_WORD[byte] = 0 if to_words[byte] == 0x20 else to_words[byte]
        code += byte == 0x20 or to_words[byte] == byte != 0x20
        CODE[byte] = code
    if (HEAD_CHARS, TAIL_CHARS, MAX_WORD_BYTES, len(CLASSES)) != (HEAD, TAIL, WORD, MANY) or code >= CODES:
        raise ImportError("built for another reading of texts")
    for number, members in enumerate(CLASSES):
        for byte in members:
            CLASS_OF[byte] |= 1 << number
    for byte in b".?!=-<()`_dir\n":
        BEGINS[byte] = 1


_fill_tables()
hash_of = PyHash_GetFuncDef().hash


cdef inline bint starts(const uint32_t *text, const char *sign) noexcept:
    """Whether the sign is here; the zeros behind a text are in none."""
    cdef Py_ssize_t at = 0
    while sign[at]:
        if text[at] != <uint32_t>sign[at]:
            return False
        at += 1
    return True


cdef inline bint is_choice(const uint32_t *at, const uint32_t *end) noexcept:
    """`_CHOICE` of `surface`, which an end of line begins."""
    at += 1
    if at[0] == c'(':
        at += 1
    if not c'A' <= at[0] <= c'J' or (at[1] != c'.' and at[1] != c')' and at[1] != c':'):
        return False
    at += 3 if at[2] == c' ' else 2
    return at < end and not Py_UNICODE_ISSPACE(at[0])


cdef inline bint is_list_item(const uint32_t *at) noexcept:
    """`_LIST_ITEM` of `surface`, which an end of line begins."""
    cdef int blanks = 0
    at += 1
    while blanks < 8 and (at[0] == c' ' or at[0] == c'\t'):
        blanks += 1
        at += 1
    if Py_UNICODE_ISDECIMAL(at[0]):
        at += 2 if Py_UNICODE_ISDECIMAL(at[1]) else 1
        if at[0] != c'.' and at[0] != c')':
            return False
    elif at[0] != c'-' and at[0] != c'*' and at[0] != 0x2022:
        return False
    return at[1] == c' ' or at[1] == c'\t'


cdef inline void count_classes(const uint32_t *seen, Py_ssize_t *counts) noexcept:
    cdef int byte, number
    cdef uint16_t left
    for byte in range(128):
        left = CLASS_OF[byte] if seen[byte] else 0
        number = 0
        while left:
            if left & 1:
                counts[number] += seen[byte]
            left >>= 1
            number += 1


cdef inline double ramp(double value, double low, double high) noexcept:
    value = (value - low) / (high - low)
    return 0.0 if value < 0.0 else 1.0 if value > 1.0 else value


cdef void look(Read *read, Py_ssize_t whole) noexcept:
    """Count what `surface_of` counts; the words are counted already. `whole`: of the whole text."""
    cdef const uint32_t *text = read.text
    cdef const uint32_t *end = text + read.size
    cdef const uint32_t *at = text
    cdef const uint32_t *equal = text
    cdef const uint32_t *ticks = text
    cdef uint32_t letter, following
    cdef Py_ssize_t counts[MANY]
    cdef Py_ssize_t shown[MANY]
    cdef uint32_t seen[128]
    cdef Py_ssize_t place, utf8 = 0, code = 0, choices = 0, items = 0, sentences = 1
    cdef bint has_blank = False
    cdef double size = read.size if read.size else 1, length = whole
    cdef double words = read.words if read.words else 1
    cdef double *out = read.surface
    memset(seen, 0, sizeof(seen))
    memset(counts, 0, sizeof(counts))
    memset(shown, 0, sizeof(shown))
    while at < end:
        letter = at[0]
        if letter >= 128:
            utf8 += 2 if letter < 0x800 else 3 if letter < 0x10000 else 4
            at += 1
            continue
        utf8 += 1
        seen[letter] += 1
        if BEGINS[letter]:
            following = at[1]
            if letter == c'.':
                sentences += following == c' ' or following == c'\n'
            elif letter == c'?' or letter == c'!':
                sentences += following == c' '
            elif letter == c'\n':
                choices += is_choice(at, end)
                items += is_list_item(at)
            elif letter == c'_':
                has_blank |= following == c'_'
            elif letter == c'=':
                code += following == c'>'
                if following == c'=' and at >= equal:
                    code += 1
                    equal = at + 2
            elif letter == c'`':
                if at >= ticks and following == c'`' and at[2] == c'`':
                    code += 1
                    ticks = at + 3
            elif letter == c'-':
                code += following == c'>'
            elif letter == c'<':
                code += following == c'/'
            elif letter == c'(':
                code += starts(at, b"();")
            elif letter == c')':
                code += starts(at, b"):\n")
            elif letter == c'd':
                code += starts(at, b"def ")
            elif letter == c'i':
                code += starts(at, b"import ")
            else:
                code += starts(at, b"return ")
        at += 1
    # Some are counted in the text, the others in its ASCII, where it is not the same.
    count_classes(seen, shown)
    if read.ascii_size != read.size or utf8 != read.size:
        memset(seen, 0, sizeof(seen))
        for place in range(read.ascii_size):
            seen[read.ascii[place] & 127] += 1
        count_classes(seen, counts)
    else:
        memcpy(counts, shown, sizeof(counts))
    if read.ascii_size != read.size:
        length = <double>(whole * utf8) / size
    while end > text and Py_UNICODE_ISSPACE(end[-1]):
        end -= 1
    out[0] = log1p(length)
    out[1] = log1p(<double>read.words)
    out[2] = log1p(<double>shown[7])
    out[3] = log1p(<double>sentences)
    out[4] = log1p(<double>read.words / sentences)
    out[5] = read.letters / words
    out[6] = read.long_words / words
    out[7] = read.distinct / words
    out[8] = read.number_words / words
    out[9] = 1.0 if end > text and end[-1] == c'?' else 0.0
    out[10] = log1p(<double>shown[6])
    for place in range(6):
        out[11 + place] = counts[place] / size
    length = read.ascii_size if read.ascii_size < size else size
    out[17] = 1.0 - length / size if read.size else 0.0
    out[18] = log1p(<double>counts[0])
    out[19] = log1p(<double>code)
    out[20] = log1p(<double>shown[8])
    out[21] = log1p(<double>shown[9])
    out[22] = log1p(<double>choices)
    out[23] = log1p(<double>items)
    out[24] = 1.0 if has_blank else 0.0


cdef inline void key_of(const uint8_t *letters, Py_ssize_t size, bint inside, uint64_t *key) noexcept:
    """The key of a word, or of a piece inside words: one letter shorter at most."""
    cdef uint8_t *to = <uint8_t *>key
    key[0] = key[1] = key[2] = 0
    if inside:
        to[0] = INSIDE
    memcpy(to + inside, letters, size)


cdef inline int bucket_of(uint64_t key) noexcept:
    """Rises with the key."""
    if key >> 40:
        return BUCKETS - 1
    if key >> 32:
        return (2 * CODES + CODE[key >> 32]) * CODES + CODE[(key >> 24) & 255]
    if key >> 24:
        return (CODES + CODE[key >> 24]) * CODES + CODE[(key >> 16) & 255]
    return CODE[key >> 16] * CODES + CODE[(key >> 8) & 255]
