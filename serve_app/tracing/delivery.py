"""What one ingress replica has for its spans: the tracer, and the thread that sends them."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING

from serve_app.config.tracing import TracingConfig
from serve_app.metrics import Metrics
from serve_app.records.background_writer import BackgroundWriter
from serve_app.tracing import conventions as c
from serve_app.tracing.span import Span, Value
from serve_app.tracing.tracer import Tracer

if TYPE_CHECKING:
    from serve_app.tracing.otlp import SpanSender

logger = logging.getLogger("ray.serve")

BATCH = 64
"""Spans of one export: writing them takes 4 ms, for which streams may wait (55 us a span)."""

FLUSH_S = 1.0
"""Seconds for which spans gather."""


class TenantShares:
    """How much of the queue each tenant has: at most `limit` spans, so that others find room.

    The event loop takes and one thread gives back. Each writes counts of its own, because
    `+=` of two threads on one of them would lose some.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken: Counter[Value] = Counter()
        self._given_back: Counter[Value] = Counter()

    def try_take(self, span: Span) -> bool:
        tenant = span.attributes[c.TENANT]
        if self._taken[tenant] - self._given_back[tenant] >= self._limit:
            return False
        self._taken[tenant] += 1
        return True

    def untake(self, span: Span) -> None:
        """Give back what was taken for a span that found no room; on the event loop."""
        self._taken[span.attributes[c.TENANT]] -= 1

    def give_back(self, spans: list[Span]) -> None:
        for span in spans:
            self._given_back[span.attributes[c.TENANT]] += 1


class Tracing:
    """Spans from calls to the collector. A request waits for nothing of it.

    A full queue loses what comes next, a batch that the collector does not take is lost
    whole; both are counted in `pointsman_trace_spans_dropped_total`.
    """

    def __init__(
        self, config: TracingConfig, secret: str, sender: SpanSender, metrics: Metrics
    ) -> None:
        self._sender = sender
        self._within_s = config.timeout_s
        self._shares = TenantShares(config.queue // 2)
        self._dropped = metrics.trace_spans_dropped
        self._writer: BackgroundWriter[Span] = BackgroundWriter(
            "spans",
            self._send,
            on_lost=metrics.trace_spans_dropped.inc,
            capacity=config.queue,
            flush_s=FLUSH_S,
            most=BATCH,
        )
        self.tracer = Tracer(config, secret, self._put)

    def start(self) -> None:
        self._writer.start()

    def _put(self, span: Span) -> None:
        if not self._shares.try_take(span):
            self._dropped.inc()
        elif not self._writer.put(span):
            # Three tenants fill the queue before any of them has its half of it.
            self._shares.untake(span)

    def _send(self, spans: list[Span]) -> None:
        self._shares.give_back(spans)
        self._sender.send(spans)

    def close(self) -> None:
        """Send what is left, for as long as one export may take; blocks for so long."""
        self.tracer.close()
        self._writer.close(self._within_s)
        self._sender.close()


def build_tracing(
    config: TracingConfig | None, secret: str, replica: str, metrics: Metrics
) -> Tracing | None:
    """The tracing of one ingress replica, not started; None: it is off, or cannot be had.

    What is wrong with it (a variable of OpenTelemetry's that makes no sense) is told in the
    log: nobody's requests are refused because they could not be traced.
    """
    if config is None:
        return None
    try:
        # A tenth of a second, and 20 MB, that nobody pays who has it off.
        from serve_app.tracing.otlp import SpanSender, build_exporter

        sender = SpanSender(build_exporter(config), replica, metrics.trace_spans_exported.inc)
    except Exception:
        logger.exception("tracing is off: its exporter could not be made")
        return None
    return Tracing(config, secret, sender, metrics)
