"""One listener's part of the port: it takes its share of the connections, and leaves in order."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from serve_app.front.listener.accepting import Acceptor
from serve_app.front.listener.board import Board
from serve_app.front.listener.sharing import Offer, Shared
from serve_app.front.listener.steering import HAPROXY, OURS, steer

logger = logging.getLogger("ray.serve")

LINGER_S = 1.0
"""Between the last answer that is no connection's last one, and the end of idle connections; and,
where no other replica listens, how long what was on its way here is still taken."""


class SharedPort:
    """What a listener holds of the port: the shared socket, and a row on the board."""

    def __init__(
        self,
        shared: Shared,
        offer: Offer,
        connections: Callable[[], int],
        protocol: Callable[[], asyncio.Protocol],
    ) -> None:
        self._shared, self._offer = shared, offer
        self._loop = asyncio.get_running_loop()
        self._board = Board(shared.page, time.monotonic())
        self._acceptor = Acceptor(shared.listening, self._board, connections, protocol)
        self._loop.add_reader(offer.asked, offer.answer)
        self._is_leaving = False
        self._steer(OURS)

    def look(self) -> None:
        """Be there for the others, and see who they are. Called every second."""
        if not self._is_leaving:
            self._acceptor.tell()
            self._board.look(time.monotonic())

    async def leave(self) -> None:
        """Leave the socket to the others, or to HAProxy, so that nothing that comes is reset."""
        self._is_leaving = True
        # Before looking who else is there: of two that leave at once one has to see it.
        self._board.leave()
        if self._board.is_alone(time.monotonic()):
            self._steer(HAPROXY)
            await asyncio.sleep(LINGER_S)
            # What came meanwhile: its requests are still to be read.
            if self._acceptor.empty():
                await asyncio.sleep(LINGER_S)
            await self._acceptor.stop()
        else:
            await self._acceptor.stop()
            await asyncio.sleep(LINGER_S)
        self._loop.remove_reader(self._offer.asked)
        self._offer.close()
        self._shared.close()
        self._board.close()

    def _steer(self, place: int) -> None:
        try:
            steer(self._shared.listening, place)
        except OSError as error:
            # Some connections go through HAProxy, and are answered all the same.
            logger.info("connections are spread by hash (%s)", error)
