"""A workload against a real deployment over HTTP: stock OpenAI requests, streamed.

Why not a packaged load generator: see docs/adr/0007-load-generator.md.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from typing import Any

import aiohttp
import orjson

from simulator.client import prose
from simulator.virtual_time.report import Turn
from simulator.virtual_time.workload import Request, Session, Workload, sessions

READ_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Target:
    """Where the load goes.

    Attributes:
        url: base URL, without /v1.
        model: model to ask for.
        key_of: the API key of a tenant by number, or None.
        headers: more request headers.
        extra: more body members (for instance `ignore_eos`).

    """

    url: str
    model: str = "auto"
    key_of: Callable[[int], str | None] = field(default=lambda _: None)
    headers: dict[str, str] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)


async def run_load(
    target: Target,
    workload: Workload,
    *,
    duration_s: float,
    random: Random,
    active: int | None = None,
    sessions_per_s: float | None = None,
) -> list[Turn]:
    """Run a workload and return every request that ended within the time.

    Args:
        target: where to.
        workload: the traffic.
        duration_s: after this no turn begins, and open requests are abandoned.
        random: source of randomness; the same seed makes the same sessions.
        active: closed loop: so many sessions at any time.
        sessions_per_s: open loop: Poisson arrivals. Give one of both.

    """
    if (active is None) == (sessions_per_s is None):
        raise ValueError("give either 'active' (closed loop) or 'sessions_per_s' (open loop)")
    timeout = aiohttp.ClientTimeout(total=None, sock_read=READ_TIMEOUT_S)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=timeout, headers=target.headers
    ) as http:
        run = _Load(http, target, workload, random)
        if active is not None:
            driver: asyncio.Future[Any] = asyncio.gather(
                *(run.keep_talking() for _ in range(active))
            )
        else:
            assert sessions_per_s is not None
            driver = asyncio.ensure_future(run.arrive(sessions_per_s))
        done, _ = await asyncio.wait({driver}, timeout=duration_s)
        for task in done:
            task.result()
        await run.stop(driver)
    return run.turns


class _Load:
    def __init__(
        self, http: aiohttp.ClientSession, target: Target, workload: Workload, random: Random
    ) -> None:
        self.turns: list[Turn] = []
        self._http = http
        self._target = target
        self._workload = workload
        self._random = random
        self._sessions = sessions(workload, random)
        self._begun = time.perf_counter()
        self._open: set[asyncio.Task[None]] = set()
        self._tag = f"{random.getrandbits(32):08x}"
        self._tools = [_tool(number) for number in range(workload.tools)]

    async def keep_talking(self) -> None:
        """One place of the closed loop: session after session."""
        await asyncio.sleep(self._random.uniform(0, min(5.0, self._workload.think_s)))
        while True:
            await self._talk(next(self._sessions))
            await self._think()

    async def arrive(self, per_s: float) -> None:
        """The open loop: sessions come whether or not others have ended."""
        while True:
            await asyncio.sleep(self._random.expovariate(per_s))
            task = asyncio.ensure_future(self._talk(next(self._sessions)))
            self._open.add(task)
            task.add_done_callback(self._open.discard)

    async def stop(self, driver: asyncio.Future[Any]) -> None:
        """Abandon what is still open."""
        tasks = {driver, *self._open}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _think(self) -> None:
        if self._workload.think_s:
            await asyncio.sleep(self._random.expovariate(1 / self._workload.think_s))

    async def _talk(self, session: Session) -> None:
        random = Random(f"{self._tag}-{session.number}")
        system = prose.system_prompt(session.tenant, self._workload.system_tokens)
        history = [{"role": "system", "content": system}] if system else []
        for number, stages in enumerate(session.turns):
            if number:
                await self._think()
            for stage, requests in zip(self._workload.stages, stages, strict=True):
                said = await asyncio.gather(
                    *(self._ask(session, number, r, history, random) for r in requests)
                )
                # Requests side by side share a history; it goes on with the first.
                history += said[0]
                if stage.wait_s:
                    await asyncio.sleep(stage.wait_s)

    async def _ask(
        self,
        session: Session,
        turn: int,
        request: Request,
        history: list[dict[str, str]],
        random: Random,
    ) -> list[dict[str, str]]:
        """One request; what it adds to the history."""
        write = prose.complex_question if session.is_complex and not turn else prose.everyday
        message = {"role": "user", "content": write(request.input_tokens, random)}
        body = {
            "model": self._target.model,
            "messages": [*history, message],
            "max_tokens": request.output_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            **self._target.extra,
        }
        if self._tools:
            body["tools"] = self._tools
        headers = {"x-session-id": f"{self._tag}-{session.number}"}
        key = self._target.key_of(session.tenant)
        if key is not None:
            headers["authorization"] = f"Bearer {key}"
        reader = StreamReader(time.perf_counter())
        error = ""
        lane = ""
        try:
            async with self._http.post(
                f"{self._target.url}/v1/chat/completions", json=body, headers=headers
            ) as response:
                lane = response.headers.get("x-pointsman-lane", "")
                if response.status != 200:
                    error = f"{response.status} {_code(await response.read())}"
                else:
                    async for chunk in response.content.iter_any():
                        reader.feed(chunk, time.perf_counter())
                    error = reader.fault()
        except (aiohttp.ClientError, TimeoutError, OSError) as fault:
            error = type(fault).__name__
        self.turns.append(reader.turn(request.stage, turn, self._begun, lane, error))
        return [message, {"role": "assistant", "content": reader.text or "(none)"}]


class StreamReader:
    """Reads one stream: times of tokens, text, usage."""

    def __init__(self, begun: float) -> None:
        self._begun = begun
        self._rest = b""
        self.times: list[float] = []
        self._parts: list[str] = []
        self.usage: dict[str, Any] = {}
        self._error = ""
        self._is_done = False
        self._ended = begun

    @property
    def text(self) -> str:
        return "".join(self._parts)

    def feed(self, chunk: bytes, now: float) -> None:
        """Take bytes that arrived at `now`, in seconds."""
        self._ended = now
        *events, self._rest = (self._rest + chunk).split(b"\n\n")
        for event in events:
            data = event.removeprefix(b"data: ")
            if data == b"[DONE]":
                self._is_done = True
            elif event.startswith(b"data: "):
                self._read(orjson.loads(data), now)

    def _read(self, data: dict[str, Any], now: float) -> None:
        if "error" in data:
            self._error = str((data["error"] or {}).get("code", "error"))
            return
        if data.get("usage"):
            self.usage = data["usage"]
        for choice in data.get("choices", ()):
            delta = choice.get("delta") or {}
            if delta.get("content") or delta.get("tool_calls"):
                self.times.append(now)
                self._parts.append(delta.get("content") or "")

    def fault(self) -> str:
        """Why the stream does not count; empty when it does."""
        if self._error:
            return self._error
        return "" if self._is_done and self.times else "incomplete"

    def turn(self, stage: str, turn: int, origin: float, lane: str, error: str) -> Turn:
        """The request as a turn of a run that began at `origin`."""
        times = self.times or [self._ended]
        gaps = (b - a for a, b in pairwise(times))
        details = self.usage.get("prompt_tokens_details") or {}
        return Turn(
            stage=stage,
            turn=turn,
            begun=self._begun - origin,
            ttft_s=times[0] - self._begun,
            duration_s=times[-1] - self._begun,
            prompt_tokens=int(self.usage.get("prompt_tokens", 0)),
            cached_tokens=int(details.get("cached_tokens") or 0),
            output_tokens=int(self.usage.get("completion_tokens", len(self.times))),
            first_30_s=times[min(29, len(times) - 1)] - self._begun,
            longest_gap_s=max(gaps, default=0.0),
            error=error,
            lane=lane,
        )


def _tool(number: int) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {"query": {"type": "string"}},
                  "required": ["query"]}  # fmt: skip
    function = {
        "name": f"lookup_{number}",
        "description": f"Looks something up in system {number}.",
        "parameters": parameters,
    }
    return {"type": "function", "function": function}


def _code(body: bytes) -> str:
    """An error body's code; never its text, which may hold anything."""
    try:
        return str(orjson.loads(body)["error"]["code"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return "unreadable"
