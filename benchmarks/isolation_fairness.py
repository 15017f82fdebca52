"""Fairness and shed order beside a plain FIFO, on simulated engines in virtual time."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

import numpy as np

from benchmarks.support import report
from router.admission.fair_queue import OUTPUT_WEIGHT, PROMPT_WEIGHT
from router.admission.lane_queue import LaneQueue, QueueConfig
from router.admission.ticket import SlotRequest, Stage, Ticket, Tier
from simulator.model.engine import BatchingEngine, Sequence
from simulator.model.profile import load_profile

PROFILE = "llama-3.1-8b-fp8-rtx4090"
SLOTS = 32
RUN_S = 600.0
PAID = Tier("paid", 0, start_within_s=30.0)
FREE = Tier("free", 10, sheddable=True, min_share=0.05, start_within_s=15.0)
FLAT = Tier("all", 0)


@dataclass
class Client:
    """A closed loop: asks, waits for the answer, asks again; after a refusal when it is told to."""

    tenant: str
    tier: Tier
    prompt_tokens: int
    output_tokens: int
    ttfts: list[tuple[float, float]] = field(default_factory=list)
    refused: int = 0
    evicted: int = 0
    answered: int = 0


class Run:
    """Clients, one lane queue (or none: a FIFO), one engine."""

    def __init__(self, clients: list[Client], *, is_fair: bool, seed: int) -> None:
        profile = load_profile(PROFILE)
        scheduling = profile.scheduling.model_copy(
            update={"max_num_seqs": SLOTS, "scheduling_policy": "fcfs"}
        )
        self.engine = BatchingEngine(profile.timing, scheduling, lists_decoded=True)
        self.clients, self.is_fair = clients, is_fair
        self.queue = LaneQueue(QueueConfig(), SLOTS if is_fair else None)
        self.random = Random(seed)
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.numbers = itertools.count()
        self.keys = itertools.count(1)
        self.open: dict[Sequence, tuple[Client, Ticket, float]] = {}
        self.sequences: dict[Ticket, Sequence] = {}
        self.now = 0.0
        # Service by tenant over time, as the paper counts it.
        self.service: dict[str, float] = {client.tenant: 0.0 for client in clients}
        self.history: list[dict[str, float]] = []

    def at(self, when: float, action: Callable[[], None]) -> None:
        heapq.heappush(self.events, (when, next(self.numbers), action))

    def ask(self, client: Client) -> None:
        asked = self.now
        spread = self.random.uniform(0.7, 1.3)
        prompt = max(1, int(client.prompt_tokens * spread))
        output = max(1, int(client.output_tokens * self.random.uniform(0.7, 1.3)))
        tier = client.tier if self.is_fair else FLAT
        ticket = self.queue.submit(SlotRequest(tier, client.tenant, prompt), self.now)

        def changed() -> None:
            if ticket.stage is Stage.RUNNING:
                key = next(self.keys) << 24
                sequence = Sequence(prompt, output, lambda index: key + index)
                self.open[sequence] = (client, ticket, asked)
                self.sequences[ticket] = sequence
                self.service[client.tenant] += PROMPT_WEIGHT * prompt
                self.engine.add(sequence, self.now)
            elif ticket.stage is Stage.EVICTED:
                client.evicted += 1
                self.at(self.now, lambda: self.leave(ticket))
                self.at(self.now + 1, lambda: self.ask(client))
            elif ticket.refused is not None:
                client.refused += 1
                wait_s = ticket.refused.retry_after_s or 1.0
                self.at(self.now + wait_s, lambda: self.ask(client))

        ticket.on_change = changed
        if ticket.stage is not Stage.WAITING:
            changed()

    def leave(self, ticket: Ticket) -> None:
        sequence = self.sequences.pop(ticket)
        del self.open[sequence]
        self.engine.abort(sequence)
        self.queue.release(ticket, 0, self.now)

    def step(self) -> None:
        result = self.engine.advance()
        self.now = result.at
        for sequence in result.first:
            if sequence in self.open:
                client, ticket, asked = self.open[sequence]
                self.queue.begin(ticket)
                client.ttfts.append((asked, self.now - asked))
        for sequence in (*result.first, *result.decoded):
            if sequence in self.open:
                client, ticket, _ = self.open[sequence]
                ticket.deliver(ticket.charged_tokens + 1)
                self.service[client.tenant] += OUTPUT_WEIGHT
        for sequence in result.finished:
            if sequence in self.open:
                client, ticket, _ = self.open.pop(sequence)
                del self.sequences[ticket]
                client.answered += 1
                self.queue.release(ticket, sequence.output_tokens, self.now)
                self.ask(client)
        self.history.append(dict(self.service))

    def tick(self) -> None:
        self.queue.poll(self.now)
        self.at(self.now + 0.1, self.tick)

    def run(self) -> Run:
        for client in self.clients:
            self.at(self.random.uniform(0, 2), partial(self.ask, client))
        self.at(0.0, self.tick)
        while self.now < RUN_S:
            engine_at = self.engine.next_at
            if self.events and (engine_at is None or self.events[0][0] <= engine_at):
                self.now, _, action = heapq.heappop(self.events)
                action()
            else:
                self.step()
        return self


def fairness(*, is_fair: bool) -> tuple[dict[str, Any], list[float]]:
    """Two tenants with 40 clients each on 32 slots; one sends ten times longer prompts."""
    clients = [Client("long", FLAT, 2000, 100) for _ in range(40)]
    clients += [Client("short", FLAT, 200, 100) for _ in range(40)]
    run = Run(clients, is_fair=is_fair, seed=1).run()
    # From when both wait to the end.
    ahead = [point["long"] - point["short"] for point in run.history[200:]]
    in_engine = SLOTS * 1.3 * (2000 + 100)
    return {
        "scenario": "two tenants, 10 x longer prompts",
        "engine": "simulated",
        "policy": "fair" if is_fair else "fifo",
        "service_long": run.service["long"],
        "service_short": run.service["short"],
        "largest_difference": max(ahead) - min(ahead),
        "vtc_bound": 2 * max(PROMPT_WEIGHT * 1.3 * 2000, OUTPUT_WEIGHT * in_engine),
        "ttft_p50_s_short": float(
            np.median([t for c in clients if c.tenant == "short" for _, t in c.ttfts])
        ),
    }, ahead


def overload(policy: str) -> dict[str, Any]:
    """Four paid tenants of four clients, sixteen free ones of five: 96 on 32 slots."""
    paid = [Client(f"paid{i}", PAID, 800, 150) for i in range(4) for _ in range(4)]
    free = [Client(f"free{i}", FREE, 800, 150) for i in range(16) for _ in range(5)]
    clients = paid if policy == "paid only" else paid + free
    Run(clients, is_fair=policy != "fifo", seed=2).run()
    times = [t for c in paid for asked, t in c.ttfts if asked > 30]
    return {
        "scenario": "3 x overload, 16 paid and 80 free clients",
        "engine": "simulated",
        "policy": policy,
        "paid_answered": sum(c.answered for c in paid),
        "paid_refused": sum(c.refused + c.evicted for c in paid),
        "paid_ttft_p50_s": float(np.quantile(times, 0.5)),
        "paid_ttft_p99_s": float(np.quantile(times, 0.99)),
        "free_answered": sum(c.answered for c in clients if c.tier is FREE),
        "free_refused": sum(c.refused for c in clients if c.tier is FREE),
        "free_evicted": sum(c.evicted for c in clients if c.tier is FREE),
    }


def main() -> None:
    rows, traces = [], {}
    for is_fair in (True, False):
        row, ahead = fairness(is_fair=is_fair)
        rows.append(row)
        traces[row["policy"]] = ahead
    rows += [overload(policy) for policy in ("paid only", "fair", "fifo")]
    notes = (
        f"Simulated: {PROFILE}, {SLOTS} sequences, no prefix cache hits, {RUN_S:.0f} s of virtual "
        "time. `fair` is `router.admission.lane_queue` before the engine, `fifo` the engine's own "
        "queue. Service is prompt tokens + 2 x output tokens; the largest difference is over any "
        "interval after the first 200 steps. Command: `make bench-isolation_fairness`."
    )
    report.write("isolation_fairness", rows, title="Fairness and shed order", notes=notes)
    _plot(traces, rows)


def _plot(traces: dict[str, list[float]], rows: list[dict[str, Any]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3))
    for policy, ahead in traces.items():
        axes[0].plot(np.array(ahead[::50]) / 1000, label=policy)
    axes[0].axhline(rows[0]["vtc_bound"] / 1000, color="grey", linestyle="--", linewidth=1)
    axes[0].set_xlabel("engine steps / 50")
    axes[0].set_ylabel("service ahead, thousands (bar: bound)")
    axes[0].legend()
    shown = [row for row in rows if "paid_ttft_p99_s" in row]
    bars = axes[1].bar([r["policy"] for r in shown], [r["paid_ttft_p99_s"] for r in shown])
    axes[1].bar_label(bars, fmt="%.2f", fontsize=8)
    axes[1].set_ylabel("paid TTFT p99, s")
    figure.tight_layout()
    figure.savefig(report.RESULTS / "isolation_fairness.png", dpi=110)


if __name__ == "__main__":
    main()
