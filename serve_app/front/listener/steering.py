"""A place on a port that HAProxy holds, and which of its sockets new connections go to.

Sockets with SO_REUSEPORT of one user share a port, and the kernel spreads connections over
them by hash. A program of the group (SO_ATTACH_REUSEPORT_CBPF, no privilege needed) names the
socket instead, by its place in the order in which they came; where there is none at that place, the
hash goes on. HAProxy came first, and keeps its socket over its reloads. So it gets connections
where no ingress replica listens, which is what it is there for.
"""

from __future__ import annotations

import ctypes
import socket
import struct

SO_ATTACH_REUSEPORT_CBPF = 51
"""asm-generic/socket.h; Python does not name it."""

_LOAD_WORD, _MODULO, _ADD, _RETURN = 0x20, 0x94, 0x04, 0x16
_RANDOM = 0xFFFFF000 + 56
"""`SKF_AD_OFF + SKF_AD_RANDOM` of linux/filter.h: a random number in place of a packet's word."""

BACKLOG = 2048


def program(sockets: int, after: int = 1) -> bytes:
    """Return classic BPF that picks one of so many sockets behind the first `after`, at random.

    Four instructions of `struct sock_filter` (linux/filter.h): code, two jumps, a number.
    """
    steps = ((_LOAD_WORD, _RANDOM), (_MODULO, sockets), (_ADD, after), (_RETURN, 0))
    return b"".join(struct.pack("=HBBI", code, 0, 0, number) for code, number in steps)


def join(host: str, port: int) -> socket.socket:
    """Listen beside whoever listens there. Raises OSError where they do not share it."""
    joined = socket.socket()
    try:
        joined.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        joined.bind((host, port))
        joined.listen(BACKLOG)
        joined.setblocking(False)
    except OSError:
        joined.close()
        raise
    return joined


def steer(one_of_them: socket.socket, sockets: int) -> None:
    """Send new connections to the `sockets` that came after HAProxy's. Raises OSError."""
    code = program(sockets)
    buffer = ctypes.create_string_buffer(code, len(code))
    # struct sock_fprog: how many instructions, where they are.
    told = struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer))
    one_of_them.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, told)
