"""Two lanes of scripted engines in this process, for a gateway without Ray and sockets."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from random import Random
from typing import Any

import orjson

from serve_app.placement.lanes import Replica
from simulator.http.answers import Choice
from simulator.http.app import SimulatedEngineApp
from simulator.http.asks import Ask
from simulator.http.spec import EngineSpec
from simulator.model.profile import FixedTiming
from simulator.model.realtime import Stream
from simulator.script.model import Script

WINDOW_TOKENS = 2**17
_AT_ONCE = FixedTiming(ttft_s=0, itl_s=0)
_MOST_TOKENS_A_STEP = 4
_MOST_BYTES_A_READ = 1500


class _Stepped(Stream):
    """Tokens in steps of one to four, as an event loop under load finds them."""

    __slots__ = ()

    async def take(self) -> tuple[int, int]:
        while self._arrived == self._taken and self._taken < self.sequence.output_tokens:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
            self._waiter = None
        first = self._taken
        step = 1 + first % _MOST_TOKENS_A_STEP
        self._taken = min(self._arrived, first + step)
        return first, self._taken


class ScriptedEngine(SimulatedEngineApp):
    """A simulated engine whose script is exchanged from request to request."""

    def __init__(self, model_id: str) -> None:
        super().__init__(EngineSpec(model_id, WINDOW_TOKENS, _AT_ONCE, seed=1))

    def _submit(self, choice: Choice, ask: Ask) -> Stream:
        stream = super()._submit(choice, ask)
        stream.__class__ = _Stepped
        return stream


App = Callable[[MutableMapping[str, Any], Any, Any], Awaitable[None]]


async def ask_app(app: App, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
    """POST to an ASGI app in this process: status, headers and the whole body."""
    status, headers, parts = 0, {}, []
    asked = [{"type": "http.request", "body": body}]
    left = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if asked:
            return asked.pop()
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        nonlocal status, headers
        if message["type"] == "http.response.start":
            status = message["status"]
            headers = {k.decode().lower(): v.decode() for k, v in message["headers"]}
        else:
            parts.append(message.get("body", b""))

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "scheme": "http",
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1),
    }
    await app(scope, receive, send)
    return status, headers, b"".join(parts)


class EngineAnswer:
    """An engine's answer as the upstream client hands it out, cut anywhere, as TCP cuts."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes, random: Random) -> None:
        self.status, self.headers = status, headers
        self._parts: deque[bytes] = deque()
        while body:
            size = random.randint(1, _MOST_BYTES_A_READ)
            self._parts.append(body[:size])
            body = body[size:]

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0]

    def read_nowait(self) -> bytes:
        return self._parts.popleft() if self._parts else b""

    async def readany(self) -> bytes:
        return self.read_nowait()

    async def deliver_to(self, step: Callable[[bytes], bool], _: object = None) -> bool:
        """Whether the step had enough before the end."""
        while part := self.read_nowait():
            if not step(part):
                return True
        return False

    async def read(self) -> bytes:
        rest = b"".join(self._parts)
        self._parts.clear()
        return rest

    def expect_tokens(self) -> None:
        """Nothing is watched."""

    def close(self) -> None:
        """Nothing is open."""


class ScriptedLanes:
    """A lane `chat` and a stronger lane `quality`, of one replica each.

    Attributes:
        asked: body and usage of each request since the script was set.

    """

    def __init__(self) -> None:
        self._engines = {name: ScriptedEngine(name) for name in ("chat", "quality")}
        self._random = Random(7)
        self.asked: list[tuple[dict[str, Any], dict[str, Any]]] = []

    def names(self) -> list[str]:
        return [*self._engines]

    def say(self, script: Script) -> None:
        """Have both lanes answer from a script."""
        self.asked.clear()
        for engine in self._engines.values():
            engine.script = script

    async def choose(self, lane: str, *_: Any) -> Replica:
        return Replica("r1", f"http://{lane}")

    async def open(self, replica: Replica, path: str, body: bytes, _: Any) -> EngineAnswer:
        engine = self._engines[replica.url.removeprefix("http://")]
        status, headers, answer = await ask_app(engine, path, body)
        usage = orjson.loads(answer).get("usage") if answer.startswith(b"{") else None
        self.asked.append((orjson.loads(body), usage or {}))
        return EngineAnswer(status, headers, answer, self._random)

    async def is_alive(self, _: Replica) -> bool:
        return True
