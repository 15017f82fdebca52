"""Taking connections from a socket that several processes take from.

All of them wake for each connection. Whoever is next by the board takes it at once; the others look
again a moment later, and take what is still there then: from somebody who is busy, or hangs.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable

from serve_app.front.listener.board import Board

logger = logging.getLogger("ray.serve")

DEFER_S = 0.002
"""How long whoever is next has to take a connection before the others do."""

AT_ONCE = 4
"""Connections that are taken then, at most, before looking again who is next."""

FULL_S = 1.0
"""How long nothing is taken when the process may have no more open files."""


class Acceptor:
    """Takes connections until it is stopped.

    Args:
        listening: a socket that does not block.
        board: what the others have to do, and where it is told what this one has.
        connections: how many are open.
        protocol: makes what a connection is handed to.

    """

    def __init__(
        self,
        listening: socket.socket,
        board: Board,
        connections: Callable[[], int],
        protocol: Callable[[], asyncio.Protocol],
    ) -> None:
        self._listening, self._board = listening, board
        self._connections, self._protocol = connections, protocol
        self._loop = asyncio.get_running_loop()
        self._later: asyncio.TimerHandle | None = None
        self._opening: set[asyncio.Task[object]] = set()
        self._loop.add_reader(listening, self._ready)

    def tell(self, taken: int = 0) -> None:
        """Tell the board what is open."""
        is_open = self._connections() + len(self._opening)
        self._board.tell(time.monotonic(), is_open, taken)

    async def stop(self) -> None:
        """Take no more, and wait until those that were taken are handed on."""
        self._quiet()
        if self._opening:
            await asyncio.wait(self._opening)

    def empty(self) -> bool:
        """Take all that waits, whoever is next; returns whether anything did."""
        found = self._take_one()
        while found and self._take_one():
            pass
        return found

    def _ready(self) -> None:
        self.tell()
        if self._board.is_next(time.monotonic()):
            self._take(1)
        else:
            self._pause(DEFER_S)

    def _pause(self, for_s: float) -> None:
        self._quiet()
        self._later = self._loop.call_later(for_s, self._go_on)

    def _quiet(self) -> None:
        self._loop.remove_reader(self._listening)
        if self._later is not None:
            self._later.cancel()

    def _go_on(self) -> None:
        self._later = None
        self._loop.add_reader(self._listening, self._ready)
        self._take(AT_ONCE)

    def _take(self, most: int) -> None:
        for _ in range(most):
            if not self._take_one():
                return

    def _take_one(self) -> bool:
        try:
            taken, _ = self._listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False
        except OSError as error:
            logger.warning("no connection can be taken: %s", error)
            self._pause(FULL_S)
            return False
        self._open(taken)
        return True

    def _open(self, taken: socket.socket) -> None:
        taken.setblocking(False)
        opening: asyncio.Task[object] = self._loop.create_task(
            self._loop.connect_accepted_socket(self._protocol, taken)
        )
        self._opening.add(opening)
        opening.add_done_callback(self._opened)
        self.tell(taken=1)

    def _opened(self, opening: asyncio.Task[object]) -> None:
        self._opening.discard(opening)
        if not opening.cancelled() and (error := opening.exception()) is not None:
            logger.info("a connection ended before it began: %s", error)
