"""One tenant at three times its tokens-per-second ceiling, over two ingress replicas, and eight.

    make bench-isolation_ceiling                      # virtual time: seconds
    python -m benchmarks.isolation_ceiling --http     # real streams: nine minutes, idle machine

The first is the classes that production calls (`LeaseHolder`, `Ledger`, the pacer), with
heartbeats that take time, are lost, and a ledger that dies. The second is
`benchmarks/support/ceiling_http.py`.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

import numpy as np

from benchmarks.support import ceiling_http, report
from router.leases.holder import LeaseHolder
from router.leases.ledger import Ledger
from router.leases.messages import Answer, LeaseTerms, Report
from router.limits.ceiling import CeilingConfig
from router.limits.reservation import Reservation
from serve_app.config.admission import LedgerConfig

LIMIT = 80.0
STREAMS = 8
ENGINE_TOKENS_PER_S = 3 * LIMIT / STREAMS
RUN_S = 60.0
HEARTBEAT_S = 0.2
NAP_S = 0.1


@dataclass
class Scenario:
    """Where the streams go and what goes wrong.

    Attributes:
        ingress_of: stream and request number to ingress replica.
        lost: share of heartbeats that are lost, half of them after the ledger took them.
        ledger_is_gone: from and to which second.
        replicas: ingress replicas.

    """

    name: str
    ingress_of: Callable[[int, int, Random], int]
    output_tokens: int = 600
    lost: float = 0.0
    ledger_is_gone: tuple[float, float] = (RUN_S, RUN_S)
    replicas: int = 2
    delivered: list[float] = field(default_factory=list)
    refused: int = 0


class Run:
    """Clients in closed loops, engines that never slow down, ingress replicas, a ledger."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.scenario = scenario
        self.random = Random(seed)
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.numbers = itertools.count()
        self.now = 0.0
        self.config = CeilingConfig(tokens_per_second=LIMIT)
        self.terms = LedgerConfig().terms(scenario.replicas)
        self.holders = [LeaseHolder(f"i{n}", self.terms) for n in range(scenario.replicas)]
        self.ledger: Ledger | None = Ledger(1, self.terms, learning_until=0.0, is_first=True)

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self.events, (self.now + seconds, next(self.numbers), action))

    # -- heartbeats ---------------------------------------------------------------

    def beat(self, holder: LeaseHolder) -> None:
        self.after(HEARTBEAT_S * self.random.uniform(0.9, 1.1), lambda: self.beat(holder))
        sent = holder.report({}, now=self.now)
        if self.random.random() < self.scenario.lost / 2:
            return
        self.after(self.random.uniform(0.001, 0.015), lambda: self.take(holder, sent))

    def take(self, holder: LeaseHolder, sent: Report) -> None:
        answer = None if self.ledger is None else self.ledger.exchange(sent, now=self.now)
        if answer is not None and self.random.random() >= self.scenario.lost / 2:
            self.after(self.random.uniform(0.001, 0.015), lambda: self.apply(holder, answer))

    def apply(self, holder: LeaseHolder, answer: Answer) -> None:
        holder.apply(answer, now=self.now)

    def die(self) -> None:
        assert self.ledger is not None
        known = self.ledger.known(now=self.now)
        self.ledger = None
        gone, back = self.scenario.ledger_is_gone

        def replace() -> None:
            # What it finds in the store.
            until = gone + self.terms.lease_s + 2.0
            self.ledger = Ledger(2, self.terms, learning_until=until, awaited=known)

        self.after(back - gone, replace)

    # -- one stream after the other --------------------------------------------------

    def ask(self, stream: int, number: int) -> None:
        index = self.scenario.ingress_of(stream, number, self.random)
        ceiling = self.holders[index].ceiling("tenant", self.config, now=self.now)
        outcome = ceiling.try_admit(1, now=self.now)
        if not isinstance(outcome, Reservation):
            self.scenario.refused += 1
            wait = min(outcome.retry_after_s or 1.0, 1.0)
            self.after(wait * self.random.uniform(1.0, 1.1), lambda: self.ask(stream, number))
            return
        held: list[float] = []
        left = [self.scenario.output_tokens, self.scenario.output_tokens]
        pacer = ceiling.pacer
        assert pacer is not None

        def generate() -> None:
            held.append(pacer.book(1, now=self.now))
            left[0] -= 1
            if left[0]:
                self.after(1 / ENGINE_TOKENS_PER_S, generate)
            if len(held) == 1:
                deliver()

        def deliver() -> None:
            while held:
                wait = pacer.wait_s(held[0], now=self.now)
                if wait > 0:
                    self.after(min(wait, NAP_S), deliver)
                    return
                held.pop(0)
                self.scenario.delivered.append(self.now)
                left[1] -= 1
            if not left[1]:
                ceiling.settle(outcome, 1, now=self.now)
                self.ask(stream, number + 1)

        self.after(self.random.uniform(0.02, 0.1), generate)

    def run(self) -> dict[str, Any]:
        for holder in self.holders:
            self.after(self.random.uniform(0, HEARTBEAT_S), partial(self.beat, holder))
        if self.scenario.ledger_is_gone[0] < RUN_S:
            self.after(self.scenario.ledger_is_gone[0], self.die)
        for stream in range(STREAMS):
            self.after(0.5 + self.random.uniform(0, 0.1), partial(self.ask, stream, 0))
        while self.events and self.events[0][0] < RUN_S + 1:
            self.now, _, action = heapq.heappop(self.events)
            action()
        return self.row()

    def row(self) -> dict[str, Any]:
        times = self.scenario.delivered
        inside = [t for t in times if 1.0 <= t < RUN_S + 1.0]
        return {
            "scenario": self.scenario.name,
            "engine": "simulated",
            "limit_tokens_per_s": LIMIT,
            "highest_1_s_window_tokens": ceiling_http.fullest_window(times),
            "bound_tokens": LIMIT + len(self.holders),
            "mean_tokens_per_s": len(inside) / RUN_S,
            "lowest_5_s_mean_tokens_per_s": min(
                (bisect_left(inside, at + 5) - bisect_left(inside, at)) / 5
                for at in np.arange(1.0, RUN_S - 4.0, 0.25)
            ),
            "refused_or_asked_again": self.scenario.refused,
        }


