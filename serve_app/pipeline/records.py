"""What one ingress replica keeps: opened together, run together, closed in order."""

from __future__ import annotations

from collections.abc import Coroutine
from functools import partial
from pathlib import Path
from typing import Any

from serve_app.config.records import ResponsesConfig
from serve_app.config.served import traces_of
from serve_app.config.settings import responses_path, state_dir, tools_folder, usage_folder
from serve_app.metrics import Metrics
from serve_app.pipeline.state import IngressState
from serve_app.pipeline.trace_keeping import TraceKeeping
from serve_app.records.feedback_store import FILE_NAME, FeedbackStore
from serve_app.records.recorder import build_recorder
from serve_app.registry.book import open_tool_book
from serve_app.responses.desk import StoredResponses
from serve_app.responses.metrics import ResponseMetrics
from serve_app.routing.policies import Policies
from serve_app.summaries.keeping.shelf import build_shelf
from serve_app.tenancy.meter import UsageMeter
from serve_app.tenancy.stores import open_store
from serve_app.tracing.delivery import build_tracing
from serve_app.tracing.tracer import Tracer


class Records:
    """Owns the files of requests, traces, answers, usage, summaries, tools, and the spans' way out.

    Their settings are fixed at start, but for the bounds of stored responses.

    Args:
        tenancy: path of the tenants' store, which the usage goes into.

    """

    def __init__(
        self, policies: Policies, tenancy: Path, secret: str, replica: str, metrics: Metrics
    ) -> None:
        fleet, folder = policies.fleet, state_dir()
        self.tools = open_tool_book(tools_folder(), folder, fleet.reload.settle_s)
        self.feedback = FeedbackStore(folder / FILE_NAME, fleet.feedback)
        self.recorder = build_recorder(self.feedback, fleet.request_log, folder, replica, metrics)
        self.traces = TraceKeeping(
            fleet.traces,
            traces_of(fleet),
            replica,
            metrics.request_records_dropped.labels("traces").inc,
        )
        # A connection of its own: a revocation of a key must not wait for a batch of usage.
        self._usage = open_store(policies.store, tenancy)
        self.meter = UsageMeter(
            self._usage,
            usage_folder(tenancy),
            keep_days=policies.store.keep_days,
            on_lost=metrics.request_records_dropped.labels("usage").inc,
        )
        self.responses = StoredResponses(responses_path(tenancy), ResponseMetrics(metrics.registry))
        self._tracing = build_tracing(fleet.tracing, secret, replica, metrics)
        self.shelf = build_shelf(policies.store.summaries, folder)

    @property
    def tracer(self) -> Tracer | None:
        """None: tracing is off."""
        return None if self._tracing is None else self._tracing.tracer

    def start(self, state: IngressState) -> list[Coroutine[Any, Any, None]]:
        """Start the threads that write; return what is to run on the event loop."""
        self.recorder.start()
        self.traces.start()
        self.meter.start()
        work = [
            self.tools.watch(),
            self.responses.watch(partial(_bounds_of, state)),
            self.shelf.run(),
        ]
        if self._tracing is not None:
            self._tracing.start()
            work.append(self._tracing.tracer.run())
        return work

    def close(self) -> None:
        """Write what is left; blocks."""
        self.recorder.close()
        self.traces.close()
        self.meter.close()
        self.responses.close()
        self.shelf.close()
        for store in (self.feedback, self._usage, self.tools):
            store.close()
        if self._tracing is not None:
            # Last: a collector that does not answer takes the time it is given.
            self._tracing.close()


def _bounds_of(state: IngressState, tenant: str) -> ResponsesConfig | None:
    """A tenant's bounds of stored responses, by the files as they are now."""
    found = state.policies.auth.tenant(tenant)
    return None if found is None else found.responses
