"""What admission costs: 10,000 tenants, 1,000 waiting requests, no engine, no event loop."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np

from benchmarks.support import report
from router.admission.kv_budget import KvAsk
from router.admission.lane_queue import LaneQueue, QueueConfig
from router.admission.ticket import SlotRequest, Stage, Ticket, Tier
from router.leases.holder import LeaseHolder
from router.leases.ledger import Ledger
from router.leases.messages import LeaseTerms
from router.limits.ceiling import CeilingConfig
from router.limits.reservation import Reservation

TENANTS = 10_000
QUEUED = 1_000
SLOTS = 64
CALLS = 50_000
OUTPUT = 100
PAID = Tier("paid", 0, start_within_s=120.0)
FREE = Tier("free", 10, sheddable=True, min_share=0.05, start_within_s=60.0)
LIMITS = CeilingConfig(80.0, 60_000.0, 600.0, 8)
BAR_US = 60.0
# Most tenants may hold one of their requests.
KV_LIMIT = 3000


class Lane:
    """A lane in which every request is timed at its steps."""

    def __init__(self, slots: int | None, queued: int, *, has_kv: bool = False) -> None:
        self.has_kv = has_kv
        self.random = Random(1)
        self.queue = LaneQueue(QueueConfig(max_queued=4 * QUEUED), slots)
        self.running: list[Ticket] = []
        self.now = 0.0
        self.spent: dict[str, list[float]] = {}
        while self.queued < queued:
            self.submit(0.0)
        for number in range(TENANTS):
            # All have been here once.
            ticket = self.queue.submit(SlotRequest(PAID, f"t{number}", 10), self.now)
            self.queue.release(ticket, 10, self.now)

    @property
    def queued(self) -> int:
        return sum(self.queue.depths().values())

    def timed(self, name: str, step: Callable[[], Any]) -> Any:
        # CPU time of this thread: others on the machine are not part of the cost.
        begun = time.thread_time_ns()
        result = step()
        self.spent.setdefault(name, []).append((time.thread_time_ns() - begun) / 1e9)
        return result

    def submit(self, step_s: float) -> None:
        random = self.random
        tier = PAID if random.random() < 0.5 else FREE
        name, prompt = f"t{random.randrange(TENANTS)}", random.randrange(1, 4000)
        self.now += step_s
        kv = KvAsk(KV_LIMIT, prompt, OUTPUT) if self.has_kv else None
        ticket = self.timed(
            "submit",
            lambda: self.queue.submit(SlotRequest(tier, name, prompt, kv=kv), self.now),
        )
        if ticket.stage is not Stage.REFUSED:
            ticket.on_change = lambda: self.running.append(ticket)
        if ticket.stage is Stage.RUNNING:
            self.running.append(ticket)

    def end(self) -> None:
        index = self.random.randrange(len(self.running))
        self.running[index], self.running[-1] = self.running[-1], self.running[index]
        ticket = self.running.pop()
        self.queue.begin(ticket)
        for other in self.running:
            # Everyone's counter moves between two ends: the worst for the heap.
            other.deliver(other.charged_tokens + 1)
        self.timed("release", lambda: self.queue.release(ticket, OUTPUT, self.now))


def measure(
    what: str, slots: int | None, queued: int, *, has_kv: bool = False
) -> list[dict[str, Any]]:
    """Costs with so many waiting."""
    lane = Lane(slots, queued, has_kv=has_kv)
    lane.spent.clear()
    gc.collect()
    gc.freeze()
    for _ in range(CALLS):
        lane.submit(0.01)
        if lane.running:
            lane.end()
        lane.timed("poll", lambda: lane.queue.poll(lane.now))
    return [
        {
            "what": what,
            "step": name,
            "tenants": TENANTS,
            "queued": lane.queued,
            "held_back": lane.queue.kv.waiting,
            "p50_us": 1e6 * float(np.quantile(times, 0.5)),
            "p99_us": 1e6 * float(np.quantile(times, 0.99)),
            "max_us": 1e6 * max(times),
        }
        for name, times in lane.spent.items()
    ]


def ceilings() -> list[dict[str, Any]]:
    """Every kind of ceiling, leased from a ledger, with 10,000 tenants that are active.

    Also what a heartbeat keeps the event loop for at one go: requests are served between
    its slices.
    """
    terms = LeaseTerms()
    holder, ledger = LeaseHolder("i", terms), Ledger(1, terms, learning_until=0.0, is_first=True)
    random, now, open_ = Random(1), 0.0, [f"t{n}" for n in range(TENANTS)]
    spent: dict[str, list[float]] = {"ceilings: admit and settle": [], "ceilings: slice": []}

    def slices(parts: Any) -> Any:
        last, begun = None, time.thread_time_ns()
        for part in parts:
            spent["ceilings: slice"].append((time.thread_time_ns() - begun) / 1e9)
            last, begun = part, time.thread_time_ns()
        return last

    for name in open_:
        holder.ceiling(name, LIMITS, now=now)
    gc.collect()
    gc.freeze()
    for number in range(CALLS):
        now += 0.001
        if number % 1000 == 0:
            answer = ledger.exchange(slices(holder.draft({}, now=now)), now=now)
            if answer is not None and holder.accepts(answer, now=now):
                slices(holder.adopt(answer, now=now))
        name = random.choice(open_)
        begun = time.thread_time_ns()
        ceiling = holder.ceiling(name, LIMITS, now=now)
        outcome = ceiling.try_admit(1000, now=now)
        if isinstance(outcome, Reservation):
            ceiling.settle(outcome, 500, now=now)
        spent["ceilings: admit and settle"].append((time.thread_time_ns() - begun) / 1e9)
    return [
        {
            "what": "10,000 active tenants",
            "step": name,
            "tenants": TENANTS,
            "p50_us": 1e6 * float(np.quantile(times, 0.5)),
            "p99_us": 1e6 * float(np.quantile(times, 0.99)),
            "max_us": 1e6 * max(times),
        }
        for name, times in spent.items()
    ]


def deliver_us() -> float:
    """What a delivered token adds."""
    lane = LaneQueue(QueueConfig(), None)
    ticket = lane.submit(SlotRequest(PAID, "t", 10), 0.0)
    begun = time.perf_counter()
    for tokens in range(1, 200_001):
        ticket.deliver(tokens)
    return 1e6 * (time.perf_counter() - begun) / 200_000


def memory_mib() -> float:
    """What 10,000 remembered tenants and 1,000 waiting requests take."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    lane = Lane(SLOTS, QUEUED)
    lane.spent.clear()
    gc.collect()
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return used / 2**20


