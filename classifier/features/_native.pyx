# cython: language_level=3, cdivision=True
"""The compiled twin of `classifier.compiled`: from a text to its heads, without objects in between.

What is read, counted and weighed is said in `reading`, `surface`, `grams`, `pieces`, `words` and
`classifier.heads`; both twins have the same tests. Everything is summed in the same order in both,
one product and one sum after the other (built with -ffp-contract=off), so scores are equal to the
bit. Texts are cut to `MOST_READ` code points before anything else, and the buffer that they are read
from ends in zeros, further than any sign reaches.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.unicode cimport (
    PyUnicode_DATA,
    PyUnicode_GET_LENGTH,
    PyUnicode_KIND,
    PyUnicode_READ,
    Py_UNICODE_ISDECIMAL,
    Py_UNICODE_ISSPACE,
)
from libc.math cimport log1p, sqrt
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from classifier.features.reading import HEAD_CHARS, MAX_WORD_BYTES, TAIL_CHARS, TO_WORDS, cut, to_ascii
from classifier.features.surface import CLASSES

cdef extern from *:
    """
    #ifndef NATIVE_SOURCE
    #define NATIVE_SOURCE ""
    #endif
    static const char *native_source = NATIVE_SOURCE;
    /* Seeded once a process, as of Python's own dictionaries: nobody can choose words that collide. */
    static Py_hash_t (*hash_of)(const void *, Py_ssize_t);
    """
    const char *native_source
    Py_hash_t (*hash_of)(const void *, Py_ssize_t) noexcept
    ctypedef struct PyHash_FuncDef:
        Py_hash_t (*const hash)(const void *, Py_ssize_t) noexcept
    PyHash_FuncDef *PyHash_GetFuncDef()

SOURCE = native_source.decode("ascii")
"""Digest of the text that this was built from."""
include "_text.pxi"


cdef class Lexicon:
    """All that is asked of a text, and the memory of words. See `words.WordTable`.

    Args:
        common: the whole words of the vocabulary; they are never forgotten.
        inside: its pieces inside words, without their mark.
        keys, rows: n-grams as `WordTable` has them, without its last row.
        limit: of words; over it all but the common ones are forgotten.
        weights: of a word that occurs so often, from 0 times on.
        heads: lists of a surface feature's bounds and its weights in the heads, and alone in them;
            then the two heads' biases, and alone.
        foreign: the two ramps of `heads.foreign`, pieces first, and how many words it takes.

    """

    cdef void *memory
    cdef Entry *entries
    cdef uint32_t *slots  # 0 is free
    cdef uint32_t *order  # of the words of the text that is read
    cdef double *weights
    cdef Py_ssize_t common, fixed, used, limit, most_weight, grams
    cdef size_t mask
    cdef uint32_t turn
    cdef Py_buffer keys, rows
    cdef bint has_keys, has_rows
    cdef bint is_closed  # each n-gram's beginning is in the table, too
    cdef uint32_t begins[BUCKETS + 1]
    # Bit n: a piece of n letters begins with these two, at a word's begin or inside it.
    cdef uint32_t lengths[2][CODES][CODES]
    cdef double least[SURFACE]
    cdef double most[SURFACE]
    cdef double marks[SURFACE][4]
    cdef double bias[4]
    cdef double by_pieces[2]
    cdef double by_letters[2]
    cdef Py_ssize_t least_words

    def __cinit__(
        self,
        list common not None,
        list inside not None,
        keys,
        rows,
        Py_ssize_t limit,
        list weights not None,
        tuple heads not None,
        tuple foreign not None,
    ):
        cdef Py_ssize_t slots = 1 << 10, capacity = limit + len(inside), place
        PyObject_GetBuffer(keys, &self.keys, PyBUF_SIMPLE)
        self.has_keys = True
        PyObject_GetBuffer(rows, &self.rows, PyBUF_SIMPLE)
        self.has_rows = True
        self.grams = self.keys.len // 8
        if self.keys.len != 8 * self.grams or self.rows.len != 12 * self.grams or self.grams >> 31:
            raise ValueError("n-grams: three weights in single precision go with each key of 8 bytes")
        if capacity >> 30 or limit < len(common) + MOST_NEW or not weights:
            raise ValueError("there is no room for the words of a text")
        while slots < 2 * capacity:
            slots *= 2
        self.mask, self.limit, self.most_weight = slots - 1, capacity, len(weights) - 1
        self.memory = PyMem_Calloc(capacity + 1, sizeof(Entry))
        self.entries = <Entry *>(<size_t>self.memory + 63 & ~<size_t>63)
        self.slots = <uint32_t *>PyMem_Calloc(slots, sizeof(uint32_t))
        self.order = <uint32_t *>PyMem_Calloc(capacity, sizeof(uint32_t))
        self.weights = <double *>PyMem_Calloc(len(weights), sizeof(double))
        if not (self.memory and self.slots and self.order and self.weights):
            raise MemoryError
        for place, weight in enumerate(weights):
            self.weights[place] = weight
        (self.by_pieces[0], self.by_pieces[1]), (self.by_letters[0], self.by_letters[1]), self.least_words = foreign
        lines, biases = heads
        if len(lines) != SURFACE or len(biases) != 4:
            raise ValueError("compiled for other surface features")
        for place, line in enumerate(lines):
            self.least[place], self.most[place] = line[0], line[1]
            for column in range(4):
                self.marks[place][column] = line[2 + column]
        for column in range(4):
            self.bias[column] = biases[column]
        self._index()
        self._keep(common, inside)

    def __dealloc__(self):
        if self.has_keys:
            PyBuffer_Release(&self.keys)
        if self.has_rows:
            PyBuffer_Release(&self.rows)
        PyMem_Free(self.memory)
        PyMem_Free(self.slots)
        PyMem_Free(self.order)
        PyMem_Free(self.weights)

    def __len__(self):
        """How many words are remembered."""
        return self.used - (self.fixed - self.common)

    def heads(self, str text not None):
        """`need`, `kind` and how foreign the words are."""
        cdef Read read
        self._read(text, &read)
        return read.need, read.kind, read.foreign

    def told(self, str text not None):
        """The same, and the surface features."""
        cdef Read read
        self._read(text, &read)
        return (read.need, read.kind, read.foreign), [read.surface[place] for place in range(SURFACE)]

    cdef _index(self):
        """Where the n-grams of each bucket begin."""
        cdef const uint64_t *keys = <const uint64_t *>self.keys.buf
        cdef Py_ssize_t place
        for place in range(self.grams):
            self.begins[bucket_of(keys[place]) + 1] += 1
        for place in range(BUCKETS):
            self.begins[place + 1] += self.begins[place]
        self.is_closed = True
        for place in range(self.grams):
            if keys[place] >> 32:
                self.is_closed &= self._gram(keys[place] & 0xFFFFFFFF) >= 0
            elif keys[place] >> 24:
                self.is_closed &= self._gram(keys[place] & 0xFFFFFF) >= 0

    cdef _keep(self, list common, list inside):
        """Know the vocabulary, for good. What is longer than a word can be is never looked up."""
        cdef Py_ssize_t place
        for word in dict.fromkeys(common):
            self._know(word, False)
        self.common = self.used
        for word in dict.fromkeys(inside):
            self._know(word, True)
        self.fixed = self.used
        for place in range(self.common):
            self._weigh(self.entries + place)

    cdef _know(self, bytes piece, bint inside):
        cdef uint64_t key[3]
        if piece is None:
            raise TypeError("None is no piece")
        cdef Py_ssize_t size = PyBytes_GET_SIZE(piece)
        cdef const uint8_t *letters = <const uint8_t *>PyBytes_AS_STRING(piece)
        if 0 < size <= WORD - inside:
            # Of one letter, the second is the zero behind each bytes object; it is not asked for.
            self.lengths[inside][CODE[letters[0]]][CODE[letters[1]]] |= <uint32_t>1 << size
            key_of(letters, size, inside, key)
            self._add(key, self._slot(key))

    cdef size_t _slot(self, const uint64_t *key) noexcept:
        """Where the key is, or a free slot for it: there are twice as many as entries."""
        cdef size_t slot = <size_t>hash_of(key, WORD) & self.mask
        cdef const uint64_t *held
        while self.slots[slot]:
            held = self.entries[self.slots[slot] - 1].key
            if held[0] == key[0] and held[1] == key[1] and held[2] == key[2]:
                break
            slot = (slot + 1) & self.mask
        return slot

    cdef uint32_t _add(self, const uint64_t *key, size_t slot) noexcept:
        """A new entry, unweighed. The caller has seen that there is room."""
        cdef Entry *entry = self.entries + self.used
        memset(entry, 0, sizeof(Entry))
        memcpy(entry.key, key, WORD)
        self.used += 1
        self.slots[slot] = self.used
        return self.used - 1

    cdef void _forget(self) noexcept:
        """Back to the vocabulary: it came first, so the way to none of it leads past a later word."""
        cdef size_t slot
        cdef uint32_t most = self.fixed
        self.used = self.fixed
        for slot in range(self.mask + 1):
            self.slots[slot] = self.slots[slot] if self.slots[slot] <= most else 0

    cdef void _weigh(self, Entry *entry) noexcept:
        """The row of a word: sums over its n-grams from each byte on, and its pieces."""
        cdef uint8_t padded[WORD + 2]
        cdef const uint8_t *word = <const uint8_t *>entry.key
        cdef const float *rows = <const float *>self.rows.buf
        cdef Py_ssize_t size = 0, at, more, place
        cdef double here[3]
        cdef uint64_t key
        while size < WORD and word[size]:
            padded[size + 1] = word[size]
            size += 1
        padded[0] = padded[size + 1] = c' '
        for at in range(size):
            here[0] = here[1] = here[2] = 0.0
            key = padded[at] | <uint64_t>padded[at + 1] << 8
            for more in range(2, 5):
                if at + more >= size + 2:
                    break
                key |= <uint64_t>padded[at + more] << (8 * more)
                place = self._gram(key)
                if place >= 0:
                    here[0] += rows[3 * place]
                    here[1] += rows[3 * place + 1]
                    here[2] += rows[3 * place + 2]
                elif self.is_closed:
                    break
            entry.row[0] += here[0]
            entry.row[1] += here[1]
            entry.row[2] += here[2]
        entry.row[3] = self._pieces(word, size)

    cdef Py_ssize_t _gram(self, uint64_t key) noexcept:
        """The place of an n-gram, or -1."""
        cdef const uint64_t *keys = <const uint64_t *>self.keys.buf
        cdef int bucket = bucket_of(key)
        cdef Py_ssize_t low = self.begins[bucket], end = self.begins[bucket + 1], high = end, middle
        while low < high:
            middle = (low + high) >> 1
            if keys[middle] < key:
                low = middle + 1
            else:
                high = middle
        return low if low < end and keys[low] == key else -1

    cdef Py_ssize_t _pieces(self, const uint8_t *word, Py_ssize_t size) noexcept:
        """How many pieces a word has. A mark is one, known or not; letters and digits are above them."""
        cdef Py_ssize_t at = 0, begin, count = 0
        while at < size:
            begin = at
            while at < size and word[at] >= c'0':
                at += 1
            if at > begin:
                count += self._fitted(word + begin, at - begin)
            if at < size:
                count += 1
                at += 1
        return count

    cdef Py_ssize_t _fitted(self, const uint8_t *part, Py_ssize_t size) noexcept:
        """The longest piece that fits, again and again; where none does the part is one unknown piece."""
        cdef Py_ssize_t begin = 0, length, count = 0
        cdef uint32_t lengths
        while begin < size:
            length = size - begin
            lengths = 0 if length == 1 else self.lengths[begin > 0][CODE[part[begin]]][CODE[part[begin + 1]]]
            lengths |= 2
            while length and not (lengths >> length & 1 and self._is_piece(part + begin, length, begin > 0)):
                length -= 1
            if length == 0:
                return 1
            begin += length
            count += 1
        return count

    cdef bint _is_piece(self, const uint8_t *letters, Py_ssize_t size, bint inside) noexcept:
        """Whether the vocabulary has it: of at most 23 letters where it is inside a word."""
        cdef uint64_t key[3]
        key_of(letters, size, inside, key)
        cdef uint32_t found = self.slots[self._slot(key)]
        return found != 0 and found <= <size_t>(self.fixed if inside else self.common)

    cdef _read(self, str text, Read *read):
        cdef Py_ssize_t whole = PyUnicode_GET_LENGTH(text), at
        cdef int kind = PyUnicode_KIND(text)
        cdef void *data = PyUnicode_DATA(text)
        cdef uint8_t plain[MOST_READ]
        cdef uint32_t letter, all_letters = 0
        cdef bytes held
        read.size = whole if whole <= HEAD + TAIL else MOST_READ
        if whole <= HEAD + TAIL:
            for at in range(whole):
                read.text[at] = <uint32_t>PyUnicode_READ(kind, data, at)
        else:
            for at in range(HEAD):
                read.text[at] = <uint32_t>PyUnicode_READ(kind, data, at)
            read.text[HEAD] = c'\n'
            for at in range(TAIL):
                read.text[HEAD + 1 + at] = <uint32_t>PyUnicode_READ(kind, data, whole - TAIL + at)
        memset(read.text + read.size, 0, MARGIN * sizeof(uint32_t))
        for at in range(read.size):
            letter = read.text[at]
            all_letters |= letter
            plain[at] = <uint8_t>letter
        read.ascii, read.ascii_size = plain, read.size
        if all_letters >= 128:
            held = to_ascii(cut(text))
            read.ascii, read.ascii_size = <const uint8_t *>PyBytes_AS_STRING(held), PyBytes_GET_SIZE(held)
        if not self._count(read):
            self._forget()
            if not self._count(read):
                raise MemoryError("more words in one text than are remembered")
        look(read, whole)
        self._judge(read)

    cdef bint _count(self, Read *read) noexcept:
        """Count the words, each of which gets an entry; False: there was no room for one."""
        cdef uint64_t key[3]
        cdef uint8_t *word = <uint8_t *>key
        cdef Py_ssize_t at, size = 0
        cdef uint8_t letter
        cdef bint is_number = True
        self._next_turn()
        read.words = read.distinct = read.letters = read.long_words = read.number_words = 0
        key[0] = key[1] = key[2] = 0
        for at in range(read.ascii_size + 1):
            letter = IN_WORD[read.ascii[at]] if at < read.ascii_size else 0
            if letter:
                if size < WORD:
                    word[size] = letter
                    size += 1
                    is_number &= c'0' <= letter <= c'9'
            elif size:
                if not self._see(key, read):
                    return False
                read.words += 1
                read.letters += size
                read.long_words += size > LONGEST_SHORT_WORD
                read.number_words += is_number
                key[0] = key[1] = key[2] = 0
                size, is_number = 0, True
        return True

    cdef bint _see(self, const uint64_t *key, Read *read) noexcept:
        cdef size_t slot = self._slot(key)
        cdef uint32_t place
        cdef Entry *entry
        if self.slots[slot]:
            place = self.slots[slot] - 1
        elif self.used >= self.limit:
            return False
        else:
            place = self._add(key, slot)
            self._weigh(self.entries + place)
        entry = self.entries + place
        if entry.turn == self.turn:
            entry.count += 1
        else:
            entry.turn, entry.count = self.turn, 1
            self.order[read.distinct] = place
            read.distinct += 1
        return True

    cdef void _next_turn(self) noexcept:
        cdef Py_ssize_t place
        self.turn += 1
        if self.turn == 0:
            for place in range(self.used):
                self.entries[place].turn = 0
            self.turn = 1

    cdef void _judge(self, Read *read) noexcept:
        """The heads, as `Scorer` sums them."""
        cdef double sums[COLUMNS]
        cdef double heads[4]
        cdef double value, weight, total = 0.0, pieces, part
        cdef Py_ssize_t place
        cdef int column
        cdef Entry *entry
        sums[0] = sums[1] = sums[2] = sums[3] = 0.0
        for place in range(read.distinct):
            entry = self.entries + self.order[place]
            weight = self.weights[min(<Py_ssize_t>entry.count, self.most_weight)]
            for column in range(COLUMNS):
                sums[column] += weight * entry.row[column]
            total += weight
        for column in range(4):
            heads[column] = self.bias[column]
        for place in range(SURFACE):
            value = read.surface[place]
            value = self.least[place] if value < self.least[place] else value
            value = self.most[place] if value > self.most[place] else value
            for column in range(4):
                heads[column] += value * self.marks[place][column]
        if sums[0] > 0.0:
            weight = sqrt(sums[0])
            heads[0] += sums[1] / weight
            heads[1] += sums[2] / weight
        part = ramp(read.surface[17], self.by_letters[0], self.by_letters[1])
        if read.words >= self.least_words:
            pieces = ramp(sums[3] / total, self.by_pieces[0], self.by_pieces[1])
            part = pieces if pieces > part else part
        if part > 0.0:
            heads[0] = (1.0 - part) * heads[0] + part * heads[2]
            heads[1] = (1.0 - part) * heads[1] + part * heads[3]
        read.need, read.kind, read.foreign = heads[0], heads[1], part
