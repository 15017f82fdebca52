"""One chat: the generation that runs, its numbered frames, and who reads them.

The chat outlives the socket that began it. Its frames are kept in a ring bounded in
bytes; a reader is a place in that ring. What nobody has read is never dropped: when
the ring is full of it, the pipeline waits in `send`, so the engine's socket fills and
back-pressure reaches the engine. What has been read is dropped oldest first, and a
client that asks for it again cannot be helped.

    pipeline -> send() -> ring of frames -> Reader.take() -> socket, or another replica
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, MutableMapping
from typing import Any, Protocol

from router.errors import Rejected, RejectReason
from serve_app.relay.attempt_faults import BROKEN_OFF
from serve_app.websocket import frames

# Headers of an HTTP answer that say nothing on a socket.
_HTTP_ONLY = frozenset({b"content-type", b"content-length", b"cache-control", b"x-accel-buffering"})

TAKEN_OVER = Rejected(RejectReason.INVALID_REQUEST, "The chat was resumed on another socket.")
TOO_LATE = Rejected(
    RejectReason.NO_REPLICA, "The frames after this number are not kept any more; a retry is safe."
)
TOO_EARLY = Rejected(
    RejectReason.INVALID_REQUEST, "'after' is more than was ever sent.", param="after"
)


class Owner(Protocol):
    """What a chat asks of the hub that keeps it."""

    kept_bytes: int
    """Of frames that all chats keep."""

    def allowance(self) -> int:
        """Return how many bytes of frames one chat may keep now."""

    def changed(self, chat: Chat) -> None:
        """Hear that a chat's reader has come or gone, or that the chat has ended."""


class Chat:
    """One generation and its frames.

    `chat_id` is the client's, as JSON text. `key` names the chat among all chats, and nobody
    can guess it; `token`, which the client shows to resume, is the owning replica and the key.

    Attributes:
        kept: frames, from number `first` on; `read`: number of the last that was taken.
        unread_bytes: of the frames after it.
        room: what the pipeline waits for while the ring is full.

    """

    def __init__(
        self, owner: Owner, tenant: str, chat_id: bytes, key: str, token: str, request_id: str
    ) -> None:
        self.tenant, self.id, self.key, self.token = tenant, chat_id, key, token
        self.origin = 0
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.is_over = False
        self.last = 0
        self._owner = owner
        self._request_id = request_id
        self.kept: deque[bytes] = deque()
        self.first = 1
        self.read = 0
        self.unread_bytes = 0
        self.kept_bytes = 0
        self._reader: Reader | None = None
        self.room: asyncio.Future[None] | None = None
        self._status = 200
        self._headers: dict[str, str] = {}

    # -- written by the pipeline --------------------------------------------------------

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """The pipeline's `send`: events become frames. Waits while the ring is full."""
        if message["type"] == "http.response.start":
            self._begin(message)
            return
        body = message.get("body", b"")
        if self._status >= 400:
            extra = frames.members(status=self._status, headers=self._headers)
            self.end(frames.error(self.id, body, extra))
            return
        for data in frames.payloads(body):
            self.add(data)
        if not message.get("more_body"):
            self.end(frames.done(self.id, self.last + 1))
        while self.unread_bytes >= self._owner.allowance() and not self.is_over:
            self.room = asyncio.get_running_loop().create_future()
            await self.room

    def _begin(self, message: MutableMapping[str, Any]) -> None:
        self._status = message["status"]
        self._headers = {"x-request-id": self._request_id} | {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in message["headers"]
            if name not in _HTTP_ONLY
        }

    def add(self, data: bytes) -> None:
        """Append a frame for the data of one event; an error, or the end mark, is the last."""
        if data.startswith(b'{"error"'):
            self.end(frames.error(self.id, data))
        elif data == frames.DONE:
            self.end(frames.done(self.id, self.last + 1))
        elif not self.is_over:
            extra = b""
            if not self.last:
                extra = frames.members(resume=self.token, headers=self._headers)
            self._append(frames.chunk(self.id, self.last + 1, data, extra))

    def end(self, frame: bytes) -> None:
        """Close the chat with its last frame; only the first such call counts."""
        if self.is_over:
            return
        self._append(frame)
        self.is_over = True
        self._make_room()
        self._owner.changed(self)

    def fail(self) -> None:
        self.end(frames.ending(self.id, BROKEN_OFF))

    def _append(self, frame: bytes) -> None:
        self.kept.append(frame)
        self.last += 1
        self.kept_bytes += len(frame)
        self.unread_bytes += len(frame)
        self._owner.kept_bytes += len(frame)
        self._trim()
        if self._reader is not None:
            self._reader.wake()

    def _trim(self) -> None:
        """Drop what has been read, oldest first, down to the allowance."""
        most = self._owner.allowance()
        while self.kept_bytes > most and self.first <= self.read:
            size = len(self.kept.popleft())
            self.first += 1
            self.kept_bytes -= size
            self._owner.kept_bytes -= size

    def _make_room(self) -> None:
        if self.room is not None and not self.room.done():
            self.room.set_result(None)

    # -- read by one reader ---------------------------------------------------------------

    @property
    def has_reader(self) -> bool:
        return self._reader is not None

    def attach(self, after: int, wake: Callable[[], None]) -> Reader | Rejected:
        """Give one new reader, and nobody else, the frames after number `after`.

        `wake` is called when there is more to take.
        """
        if after > self.last:
            return TOO_EARLY
        if after < self.first - 1:
            return TOO_LATE
        if self._reader is not None:
            self._reader.displace(frames.ending(self.id, TAKEN_OVER))
        self._reader = reader = Reader(self, wake)
        self.read = after
        self.unread_bytes = sum(map(len, list(self.kept)[after - self.first + 1 :]))
        # It may have skipped what filled the ring.
        self._trim()
        self._make_room()
        self._owner.changed(self)
        wake()
        return reader

    def detach(self, reader: Reader) -> None:
        if self._reader is reader:
            self._reader = None
            self._owner.changed(self)

    def take(self) -> bytes | None:
        if self.read == self.last:
            return None
        frame = self.kept[self.read - self.first + 1]
        self.read += 1
        self.unread_bytes -= len(frame)
        # What was kept for its reader alone may be over the allowance.
        self._trim()
        self._make_room()
        return frame

    @property
    def is_read(self) -> bool:
        return self.is_over and self.read == self.last

    # -- ended from outside ------------------------------------------------------------------

    def cancel(self) -> bytes:
        """Abort the engine's request: the client wants no more. Return the chat's last frame."""
        self.end(frames.done(self.id, self.last + 1, is_cancelled=True))
        self.abort()
        return frames.done(self.id, self.last, is_cancelled=True)

    def abort(self) -> None:
        if self.task is not None:
            self.task.cancel()

    def forget(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self._owner.kept_bytes -= self.kept_bytes
        self.kept_bytes = 0


class Reader:
    """A place in a chat of this replica."""

    def __init__(self, chat: Chat, wake: Callable[[], None]) -> None:
        self.wake = wake
        self._chat: Chat | None = chat
        self._notice: bytes | None = None

    def displace(self, notice: bytes) -> None:
        self._chat, self._notice = None, notice
        self.wake()

    def take(self) -> bytes | None:
        if self._chat is not None:
            return self._chat.take()
        notice, self._notice = self._notice, None
        return notice

    @property
    def is_over(self) -> bool:
        return self._notice is None if self._chat is None else self._chat.is_read

    def detach(self) -> None:
        if self._chat is not None:
            self._chat.detach(self)
            self._chat = None

    def cancel(self) -> None:
        if self._chat is not None:
            self._chat.cancel()
