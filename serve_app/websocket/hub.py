"""Every chat of one ingress replica: begun, found again, given up, forgotten.

A chat without a reader has `resume_window_s` to be resumed. After that a running one
is aborted, which settles it, and one that has ended is forgotten.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from router.errors import Rejected, RejectReason
from serve_app.bodies.json_body import dump
from serve_app.bodies.routes import ROUTES
from serve_app.metrics import Metrics
from serve_app.pipeline.pipeline import Pipeline
from serve_app.pipeline.state import IngressState
from serve_app.request.call import Call, request_id
from serve_app.tenancy.auth import Tenant
from serve_app.websocket.chat import Chat
from serve_app.websocket.frames import ChatFrame

logger = logging.getLogger("ray.serve")

CHAT_ROUTE = ROUTES["/v1/chat/completions"]

DRAIN_POLL_S = 0.1
MIN_KEPT_BYTES = 16 * 1024
"""What a chat may keep however many there are: about 80 tokens."""

GONE = Rejected(RejectReason.NO_REPLICA, "The chat is not kept here any more; a retry is safe.")
AMBIGUOUS = Rejected(
    RejectReason.INVALID_REQUEST,
    "Several chats have this id: send the token of its first frame as 'resume'.",
    param="resume",
)


@dataclass(frozen=True, slots=True)
class Match:
    """A chat that has a certain id, on any replica; `is_waiting`: it runs and nobody reads it."""

    token: str
    is_waiting: bool


def pick(matches: Iterable[Match]) -> Match | Rejected:
    """Return which chat a client means that names only an id: never a guess."""
    found = list(matches)
    waiting = [match for match in found if match.is_waiting]
    candidates = waiting or found
    if not candidates:
        return GONE
    return candidates[0] if len(candidates) == 1 else AMBIGUOUS


class Hub:
    """Owns the chats of one ingress replica, whose id leads every resume token.

    Chats are known by their key until they are forgotten.
    """

    def __init__(
        self, state: IngressState, pipeline: Pipeline, metrics: Metrics, replica: str
    ) -> None:
        self.replica = replica
        self.kept_bytes = 0
        self.metrics = metrics
        self._state = state
        self._pipeline = pipeline
        self.big_bodies = pipeline.big_bodies
        self.chats: dict[str, Chat] = {}
        self._named: dict[tuple[str, bytes], list[Chat]] = {}
        self._ended: dict[str, Chat] = {}

    def begin(
        self, frame: ChatFrame, tenant: Tenant, headers: dict[bytes, bytes], origin: int
    ) -> Chat:
        """Start a chat: its generation runs from now on, whoever reads it.

        A chat of the same socket (`origin`) and id that has ended gives way, so that
        the id means one chat.
        """
        for past in [*self._named.get((tenant.name, frame.id), ())]:
            if past.origin == origin and past.is_over:
                self._forget(past)
        call_headers = _headers_of(frame, headers)
        key = secrets.token_urlsafe(16)
        token, request = f"{self.replica}.{key}", request_id(call_headers)
        chat = Chat(self, tenant.name, frame.id, key, token, request)
        chat.origin = origin
        self.chats[key] = chat
        self._named.setdefault((tenant.name, frame.id), []).append(chat)
        raw = dump({**frame.body, "stream": True})
        call = self._pipeline.call(CHAT_ROUTE, call_headers, tenant)
        chat.task = asyncio.create_task(self._run(call, raw, chat))
        # A callback, because a task that is cancelled before it began runs nothing.
        chat.task.add_done_callback(lambda task: self._note_end(chat, task))
        self.metrics.websocket_chats.inc()
        self._make_room()
        self.changed(chat)
        return chat

    async def _run(self, call: Call, raw: bytes, chat: Chat) -> None:
        refused = await self._state.count_request(call.tenant)
        if refused is None:
            await self._pipeline.run(call, raw, chat.send)
        else:
            await self._pipeline.refuse(call, refused, chat.send)

    def _note_end(self, chat: Chat, task: asyncio.Task[None]) -> None:
        chat.task = None
        self.metrics.websocket_chats.dec()
        if not task.cancelled() and (fault := task.exception()) is not None:
            # The boundary: the log learns nothing of the prompt.
            logger.error("a chat on a socket failed", exc_info=fault)
        chat.fail()

    # -- keeping --------------------------------------------------------------------------

    def allowance(self) -> int:
        config = self._state.policies.fleet.websocket
        share = config.total_replay_bytes // max(1, len(self.chats))
        return min(config.replay_bytes, max(MIN_KEPT_BYTES, share))

    def changed(self, chat: Chat) -> None:
        """A chat's reader has come or gone, or the chat has ended: set its clock."""
        if self.chats.get(chat.key) is not chat:
            return
        if chat.timer is not None:
            chat.timer.cancel()
            chat.timer = None
        if not chat.has_reader:
            window_s = self._state.policies.fleet.websocket.resume_window_s
            loop = asyncio.get_running_loop()
            chat.timer = loop.call_later(window_s, self._expire, chat)
        if chat.is_over and not chat.has_reader:
            self._ended[chat.key] = chat
        else:
            self._ended.pop(chat.key, None)

    def _expire(self, chat: Chat) -> None:
        if not chat.is_over:
            self.metrics.websocket_chats_abandoned.inc()
        self._forget(chat)

    def _forget(self, chat: Chat) -> None:
        chat.fail()
        chat.abort()
        self.chats.pop(chat.key, None)
        self._ended.pop(chat.key, None)
        alike = self._named[chat.tenant, chat.id]
        alike.remove(chat)
        if not alike:
            del self._named[chat.tenant, chat.id]
        chat.forget()

    def _make_room(self) -> None:
        most = self._state.policies.fleet.websocket.total_replay_bytes
        while self.kept_bytes > most and self._ended:
            self._forget(next(iter(self._ended.values())))

    # -- finding --------------------------------------------------------------------------

    def by_token(self, tenant: str, token: str) -> Chat | None:
        chat = self.chats.get(token.rpartition(".")[2])
        return chat if chat is not None and chat.tenant == tenant else None

    def matches(self, tenant: str, chat_id: bytes) -> list[Match]:
        return [
            Match(chat.token, not chat.is_over and not chat.has_reader)
            for chat in self._named.get((tenant, chat_id), ())
        ]

    # -- the end ----------------------------------------------------------------------------

    def running(self) -> int:
        """Chats whose generation has not been settled."""
        return sum(chat.task is not None for chat in self.chats.values())

    def snapshot(self) -> dict[str, Any]:
        return {
            "chats": self.running(),
            "kept": len(self.chats),
            "kept_bytes": self.kept_bytes,
        }

    async def drain(self) -> None:
        """Wait until what runs has ended and has been read, or its window has passed."""
        while True:
            if all(chat.task is None and chat.is_read for chat in self.chats.values()):
                return
            await asyncio.sleep(DRAIN_POLL_S)

    def close(self) -> None:
        for chat in list(self.chats.values()):
            self._forget(chat)


def _headers_of(frame: ChatFrame, headers: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Headers of one chat's call: the upgrade request's, and what the frame says instead.

    A request id of its own, always: one for all chats of a socket would tell nothing.
    """
    own = {**headers, b"x-request-id": (frame.request_id or uuid.uuid4().hex).encode()}
    if frame.session_id is not None:
        own[b"x-session-id"] = frame.session_id.encode()
    return own
