"""Keeps the experiments of all ingress replicas in step: counts in a file, stops told to peers.

Replicas of a node share the file; those of other nodes are asked for what theirs holds. Whoever
first finds that a rail is broken stops the treatment, and the others follow within a round.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from evals.experiments.report import Shown, report_of
from serve_app.experiments.book import ExperimentBook
from serve_app.experiments.store import FILE_NAME, Cell, Counts, ExperimentStore, Stop
from serve_app.experiments.terms import Terms
from serve_app.transport.beat import beat

logger = logging.getLogger("ray.serve")

EVERY_S = 5.0

Rated = Callable[[Terms, float], Shown]
"""What users have rated of an experiment, of requests since a time (since 1970); blocks."""


class ExperimentKeeper:
    """Brings a book together with the file and with the other ingress replicas.

    Args:
        broadcast: asks each ingress replica for its `experiments_export`; None: this is the
            only one.
        rated: what the reports are made of.

    """

    def __init__(
        self,
        book: ExperimentBook,
        store: ExperimentStore,
        broadcast: Callable[[str], Awaitable[list[Any]]] | None,
        rated: Rated,
    ) -> None:
        self._book, self._store = book, store
        self._broadcast, self._rated = broadcast, rated
        self._name = ""
        self._own: Counts = {}
        self._since: dict[str, float] = {}
        self._reports: dict[str, dict[str, Any]] = {}

    def begin(self) -> None:
        """Learn what was stopped before there is a request. Blocks."""
        self._book.learn(self._store.stops())

    async def run(self) -> None:
        """Keep in step, for ever."""
        while True:
            try:
                if self._book:
                    await self.look()
            except Exception:
                # Requests go on, and so does counting.
                logger.exception("experiments: the counts could not be brought together")
            await beat(EVERY_S)

    async def look(self) -> None:
        """Write, read, judge, and tell."""
        fresh, terms, now = self._book.take_fresh(), self._book.terms, self._book.applied
        try:
            stops = await asyncio.to_thread(self._exchange, fresh, terms, now)
        except BaseException:
            self._book.give_back(fresh)
            raise
        self._book.learn(stops)
        await self._ask_peers()
        found = self._book.judge()
        if found:
            for key, stop in found.items():
                logger.warning("experiment %s is stopped: %s", key, stop.why)
            self._book.learn(found)
            await asyncio.to_thread(self._store.stop, found)
        self._reports = await asyncio.to_thread(self._reported, terms)

    def close(self) -> None:
        """Write what is left. Blocks."""
        try:
            self._store.add(self._book.take_fresh())
        except Exception:
            logger.exception("experiments: the last counts were not kept")
        self._store.close()

    def export(self) -> dict[str, Any]:
        """Return what this replica's node knows, for the others."""
        counts = [(*cell, value) for cell, value in self._own.items()]
        return {"store": self._name, "counts": counts, "stops": dict(self._book.stops)}

    def rows(self) -> list[dict[str, Any]]:
        """Return how each experiment stands, and what was rated."""
        return [
            {**row, "since": self._since.get(row["name"]), "report": self._reports.get(row["name"])}
            for row in self._book.rows()
        ]

    async def _ask_peers(self) -> None:
        answers = [] if self._broadcast is None else await self._broadcast("experiments_export")
        told = [x for x in answers if isinstance(x, dict)]
        totals, seen = dict(self._own), {self._name}
        for peer in told:
            self._book.learn({key: Stop(*stop) for key, stop in peer["stops"].items()})
            if peer["store"] in seen or not peer["store"]:
                continue
            seen.add(peer["store"])
            for *cell, value in peer["counts"]:
                key = Cell(*cell)
                totals[key] = totals.get(key, 0.0) + value
        self._book.take_totals(totals)

    # -- on a thread ------------------------------------------------------------

    def _exchange(self, fresh: Counts, terms: tuple[Terms, ...], now: float) -> dict[str, Stop]:
        self._store.add(fresh)
        # From here on it must not be added again, whatever fails.
        fresh.clear()
        self._name = self._store.name()
        self._own = self._store.counts([x.key for x in terms])
        self._since = self._store.since({x.config.name: x.division for x in terms}, now)
        return self._store.stops()

    def _reported(self, terms: tuple[Terms, ...]) -> dict[str, dict[str, Any]]:
        shown = ((x, self._rated(x, self._since[x.config.name])) for x in terms)
        return {x.config.name: report_of(x.subject, ratings).row() for x, ratings in shown}


def build_keeper(
    book: ExperimentBook,
    folder: Path,
    broadcast: Callable[[str], Awaitable[list[Any]]] | None,
    rated: Rated,
) -> ExperimentKeeper:
    """The keeper of one ingress replica, which knows what was stopped."""
    keeper = ExperimentKeeper(book, ExperimentStore(folder / FILE_NAME), broadcast, rated)
    # Also of experiments that a reload brings back: none of their requests goes to a stopped one.
    if book or (folder / FILE_NAME).exists():
        keeper.begin()
    return keeper
