"""The endpoint where an ingress replica lends its chats to the others.

Behind `endpoint.Guard`: whoever asks knows the deployment's secret and has checked the
client's key. Three questions, each a POST with a JSON object.

| path | asks | answers |
|---|---|---|
| /chats/find | tenant, id | rows of token and whether the chat waits for a reader |
| /chats/read | tenant, id, token, after | a frame a line, until the chat ends |
| /chats/cancel | tenant, id, token | the chat's last frame |

A refusal is 410 with reason, message and param.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import orjson
from starlette.types import Receive, Scope, Send

from router.errors import Rejected
from serve_app.protocol.asgi import respond
from serve_app.websocket.chat import Chat, Reader
from serve_app.websocket.finder import OTHER_ID
from serve_app.websocket.hub import GONE, Hub

ASKS = frozenset({("POST", "/chats/find"), ("POST", "/chats/read"), ("POST", "/chats/cancel")})
HEARTBEAT_S = 5.0
BATCH_BYTES = 64 * 1024
LINES = (b"content-type", b"application/x-ndjson")


class Owner:
    """The ASGI application over one replica's hub.

    A reader that is sent nothing for `heartbeat_s` gets an empty line.
    """

    def __init__(self, hub: Hub, heartbeat_s: float = HEARTBEAT_S) -> None:
        self._hub = hub
        self.heartbeat_s = heartbeat_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        ask = orjson.loads(await _body(receive))
        if scope["path"] == "/chats/find":
            found = self._hub.matches(ask["tenant"], ask["id"].encode())
            await _answer(send, 200, [(match.token, match.is_waiting) for match in found])
            return
        chat = self._hub.by_token(ask["tenant"], ask["token"])
        if chat is None:
            await _refuse(send, GONE)
        elif chat.id != ask["id"].encode():
            await _refuse(send, OTHER_ID)
        elif scope["path"] == "/chats/cancel":
            await _answer(send, 200, {"frame": chat.cancel().decode()})
        else:
            await self._lend(chat, ask["after"], receive, send)

    async def _lend(self, chat: Chat, after: int, receive: Receive, send: Send) -> None:
        news = asyncio.Event()
        reader = chat.attach(after, news.set)
        if isinstance(reader, Rejected):
            await _refuse(send, reader)
            return
        leaving = asyncio.create_task(_disconnect(receive))
        # Whoever waits for news hears of the other replica's leaving, too.
        leaving.add_done_callback(lambda _: news.set())
        try:
            await send({"type": "http.response.start", "status": 200, "headers": [LINES]})
            while not leaving.done():
                news.clear()
                body = _batch(reader)
                if reader.is_over:
                    await send({"type": "http.response.body", "body": body})
                    return
                if body:
                    await send({"type": "http.response.body", "body": body, "more_body": True})
                    continue
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.heartbeat_s):
                        await news.wait()
                    continue
                await send({"type": "http.response.body", "body": b"\n", "more_body": True})
        finally:
            leaving.cancel()
            reader.detach()


def _batch(reader: Reader) -> bytes:
    """What can be read now, a frame a line, up to about BATCH_BYTES."""
    lines: list[bytes] = []
    size = 0
    while size < BATCH_BYTES and (frame := reader.take()) is not None:
        lines += (frame, b"\n")
        size += len(frame)
    return b"".join(lines)


async def _body(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _answer(send: Send, status: int, answer: Any) -> None:
    await respond(send, status, orjson.dumps(answer), [(b"content-type", b"application/json")])


async def _refuse(send: Send, rejected: Rejected) -> None:
    answer = {
        "reason": rejected.reason.value,
        "message": rejected.message,
        "param": rejected.param,
    }
    await _answer(send, 410, answer)
