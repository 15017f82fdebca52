"""A client's socket in another process: what goes with it, and what both see of the stream.

The ingress sends the socket (SCM_RIGHTS) with the request over a Unix socket of whole messages
(SOCK_SEQPACKET) and keeps a descriptor of its own. The lane writes each piece first into a
journal, memory that both have mapped, then to the socket. So when the lane dies, killed at any
instant, the ingress knows the pieces that there are from the journal and how many of their bytes
the client's socket took from the kernel, and goes on behind them.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import socket
import struct
from dataclasses import dataclass

SLOTS = 256
HEAD_BYTES = 64
ROOM_BYTES = 4 * 1024 * 1024
"""Of one stream's journal. It is not a ring: what does not fit is relayed from the beginning."""

MAX_MESSAGE = 128 * 1024
"""What a Unix socket takes as one message under Linux's usual bounds; longer bodies are relayed."""

HELLO = 0xFFFFFFFF
"""In place of a slot: this message brings the journal."""

GONE, STAYS = 0, 1
"""How a lane gives a connection back: its client has left, or all was written."""

APPENDED, HELD_UNTIL = 0, 1
"""Words of a slot's head: bytes in its journal; until when nothing is written, in monotonic ns."""

_TASK = struct.Struct("<II")
_ACKED_AT = 120  # `tcpi_bytes_acked` in struct tcp_info, linux/tcp.h
_SIOCOUTQ = 0x5411
_HEAD_WORDS = HEAD_BYTES // 8


class Journal:
    """What was said in every stream that is handed over: `SLOTS` of them.

    `words` has each slot's head, `pieces` the bytes behind it.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._map = mmap.mmap(fd, SLOTS * (HEAD_BYTES + ROOM_BYTES))
        self._view = memoryview(self._map)
        self.words = self._view[: SLOTS * HEAD_BYTES].cast("Q")
        self._free = list(range(SLOTS))

    @classmethod
    def made(cls) -> Journal:
        fd = os.memfd_create("journal")
        os.ftruncate(fd, SLOTS * (HEAD_BYTES + ROOM_BYTES))
        return cls(fd)

    def take(self) -> int | None:
        """Return a slot with nothing in it; None: all are in use."""
        if not self._free:
            return None
        slot = self._free.pop()
        self.words[slot * _HEAD_WORDS + APPENDED] = 0
        self.words[slot * _HEAD_WORDS + HELD_UNTIL] = 0
        return slot

    def give_back(self, slot: int) -> None:
        self._free.append(slot)

    def word_at(self, slot: int, word: int) -> int:
        """Where in `words` one word of a slot is."""
        return slot * _HEAD_WORDS + word

    def appended(self, slot: int) -> int:
        return self.words[slot * _HEAD_WORDS + APPENDED]

    def room(self, slot: int) -> memoryview:
        at = SLOTS * HEAD_BYTES + slot * ROOM_BYTES
        return self._view[at : at + ROOM_BYTES]


@dataclass(frozen=True, slots=True)
class Task:
    """What an ingress asks of a lane.

    Attributes:
        head: lines that the answer's head begins with, as they are sent.
        request: a whole HTTP request, as the lane's endpoint would get it.

    """

    slot: int
    head: bytes
    request: bytes

    def packed(self) -> bytes:
        return _TASK.pack(self.slot, len(self.head)) + self.head + self.request

    @classmethod
    def read(cls, message: bytes) -> Task:
        slot, length = _TASK.unpack_from(message)
        begin = _TASK.size + length
        return cls(slot, message[_TASK.size : begin], message[begin:])


def given_back(slot: int, how: int, unread: bytes) -> bytes:
    """Return a lane's last word about a slot. `unread`: what came of the next request."""
    return _TASK.pack(slot, how) + unread


def read_given_back(message: bytes) -> tuple[int, int, bytes]:
    slot, how = _TASK.unpack_from(message)
    return slot, how, message[_TASK.size :]


def written_bytes(sock: socket.socket) -> int:
    """Return how many bytes a TCP socket took so far, from every process that has it.

    Those that were acknowledged (TCP_INFO) and those that were not (SIOCOUTQ). They are two
    calls: asked again where an acknowledgement came between them.
    """
    while True:
        before = _acked(sock)
        queued = fcntl.ioctl(sock.fileno(), _SIOCOUTQ, b"\0\0\0\0")
        if _acked(sock) == before:
            return before + int(struct.unpack("i", queued)[0])


def _acked(sock: socket.socket) -> int:
    told = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
    return int(struct.unpack_from("<Q", told, _ACKED_AT)[0])


def peer_uid(connection: socket.socket) -> int:
    """Return the user of the process at the other end, as the kernel knows it."""
    told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int(struct.unpack("3i", told)[1])
