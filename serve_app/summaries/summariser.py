"""Makes the summaries that a request wants, each once, however many requests want it.

What can be had neither from memory nor from disk is asked of a lane. Requests that want the same
share one asking, which goes on if one of them leaves. What is not there in time is done
without, in this session for good: its prompts stay as they begin now, and so does its prefix
in the engine's cache.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial

from router.summaries.keys import Key
from serve_app.config.agents import ToolResultsConfig
from serve_app.metrics import Metrics
from serve_app.summaries.keeping.shelf import Shelf
from serve_app.summaries.source import Asker, Kind, Source
from serve_app.summaries.view import WITHOUT, SummaryView
from serve_app.summaries.writing.writer import Outcome, Writer, Written
from serve_app.tenancy.auth import Tenant

logger = logging.getLogger("ray.serve")

MAX_OF_TENANT = 16
"""Summaries that are being made for one tenant in one ingress replica."""


def wants_summaries(tenant: Tenant) -> bool:
    """Whether summaries stand for long results or old turns of a tenant's."""
    history = tenant.history
    return _results_of(tenant) is not None or (history is not None and history.is_summarised)


def _results_of(tenant: Tenant) -> ToolResultsConfig | None:
    """What a tenant wants of long results, where that is summaries."""
    results = tenant.agents.tool_results if tenant.agents is not None else None
    return results if results is not None and results.is_summarised else None


class Summariser:
    """The summaries of one ingress replica: what is known, and what is being made."""

    def __init__(self, shelf: Shelf, writer: Writer, metrics: Metrics) -> None:
        self._shelf = shelf
        self._writer = writer
        self._metrics = metrics
        self._making: dict[tuple[str, Key], asyncio.Task[Written]] = {}
        self._of_tenant: Counter[str] = Counter()

    def view(self, asker: Asker) -> SummaryView:
        """What a request finds without waiting."""
        tenant, session, results = asker.tenant.name, asker.session, _results_of(asker.tenant)
        known = partial(self._shelf.known, tenant, session)
        return SummaryView(known, results.summary if results is not None else None)

    async def make(self, asker: Asker, wanted: Mapping[Key, Source]) -> dict[Key, str]:
        """What stands for each source in this session from now on, by key.

        Where it is `WITHOUT`, none could be made, or the session did without it before.
        """
        tenant, session, sources = asker.tenant.name, asker.session, list(wanted.values())
        earlier = [key for source in sources for key in source.earlier]
        await self._shelf.fetch(tenant, session, [*wanted, *earlier])
        found: dict[Key, str] = {}
        missing: list[Source] = []
        for source in sources:
            known = self._shelf.accept(tenant, session, source.key)
            if known is None:
                missing.append(source)
            else:
                found[source.key] = known
                if known:
                    self._count(asker, source.kind, Outcome.FOUND)
        made = await self._make_missing(asker, missing)
        await self._shelf.go_without(
            tenant, session, [key for key, written in made.items() if not written.text]
        )
        for key, written in made.items():
            # The first word that a session has on a summary is the one that counts.
            known = self._shelf.accept(tenant, session, key)
            found[key] = (written.text or WITHOUT) if known is None else known
        return found

    async def _make_missing(self, asker: Asker, missing: Sequence[Source]) -> dict[Key, Written]:
        """What becomes of what nobody has: the newest ones first, and not too many."""
        newest = sorted(missing, key=lambda x: (x.kind is Kind.TURNS, x.item), reverse=True)
        made: dict[Key, Written] = {}
        tasks: dict[Key, asyncio.Task[Written]] = {}
        for source in newest:
            task = None
            if len(tasks) < source.config.at_once:
                task = self._task(asker, source)
            if task is None:
                made[source.key] = Written(Outcome.TOO_MANY)
                self._count(asker, source.kind, Outcome.TOO_MANY)
            else:
                tasks[source.key] = task
        if tasks:
            # Who stops waiting stops nothing: others may wait, and it is kept.
            await asyncio.wait(tasks.values())
        return made | {key: task.result() for key, task in tasks.items()}

    def _task(self, asker: Asker, source: Source) -> asyncio.Task[Written] | None:
        """The making of a summary, begun if it is not under way; None: too many are."""
        tenant = asker.tenant.name
        mark = (tenant, source.key)
        task = self._making.get(mark)
        if task is None and self._of_tenant[tenant] < MAX_OF_TENANT:
            task = self._making[mark] = asyncio.create_task(self._made(asker, source))
            self._of_tenant[tenant] += 1
            task.add_done_callback(lambda _: self._forget(mark))
        return task

    def _forget(self, mark: tuple[str, Key]) -> None:
        del self._making[mark]
        self._of_tenant -= Counter({mark[0]: 1})

    async def _made(self, asker: Asker, source: Source) -> Written:
        try:
            begun = await source.begun(partial(self._shelf.text, asker.tenant.name))
            written = await self._writer.write(asker, begun)
        except Exception:
            # A boundary: the request goes on without. The log learns nothing of the text.
            logger.exception("a summary could not be made")
            written = Written(Outcome.FAILED)
        self._count(asker, source.kind, written.outcome)
        if (usage := written.usage) is not None:
            policies = asker.policies
            lane = source.config.lane or policies.routing.default
            prices = policies.fleet.prices
            self._metrics.count_usage(asker.tenant.name, lane, usage, prices)
        if written.text:
            await self._shelf.keep(asker.tenant.name, {source.key: written.text})
        return written

    def _count(self, asker: Asker, kind: Kind, outcome: Outcome) -> None:
        self._metrics.summaries.labels(asker.tenant.tier_name, kind, outcome).inc()

    def stop(self) -> None:
        """Stop what is being made."""
        for task in list(self._making.values()):
            task.cancel()
