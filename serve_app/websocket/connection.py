"""One open socket: frames in, chats begun, frames out.

Frames are read as fast as they come and nothing is awaited for one of them, but that
large ones wait for their turn (`serve_app.bodies.big_bodies`): Serve reads ahead of us without
a bound. What goes out is written by one task, a frame of each chat in turn; it waits
when the client does not read, and then so do the chats.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable

from starlette.types import Message, Receive, Send

from router.errors import Rejected, RejectReason
from serve_app.bodies.big_bodies import breathe
from serve_app.pipeline.state import IngressState
from serve_app.tenancy.auth import Tenant
from serve_app.websocket import frames
from serve_app.websocket.chat import Reader
from serve_app.websocket.finder import Finder
from serve_app.websocket.frames import BadFrame, CancelFrame, ChatFrame, ClientFrame, ResumeFrame
from serve_app.websocket.hub import GONE, Hub
from serve_app.websocket.remote import RemoteReader

logger = logging.getLogger("ray.serve")

MAX_NOTICES = 64
"""Error frames that wait for a client which does not read; one more ends the socket."""

POLICY_VIOLATION = 1008

DUPLICATE = Rejected(
    RejectReason.INVALID_REQUEST, "A chat with this id runs on this socket.", param="id"
)

_numbers = itertools.count()


Stream = Reader | RemoteReader


class Connection:
    """Serves one accepted socket; every chat's call has the upgrade request's headers.

    `identify` says whose socket it is now. It is asked for each frame, because keys expire
    and limits change while a socket is open.
    """

    def __init__(
        self,
        state: IngressState,
        hub: Hub,
        finder: Finder,
        identify: Callable[[], Tenant | Rejected],
        headers: dict[bytes, bytes],
    ) -> None:
        self._state = state
        self._hub = hub
        self._finder = finder
        self._identify = identify
        self._headers = headers
        self._number = next(_numbers)
        self._streams: dict[bytes, Stream] = {}
        self._seeking: dict[bytes, asyncio.Task[None]] = {}
        self._notices: deque[bytes] = deque()
        self._news = asyncio.Event()

    async def run(self, receive: Receive, send: Send) -> bool:
        """Serve until the client leaves (True) or is not worth serving (False).

        Its chats go on for their window.
        """
        reading = asyncio.create_task(self._read(receive))
        writing = asyncio.create_task(self._write(send))
        try:
            await asyncio.wait({reading, writing}, return_when=asyncio.FIRST_COMPLETED)
            if writing.done():
                writing.result()
            return reading.done() and reading.result()
        except OSError:
            # uvicorn's word for a client that has left.
            return True
        finally:
            for task in (reading, writing, *self._seeking.values()):
                task.cancel()
            for stream in self._streams.values():
                stream.detach()
            self._streams.clear()

    # -- in ---------------------------------------------------------------------------

    async def _read(self, receive: Receive) -> bool:
        while len(self._notices) <= MAX_NOTICES:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                return True
            if message["type"] == "websocket.receive":
                await self._take_in(_bytes_of(message))
        return False

    async def _take_in(self, raw: bytes) -> None:
        tenant = self._identify()
        is_large = len(raw) > frames.MAX_CONTROL_BYTES
        if is_large:
            # Before its JSON is looked at.
            refused = self._state.request_refusal(tenant) if isinstance(tenant, Tenant) else tenant
            if refused is not None:
                self._refuse(frames.leading_id(raw), refused)
                return
        steps = frames.reading_frame(raw, self._state.policies.fleet.limits)
        who = tenant.name if isinstance(tenant, Tenant) else ""
        has_begun = False
        try:
            frame = await self._hub.big_bodies.read(steps, len(raw), who)
            await breathe(len(raw))
            has_begun = self._obey(frame, tenant)
        finally:
            # The client may leave while its frame is read.
            if is_large and not has_begun and isinstance(tenant, Tenant):
                # It began no chat, and is a request of the minute all the same.
                self._state.ceiling(tenant).try_request(now=time.monotonic())

    def _obey(self, frame: ClientFrame | BadFrame, tenant: Tenant | Rejected) -> bool:
        """Do what a frame says; return whether it began a chat."""
        if isinstance(frame, BadFrame):
            self._refuse(frame.id, frame.rejected)
        elif isinstance(tenant, Rejected):
            self._refuse(frame.id, tenant)
        elif isinstance(frame, CancelFrame) and frame.id in self._streams:
            self._streams[frame.id].cancel()
        elif (refused := self._no_room_for(frame.id)) is not None:
            self._refuse(frame.id, refused)
        elif isinstance(frame, ChatFrame):
            chat = self._hub.begin(frame, tenant, self._headers, self._number)
            self._follow(frame.id, chat.attach(0, self._news.set))
            return True
        elif isinstance(frame, CancelFrame):
            self._seek(frame.id, lambda: self._cancel_unread(frame, tenant.name))
        elif (local := self._finder.local(frame, tenant.name)) is not None:
            self._follow(frame.id, self._finder.attach(local, frame, self._news.set))
        else:
            self._seek(frame.id, lambda: self._resume_elsewhere(frame, tenant.name))
        return False

    def _no_room_for(self, chat_id: bytes) -> Rejected | None:
        if chat_id in self._streams or chat_id in self._seeking:
            return DUPLICATE
        most = self._state.policies.fleet.websocket.max_chats
        if len(self._streams) + len(self._seeking) < most:
            return None
        message = f"At most {most} chats run at once on a socket."
        return Rejected(RejectReason.TENANT_CONCURRENCY, message)

    # -- chats that have to be looked for ---------------------------------------------

    def _seek(self, chat_id: bytes, work: Callable[[], Awaitable[None]]) -> None:
        async def guarded() -> None:
            try:
                await work()
            except Exception:
                # A peer that answers nonsense is one that does not answer.
                logger.exception("looking for a chat failed")
                self._refuse(chat_id, GONE)
            finally:
                self._seeking.pop(chat_id, None)

        self._seeking[chat_id] = asyncio.create_task(guarded())

    async def _resume_elsewhere(self, frame: ResumeFrame, tenant: str) -> None:
        self._follow(frame.id, await self._finder.resume(frame, tenant, self._news.set))

    async def _cancel_unread(self, frame: CancelFrame, tenant: str) -> None:
        answer = await self._finder.cancel(frame, tenant)
        if isinstance(answer, Rejected):
            self._refuse(frame.id, answer)
        elif answer is not None:
            self._notify(answer)

    # -- out --------------------------------------------------------------------------

    def _follow(self, chat_id: bytes, found: Stream | Rejected) -> None:
        if isinstance(found, Rejected):
            self._refuse(chat_id, found)
        else:
            self._streams[chat_id] = found
            self._news.set()

    def _refuse(self, chat_id: bytes, rejected: Rejected) -> None:
        self._notify(frames.refusal(chat_id, rejected))

    def _notify(self, frame: bytes) -> None:
        self._notices.append(frame)
        self._news.set()

    async def _write(self, send: Send) -> None:
        """Send what there is, a frame of each chat in turn."""
        while True:
            self._news.clear()
            has_sent = False
            while self._notices:
                await _send(send, self._notices.popleft())
            for chat_id, stream in list(self._streams.items()):
                frame = stream.take()
                # Before it is sent: what the client hears ended has made room.
                if stream.is_over and self._streams.get(chat_id) is stream:
                    del self._streams[chat_id]
                    stream.detach()
                if frame is not None:
                    has_sent = True
                    await _send(send, frame)
            if not has_sent and not self._notices:
                await self._news.wait()


async def _send(send: Send, frame: bytes) -> None:
    await send({"type": "websocket.send", "text": frame.decode()})


def _bytes_of(message: Message) -> bytes:
    text = message.get("text")
    if text is None:
        return message.get("bytes") or b""
    # A lone surrogate is not JSON; the reader will say so.
    return str(text).encode("utf-8", "surrogatepass")
