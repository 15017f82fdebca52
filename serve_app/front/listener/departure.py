"""Whether a client has left while nothing is read from it."""

from __future__ import annotations

import asyncio
import select

_LEFT = select.POLLRDHUP | select.POLLHUP | select.POLLERR


def has_left(transport: asyncio.Transport) -> bool:
    """Ask the kernel: who has closed its side, with bytes that were not read before it, too."""
    socket = transport.get_extra_info("socket")
    number = -1 if socket is None else socket.fileno()
    if number < 0:
        return False
    poll = select.poll()
    poll.register(number, select.POLLRDHUP)
    return any(state & _LEFT for _, state in poll.poll(0))