def main() -> None:
    rows = [
        *measure("nobody waits", None, 0),
        *measure("1,000 wait", SLOTS, QUEUED),
        *measure("1,000 wait, KV budgets", SLOTS, QUEUED, has_kv=True),
        *ceilings(),
        {"what": "any", "step": "a token delivered", "p50_us": deliver_us()},
        {"what": "1,000 wait", "step": "memory", "tenants": TENANTS, "mib": memory_mib()},
    ]
    notes = (
        f"{CALLS} requests of {TENANTS} tenants through one lane's queue, in process; CPU time, "
        "the clock's own 0.5 µs included; every running tenant is charged between two ends. "
        "`release` starts the next request. With KV budgets a tenant may hold "
        f"{KV_LIMIT} tokens; prompts have up to 4,000. `ceilings`: all four kinds, leased; a "
        "heartbeat reports and takes leases in slices between which requests are served. "
        "Command: `make bench-admission`."
    )
    report.write("admission", rows, title="Cost of admission", notes=notes)
    _plot(rows)


def _plot(rows: list[dict[str, Any]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    shown = [row for row in rows if "p99_us" in row and "slice" not in row["step"]]
    figure, axis = plt.subplots(figsize=(7, 2.6))
    bars = axis.barh([f"{r['what']}: {r['step']}" for r in shown], [r["p99_us"] for r in shown])
    axis.bar_label(bars, fmt="%.1f", fontsize=8, padding=2)
    axis.axvline(BAR_US, color="grey", linestyle="--", linewidth=1)
    axis.set_xlabel("p99, µs (bar: 60)")
    figure.tight_layout()
    figure.savefig(report.RESULTS / "admission.png", dpi=110)


if __name__ == "__main__":
    main()
