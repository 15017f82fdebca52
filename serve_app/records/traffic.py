"""What one ingress replica remembers of its traffic: how long turns take, and recent requests.

What is exported has no text: times, token counts, and numbers that tell sessions and tenants
apart.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from functools import partial
from hashlib import blake2b
from typing import Any

from serve_app.bodies.routes import CONVERSATIONS
from serve_app.metrics.turns import TurnMetrics
from serve_app.protocol.sse import Usage
from serve_app.records.request_record import RequestRecord
from serve_app.records.streams import Streams
from serve_app.request.call import Call, Outcome

MAX_REQUESTS = 512
"""Kept of each lane, the newest: about 600 kB."""

MAX_TURNS = 10_000
TURN_IDLE_S = 3600.0

Row = tuple[float, int, int, int, int, int, float | None]
"""Arrival (seconds since 1970), prompt, cached and output tokens, session, tenant, TTFT."""


class TurnClock:
    """When the turns that are under way began, by this process's performance counter.

    A turn of an agent is several requests. Those that another ingress replica served are not
    known here: a turn is never told longer than it was, and may be told shorter.
    """

    def __init__(self, max_turns: int = MAX_TURNS, idle_s: float = TURN_IDLE_S) -> None:
        self._max_turns, self._idle_s = max_turns, idle_s
        self._begun: OrderedDict[object, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._begun)

    def end(self, key: object, began: float, now: float, *, is_last: bool) -> float | None:
        """Note that a request of a turn has ended; return the turn's seconds if it was the last."""
        known = self._begun.pop(key, None)
        begun = began if known is None else min(began, known[0])
        if is_last:
            return now - begun
        self._begun[key] = begun, now
        self._forget(now)
        return None

    def _forget(self, now: float) -> None:
        while self._begun:
            key, (_, seen) = next(iter(self._begun.items()))
            if len(self._begun) <= self._max_turns and now - seen < self._idle_s:
                return
            del self._begun[key]


class Traffic:
    """Noted once a request, when it is settled; on one event loop.

    Args:
        secret: of the deployment, so that all of its ingress replicas give a session one number.
        most: requests kept of each lane.

    """

    def __init__(self, secret: bytes, most: int = MAX_REQUESTS) -> None:
        self._most = most
        self._digest = partial(blake2b, digest_size=4, key=secret[:64])
        self._lanes: dict[str, deque[tuple[RequestRecord, Usage]]] = {}
        self._turns = TurnClock()
        self.streams = Streams()

    def note(
        self, record: RequestRecord, call: Call, counted: Usage | None, metrics: TurnMetrics
    ) -> None:
        """Note a request however it ended; `counted`: the engine's count, or the best guess."""
        lane = record.lane
        if lane is None:
            return
        moved = None if call.decision is None else call.decision.instead_of
        self.streams.note(record, None if moved is None else moved.lane.name)
        took = self._turn_s(call, time.perf_counter())
        if took is not None:
            metrics.turns.labels(lane, record.tier).observe(took)
        if counted is None:
            return
        metrics.prompts.labels(lane).observe(counted.prompt_tokens)
        ring = self._lanes.get(lane)
        if ring is None:
            ring = self._lanes[lane] = deque(maxlen=self._most)
        ring.append((record, counted))

    def _turn_s(self, call: Call, now: float) -> float | None:
        """Seconds of the turn that has ended with this request; None: it goes on, or is none."""
        if call.outcome is not Outcome.ANSWERED or call.route.path not in CONVERSATIONS:
            return None
        if call.turn_key is None:
            return now - call.started
        gate = call.reply.gate
        is_last = gate is None or not gate.delivered
        return self._turns.end(call.turn_key, call.started, now, is_last=is_last)

    def number(self, name: str) -> int:
        """Return what stands for a session or a tenant; nobody finds the name from it."""
        digest = self._digest(name.encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest, "big")

    def export(self) -> dict[str, Any]:
        """Return the newest requests of each lane, oldest first."""
        return {lane: [self._row(*x) for x in ring] for lane, ring in self._lanes.items()}

    def _row(self, record: RequestRecord, counted: Usage) -> Row:
        return (
            round(record.time.timestamp() - record.duration_s, 3),
            counted.prompt_tokens,
            counted.cached_tokens,
            counted.completion_tokens,
            self.number(record.task_key),
            self.number(record.tenant),
            record.ttft_s,
        )