def scenarios() -> list[Scenario]:
    """The bar, and what may go wrong meanwhile."""
    return [
        Scenario("4 and 4 streams", lambda stream, *_: stream % 2),
        Scenario("6 and 2 streams", lambda stream, *_: int(stream >= 6)),
        Scenario("all on one", lambda *_: 0),
        Scenario("each request anywhere, 100 tokens", lambda *x: x[2].randrange(2), 100),
        Scenario("8 replicas, a stream each", lambda stream, *_: stream, replicas=8),
        Scenario(
            "8 replicas, each request anywhere, 100 tokens",
            lambda *x: x[2].randrange(8),
            100,
            replicas=8,
        ),
        Scenario("20 % of heartbeats lost", lambda stream, *_: stream % 2, lost=0.2),
        Scenario(
            "ledger dies, 5 s to replace it",
            lambda stream, *_: stream % 2,
            ledger_is_gone=(20.0, 25.0),
        ),
        Scenario(
            "ledger dies, 20 s to replace it",
            lambda stream, *_: stream % 2,
            ledger_is_gone=(20.0, 40.0),
        ),
    ]


def virtual() -> None:
    rows, traces = [], {}
    for scenario in scenarios():
        rows.append(Run(scenario, seed=3).run())
        traces[scenario.name] = scenario.delivered
    notes = (
        f"Simulated, in virtual time: {STREAMS} streams of one tenant, engines at {3 * LIMIT:.0f} "
        f"tokens a second in all, a ceiling of {LIMIT:.0f}, two ingress replicas (or eight), "
        f"{RUN_S:.0f} s; heartbeats every {HEARTBEAT_S} s that take 2 to 30 ms, leases of "
        f"{LeaseTerms.lease_s:.0f} s. "
        "The pacer, the holder and the ledger are production's; HTTP, the event loop and its "
        "delays are not in it. A window is any second; the bar is the limit and one token per "
        "ingress replica, with a mean of 76 while there is demand. "
        "Command: `make bench-isolation_ceiling`."
    )
    report.write(
        "isolation_ceiling", rows, title="A ceiling over several ingress replicas", notes=notes
    )
    _plot(traces)


def _plot(traces: dict[str, list[float]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 3.5))
    seconds = np.arange(0, RUN_S, 0.5)
    for name, times in traces.items():
        counts = [bisect_left(times, at + 1) - bisect_left(times, at) for at in seconds]
        axes.plot(seconds, counts, label=name, linewidth=1)
    axes.axhline(LIMIT + 2, color="grey", linestyle="--", linewidth=1)
    axes.set_xlabel("s")
    axes.set_ylabel("tokens in the second (line: bound)")
    axes.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(report.RESULTS / "isolation_ceiling.png", dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--http", action="store_true", help="real streams")
    parser.add_argument("--dry", action="store_true", help="with --http: write no results")
    args = parser.parse_args()
    if args.http:
        ceiling_http.run(is_dry=args.dry)
    else:
        virtual()


if __name__ == "__main__":
    main()
