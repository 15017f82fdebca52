"""An overloaded fleet in virtual time: open-loop clients, ingress replicas, engines."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

import numpy as np

from benchmarks.support import report
from router.admission.lane_queue import LaneQueue, QueueConfig
from router.admission.shed_order import AdmissionLog, Event, Held, Verdict, judge
from router.admission.ticket import SlotRequest, Stage, Ticket, Tier
from simulator.model.engine import BatchingEngine, Sequence
from simulator.model.profile import load_profile

PROFILE = "llama-3.1-8b-fp8-rtx4090"
ENGINES = 4
SLOTS = 8
PAID_CLIENTS, FREE_CLIENTS = 4, 16
PROMPT, OUTPUT = 800, 150
RUN_S, WARM_S = 360.0, 60.0
OVERLOAD = 3.0
"""Times what the engines answer."""
TICK_S = 0.1
HEARTBEAT_S = 0.2
JUDGE_S = 1.0

PAID = Tier("paid", 0, start_within_s=30.0)
FREE = Tier("free", 10, sheddable=True, min_share=0.05, start_within_s=30.0)
DEFAULT = QueueConfig()
# What a FIFO makes of both.
ALL = Tier("all", 0, start_within_s=30.0)


@dataclass(frozen=True)
class Policy:
    """How requests get to the engines.

    Attributes:
        ingresses: ingress replicas with a queue each; 0: straight to the engines.
        is_fifo: one tier and one tenant: first come, first served, with the same bounds.
        has_free: whether the free clients are there.
        slots: sequences that an engine runs at once.

    """

    name: str
    ingresses: int = 1
    is_fifo: bool = False
    has_free: bool = True
    config: QueueConfig = DEFAULT
    slots: int = SLOTS


@dataclass
class Seen:
    """What one kind of client saw after the warm-up."""

    offered: int = 0
    ttfts: list[float] = field(default_factory=list)
    answered: int = 0
    tokens: int = 0
    at_once: int = 0
    codes: Counter[str] = field(default_factory=Counter)


class Fleet:
    """One run.

    Args:
        rate: requests a second of each client.

    """

    def __init__(self, policy: Policy, rate: float, seed: int = 1) -> None:
        profile = load_profile(PROFILE)
        scheduling = profile.scheduling.model_copy(
            update={
                "max_num_seqs": policy.slots,
                "scheduling_policy": "fcfs" if policy.is_fifo else "priority",
            }
        )
        self.engines = [
            BatchingEngine(profile.timing, scheduling, lists_decoded=True) for _ in range(ENGINES)
        ]
        self.policy, self.rate = policy, rate
        count = max(1, policy.ingresses)
        capacity = ENGINES * policy.slots // count if policy.ingresses else None
        # What each said at its last heartbeat.
        self._told = [0] * count
        self.queues = [
            LaneQueue(
                policy.config,
                capacity,
                partial(self._others, i),
                partial(self._told_by_others, i),
            )
            for i in range(count)
        ]
        self.logs = [AdmissionLog(now=0.0) for _ in range(count)]
        if count > 1:
            for queue in self.queues:
                queue.set_capacity(capacity, 0.0, ENGINES * policy.slots)
        self.verdicts: Counter[str] = Counter()
        self.now = 0.0
        self.seen = {PAID.name: Seen(), FREE.name: Seen()}
        self.kept: list[int] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._keys = itertools.count(1)
        self._open: dict[Sequence, _Request] = {}
        self._running = [0] * ENGINES
        self._seed = seed

    def _others(self, index: int) -> int:
        return sum(q.preemption.sheddable_held() for i, q in enumerate(self.queues) if i != index)

    def _told_by_others(self, index: int) -> int:
        return sum(self._told) - self._told[index]

    def at(self, when: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._numbers), action))

    def run(self) -> Fleet:
        for number in range(PAID_CLIENTS + (FREE_CLIENTS if self.policy.has_free else 0)):
            tier = PAID if number < PAID_CLIENTS else FREE
            # A client's requests are the same whatever else runs.
            self._client(tier, f"{tier.name}{number}", Random(f"{self._seed}.{number}"))
        self.at(0.0, self._tick)
        self.at(0.0, self._beat)
        self.at(JUDGE_S, self._judge)
        while self.now < RUN_S:
            engine = min(self.engines, key=lambda e: e.next_at or float("inf"))
            if engine.next_at is None or (self._events[0][0] <= engine.next_at):
                self.now, _, action = heapq.heappop(self._events)
                action()
            else:
                self._step(engine)
        return self

    def _client(self, tier: Tier, tenant: str, random: Random) -> None:
        def ask() -> None:
            self.at(self.now + random.expovariate(self.rate), ask)
            _Request(self, tier, tenant, random).submit()

        self.at(random.expovariate(self.rate), ask)

    def _tick(self) -> None:
        for queue in self.queues:
            queue.poll(self.now)
            if queue.slots.capacity is not None and queue.depths().get("free"):
                self.kept.append(queue.slots.capacity - queue.slots.used)
        self.at(self.now + TICK_S, self._tick)

    def _beat(self) -> None:
        self._told = [queue.slots.used for queue in self.queues]
        self.at(self.now + HEARTBEAT_S, self._beat)

    def _judge(self) -> None:
        """Look for violations of the shed order in everybody's logs."""
        refusals = [x for log in self.logs for x in log.take_refusals()[0]]
        if refusals:
            logs = [Held.read(f"i{i}", log.export(self.now)) for i, log in enumerate(self.logs)]
            for refusal in refusals:
                self.verdicts[judge(refusal, logs, len(logs))[0].value] += 1
        self.at(self.now + JUDGE_S, self._judge)

    @property
    def violations(self) -> int:
        return self.verdicts[Verdict.VIOLATION.value]

    # -- engines ------------------------------------------------------------

    def begin(self, request: _Request) -> None:
        index = min(range(ENGINES), key=self._running.__getitem__)
        self._running[index] += 1
        request.engine = index
        key = next(self._keys) << 24
        request.sequence = Sequence(
            request.prompt, request.output, lambda n: key + n, request.tier.priority
        )
        self._open[request.sequence] = request
        self.engines[index].add(request.sequence, self.now)

    def end(self, request: _Request, tokens: int) -> None:
        self._running[request.engine] -= 1
        del self._open[request.sequence]
        request.note(Event.LEFT)
        request.queue.release(request.ticket, tokens, self.now)

    def abort(self, request: _Request) -> None:
        self.engines[request.engine].abort(request.sequence)
        self.end(request, 0)

    def _step(self, engine: BatchingEngine) -> None:
        result = engine.advance()
        self.now = result.at
        for sequence in result.first:
            if (request := self._open.get(sequence)) is not None:
                request.first_token()
        for sequence in (*result.first, *result.decoded):
            if (request := self._open.get(sequence)) is not None:
                request.ticket.deliver(request.ticket.charged_tokens + 1)
        for sequence in result.finished:
            if (request := self._open.get(sequence)) is not None:
                self.end(request, request.output)
                if request.seen is not None:
                    request.seen.answered += 1
                    request.seen.tokens += request.output


