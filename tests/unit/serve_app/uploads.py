"""Requests whose bodies come as a test says."""

import asyncio
import dataclasses
import json

from tests.unit.serve_app.socket_world import until

CHAT = "/v1/chat/completions"
READING = [CHAT, "/v1/messages", "/v1/messages/count_tokens", "/v1/route", "/v1/feedback"]
HI = {"messages": [{"role": "user", "content": "Say hi."}]}
RAW = json.dumps(HI).encode()
WAIT_S = 30.0


def with_limits(world, **limits) -> None:
    """The world with other bounds on bodies."""
    policies = world.state.policies
    changed = policies.fleet.limits.model_copy(update=limits)
    fleet = policies.fleet.model_copy(update={"limits": changed})
    world.state.apply(dataclasses.replace(policies, fleet=fleet))


class Upload:
    """One request whose body comes as the test says, under way from the start."""

    def __init__(self, world, path=CHAT, key="acme", length=None, **headers) -> None:
        self.sent: list[dict] = []
        self._pieces: asyncio.Queue = asyncio.Queue()
        self._told = asyncio.Event()
        size = str(len(RAW) if length is None else length)
        lines = {"authorization": f"Bearer {world.keys.get(key, key)}", "content-length": size}
        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "headers": [(k.encode(), v.encode()) for k, v in {**lines, **headers}.items()],
            "client": ("127.0.0.1", 1),
        }
        self.task = asyncio.create_task(world.gateway(scope, self._pieces.get, self._send))

    async def _send(self, message) -> None:
        self.sent.append(message)
        self._told.set()

    def say(self, body=RAW, *, more=False) -> None:
        self._pieces.put_nowait({"type": "http.request", "body": body, "more_body": more})

    def leave(self) -> None:
        self._pieces.put_nowait({"type": "http.disconnect"})

    async def answer(self) -> tuple[int, dict, dict]:
        """Status, headers and body, as soon as they are told."""
        async with asyncio.timeout(WAIT_S):
            while not self._is_told():
                self._told.clear()
                await self._told.wait()
        headers = {k.decode(): v.decode() for k, v in self.sent[0]["headers"]}
        body = b"".join(x.get("body", b"") for x in self.sent[1:])
        return self.sent[0]["status"], headers, json.loads(body)

    def _is_told(self) -> bool:
        return any(x.get("body") for x in self.sent[1:])

    async def end(self) -> None:
        async with asyncio.timeout(WAIT_S):
            await self.task


async def arriving(world, count) -> None:
    """Wait until so many bodies are waited for."""
    await until(lambda: world.state.uploads.count == count)


async def leave(*uploads: Upload) -> None:
    """The clients go; all that was theirs ends."""
    for upload in uploads:
        upload.leave()
        await upload.end()
