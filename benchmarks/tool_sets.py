"""A tool set's rotation on a simulated fleet: what it costs the prefix cache and the first token.

    make bench-tool_sets

Nothing here comes from a GPU. Four simulated RTX 4090 engines (Qwen 2.5 14B AWQ) answer the
agent workload: twelve tenants with 1,400-token system prompts, and behind each of them, as the
model's template has it, 3,600 tokens of tools (18 tools of 200). After a quarter of an hour the
set's name stands for another version, in which every token of the tools is another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Sequence as Many
from dataclasses import dataclass, field
from random import Random
from typing import Any

from benchmarks.support import report
from simulator.model.engine import BatchingEngine, Sequence
from simulator.model.profile import load_profile
from simulator.virtual_time.fleet import Ask, _FleetRun
from simulator.virtual_time.report import Turn, quantile
from simulator.virtual_time.virtual import _Conversation
from simulator.virtual_time.workload import Request, Workload, load_workload

PROFILE = "qwen-2.5-14b-awq-rtx4090"
REPLICAS, ACTIVE, THINK_S = 4, 16, 30.0
SYSTEM, TOOLS = 1400, 3600
DURATION_S, SKIP_S, ROTATED_S, WINDOW_S, MINUTE_S = 1800.0, 300.0, 900.0, 300.0, 60.0
SEEDS = (1, 2, 3, 4, 5)

Data = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Way:
    """How the version changes: whether it does, and what is done for the cache."""

    name: str
    rotates: bool = True
    warms: bool = False
    holds: bool = False


WAYS = (
    Way("no rotation", rotates=False),
    Way("naive: the list changes at once"),
    Way("warmed, all sessions at once (--now)", warms=True),
    Way("sessions held, not warmed (--force)", holds=True),
    Way("blue/green: warmed, sessions held", warms=True, holds=True),
)


class Homes:
    """Each tenant on two replicas, each session on one of them."""

    def choose(self, ask: Ask, live: Many[int], now: float) -> int:  # noqa: ARG002
        return live[(ask.tenant + ask.session % 2) % len(live)]

    def finished(self, ask: Ask, replica: int, now: float) -> None:
        """Nothing is counted."""

    def tick(self, now: float) -> None:
        """Nothing changes with time."""


@dataclass(slots=True)
class Warming:
    """One replica's reading of the tenants' new beginnings, one after the other."""

    replica: int
    waiting: list[int]
    running: Sequence | None = None


@dataclass(slots=True)
class Versions:
    """Which version a session's requests have."""

    moved_at: float | None = None
    of_session: dict[int, int] = field(default_factory=dict)

    def of(self, session: int, now: float, *, holds: bool) -> int:
        current = int(self.moved_at is not None and now >= self.moved_at)
        return self.of_session.setdefault(session, current) if holds else current


class Rotating(_FleetRun):
    """A run in which the tools change on the way."""

    def __init__(self, way: Way, workload: Workload, random: Random) -> None:
        profile = load_profile(PROFILE)
        timing = profile.timing.model_copy(update={"warm_up_s": 0.0})
        profile = profile.model_copy(update={"timing": timing})
        engines = [
            BatchingEngine(timing, profile.scheduling, keeps_step_times=True)
            for _ in range(REPLICAS)
        ]
        super().__init__(profile, workload, random, DURATION_S, SKIP_S, engines, Homes())
        self.way, self.versions = way, Versions()
        self._tenants = workload.tenants
        self._now = 0.0
        self._warmings: list[Warming] = []
        if way.rotates:
            self._at(ROTATED_S, self._rotate)

    def _rotate(self, now: float) -> None:
        if not self.way.warms:
            self.versions.moved_at = now
            return
        self._warmings = [Warming(i, list(range(self._tenants))) for i in range(REPLICAS)]
        for one in self._warmings:
            self._read_next(one, now)

    def _read_next(self, warming: Warming, now: float) -> None:
        """Have a replica read the next tenant's beginning; when all have, traffic moves."""
        if not warming.waiting:
            warming.running = None
            if all(x.running is None and not x.waiting for x in self._warmings):
                self.versions.moved_at = now
            return
        tenant = warming.waiting.pop(0)
        key = keys(tenant, 1, 1, SYSTEM + TOOLS, self._size)
        warming.running = Sequence(SYSTEM + TOOLS + 1, 1, key)
        self._engines[warming.replica].add(warming.running, now)

    @property
    def _size(self) -> int:
        return self._engine.scheduling.block_size

    def _begin_stage(self, talk: _Conversation, now: float) -> None:
        self._now = now
        super()._begin_stage(talk, now)

    def _sequence(self, talk: _Conversation, request: Request, number: int) -> Sequence:
        session = talk.session
        version = self.versions.of(session.number, self._now, holds=self.way.holds)
        own = 2 * session.number + 2
        key = keys(session.tenant, version, own, talk.history, self._size, branch=number)
        tokens = max(1, talk.history + request.input_tokens)
        return Sequence(tokens, request.output_tokens, key)

    def _finished(self, sequence: Sequence) -> None:
        for one in self._warmings:
            if one.running is sequence:
                assert sequence.finished_at is not None
                self._read_next(one, sequence.finished_at)
                return
        super()._finished(sequence)


