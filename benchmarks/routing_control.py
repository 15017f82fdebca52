"""How well the escalation control keeps its shares, in simulated traffic.

    make bench-routing_control

Scores are drawn from two Beta distributions (easy and complex queries), tenants from
a Zipf distribution, replicas at random. Nothing here asks a model anything.
"""

from __future__ import annotations

import time
from bisect import bisect
from collections import defaultdict, deque
from collections.abc import Callable
from itertools import accumulate
from random import Random
from statistics import median
from typing import Any

from benchmarks.support import report
from router.routing.escalation import EscalationConfig, EscalationController, EscalationLevel
from router.routing.pressure import LoadObservation, YieldController

SEED = 7
TENANTS = 100
REQUESTS = 48_000
A_SECOND = 50
TARGET = 0.03
HARD = 0.035  # of queries are complex when the quantiles are measured
PHASES = (1, 3, 0.5, 2, 1)  # times HARD, one after the other
ADVERSARY = "adversary"
BLOCK = REQUESTS // 30

Row = dict[str, Any]


def score(rng: Random, hard: float) -> float:
    """The score of a query that is complex with probability `hard`."""
    return rng.betavariate(7, 3) if rng.random() < hard else rng.betavariate(2, 9)


def measured_quantiles() -> Callable[[float], float]:
    """The quantiles shipped with a classifier, measured on the first mix."""
    rng = Random(0)
    scores = sorted((score(rng, HARD) for _ in range(50_000)), reverse=True)
    return lambda share: scores[min(len(scores) - 1, int(share * len(scores)))]


