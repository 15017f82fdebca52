"""A histogram for one event loop."""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import HistogramMetricFamily
from prometheus_client.registry import Collector


class LoopHistogram(Collector):
    """A histogram that is observed on one event loop, once a token or several times a request.

    The library's takes a lock twice an observation; one event loop needs none.
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str],
        bounds: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        self._name, self._documentation, self._labels = name, documentation, labels
        self._bounds = tuple(bounds)
        self._series: dict[tuple[str, ...], Series] = {}
        # Those of histograms with one label, by it alone.
        self._single: dict[str, Series] = {}
        registry.register(self)

    @property
    def label_names(self) -> tuple[str, ...]:
        return tuple(self._labels)

    @property
    def bounds(self) -> tuple[float, ...]:
        """Upper bounds of the buckets but the last, which has none."""
        return self._bounds

    def labels(self, *values: str) -> Series:
        series = self._series.get(values)
        if series is None:
            series = self._series[values] = Series(self._bounds)
        return series

    def observe_each(self, values: Mapping[str, float]) -> None:
        """Observe each value under its key, in a histogram with one label."""
        bounds, known = self._bounds, self._single
        for label, value in values.items():
            series = known.get(label)
            if series is None:
                series = known[label] = self.labels(label)
            series.counts[bisect_left(bounds, value)] += 1
            series.sum += value

    def collect(self) -> Iterator[HistogramMetricFamily]:
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labels)
        edges = [*map(str, map(float, self._bounds)), "+Inf"]
        # A copy: the loop may add a series while a thread renders.
        for values, series in list(self._series.items()):
            cumulative = itertools.accumulate(series.counts)
            buckets = list(zip(edges, cumulative, strict=True))
            family.add_metric(values, buckets, series.sum)
        yield family


class Series:
    """One series of a LoopHistogram."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value
