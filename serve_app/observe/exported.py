"""What /metrics has: our families from their objects, the engine's from its source."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from serve_app.engine.cards.exposition import cards_text
from serve_app.engine.cards.reading import CardReading
from serve_app.engine.engine_info import info_text
from serve_app.engine.engine_signals import stalled_text
from serve_app.engine.engine_stats import levels_text, prompt_tokens_by_level
from serve_app.engine.sleeping.metrics import SleepMetrics
from serve_app.experiments.standing import GAUGES as EXPERIMENT_GAUGES
from serve_app.leases.metrics import LedgerMetrics
from serve_app.metrics import LoopHistogram, Metrics
from serve_app.responses.metrics import ResponseMetrics
from serve_app.scaling.standing import GAUGES as SCALING_GAUGES
from serve_app.scoring.asking import ScoreAsking
from serve_app.slo.standing import GAUGES as SLO_GAUGES

Kind = Literal["counter", "gauge", "histogram"]

PARTS: dict[str, tuple[str, ...]] = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum", "_count"),
}
"""Endings of a family's series."""


@dataclass(frozen=True)
class Family:
    """One metric: its family's name is without the ending of a counter.

    Attributes:
        labels: without those that say where it comes from (`ingress`, or `lane` and `replica`).
        buckets: of a histogram, with the last one; else 1.

    """

    name: str
    kind: Kind
    means: str
    labels: tuple[str, ...] = ()
    buckets: int = 1

    @property
    def series(self) -> tuple[str, ...]:
        """Names that a query can ask for."""
        return tuple(self.name + part for part in PARTS[self.kind])


def own_families() -> dict[str, Family]:
    """Every family that an ingress replica counts, by its name."""
    registry = CollectorRegistry()
    scoring = ScoreAsking(_nobody, 1.0, registry)
    owners = (Metrics(), LedgerMetrics(registry), ResponseMetrics(registry), scoring)
    return {f.name: f for owner in owners for c in _collectors(owner) for f in _families(c)}


async def _nobody(_: object) -> list[float]:
    return []


def replica_families() -> dict[str, Family]:
    """Every family that is told of a lane's replica beside its engine's own, by its name.

    Most are counted in no object, so they are read from the texts that tell them.
    """
    figures = {x.name: 1.0 for x in fields(CardReading) if x.type == "float | None"}
    card = CardReading("0", "a card", **figures, reasons=0)
    stalled = stalled_text(is_stalled=False)
    info = info_text(dict.fromkeys(("quantization", "kv_cache_dtype", "dtype"), "fp8"))
    texts = (levels_text(prompt_tokens_by_level("")), stalled, info, cards_text([card]))
    counted = (f for c in _collectors(SleepMetrics("a pool")) for f in _families(c))
    told = (family for text in texts for family in told_in(text))
    return {family.name: family for family in (*told, *counted)}


def _collectors(owner: Any) -> Iterator[MetricWrapperBase | LoopHistogram]:
    """Return the metric objects that are attributes of this object, or of those below it."""
    for each in vars(owner).values():
        if isinstance(each, MetricWrapperBase | LoopHistogram):
            yield each
        elif type(each).__module__.startswith("serve_app."):
            yield from _collectors(each)


def _families(collector: MetricWrapperBase | LoopHistogram) -> Iterator[Family]:
    # The library tells the names of labels nowhere else while there is no series.
    label_names: Iterable[str] = getattr(collector, "_labelnames", ())
    if isinstance(collector, LoopHistogram):
        label_names = collector.label_names
    bounds: Iterable[float] = getattr(collector, "_upper_bounds", ())
    if isinstance(collector, LoopHistogram):
        bounds = (*collector.bounds, float("inf"))
    for family in collector.collect():
        kind, buckets = cast(Kind, family.type), len(tuple(bounds)) or 1
        yield Family(family.name, kind, family.documentation, tuple(label_names), buckets)


def deployment_families() -> dict[str, Family]:
    """Every family that is told once for the whole deployment, by its name."""
    gauges = {**SLO_GAUGES, **SCALING_GAUGES, **EXPERIMENT_GAUGES}
    return {name: Family(name, "gauge", *told) for name, told in gauges.items()}


def exported() -> dict[str, Family]:
    """Every family of ours that /metrics can have, by its name."""
    return own_families() | replica_families() | deployment_families()


def told_in(text: str) -> Iterator[Family]:
    """Return the families of a Prometheus text, which has a sample of each."""
    for family in text_string_to_metric_families(text):
        labels = dict.fromkeys(label for sample in family.samples for label in sample.labels)
        yield Family(family.name, cast(Kind, family.type), family.documentation, tuple(labels))


_CLASSES: dict[str, Kind] = {
    "_gauge_cls": "gauge",
    "_counter_cls": "counter",
    "_histogram_cls": "histogram",
}


@cache
def engine_families() -> dict[str, Family]:
    """Every family of the installed vLLM's engine, by its name, read from its source.

    Raises FileNotFoundError where there is no vLLM.
    """
    found = importlib.util.find_spec("vllm")
    if found is None or not found.submodule_search_locations:
        raise FileNotFoundError("vLLM is not installed: its metrics cannot be looked up")
    folder = Path(next(iter(found.submodule_search_locations)))
    tree = ast.parse((folder / "v1/metrics/loggers.py").read_text())
    calls = (x for x in ast.walk(tree) if isinstance(x, ast.Call))
    families = [family for call in calls if (family := _engine_family(call)) is not None]
    # Its name and its labels are put together while it runs.
    info = Family("vllm:cache_config_info", "gauge", "Settings of the KV cache, as labels; 1.")
    return {family.name: family for family in (*families, info)}


def _engine_family(call: ast.Call) -> Family | None:
    """Return the family that a call makes, if it makes one."""
    kind = _CLASSES.get(call.func.attr) if isinstance(call.func, ast.Attribute) else None
    said = {keyword.arg: keyword.value for keyword in call.keywords}
    name = said.get("name")
    if kind is None or not isinstance(name, ast.Constant) or not isinstance(name.value, str):
        return None
    means = said.get("documentation")
    text = ast.literal_eval(means) if isinstance(means, ast.Constant) else ""
    return Family(name.value, kind, text, _labels(said.get("labelnames")))


def _labels(node: ast.expr | None) -> tuple[str, ...]:
    """Labels besides model_name and engine, which all of them have."""
    added = node.right if isinstance(node, ast.BinOp) else None
    return tuple(ast.literal_eval(added)) if isinstance(added, ast.List) else ()


_NAME = re.compile(r"(?<![\w:$\"])(?:pointsman_|vllm:|[a-z]+:)[a-z0-9_:]+(?=[\s\[\]{(),+*/<>=-]|$)")


def names_in(expr: str) -> set[str]:
    """Return the series that a query asks for, without Prometheus' own (`up`, `ALERTS`)."""
    return set(_NAME.findall(re.sub(r'"[^"]*"', '""', expr)))
