"""A place on a port that HAProxy holds, and which of its sockets new connections go to.

Sockets with SO_REUSEPORT of one user share a port, and the kernel spreads connections over
them by hash. A program of the group (SO_ATTACH_REUSEPORT_CBPF, no privilege needed) names the
socket instead, by its place in the order in which they came; where there is none at that place, the
hash goes on. HAProxy came first, and keeps its socket over its reloads; the second is the one
that the ingress replicas share (`sharing`). So HAProxy gets connections where no ingress
replica listens, which is what it is there for.
"""

from __future__ import annotations

import ctypes
import socket
import struct

SO_ATTACH_REUSEPORT_CBPF = 51
"""asm-generic/socket.h; Python does not name it."""

_RETURN = 0x06
"""`BPF_RET | BPF_K` of linux/bpf_common.h."""

HAPROXY, OURS = 0, 1
"""Places in the group."""

BACKLOG = 2048


def program(place: int) -> bytes:
    """Return classic BPF that names a place: one `struct sock_filter` (linux/filter.h)."""
    return struct.pack("=HBBI", _RETURN, 0, 0, place)


def join(host: str, port: int) -> socket.socket:
    """Listen beside whoever listens there. Raises OSError where they do not share it."""
    joined = socket.socket()
    try:
        joined.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        # Connections inherit it.
        joined.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        joined.bind((host, port))
        joined.listen(BACKLOG)
        joined.setblocking(False)
    except OSError:
        joined.close()
        raise
    return joined


def steer(one_of_them: socket.socket, place: int) -> None:
    """Send new connections to the socket at this place. Raises OSError."""
    code = program(place)
    buffer = ctypes.create_string_buffer(code, len(code))
    # struct sock_fprog: how many instructions, where they are.
    told = struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer))
    one_of_them.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, told)
