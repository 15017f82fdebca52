"""Lanes of simulated engines in this process, whose streams break where a test says."""

import asyncio
import json
from dataclasses import dataclass, field

from serve_app.placement.lanes import NoReplica, Replica, Unreachable
from serve_app.transport.upstream import BrokenConnection
from simulator.http.app import SimulatedEngineApp
from simulator.http.spec import EngineSpec
from simulator.model.profile import FixedTiming
from simulator.model.realtime import Stream

AT_ONCE = FixedTiming(ttft_s=0, itl_s=0)


@dataclass
class Break:
    """Where one answer breaks: after whole events, some bytes into the next."""

    events: int = 0
    extra_bytes: int = 0
    how: Exception = field(default_factory=lambda: BrokenConnection("cut"))


class EngineAnswer:
    """An ASGI app's answer, read as the upstream client's `Response` is."""

    def __init__(self, app, path, body, cut=None, chunk_bytes=None) -> None:
        self.status, self.headers = 0, {}
        self.is_closed = False
        self._cut, self._chunk_bytes = cut, chunk_bytes
        self._queue = asyncio.Queue()
        self._left = asyncio.Event()
        self._head = asyncio.Event()
        self._buffer, self._is_over = b"", False
        self._given = b""
        self._asked = [{"type": "http.request", "body": body}]
        scope = {"type": "http", "method": "POST", "path": path, "headers": []}
        self._task = asyncio.create_task(self._run(app, scope))

    async def _run(self, app, scope) -> None:
        try:
            await app(scope, self._receive, self._send)
        except ConnectionAbortedError:
            self._queue.put_nowait(BrokenConnection("aborted"))
        finally:
            self._head.set()
            self._queue.put_nowait(None)

    async def _receive(self):
        if self._asked:
            return self._asked.pop()
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {k.decode(): v.decode() for k, v in message["headers"]}
            self._head.set()
        elif message.get("body"):
            self._queue.put_nowait(message["body"])

    async def opened(self):
        await self._head.wait()
        return self

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0]

    async def readany(self) -> bytes:
        if not self._buffer and not self._is_over:
            self._take(await self._queue.get())
        return self._give()

    async def deliver_to(self, step, push=None) -> bool:
        while part := await self.readany():
            if not step(part):
                return True
        return False

    def read_nowait(self) -> bytes:
        if not self._buffer and not self._queue.empty():
            self._take(self._queue.get_nowait())
        limit = self._limit()
        # A fault is told to those who wait.
        return b"" if limit is not None and len(self._given) >= limit else self._give()

    def _take(self, part) -> None:
        if isinstance(part, Exception):
            raise part
        if part is None:
            self._is_over = True
        else:
            self._buffer += part

    def _give(self) -> bytes:
        limit = self._limit()
        if limit is not None and len(self._given) >= limit:
            raise self._cut.how
        size = min(self._chunk_bytes or len(self._buffer), len(self._buffer))
        if limit is not None:
            size = min(size, limit - len(self._given))
        chunk, self._buffer = self._buffer[:size], self._buffer[size:]
        self._given += chunk
        return chunk

    def _limit(self) -> int | None:
        """Bytes given before the break, once they are known."""
        if self._cut is None:
            return None
        seen = self._given + self._buffer
        ends = [0, *(i + 2 for i in range(len(seen)) if seen.startswith(b"\n\n", i))]
        if len(ends) <= self._cut.events:
            return None
        return ends[self._cut.events] + self._cut.extra_bytes

    async def read(self) -> bytes:
        parts = []
        while part := await self.readany():
            parts.append(part)
        return b"".join(parts)

    def expect_tokens(self) -> None:
        """A real connection is watched more closely from now on."""

    def close(self) -> None:
        self.is_closed = True
        self._left.set()


class Stepped(Stream):
    """Tokens in events of a fixed number, whatever the event loop's load."""

    __slots__ = ()
    step = 1

    async def take(self) -> tuple[int, int]:
        while self._arrived == self._taken:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
            self._waiter = None
        first, self._taken = self._taken, min(self._arrived, self._taken + self.step)
        return first, self._taken


class SteppedByThree(Stepped):
    __slots__ = ()
    step = 3


@dataclass
class SimulatedLanes:
    """Three replicas of one simulated model each.

    `step`: tokens in an event, one or three; None: as they come.
    `cuts`: where the answers break, in the order in which generation is asked for; None
    for an answer that is whole. `dead`: replicas that accept nothing. `scripts`: what
    replicas say, by name; the others the script of the name "".
    """

    step: int | None = 1
    trims: bool = False
    cuts: list = field(default_factory=list)
    dead: set = field(default_factory=set)
    chunk_bytes: int | None = None
    detokenizes: bool = True
    scripts: dict = field(default_factory=dict)
    opened: list = field(default_factory=list)
    answers: list = field(default_factory=list)

    def __post_init__(self) -> None:
        self.engines = {
            (lane, name): SimulatedEngineApp(
                EngineSpec(
                    model,
                    4096,
                    AT_ONCE,
                    trims_template=self.trims,
                    script=self.scripts.get(name, self.scripts.get("")),
                    seed=7 if not self.scripts else int(name[1:]),
                )
            )
            for lane, model in (("chat", "small"), ("quality", "large"))
            for name in ("r1", "r2", "r3")
        }
        if self.step is not None:
            for name in ("r1", "r2", "r3"):
                self.divide(name, self.step)

    def divide(self, replica: str, step: int) -> None:
        """Have a replica put so many tokens into an event: one or three."""
        for (_, name), engine in self.engines.items():
            if name == replica:
                _step(engine, Stepped if step == 1 else SteppedByThree)

    def names(self) -> list[str]:
        return ["chat", "quality"]

    async def choose(self, lane, session_key, avoid=frozenset()) -> Replica:
        ranked = sorted(("r1", "r2", "r3"), key=lambda name: (name in avoid, name))
        if not ranked:
            raise NoReplica(lane)
        return Replica(ranked[0], lane)

    async def open(self, replica, path, body, headers):
        if replica.id in self.dead:
            raise Unreachable(replica.id)
        if path == "/detokenize":
            if not self.detokenizes:
                path = "/nowhere"
            return await EngineAnswer(self.engines[replica.url, replica.id], path, body).opened()
        self.opened.append((replica.id, path, json.loads(body)))
        cut = self.cuts.pop(0) if self.cuts else None
        engine = self.engines[replica.url, replica.id]
        answer = EngineAnswer(engine, path, body, cut, self.chunk_bytes)
        self.answers.append(answer)
        return await answer.opened()

    async def is_alive(self, replica) -> bool:
        return replica.id not in self.dead

    def running(self) -> int:
        return sum(app.engine.running + app.engine.waiting for app in self.engines.values())


def _step(engine, kind) -> None:
    submit = engine.clock.submit

    def submit_stepped(sequence):
        stream = submit(sequence)
        stream.__class__ = kind
        return stream

    engine.clock.submit = submit_stepped
