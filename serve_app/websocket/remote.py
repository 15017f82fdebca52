"""Reading a chat that another ingress replica owns."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from serve_app.relay.attempt_faults import BROKEN_OFF
from serve_app.transport.upstream import Response
from serve_app.websocket import frames

HIGH_WATER = 64 * 1024
"""Bytes of frames at which reading from the owner stops; its chat waits then."""


class RemoteReader:
    """A place in another replica's chat, with the face of `chat.Reader`.

    The owner's response has a frame a line, and empty lines while nothing comes. `cancel`
    asks the owner to stop the chat.
    """

    def __init__(
        self,
        chat_id: bytes,
        response: Response,
        wake: Callable[[], None],
        cancel: Callable[[], None],
    ) -> None:
        self._id = chat_id
        self._response = response
        self._wake = wake
        self.cancel = cancel
        self._frames: deque[bytes] = deque()
        self._bytes = 0
        self._has_ended = False
        self._has_room = asyncio.Event()
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        tail = b""
        try:
            while data := await self._response.readany():
                *lines, tail = (tail + data).split(b"\n")
                for line in filter(None, lines):
                    self._frames.append(line)
                    self._bytes += len(line)
                self._wake()
                while self._bytes >= HIGH_WATER:
                    self._has_room.clear()
                    await self._has_room.wait()
        except OSError:
            # The owner is gone or has fallen silent.
            self._frames.append(frames.ending(self._id, BROKEN_OFF))
        finally:
            self._has_ended = True
            self._response.close()
            self._wake()

    def take(self) -> bytes | None:
        if not self._frames:
            return None
        frame = self._frames.popleft()
        self._bytes -= len(frame)
        self._has_room.set()
        return frame

    @property
    def is_over(self) -> bool:
        return self._has_ended and not self._frames

    def detach(self) -> None:
        """Read no more: the owner notices that the connection ends."""
        self._task.cancel()
        # A task that is cancelled before it began closes nothing.
        self._response.close()
