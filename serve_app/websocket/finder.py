"""Chats that a socket asks for again: here, or on the replica that owns them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from router.errors import Rejected, RejectReason
from serve_app.websocket.chat import Chat, Reader
from serve_app.websocket.frames import CancelFrame, ResumeFrame
from serve_app.websocket.hub import GONE, Hub, Match, pick
from serve_app.websocket.peers import Peers
from serve_app.websocket.remote import RemoteReader

T = TypeVar("T")

OTHER_ID = Rejected(RejectReason.INVALID_REQUEST, "This token is of another id.", param="id")
UNKNOWN = Rejected(RejectReason.INVALID_REQUEST, "No chat with this id runs here.", param="id")


class Finder:
    """Looks on this replica first, then asks the others."""

    def __init__(self, hub: Hub, peers: Peers) -> None:
        self._hub = hub
        self._peers = peers

    def local(self, frame: ResumeFrame, tenant: str) -> Chat | None:
        """The chat of the frame's token, if it is on this replica."""
        return self._hub.by_token(tenant, frame.token) if frame.token else None

    def attach(self, chat: Chat, frame: ResumeFrame, wake: Callable[[], None]) -> Reader | Rejected:
        is_other = chat.id != frame.id
        return self._counted(OTHER_ID if is_other else chat.attach(frame.after, wake), "local")

    async def resume(
        self, frame: ResumeFrame, tenant: str, wake: Callable[[], None]
    ) -> Reader | RemoteReader | Rejected:
        token = frame.token
        if token is None:
            match = pick(await self._matches(frame.id, tenant))
            if isinstance(match, Rejected):
                return self._counted(match, "local")
            token = match.token
        chat = self._hub.by_token(tenant, token)
        if chat is not None:
            return self.attach(chat, frame, wake)
        return self._counted(await self._peers.open(tenant, frame, token, wake), "relayed")

    async def cancel(self, frame: CancelFrame, tenant: str) -> bytes | Rejected | None:
        """Stop a chat that this socket does not read; the frame to answer with, if any.

        One that has ended meanwhile is not worth an answer: its last frame is one.
        """
        token = frame.token
        if token is None:
            matches = await self._matches(frame.id, tenant)
            waiting = [match for match in matches if match.is_waiting]
            match = pick(waiting)
            if match is GONE:
                return None if matches else UNKNOWN
            if isinstance(match, Rejected):
                return match
            token = match.token
        chat = self._hub.by_token(tenant, token)
        if chat is None:
            return await self._peers.cancel(tenant, frame.id, token)
        if chat.id != frame.id:
            return OTHER_ID
        return chat.cancel()

    async def _matches(self, chat_id: bytes, tenant: str) -> list[Match]:
        here = self._hub.matches(tenant, chat_id)
        return here + await self._peers.matches(tenant, chat_id)

    def _counted(self, found: T, where: str) -> T:
        outcome = "refused" if isinstance(found, Rejected) else where
        self._hub.metrics.websocket_resumes.labels(outcome).inc()
        return found