class Traffic:
    """Requests of a run: (tenant, score, where it lands in [0, 1), another turn?)."""

    def __init__(self, phases: tuple[float, ...], flood: Callable[[Random], float] | None) -> None:
        rng = Random(SEED)
        ranks = list(accumulate(1 / rank for rank in range(1, TENANTS + 1)))
        self.requests = []
        others = 0
        while others < REQUESTS:
            lands, again = rng.random(), rng.random() < 0.5
            if flood and rng.random() < 0.5:
                self.requests.append((ADVERSARY, flood(rng), lands, again))
                continue
            hard = HARD * phases[others * len(phases) // REQUESTS]
            tenant = f"t{bisect(ranks, rng.random() * ranks[-1])}"
            self.requests.append((tenant, score(rng, hard), lands, again))
            others += 1


class Fixed:
    """A threshold that never moves, with stickiness and without budgets."""

    def __init__(self) -> None:
        self.threshold = measured_quantiles()(TARGET)

    def ask(self, _tenant: str, score: float, _lands: float, *, sticky: bool, now: float) -> bool:
        del now
        return sticky or score >= self.threshold


class Controlled:
    """Ingress replicas with a controller each; merged every second, or never."""

    def __init__(self, replicas: int, *, merged: bool) -> None:
        config, levels = EscalationConfig(replicas=replicas), (EscalationLevel("complex", TARGET),)
        self.controllers = [
            EscalationController(levels, measured_quantiles(), config, replica=str(index))
            for index in range(replicas)
        ]
        self.merged = merged
        self.merge_at = 1.0

    def ask(self, tenant: str, score: float, lands: float, *, sticky: bool, now: float) -> bool:
        if self.merged and now >= self.merge_at:
            self.merge_at = now + 1
            exports = [controller.export() for controller in self.controllers]
            for controller in self.controllers:
                for index, exported in enumerate(exports):
                    controller.merge(str(index), exported, now=now)
        controller = self.controllers[int(lands * len(self.controllers))]
        view = controller.view(tenant, {})["complex"]
        new = score >= view.yield_threshold and view.has_budget
        up = view.has_sticky_budget if sticky else new
        lane = "complex" if up else None
        controller.note(tenant, {}, score, lane, sticky=sticky, now=now)
        return up


def play(traffic: Traffic, router: Fixed | Controlled) -> list[tuple[str, bool]]:
    """(tenant, escalated) per request; half of the escalated have another, easy turn."""
    rng, again, outcomes = Random(SEED), set(), []
    for number, (tenant, drawn, lands, another) in enumerate(traffic.requests):
        sticky = tenant in again
        again.discard(tenant)
        asked = rng.betavariate(2, 9) if sticky and tenant != ADVERSARY else drawn
        up = router.ask(tenant, asked, lands, sticky=sticky, now=number / A_SECOND)
        if up and another:
            again.add(tenant)
        outcomes.append((tenant, up))
    return outcomes


def share(outcomes: list[tuple[str, bool]]) -> float:
    return 100 * sum(up for _, up in outcomes) / len(outcomes)


def by_block(outcomes: list[tuple[str, bool]]) -> list[float]:
    return [share(outcomes[at : at + BLOCK]) for at in range(0, len(outcomes), BLOCK)]


def most_in_1000(outcomes: list[tuple[str, bool]]) -> int:
    """The most escalations of any tenant over any 1,000 of its requests."""
    tenants: dict[str, list[bool]] = defaultdict(list)
    for tenant, up in outcomes:
        tenants[tenant].append(up)
    most = 0
    for ups in tenants.values():
        sums = [0, *accumulate(ups)]
        most = max(most, *(b - a for a, b in zip(sums, sums[1000:] or sums[-1:], strict=False)))
    return most


def shift_row(name: str, outcomes: list[tuple[str, bool]]) -> Row:
    """The share over the whole run and in each phase."""
    size = REQUESTS // len(PHASES)
    phases = [share(outcomes[at * size : (at + 1) * size]) for at in range(len(PHASES))]
    return {
        "case": f"mix shift, {name}",
        "share_percent": share(outcomes),
        **{
            f"at_{times:g}x_{number}": value
            for number, (times, value) in enumerate(zip(PHASES, phases, strict=True), 1)
        },
        "most_in_1000": most_in_1000(outcomes),
    }


def shifts() -> tuple[list[Row], dict[str, list[float]]]:
    """A fixed threshold against the controller."""
    traffic = Traffic(PHASES, None)
    routers: dict[str, Fixed | Controlled] = {
        "fixed threshold": Fixed(),
        "1 replica": Controlled(1, merged=False),
        "4 replicas": Controlled(4, merged=False),
        "4 replicas, merged": Controlled(4, merged=True),
    }
    rows, curves = [], {}
    for name, router in routers.items():
        outcomes = play(traffic, router)
        rows.append(shift_row(name, outcomes))
        curves[name] = by_block(outcomes)
    return rows, curves


FLOODS: dict[str, Callable[[Random], float] | None] = {
    "no adversary": None,
    "scores 0.99 always": lambda _: 0.99,
    "scores 0.99 just often enough to stay in line": lambda rng: (
        0.99 if rng.random() < 1.8 * TARGET else 0.1
    ),
}


def floods() -> list[Row]:
    """What one tenant with half of all traffic does to the others, with 4 replicas."""
    rows = []
    for name, flood in FLOODS.items():
        for way, router in (
            ("fixed threshold", Fixed()),
            ("controller", Controlled(4, merged=False)),
        ):
            outcomes = play(Traffic((1,), flood), router)
            adversary = [row for row in outcomes if row[0] == ADVERSARY]
            rows.append(
                {
                    "case": f"adversary: {name}, {way}",
                    "share_percent": share(outcomes),
                    "others_percent": share([row for row in outcomes if row[0] != ADVERSARY]),
                    "adversary_percent": share(adversary) if adversary else "",
                    "most_in_1000": most_in_1000(outcomes),
                }
            )
    return rows


def load_at(now: float) -> float:
    """Offered escalations, in what the lane can serve."""
    return 1.5 if 100 <= now < 700 else 0.6


def yielding() -> tuple[list[Row], list[tuple[float, float, float]]]:
    """A lane of 16 slots and 4 s a request, seen 3 s late; random arrivals and lengths."""
    rng, controller, step_s = Random(SEED), YieldController(now=0.0), 0.05
    running: list[float] = []
    waiting: deque[float] = deque()
    seen: deque[LoadObservation] = deque()
    trace = []
    for step in range(int(1000 / step_s)):
        now = step * step_s
        offered = load_at(now) * 4 * (1 - controller.fraction(now=now))
        if rng.random() < offered * step_s:
            waiting.append(now)
        running = [end for end in running if end > now]
        while waiting and len(running) < 16:
            waiting.popleft()
            running.append(now + rng.expovariate(1 / 4))
        if step % 30 == 0:
            seen.append(LoadObservation(waiting=len(waiting), running=len(running) / 16))
            if len(seen) > 2:
                controller.observe(seen.popleft(), now=now)
            trace.append((now, controller.fraction(now=now), float(len(waiting))))
    return [_yield_row(trace, start, start + 100) for start in range(0, 1000, 100)], trace


def _yield_row(trace: list[tuple[float, float, float]], start: float, end: float) -> Row:
    part = [row for row in trace if start <= row[0] < end]
    return {
        "case": f"yielding, {start:.0f} to {end:.0f} s, offered {load_at(start):g}",
        "yield_min": min(row[1] for row in part),
        "yield_max": max(row[1] for row in part),
        "waiting_mean": sum(row[2] for row in part) / len(part),
    }


def cost(levels: tuple[EscalationLevel, ...], peers: int) -> Row:
    """Microseconds of one `view` and one `note`, on a full window: median of 20 thousands."""
    rng, quantiles = Random(SEED), measured_quantiles()
    here, *others = (
        EscalationController(levels, quantiles, EscalationConfig(replicas=4), replica=str(index))
        for index in range(1 + peers)
    )
    for controller in (here, *others):
        for number in range(5000):
            tenant = f"t{number % TENANTS}"
            controller.note(tenant, {}, score(rng, HARD), None, sticky=False, now=0.0)
    for index, other in enumerate(others, 1):
        here.merge(str(index), other.export(), now=0.0)
    asked = [(f"t{number % TENANTS}", score(rng, HARD)) for number in range(20_000)]
    spent = []
    for at in range(0, len(asked), 1000):
        begun = time.perf_counter()
        for tenant, drawn in asked[at : at + 1000]:
            here.view(tenant, {})
            here.note(tenant, {}, drawn, None, sticky=False, now=0.0)
        spent.append(1e3 * (time.perf_counter() - begun))
    return {"case": f"cost, {len(levels)} lane(s), {peers} peers", "us_per_decision": median(spent)}


def main() -> None:
    shift_rows, curves = shifts()
    flood_rows = floods()
    yield_rows, trace = yielding()
    both = (EscalationLevel("frontier", 0.01), EscalationLevel("complex", TARGET))
    costs = [cost(levels, peers) for levels in (both[1:], both) for peers in (0, 3)]
    notes = (
        f"Simulated traffic: {REQUESTS:,} scored requests of {TENANTS} tenants (Zipf), scores "
        "from two Beta distributions; half of the escalated requests have another turn, which "
        "stays in the lane. Target 3 %. `at_3x_2`: the share in the second fifth of the run, "
        "where complex queries are three times as many as when the quantiles were measured. "
        "`most_in_1000`: the most escalations over any 1,000 consecutive requests of one "
        "tenant; the bound is 60. "
        "Adversary: half of all traffic, 4 replicas, not merged. Yielding: a simulated lane of "
        "16 slots, observed 3 s late. Command: `make bench-routing_control`."
    )
    rows = [*shift_rows, *flood_rows, *yield_rows, *costs]
    report.write("routing_control", rows, title="Control of escalation", notes=notes)
    _plot(curves, flood_rows, trace)


def _plot(
    curves: dict[str, list[float]],
    flood_rows: list[Row],
    trace: list[tuple[float, float, float]],
) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (mix, adversary, lane) = plt.subplots(1, 3, figsize=(16, 4.4))
    _plot_shifts(mix, curves)
    _plot_floods(adversary, flood_rows)
    _plot_yielding(lane, trace)
    figure.suptitle("Control of escalation, simulated traffic")
    figure.tight_layout()
    figure.savefig(report.RESULTS / "routing_control.png", dpi=110)
    plt.close(figure)


def _plot_shifts(axis: Any, curves: dict[str, list[float]]) -> None:
    for name, shares in curves.items():
        at = [(number + 0.5) * BLOCK / 1000 for number in range(len(shares))]
        axis.plot(at, shares, label=name, linewidth=1.2)
    axis.axhspan(2.5, 3.5, color="grey", alpha=0.2, label="2.5 to 3.5 %")
    length = REQUESTS / len(PHASES) / 1000
    for number, times in enumerate(PHASES):
        axis.axvline(number * length, color="grey", linewidth=0.5)
        axis.text((number + 0.5) * length, 22, f"{times:g}x", ha="center")
    axis.set_yscale("log")
    axis.set_ylim(1, 60)
    ticks = (1, 2, 3, 5, 10, 20)
    axis.set_yticks(ticks, [str(tick) for tick in ticks])
    axis.minorticks_off()
    axis.set_title("Mix shift: complex queries, times the first mix", fontsize=10)
    axis.set_xlabel("thousand requests")
    axis.set_ylabel(f"escalated, % of {BLOCK} requests")
    axis.legend(fontsize=8, loc="upper center", ncols=2)


def _plot_floods(axis: Any, rows: list[Row]) -> None:
    names = ["none", "0.99\nalways", "0.99 at 1.8x\nits budget"]
    for offset, way in ((-0.2, "fixed threshold"), (0.2, "controller")):
        shares = [row["others_percent"] for row in rows if row["case"].endswith(way)]
        bars = axis.bar([at + offset for at in range(len(names))], shares, 0.38, label=way)
        axis.bar_label(bars, fmt="%.2f", fontsize=8)
    axis.axhline(3, color="grey", linestyle="--", linewidth=1)
    axis.set_xticks(range(len(names)), names)
    axis.set_ylim(0, 1.35 * max(row["others_percent"] for row in rows))
    axis.set_title("Adversary with half of all traffic", fontsize=10)
    axis.set_xlabel("its scores")
    axis.set_ylabel("escalated, % of the others' requests")
    axis.legend(fontsize=8)


def _plot_yielding(axis: Any, trace: list[tuple[float, float, float]]) -> None:
    times = [row[0] for row in trace]
    fractions, waiting = [row[1] for row in trace], [row[2] for row in trace]
    axis.plot(times, fractions, color="C0", label="yield fraction")
    needed = [max(0.0, 1 - 1 / load_at(now)) for now in times]
    axis.plot(times, needed, color="black", linestyle="--", linewidth=1, label="needed at least")
    axis.set_ylim(0, 1)
    axis.set_xlabel("s")
    axis.set_ylabel("yield fraction")
    other = axis.twinx()
    other.plot(times, waiting, color="C1", linewidth=0.8, label="waiting (right)")
    other.set_ylim(0, 2 * max(waiting))
    other.set_ylabel("requests waiting")
    axis.set_title("Yielding: offered load 0.6, then 1.5, then 0.6", fontsize=10)
    lines = [*axis.get_lines(), *other.get_lines()]
    axis.legend(lines, [line.get_label() for line in lines], fontsize=8, loc="upper right")


if __name__ == "__main__":
    main()
