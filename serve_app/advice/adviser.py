"""Keeps the history of a deployment and knows what it says, in one ingress replica.

Each replica has one. The one that holds the history's lock scrapes the deployment, writes and
judges; the others read what it has made of it. Nothing of this is on the way of a request, and
the event loop only waits: texts are read, points written and triggers judged on a thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from router.advice.judge import State
from router.advice.table import Subject
from router.advice.trigger import HOUR, Change
from serve_app.advice.drifting import DriftWatch
from serve_app.advice.exposition import Scrape
from serve_app.advice.history import FAULTS, History, refill
from serve_app.advice.jobs import job_of, lane_facts, run_elsewhere
from serve_app.advice.judging import FIVE_MINUTES, Judging, firing
from serve_app.advice.replays import replay_signals
from serve_app.advice.signals import Signals, Values
from serve_app.advice.subjects import shapes, subjects
from serve_app.advice.usage import MONTH_DAYS, usage_signals
from serve_app.config.settings import state_dir
from serve_app.pipeline.state import IngressState
from serve_app.records.feedback_store import FILE_NAME
from serve_app.records.traffic import MAX_REQUESTS
from serve_app.scaling.forecasts import Foreteller
from serve_app.tenancy.store import TenancyStore
from serve_app.transport.broadcast import Broadcast

logger = logging.getLogger("ray.serve")

EFFECT_AGE_S = 1800.0
"""An effect is simulated anew when it is older, while its trigger fires."""

Row = dict[str, Any]


def _now() -> float:
    return datetime.now(UTC).timestamp()


class Adviser:
    """Advice of one ingress replica.

    Args:
        metrics_text: Prometheus text of the whole deployment.
        broadcast: calls a method on every ingress replica, this one included.
        store: has the tokens of tenants by day.

    Attributes:
        rows: of every trigger and subject, firing ones first, as of the last judging.
        at: when that was, in seconds since 1970; None: there was none yet.

    """

    def __init__(
        self,
        state: IngressState,
        history: History,
        metrics_text: Callable[[], Awaitable[str]],
        broadcast: Broadcast,
        store: TenancyStore,
        clock: Callable[[], float] = _now,
        foreteller: Foreteller | None = None,
    ) -> None:
        self._state = state
        self._history = history
        self._metrics_text = metrics_text
        self._broadcast = broadcast
        self._store = store
        self._clock = clock
        self._foreteller = foreteller or Foreteller(lambda: self._state.policies.fleet.foretold)
        config = state.policies.fleet.advice
        self._drift = DriftWatch(history, state_dir() / FILE_NAME)
        self.period_s = config.period_s
        self.rows: list[Row] = []
        self.at: float | None = None
        self.is_writer = False
        self._judging = Judging(config, self._subjects(), state.policies.fleet.prices.of_cards)
        self._signals = Signals()
        self._scraped_at: float | None = None
        self._wide_at = 0.0
        self._usage: Values = {}
        self._effects: dict[str, Row] = {}
        self._is_failing = False

    @property
    def shown(self) -> list[Row]:
        """The rows that fire or have too little data, for `/status`."""
        return [row for row in self.rows if row["state"] != State.CLEAR.value]

    @property
    def firing(self) -> list[str]:
        """The names of the triggers that fire."""
        return firing(self.rows)

    async def run(self) -> None:
        """Take a point every `period_s`, for ever; a turn that is late moves none after it."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + self.period_s, loop.time())
            await asyncio.sleep(due - loop.time())
            await self.turn()

    async def turn(self) -> None:
        """Take one point, or read what the writer made of its own."""
        try:
            was_writer, self.is_writer = (
                self.is_writer,
                await self._on_thread(self._history.try_to_write),
            )
            if not self.is_writer:
                await self._on_thread(self._read)
                return
            if not was_writer:
                await self._on_thread(self._begin)
            await self._take()
            self._is_failing = False
        except asyncio.CancelledError:
            raise
        except Exception as error:
            # It must outlive a full disk and whatever a replica answers. Told once.
            known = isinstance(error, FAULTS)
            if not self._is_failing:
                logger.warning("advice: no point could be taken: %s", error, exc_info=not known)
            self._is_failing = True

    async def _on_thread(self, work: Callable[[], Any]) -> Any:
        return await asyncio.to_thread(work)

    def close(self) -> None:
        """Let another replica write. Blocks."""
        self._history.close()

    # -- the writer -------------------------------------------------------------

    async def _take(self) -> None:
        text = await self._metrics_text()
        at = self._clock()
        is_wide = at - self._wide_at >= FIVE_MINUTES
        if is_wide:
            self._wide_at = at
            self._usage = await self._on_thread(self._used)
            await self._on_thread(lambda: self._history.prune(at))
            await self._on_thread(lambda: self._foretell(at))
            taken = await self._broadcast("streams_taken")
            stronger = [level.lane for level in self._state.policies.levels]
            await self._on_thread(lambda: self._drift.count(taken, stronger, at))
        await self._on_thread(lambda: self._note(text, at))
        wanted = [row for row in self.rows if self._needs_effect(row, at)]
        if is_wide or wanted:
            traffic = await self._traffic()
            await self._on_thread(lambda: self._history.keep("traffic", traffic))
            await self._simulate(wanted, at, traffic)

    def _foretell(self, at: float) -> None:
        """Make the forecasts of the lanes whose replicas follow the load, if it is time to."""
        history = self._history
        self._foreteller.tell(lambda after, until: history.points(FIVE_MINUTES, after, until), at)

    def _subjects(self) -> list[Subject]:
        policies = self._state.policies
        found = subjects(policies.fleet, policies.auth.config)
        return [self._drift.told(x) for x in found]

    def _note(self, text: str, at: float) -> None:
        """Make points of a text, keep them, and judge; on a thread."""
        fleet = self._state.policies.fleet
        self._judging.apply(fleet.advice, self._subjects(), fleet.prices.of_cards)
        step_s = self.period_s if self._scraped_at is None else max(1.0, at - self._scraped_at)
        self._scraped_at = at
        values = self._signals.take(Scrape(text), step_s, shapes(fleet))
        if not values:
            return
        values |= self._usage | self._drift.taken()
        is_first = self.at is None
        wider = self._history.add(at, values)
        self._judging.add(self.period_s, at, values)
        for step, end, found in wider:
            self._judging.add(step, end, found)
            if step == HOUR:
                self._drift.judge(end)
        self.rows, self.at = self._with_effects(self._judging.rows()), at
        self._history.keep("advice", {"at": at, "rows": self.rows})
        if wider or is_first:
            self._history.keep("subjects", _told(self._subjects()))
            self._history.keep("config", fleet.advice.model_dump(mode="json"))
            self._history.keep("prices", asdict(fleet.prices.of_cards))
            self._history.keep("lanes", lane_facts(fleet, shapes(fleet), fleet.routing.default))

    def _begin(self) -> None:
        """Go through what was written before: by this process's predecessor, or another's."""
        now = self._clock()
        refill(self._judging, self._history, now)
        self._drift.judge(now)
        before = self._history.kept("advice")
        if isinstance(before, dict):
            self._judging.recall(before.get("rows", ()))
        effects = self._history.kept("effects")
        self._effects = effects if isinstance(effects, dict) else {}

    async def _traffic(self) -> dict[str, list[Any]]:
        """The newest requests of each lane, over all ingress replicas."""
        lanes: dict[str, list[Any]] = {}
        for exported in await self._broadcast("traffic_export"):
            if isinstance(exported, dict):
                for lane, requests in exported.items():
                    lanes.setdefault(lane, []).extend(requests)
        return {lane: sorted(x, key=_arrival)[-MAX_REQUESTS:] for lane, x in lanes.items()}

    def _used(self) -> Values:
        """What changes by the day: tokens, the busiest tenant's requests, the last replay's F1."""
        today = datetime.fromtimestamp(self._clock(), UTC).date()
        first = today - timedelta(days=MONTH_DAYS)
        yesterday = (today - timedelta(days=1)).isoformat()
        used = self._store.usage(first.isoformat(), yesterday)
        cards = sum(
            lane.replicas.min * lane.tensor_parallel_size
            for lane in self._state.policies.fleet.enabled_lanes.values()
        )
        lanes = self._state.policies.fleet.enabled_lanes
        return usage_signals(used, yesterday, cards) | replay_signals(lanes, self._clock())

    # -- effects ------------------------------------------------------------------

    async def _simulate(
        self, wanted: list[Row], at: float, traffic: Mapping[str, list[Any]]
    ) -> None:
        """Have the effects simulated that are not known yet, one process at a time."""
        if not wanted:
            return
        fleet = self._state.policies.fleet
        facts = lane_facts(fleet, shapes(fleet), fleet.routing.default)
        jobs = [job_of(row, facts, traffic) for row in wanted]
        found = await run_elsewhere(jobs)
        for job, effect in zip(jobs, found, strict=False):
            self._effects["|".join(job["key"])] = {"at": at, "effect": effect}
        for row in wanted:
            # One that did not answer is not asked again at once.
            self._effects.setdefault(_effect_key(row), {"at": at, "effect": None})
        self._effects = {k: x for k, x in self._effects.items() if at - x["at"] < EFFECT_AGE_S}
        self.rows = self._with_effects(self.rows)
        await self._on_thread(lambda: self._history.keep("effects", self._effects))

    def _needs_effect(self, row: Row, at: float) -> bool:
        known = self._effects.get(_effect_key(row))
        is_old = known is None or at - known["at"] >= EFFECT_AGE_S
        return row["state"] == State.FIRING.value and row["change"] != Change.NONE.value and is_old

    def _with_effects(self, rows: list[Row]) -> list[Row]:
        known = {key: x["effect"] for key, x in self._effects.items()}
        fires = State.FIRING.value
        return [
            {**row, "expected": known.get(_effect_key(row)) if row["state"] == fires else None}
            for row in rows
        ]

    # -- the others -----------------------------------------------------------------

    def _read(self) -> None:
        found = self._history.kept("advice")
        if isinstance(found, dict):
            self.rows, self.at = list(found.get("rows", ())), found.get("at")


def _arrival(request: Any) -> float:
    return float(request[0])


def _effect_key(row: Mapping[str, Any]) -> str:
    return f"{row['trigger']}|{row['subject']}"


def _told(found: list[Subject]) -> list[Row]:
    return [{"name": x.name, "scopes": sorted(x.scopes), "facts": dict(x.facts)} for x in found]