def keys(
    tenant: int, version: int, own: int, history: int, size: int, branch: int = 0
) -> Callable[[int], int]:
    """Keys of a prompt's blocks: system prompt, tools of a version, and what was said.

    All behind the tools differs with them, as the engine's keys stand for all that is before.
    """
    shared, tools, known = SYSTEM // size, (SYSTEM + TOOLS) // size, history // size

    def key(index: int) -> int:
        if index < shared:
            return (2 * tenant + 1 << 24) + index
        if index < tools:
            return (version + 1 << 50) + (2 * tenant + 1 << 24) + index
        alone = 0 if index < known else branch
        return (alone << 60) + (version + 1 << 50) + (own << 24) + index

    return key


def window(turns: list[Turn], begin: float, end: float) -> list[Turn]:
    return [turn for turn in turns if begin <= turn.begun < end]


def hit_ratio(turns: list[Turn]) -> float:
    return sum(x.cached_tokens for x in turns) / sum(x.prompt_tokens for x in turns)


def rows() -> Iterator[Data]:
    """Each way over the same traffic."""
    agents = load_workload("agents")
    workload = agents.model_copy(update={"system_tokens": SYSTEM + TOOLS, "think_s": THINK_S})
    for way in WAYS:
        before, after, minute, took = [], [], [], []
        for seed in SEEDS:
            run = Rotating(way, workload, Random(seed))
            run.begin()
            turns = run.run(ACTIVE, None).turns
            moved = run.versions.moved_at or ROTATED_S
            took.append(moved - ROTATED_S)
            before += window(turns, ROTATED_S - WINDOW_S, ROTATED_S)
            after += window(turns, moved, moved + WINDOW_S)
            minute += window(turns, moved, moved + MINUTE_S)
        yield {
            "way": way.name,
            "requests after": len(after),
            "hit ratio before": hit_ratio(before),
            "after": hit_ratio(after),
            "of what it was %": 100 * hit_ratio(after) / hit_ratio(before),
            "first minute": hit_ratio(minute),
            "of that %": 100 * hit_ratio(minute) / hit_ratio(before),
            "TTFT p95 before s": quantile((x.ttft_s for x in before), 0.95),
            "first minute s": quantile((x.ttft_s for x in minute), 0.95),
            "warmed for s": sum(took) / len(took),
        }


def main() -> None:
    """Write the table and the plot."""
    found = list(rows())
    notes = (
        f"Simulated: {REPLICAS} RTX 4090 engines with Qwen 2.5 14B in virtual time, {ACTIVE} "
        f"agents, {len(SEEDS)} runs of half an hour. The version changes once the replicas are "
        f"warm; before and after are {WINDOW_S:g} s each, the first minute is the first after "
        "the change."
    )
    report.write("tool_sets", found, title="A tool set's rotation", notes=notes)
    _plot(found)


def _plot(found: list[Data]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(12, 3.2), sharey=True)
    panels = ((axes[0], "of that %", "cache hits in the first minute, of before (%)"),
              (axes[1], "first minute s", "TTFT p95 in the first minute (s)"))  # fmt: skip
    for axis, column, label in panels:
        bars = axis.barh(range(len(found)), [row[column] for row in found])
        axis.bar_label(bars, fmt="%.3g", fontsize=8)
        axis.set_title(label, fontsize=10)
        axis.set_yticks(range(len(found)), [row["way"] for row in found], fontsize=8)
    axes[0].axvline(90, color="grey", linestyle="--", linewidth=1)
    axes[0].invert_yaxis()
    figure.tight_layout()
    figure.savefig(report.RESULTS / "tool_sets.png", dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
