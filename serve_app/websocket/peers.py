"""The other ingress replicas: where they are, and asking them for their chats.

Every replica tells every other its endpoint, by Serve's broadcast. A replica that drains answers
no broadcast any more but still has chats; the others know it from before, and tell those that
came later. Who knows nobody is told of all. After that each speaks for itself, and the others tell
only of those that are silent: else every replica would tell every other of all, every time.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from typing import Any

import orjson

from router.errors import Rejected, RejectReason
from serve_app.config.serving import TimeoutConfig
from serve_app.transport.beat import beat
from serve_app.transport.broadcast import Broadcast
from serve_app.transport.endpoint import SECRET_HEADER
from serve_app.transport.upstream import Response, Upstream
from serve_app.websocket.frames import ResumeFrame
from serve_app.websocket.hub import GONE, Match
from serve_app.websocket.remote import RemoteReader

logger = logging.getLogger("ray.serve")

REFRESH_PERIOD_S = 5.0
REFRESH_AT_MOST_EVERY_S = 1.0
KEEP_S = 900.0
"""How long a replica that is not heard of any more is asked: Serve's longest drain."""

SILENT_S = REFRESH_PERIOD_S + 1.0
"""Not heard of for so long: it answers no broadcast any more."""

ANSWER_S = 2.0
TIMEOUTS = TimeoutConfig(connect_s=1, read_s=15, probe_after_s=math.inf)
"""The owner sends an empty line every 5 s, and answers no probes."""


class Peers:
    """The directory of ingress replicas, and a client to their endpoints.

    `broadcast` calls a method on every ingress replica, this one (`me`) included.
    """

    def __init__(self, me: str, secret: str, broadcast: Broadcast) -> None:
        self._me = me
        self._broadcast = broadcast
        self._url = ""
        self._known: dict[str, tuple[str, float]] = {}
        self._refreshed_at = -REFRESH_AT_MOST_EVERY_S
        self._refreshing: asyncio.Task[None] | None = None
        self._cancelling: set[asyncio.Task[Any]] = set()
        headers = {SECRET_HEADER.decode(): secret, "content-type": "application/json"}
        self.upstream = Upstream(headers, TIMEOUTS)

    def open_at(self, url: str) -> None:
        self._url = url

    # -- the directory ------------------------------------------------------------------

    def export(self) -> dict[str, tuple[str, float]]:
        """Replica id to endpoint and seconds since it was heard of."""
        now = time.monotonic()
        known = {name: (url, now - seen) for name, (url, seen) in self._known.items()}
        return known | ({self._me: (self._url, 0.0)} if self._url else {})

    def export_silent(self) -> dict[str, tuple[str, float]]:
        """Of `export`, this replica and those that do not speak for themselves."""
        told = self.export().items()
        return {name: row for name, row in told if name == self._me or row[1] > SILENT_S}

    def merge(self, exported: dict[str, tuple[str, float]]) -> None:
        now = time.monotonic()
        for name, (url, age_s) in exported.items():
            seen = now - age_s
            if name != self._me and age_s < KEEP_S:
                before = self._known.get(name)
                if before is None or seen > before[1]:
                    self._known[name] = (url, seen)
        self._known = {k: v for k, v in self._known.items() if now - v[1] < KEEP_S}

    async def run(self) -> None:
        while True:
            await self.refresh()
            await beat(REFRESH_PERIOD_S)

    async def refresh(self) -> None:
        """Ask every replica what it knows, unless that was done just now. Never fails.

        While somebody asks already, that answer is waited for by those who know nobody.
        """
        now = time.monotonic()
        if self._refreshing is None or self._refreshing.done():
            if now - self._refreshed_at < REFRESH_AT_MOST_EVERY_S:
                return
            self._refreshed_at = now
            self._refreshing = asyncio.create_task(self._ask_all(), name="websocket-peers")
        elif self._known:
            # A replica that hangs may hold the answer up for seconds.
            return
        # Who gives up waiting does not end it for the others.
        await asyncio.shield(self._refreshing)

    async def _ask_all(self) -> None:
        try:
            what = "silent_socket_peers" if self._known else "socket_peers"
            for exported in await self._broadcast(what):
                if isinstance(exported, dict):
                    self.merge(exported)
        except Exception:
            # What is known stays known, whatever a peer answers.
            logger.exception("websocket: asking the other ingress replicas failed")

    async def _url_of(self, token: str) -> str | None:
        replica = token.rpartition(".")[0]
        if replica not in self._known:
            await self.refresh()
        return self._known.get(replica, (None, 0.0))[0]

    # -- their chats ----------------------------------------------------------------------

    async def matches(self, tenant: str, chat_id: bytes) -> list[Match]:
        """Chats of this id on all other replicas that answer in time."""
        await self.refresh()
        ask = {"tenant": tenant, "id": chat_id.decode()}
        answers = await asyncio.gather(
            *(self._ask(url, "/chats/find", ask) for url, _ in self._known.values())
        )
        return [Match(*row) for answer in answers if isinstance(answer, list) for row in answer]

    async def open(
        self, tenant: str, frame: ResumeFrame, token: str, wake: Callable[[], None]
    ) -> RemoteReader | Rejected:
        url = await self._url_of(token)
        if url is None:
            return GONE
        ask = {"tenant": tenant, "id": frame.id.decode(), "token": token, "after": frame.after}
        try:
            response = await self._post(url, "/chats/read", ask)
            if response.status != 200:
                return _rejected(await _whole(response))
        except (OSError, ValueError):
            return GONE
        return RemoteReader(
            frame.id, response, wake, lambda: self._cancel_soon(tenant, frame.id, token)
        )

    async def cancel(self, tenant: str, chat_id: bytes, token: str) -> bytes | Rejected:
        """Stop a chat of another replica; the frame to answer with."""
        url = await self._url_of(token)
        if url is None:
            return GONE
        ask = {"tenant": tenant, "id": chat_id.decode(), "token": token}
        answer = await self._ask(url, "/chats/cancel", ask)
        if not isinstance(answer, dict):
            return GONE
        frame = answer.get("frame")
        return frame.encode() if isinstance(frame, str) else _rejected(answer)

    def _cancel_soon(self, tenant: str, chat_id: bytes, token: str) -> None:
        task = asyncio.create_task(self.cancel(tenant, chat_id, token))
        self._cancelling.add(task)
        task.add_done_callback(self._cancelling.discard)

    # -- asking -----------------------------------------------------------------------------

    async def _post(self, url: str, path: str, ask: dict[str, Any]) -> Response:
        async with asyncio.timeout(ANSWER_S):
            return await self.upstream.post(url, path, orjson.dumps(ask), {})

    async def _ask(self, url: str, path: str, ask: dict[str, Any]) -> Any:
        """The JSON answer; None when there is none in time."""
        try:
            return await _whole(await self._post(url, path, ask))
        except (OSError, ValueError):
            return None

    async def close(self) -> None:
        for task in (*self._cancelling, self._refreshing):
            if task is not None:
                task.cancel()
        await self.upstream.close()


async def _whole(response: Response) -> Any:
    """Raises OSError when it breaks off or takes too long, ValueError for no JSON."""
    try:
        async with asyncio.timeout(ANSWER_S):
            return orjson.loads(await response.read())
    finally:
        response.close()


def _rejected(answer: Any) -> Rejected:
    try:
        reason = RejectReason(answer["reason"])
        return Rejected(reason, answer["message"], param=answer["param"])
    except (TypeError, KeyError, ValueError):
        return GONE
