"""Between admission and the lane: summaries that a request lacks are made, and it is told."""

from __future__ import annotations

import time
from functools import partial

from starlette.types import Send

from serve_app.bodies.big_bodies import BigBodies
from serve_app.config.summaries import SummaryStoreConfig
from serve_app.metrics import Metrics
from serve_app.pipeline.preparation import Preparation, asker_of
from serve_app.pipeline.state import IngressState
from serve_app.placement.lanes import Lanes
from serve_app.relay.fault_book import FaultBook
from serve_app.request.call import Call
from serve_app.request.metering import Metering
from serve_app.request.plan import Plan
from serve_app.request.response_headers import shape_headers
from serve_app.request.stages import Stage
from serve_app.summaries.keeping.shelf import Shelf
from serve_app.summaries.summariser import Summariser
from serve_app.summaries.writing.writer import Writer
from serve_app.swap.gates import sleeps


class Summarising:
    """Completes the plans of one ingress replica."""

    def __init__(
        self,
        summariser: Summariser,
        preparation: Preparation,
        big_bodies: BigBodies,
        metrics: Metrics,
    ) -> None:
        self._summariser = summariser
        self._preparation = preparation
        self._big_bodies = big_bodies
        self._metrics = metrics

    async def complete(self, call: Call, plan: Plan, send: Send) -> Plan:
        """Wait for the summaries that are missing; the plan with those that there are then.

        The request has its place and no slot yet: a summary may be written on its own lane.
        """
        if plan.is_open:
            call.stages.enter(Stage.SUMMARISE)
            try:
                call.plan = plan = await self._completed(call, plan)
            finally:
                call.stages.enter(Stage.OTHER)
            await _tell(call, send)
        self._note(call, plan)
        return plan

    async def _completed(self, call: Call, plan: Plan) -> Plan:
        shape = plan.shape
        if shape is None or shape.view is None:
            return plan
        shape.view.settle(await self._summariser.make(asker_of(call), shape.view.wanted))
        again = self._preparation.shaping_again(call, plan)
        return await self._big_bodies.read(again, shape.given.prompt.bytes, call.tenant.name)

    def _note(self, call: Call, plan: Plan) -> None:
        """Count what was shortened, summarised or left out."""
        metrics, tier, guarded = self._metrics, call.tenant.tier_name, call.guarded
        results = None if guarded is None else guarded.results
        if results is not None and results.results:
            metrics.agents.tool_results_cut.labels(tier).inc()
        if plan.history is not None:
            metrics.history_trimmed.labels(tier, plan.history.mode).inc()
            metrics.history_dropped_tokens.labels(tier).inc(plan.history.dropped_tokens)
            metrics.history_cuts.labels(tier).inc(plan.history.moved)


async def _tell(call: Call, send: Send) -> None:
    """Say in comments what headers say that are out already: clients pass over them."""
    told = b"".join(b": %b: %b\n" % header for header in shape_headers(call))
    if told and call.reply.has_head:
        await send({"type": "http.response.body", "body": told + b"\n", "more_body": True})


def build_summariser(
    state: IngressState,
    lanes: Lanes,
    metering: Metering,
    book: FaultBook,
    shelf: Shelf | None,
    metrics: Metrics,
) -> Summariser:
    """The summariser of one ingress replica; without a shelf of its own, one in memory."""
    writer = Writer(
        state, lanes, metering, partial(avoided, book), lambda x: sleeps(state.gates, x)
    )
    return Summariser(shelf or Shelf(SummaryStoreConfig()), writer, metrics)


def avoided(book: FaultBook, lane: str) -> frozenset[str]:
    """Return the lane's replicas that have failed of late."""
    return book.breakers(lane).avoided(now=time.monotonic())
