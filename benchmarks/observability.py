"""What `/metrics` and the counting behind it cost: a scrape, its size, a token, a request.

    python -m benchmarks.observability [--results FOLDER]

CPU time of one process, the best of several rounds, so a busy machine is no matter but for the
row that is wall time. The scrape is one of four ingress replicas and eight lane replicas, with
texts of vLLM's size and 10,000 tenants; in a deployment its parts run in as many processes.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from prometheus_client import generate_latest

from benchmarks.support import report
from benchmarks.support.relay_cost import handled_ms
from benchmarks.support.vllm_exposition import vllm_registry
from router.errors import RejectReason
from router.types import Reason
from serve_app.engine.cards.own_cards import OwnCards
from serve_app.engine.cards.reading import CardFacts, CardReading
from serve_app.engine.engine_signals import EngineSignals
from serve_app.front.control import Control
from serve_app.metrics import Metrics
from serve_app.metrics.series_bound import Family, series_bound
from serve_app.request.stages import Stage, Stages

INGRESSES, LANES, REPLICAS, TENANTS_COUNT = 4, 4, 8, 10_000
TIERS = ("free", "standard", "premium", "local")
CODES = ("200", "499", "broken", RejectReason.TOKEN_RATE, RejectReason.SHED)
REASONS = (Reason.DEFAULT, Reason.COMPLEX, Reason.STICKY, Reason.PINNED, Reason.YIELDED)
ROUNDS, TOKENS, REQUESTS = 9, 2000, 300
ANSWER_TOKENS = 200
"""Of an answer by which the costs of a request and of its tokens are added up."""

MAX_BUCKETS = 16
SNAPSHOT = Path(__file__).parents[1] / "tests" / "outward" / "metrics.json"

Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=None, help="folder, default: results/")
    folder = parser.parse_args().results
    if folder is not None:
        report.RESULTS = folder
    rows = asyncio.run(measure())
    report.write("observability", rows, title="The cost of being seen into", notes=NOTES)


NOTES = (
    f"{INGRESSES} ingress replicas, {LANES} lanes with {REPLICAS} lane replicas, {len(TIERS)} "
    f"tiers, {TENANTS_COUNT} tenants. CPU times are the best of {ROUNDS} rounds. The scrape does "
    "here, one after the other, what a deployment does in 12 processes; vLLM's rendering is not in "
    "it. The relay's own time is without sockets, so the shares are upper bounds."
)


async def measure() -> list[Row]:
    sources = [filled(f"i{number}") for number in range(INGRESSES)]
    engines = [lane_replica(number) for number in range(REPLICAS)]
    control = control_of(sources, engines)
    texts = [(await engine.metrics())["text"] for engine in engines]
    page = await control.metrics_text()
    bound = sum(series_bound(families(), LANES, len(TIERS)).values())
    token_us, request_us = per_token_us(), per_request_us()
    relayed_us, handled_us = await relay_us()
    whole_us = handled_us + ANSWER_TOKENS * relayed_us
    counted_us = request_us + ANSWER_TOKENS * token_us
    ingress_text = sources[0].render()
    rendering_ms, joining_ms = cpu_ms(sources[0].render), cpu_ms(joining(sources, texts))
    return [
        row("scrape, all of it in one process", "wall_ms", await wall_ms(control)),
        row("  a lane replica reads and labels its text", "cpu_ms", await cpu_ms_of(engines[0])),
        row("  vLLM renders it", "cpu_ms", cpu_ms(render_of_vllm())),
        row("  an ingress replica renders its own, on a thread", "cpu_ms", rendering_ms),
        row("  one of them joins all, on its event loop", "cpu_ms", joining_ms),
        row("page", "series", series_of(page)),
        row("page", "kib", len(page) / 1024),
        row("of one lane replica", "series", series_of(texts[0])),
        row("of one ingress replica", "series", series_of(ingress_text)),
        row("of one ingress replica, bound", "series", bound),
        row("a token is counted", "cpu_us", token_us),
        row("a token is relayed, without sockets", "cpu_us", relayed_us),
        row("  share of it", "percent", 100 * token_us / relayed_us),
        row("a request is counted", "cpu_us", request_us),
        row(f"an answer of {ANSWER_TOKENS} tokens is handled", "cpu_us", whole_us),
        row("  share of it", "percent", 100 * counted_us / whole_us),
    ]


def row(what: str, unit: str, value: float) -> Row:
    return {"what": what, "value": round(value, 3), "unit": unit}


# -- what is scraped ------------------------------------------------------------


def filled(ingress: str) -> Metrics:
    """The metrics of an ingress replica through which all tenants have come."""
    metrics = Metrics(ingress)
    lanes = [f"lane{number}" for number in range(LANES)]
    for lane, tier in itertools.product(lanes, TIERS):
        for histogram in (metrics.ttft, metrics.itl, metrics.duration):
            histogram.labels(lane, tier).observe(0.1)
        for reason, code in itertools.product(REASONS, CODES):
            metrics.requests.labels(lane, reason, tier, code).inc()
        metrics.queue_depth.labels(lane, tier).set(1)
    for number in range(TENANTS_COUNT):
        label = metrics.tenant_label(f"tenant-{number}")
        for kind in ("prompt", "completion", "cached"):
            metrics.tokens.labels(label, kind).inc(100)
    for stage in Stage:
        metrics.stage.labels(stage).observe(0.01)
    return metrics


class OneCard:
    """A card that always says the same."""

    def facts(self) -> list[CardFacts]:
        return []

    def read(self, wanted: frozenset[str] | None = None) -> list[CardReading]:
        return [
            CardReading(card, "card", 340.0, 450.0, 74.0, 2.6e9, 1e10, 2.3e10, 2.5e10, 0.97, 0.6, 0)
            for card in wanted or ()
        ]


def lane_replica(number: int) -> EngineSignals:
    registry = vllm_registry()
    text = generate_latest(registry).decode()

    async def fetch() -> str:
        return text

    async def find() -> frozenset[str]:
        return frozenset({f"GPU-{number}"})

    return EngineSignals(
        fetch,
        OwnCards(find, OneCard()),
        lambda: 1,
        lane=f"lane{number % LANES}",
        replica=f"replica{number}",
        stalled_after_s=30.0,
    )


def control_of(sources: list[Metrics], engines: list[EngineSignals]) -> Control:
    """The control of an ingress replica that asks these."""
    names = [f"lane{number}" for number in range(LANES)]

    async def broadcast(_: str) -> list[Row]:
        rendered = [asyncio.to_thread(x.render) for x in sources]
        return [{"text": text} for text in await asyncio.gather(*rendered)]

    async def engine_metrics(lane: str) -> list[Row]:
        asked = engines[names.index(lane) :: LANES]
        return list(await asyncio.gather(*(x.metrics() for x in asked)))

    lanes: Any = SimpleNamespace(names=lambda: names, engine_metrics=engine_metrics)
    # No objectives: what they cost is in docs/slo.md.
    nothing: Any = SimpleNamespace(policies=SimpleNamespace(slo=None))
    return Control(nothing, lanes, sources[0], nothing, broadcast)


def families() -> Iterable[Family]:
    """The families of an ingress replica, as the snapshot of the outward surface has them."""
    for name, told in json.loads(SNAPSHOT.read_text()).items():
        kind, _, listed = told.partition(" ")
        labels = json.loads(listed.replace("'", '"'))
        if "ingress" in labels:
            own = tuple(x for x in labels if x != "ingress")
            yield Family(name, own, MAX_BUCKETS if kind == "histogram" else 0)


def series_of(text: str) -> int:
    return sum(1 for line in text.split("\n") if line and not line.startswith("#"))


# -- what it takes ----------------------------------------------------------------


async def wall_ms(control: Control) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        await control.metrics_text()
        best = min(best, time.perf_counter() - begun)
    return best * 1000


async def cpu_ms_of(engine: EngineSignals) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        begun = time.process_time()
        await engine.metrics()
        best = min(best, time.process_time() - begun)
    return best * 1000


def cpu_ms(work: Callable[[], object], times: int = 1) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        begun = time.process_time()
        for _ in range(times):
            work()
        best = min(best, time.process_time() - begun)
    return best * 1000 / times


def render_of_vllm() -> Callable[[], object]:
    registry = vllm_registry()
    return lambda: generate_latest(registry)


def joining(sources: list[Metrics], texts: list[str]) -> Callable[[], object]:
    from serve_app.metrics import merge_expositions

    everything = [*(x.render() for x in sources), *texts]
    return lambda: merge_expositions(everything).encode()


def per_token_us() -> float:
    """One observation: the gap to the token before."""
    observe = Metrics().itl.labels("lane0", "free").observe

    def work() -> None:
        for _ in range(TOKENS):
            observe(0.012)

    return cpu_ms(work) * 1000 / TOKENS


def per_request_us() -> float:
    """Stages, histograms and counters of a request that was answered."""
    metrics = Metrics()
    way = (
        Stage.CLASSIFY, Stage.PARSE, Stage.OTHER, Stage.QUEUE, Stage.OTHER, Stage.CHOOSE,
        Stage.ENGINE, Stage.RELAY, Stage.RELAY, Stage.OTHER,
    )  # fmt: skip

    def work() -> None:
        begun = time.perf_counter()
        stages = Stages(begun)
        for stage in way:
            stages.enter(stage)
        metrics.in_flight.inc()
        metrics.ttft.labels("lane0", "free").observe(0.2)
        metrics.requests.labels("lane0", Reason.DEFAULT, "free", "200").inc()
        metrics.duration.labels("lane0", "free").observe(stages.close() - begun)
        for name, seconds in stages.items():
            metrics.stage.labels(name).observe(seconds)
        metrics.affinity.labels("hit").inc()
        label = metrics.tenant_label("tenant-1")
        for kind in ("prompt", "completion", "cached"):
            metrics.tokens.labels(label, kind).inc(10)
        metrics.in_flight.dec()

    return cpu_ms(work, REQUESTS) * 1000


async def relay_us() -> tuple[float, float]:
    """CPU time of a relayed token, and of a request without its tokens."""
    long, short = [await handled_ms(tokens, ROUNDS) for tokens in (TOKENS, 1)]
    return (long - short) * 1000 / (TOKENS - 1), short * 1000


if __name__ == "__main__":
    main()
