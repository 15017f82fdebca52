"""An ingress's side of one lane that takes clients' sockets."""

from __future__ import annotations

import asyncio
import socket
import time
from dataclasses import dataclass, field

from benchmarks.direct_ways import handover
from benchmarks.direct_ways.handover import Journal, Task


class LaneDied(Exception):
    """The lane's process ended with a stream of ours in it."""


@dataclass
class Handed:
    """One stream in a lane's hands.

    Attributes:
        rate: its ceiling in tokens a second; 0: none.
        read: bytes of its journal that were looked at.
        events: tokens in them.
        transcript: they themselves.

    """

    done: asyncio.Future[tuple[int, bytes]]
    rate: float
    read: int = 0
    events: int = 0
    transcript: list[bytes] = field(default_factory=list)
    begun: float = field(default_factory=time.monotonic)


class LaneLink:
    """One lane: its endpoint's address, and the Unix socket to it."""

    def __init__(self, number: int, port: int, path: str, journal: Journal) -> None:
        self.number, self.url, self.is_alive = number, f"http://127.0.0.1:{port}", True
        self.handed: dict[int, Handed] = {}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.connect(path)
        self._socket.setblocking(False)
        hello = Task(handover.HELLO, b"", b"").packed()
        socket.send_fds(self._socket, [hello], [journal.fd])
        asyncio.get_running_loop().add_reader(self._socket, self._read)

    def send(self, task: Task, client: int) -> bool:
        """Hand a client's descriptor over; False where the lane's queue is full."""
        try:
            socket.send_fds(self._socket, [task.packed()], [client])
        except OSError:
            return False
        return True

    def _read(self) -> None:
        while True:
            try:
                message = self._socket.recv(handover.MAX_MESSAGE)
            except BlockingIOError:
                return
            except OSError:
                message = b""
            if not message:
                self._end()
                return
            slot, how, unread = handover.read_given_back(message)
            self.handed[slot].done.set_result((how, unread))

    def _end(self) -> None:
        self.is_alive = False
        asyncio.get_running_loop().remove_reader(self._socket)
        for stream in self.handed.values():
            if not stream.done.done():
                stream.done.set_exception(LaneDied())
