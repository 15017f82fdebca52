"""Bodies as the simulated engine reads them, and how it refuses what it cannot read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from simulator.http.delivery import Message

Receive = Callable[[], Awaitable[Message]]


class Refused(Exception):
    """An error answer: its status and its text."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status, self.kind = status, kind


def json_object(raw: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise Refused(400, "BadRequestError", "the body is not JSON") from error
    if not isinstance(body, dict):
        raise Refused(400, "BadRequestError", "the body is not a JSON object")
    return body


async def read_body(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