class _Request:
    """One request of an open-loop client: refused means gone."""

    def __init__(self, fleet: Fleet, tier: Tier, tenant: str, random: Random) -> None:
        self.fleet, self.tier, self.tenant = fleet, tier, tenant
        self.prompt = int(PROMPT * random.uniform(0.7, 1.3))
        self.output = int(OUTPUT * random.uniform(0.7, 1.3))
        self.index = random.randrange(len(fleet.queues))
        self.queue = fleet.queues[self.index]
        self.asked = fleet.now
        self.seen = fleet.seen[tier.name] if fleet.now >= WARM_S else None
        self.engine = -1
        self.sequence: Sequence
        self.ticket: Ticket

    def submit(self) -> None:
        fleet, fifo = self.fleet, self.fleet.policy.is_fifo
        tier, tenant = (ALL, "all") if fifo else (self.tier, self.tenant)
        self.number = fleet.logs[self.index].number()
        self.note(Event.QUEUED)
        self.ticket = self.queue.submit(SlotRequest(tier, tenant, self.prompt), self.asked)
        self.ticket.on_change = self._changed
        if self.seen is not None:
            self.seen.offered += 1
            self.seen.at_once += self.ticket.stage is Stage.RUNNING
        if self.ticket.stage is not Stage.WAITING:
            self._changed()

    def note(self, event: Event, code: str = "") -> None:
        # Free or not by the client, also where the queue does not know tiers.
        self.fleet.logs[self.index].note(
            self.fleet.now,
            "chat",
            self.number,
            self.tier.name,
            event,
            sheddable=self.tier.sheddable,
            code=code,
        )

    def _changed(self) -> None:
        if self.ticket.stage is Stage.RUNNING:
            self.note(Event.STARTED)
            self.fleet.begin(self)
            return
        assert self.ticket.refused is not None
        code = self.ticket.refused.reason.value
        if self.ticket.stage is Stage.EVICTED:
            code = "evicted"
            self.fleet.at(self.fleet.now, lambda: self.fleet.abort(self))
        else:
            self.note(Event.REFUSED, code)
        if self.seen is not None:
            self.seen.codes[code] += 1

    def first_token(self) -> None:
        if not self.ticket.has_begun:
            self.queue.begin(self.ticket)
            self.note(Event.FIRST_TOKEN)
            if self.seen is not None:
                self.seen.ttfts.append(self.fleet.now - self.asked)


def capacity_per_s(slots: int) -> float:
    """Requests a second that the engines answer when there are always more than enough."""
    fleet = Fleet(Policy("capacity", is_fifo=True, slots=slots), rate=6.0).run()
    return sum(x.answered for x in fleet.seen.values()) / (RUN_S - WARM_S)


def plot(name: str, rows: list[dict[str, Any]]) -> None:
    """TTFT of paid work, and what became of all."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    names = [row["policy"] for row in rows]
    figure, axes = plt.subplots(1, 2, figsize=(12, 3), sharey=True)
    bars = axes[0].barh(names, [row["paid_ttft_p99_s"] for row in rows])
    axes[0].bar_label(bars, fmt="%.2f", fontsize=8, padding=2)
    axes[0].set_xscale("log")
    axes[0].set_xlabel("paid TTFT p99, s (log)")
    axes[0].margins(x=0.2)
    left = np.zeros(len(rows))
    for key in ("paid_answered", "paid_refused", "free_answered", "free_refused"):
        values = np.array([float(row[key]) for row in rows])
        axes[1].barh(names, values, left=left, label=key.replace("_", " "))
        left += values
    axes[1].set_xlabel("requests")
    axes[1].legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    axes[0].invert_yaxis()
    figure.tight_layout()
    figure.savefig(report.RESULTS / f"{name}.png", dpi=110)
    plt.close(figure)
