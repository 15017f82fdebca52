"""Spans to a collector, by OTLP: the only module that imports OpenTelemetry's SDK.

It is imported when tracing is on. The SDK's tracer and batch processor are not used: ids come
from the requests, and what waits, is bounded and is counted is a `BackgroundWriter`'s work.
What is used is the form of spans, and the exporters with their time-outs and retries.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from urllib.parse import urlsplit

from opentelemetry.sdk.environment_variables import OTEL_SERVICE_NAME
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags, TraceState
from opentelemetry.trace.status import Status, StatusCode

from serve_app.config.tracing import TracingConfig
from serve_app.protocol.trace_context import TraceContext
from serve_app.tracing import conventions as c
from serve_app.tracing.span import Span

logger = logging.getLogger("ray.serve")

NAME = "pointsman"
TRACES_PATH = "/v1/traces"

_OK, _FAILED = Status(StatusCode.UNSET), Status(StatusCode.ERROR)


class NotTaken(OSError):
    """The collector did not take a batch, within the time and the retries it has."""

    def __init__(self) -> None:
        super().__init__("the collector did not take them")


class SpanSender:
    """Sends batches of one ingress replica's spans. Used by one thread."""

    def __init__(
        self, exporter: SpanExporter, replica: str, on_sent: Callable[[int], None]
    ) -> None:
        self._exporter = exporter
        self._on_sent = on_sent
        self._resource = _resource(replica)
        self._scope = InstrumentationScope(NAME, version(NAME), c.SCHEMA_URL)

    def send(self, spans: Sequence[Span]) -> None:
        """Send a batch. Raises NotTaken."""
        made = [_readable(span, self._resource, self._scope) for span in spans]
        if self._exporter.export(made) is not SpanExportResult.SUCCESS:
            raise NotTaken
        self._on_sent(len(made))

    def close(self) -> None:
        """Give up what is still being sent."""
        self._exporter.shutdown()


def _resource(replica: str) -> Resource:
    """What all spans of a replica have; `OTEL_RESOURCE_ATTRIBUTES` is in it, too."""
    own = {c.SERVICE_VERSION: version(NAME), c.SERVICE_INSTANCE_ID: replica}
    if not os.environ.get(OTEL_SERVICE_NAME):
        own[c.SERVICE_NAME] = NAME
    return Resource.create(own, c.SCHEMA_URL)


def _readable(span: Span, resource: Resource, scope: InstrumentationScope) -> ReadableSpan:
    context = _context(span.context)
    parent = None
    if span.parent_id is not None:
        parent = SpanContext(
            context.trace_id, span.parent_id, span.has_remote_parent, context.trace_flags
        )
    return ReadableSpan(
        span.name,
        context,
        parent,
        resource,
        span.attributes,
        links=() if span.linked is None else (Link(_context(span.linked)),),
        kind=SpanKind.CLIENT if span.is_client else SpanKind.INTERNAL,
        status=_FAILED if span.error else _OK,
        start_time=span.start_ns,
        end_time=span.end_ns,
        instrumentation_scope=scope,
    )


def _context(of: TraceContext) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if of.is_sampled else TraceFlags.DEFAULT)
    state = TraceState.from_header([of.state]) if of.state else None
    return SpanContext(
        of.trace_id, of.span_id, is_remote=False, trace_flags=flags, trace_state=state
    )


def build_exporter(config: TracingConfig) -> SpanExporter:
    """Make the exporter that the fleet file describes.

    It says nothing in the log of its own: with a dead collector that would be a line a second.
    """
    headers = headers_of(config.headers)
    logging.getLogger("opentelemetry.exporter.otlp").setLevel(logging.CRITICAL)
    if config.protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (
            OTLPSpanExporter as GrpcExporter,
        )

        return GrpcExporter(config.endpoint, headers=headers or None, timeout=config.timeout_s)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(
        traces_url(config.endpoint), headers=headers or None, timeout=config.timeout_s
    )


def traces_url(endpoint: str | None) -> str | None:
    """Return where spans are posted: an endpoint without a path has OTLP's own."""
    if endpoint is None or urlsplit(endpoint).path not in ("", "/"):
        return endpoint
    return endpoint.rstrip("/") + TRACES_PATH


def headers_of(names: Mapping[str, str]) -> dict[str, str]:
    """Return the headers' values from the environment; what is missing is told and left out."""
    headers = {}
    for name, variable in names.items():
        value = os.environ.get(variable, "").strip()
        if value:
            headers[name] = value
        else:
            logger.warning(
                "tracing.headers: %s is not set for this ingress replica; spans go without '%s'",
                variable,
                name,
            )
    return headers
