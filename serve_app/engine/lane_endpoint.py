"""What every lane replica does around its engine, and the simulated lane.

A lane replica opens the endpoint that the ingress relays from, counts as ready
when it is warm (`warm_up`), ends when its engine does (`heartbeat`), and lets streams
finish before it goes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from ray import serve
from ray.util.metrics import Gauge

from router.placement.hot_prefixes import HotPrefix
from router.swap.terms import Act
from router.types import Task
from serve_app.bodies.routes import ROUTES
from serve_app.config.serving import AffinityConfig, WarmUpConfig
from serve_app.engine.cards.own_cards import Find, OwnCards, no_cards
from serve_app.engine.drain import Drain
from serve_app.engine.engine_signals import EngineSignals
from serve_app.engine.load_tracker import LoadTracker
from serve_app.engine.sleeping.engine import SleepyEngine
from serve_app.engine.sleeping.simulated import SimulatedSleeper
from serve_app.engine.sleeping.switch import EngineSwitch
from serve_app.engine.warm_up import dummy_inputs, dummy_turn, first_grammar, prefill, warm_up
from serve_app.machine.serve_state import WARMS
from serve_app.scaling.demand import DemandHeard
from serve_app.scaling.readings import stats_of
from serve_app.transport.beat import beat
from serve_app.transport.broadcast import replica_id
from serve_app.transport.endpoint import (
    OBSERVED_PATHS,
    SECRET_HEADER,
    EndpointServer,
    published_host,
)
from serve_app.watchdog.heartbeat import Heartbeat
from simulator.http.app import SimulatedEngineApp
from simulator.http.spec import EngineSpec

logger = logging.getLogger("ray.serve")

GAUGE_PERIOD_S = 2.0

OLD_LOAD_S = 5 * GAUGE_PERIOD_S
"""Age from which an engine's load is not its load any more, while it has requests."""

WAKE_WITHIN_S = 900.0
"""Of a simulated engine."""

ENGINE_ASKS = frozenset(
    {("POST", path) for path in (*(x.engine_path for x in ROUTES.values()), "/detokenize")}
    | {("GET", x) for x in OBSERVED_PATHS}
)
"""What is asked of an engine: by clients, to go on with a broken stream, and how it is."""


@dataclass(frozen=True, slots=True)
class LaneLife:
    """What a replica is told about its lane, whatever engine it has.

    The endpoint listens on `host` and demands the secret. The replica ends when its engine
    does not answer for `silent_after_s`, and tells of one that answers and admits nothing
    for `stalled_after_s`; once it is withdrawn, open streams may go on for `drain_s`. It is
    warm when its engine has done its `task` once.
    """

    lane: str
    secret: str = field(repr=False)
    host: str
    silent_after_s: float
    stalled_after_s: float
    drain_s: float
    warm_up: WarmUpConfig
    affinity: AffinityConfig
    task: Task = Task.GENERATE


class LaneEndpoint:
    """What both kinds of lane replica do with their endpoint."""

    _life: LaneLife
    _heartbeat: Heartbeat
    _endpoint: EndpointServer
    _http: aiohttp.ClientSession
    _tasks: tuple[asyncio.Task[None], ...] = ()
    _visits: LoadTracker
    _heard: DemandHeard
    _begun_at: float
    _start_up_s: float
    _signals: EngineSignals
    _load: dict[str, Any] | None = None
    """The engine's load as it was `_loaded_at`; None: not asked yet."""
    _loaded_at = float("-inf")
    _drain: Drain | None = None
    _switch: EngineSwitch | None = None
    """Of a lane that shares its card: what lets the engine go and come back."""
    _info = ""
    """What the engine runs with, as Prometheus text (`engine_info`)."""

    def _begin(self, life: LaneLife) -> None:
        """Before there is an engine: what is started from here on ends with this process."""
        self._life = life
        self._begun_at, self._start_up_s = time.monotonic(), 0.0
        self._heard = DemandHeard()
        self._heartbeat = Heartbeat(f"lane '{life.lane}'", life.silent_after_s)

    async def _open(self, app: Any, *, model_id: str, find_cards: Find = no_cards) -> None:
        """Open the endpoint and warm the engine; a lane of a pool has none yet."""
        life = self._life
        self._visits = LoadTracker(app, life.affinity)
        host = published_host(life.host)
        self._endpoint = EndpointServer(
            self._visits, secret=life.secret, host=host, listed=ENGINE_ASKS
        )
        await self._endpoint.start()
        self._http = aiohttp.ClientSession(
            base_url=self._endpoint.url, headers={SECRET_HEADER.decode(): life.secret}
        )
        self._signals = self._read_signals(life.lane, life.stalled_after_s, find_cards)
        if self._switch is None:
            app_name = serve.get_replica_context().app_name
            logger.info("lane '%s' %s", life.lane, WARMS)
            await warm_up(self._http, app_name, life.lane, model_id, life.warm_up, life.task)
        self._start_up_s = time.monotonic() - self._begun_at
        self._tasks = (
            asyncio.create_task(self._heartbeat.run(self._check_engine), name="lane-heartbeat"),
            asyncio.create_task(self._report_running(), name="lane-gauge"),
        )

    def _read_signals(
        self, lane: str, stalled_after_s: float, find_cards: Find = no_cards
    ) -> EngineSignals:
        return EngineSignals(
            self._engine_text,
            OwnCards(find_cards),
            lambda: self._endpoint.guard.in_flight,
            lane=lane,
            replica=replica_id(),
            stalled_after_s=stalled_after_s,
        )

    async def _open_asleep(
        self, engine: SleepyEngine, pool: str, load_within_s: float, model_id: str
    ) -> None:
        """Open the endpoint of a lane that shares its card; its engine comes when it is told."""
        self._switch = EngineSwitch(
            engine,
            lane=self._life.lane,
            pool=pool,
            in_flight=lambda: self._endpoint.guard.in_flight,
            load_within_s=load_within_s,
        )
        await self._open(self._switch, model_id=model_id, find_cards=self._switch.find_cards)

    async def warm_engine(self, model_id: str, task: Task) -> None:
        """Answer once before anybody waits for it; hot prefixes come with their requests."""
        if task is not Task.GENERATE:
            await dummy_inputs(self._http, model_id, task)
            return
        await dummy_turn(self._http, model_id)
        await first_grammar(self._http, model_id)

    async def obey(self, act: str) -> dict[str, Any] | None:
        """Begin to wake or to rest (`EngineSwitch.obey`). None: the lane is in no pool."""
        return None if self._switch is None else self._switch.obey(Act(act))

    async def sleep_row(self) -> dict[str, Any] | None:
        """Say where the engine is (`EngineSwitch.row`). None: the lane is in no pool."""
        return None if self._switch is None else self._switch.row()

    async def _check_engine(self) -> None:
        """Return when the engine has answered; raise when it is dead."""

    async def _report_running(self) -> None:
        gauge = Gauge(
            "pointsman_lane_requests_in_flight",
            description="Requests that a lane replica is serving.",
            tag_keys=("lane", "replica"),
        )
        tags = {"lane": self._life.lane, "replica": replica_id()}
        seen = -1
        while True:
            guard = self._endpoint.guard
            gauge.set(guard.in_flight, tags)
            # Rendering an engine's metrics costs 10 ms, and without requests they stay.
            if guard.in_flight or guard.served_total != seen:
                seen = guard.served_total
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with asyncio.timeout(GAUGE_PERIOD_S):
                        self._load = await self.engine_load()
                    self._loaded_at = time.monotonic()
            await beat(GAUGE_PERIOD_S)

    def record_replica_metadata(self) -> dict[str, Any]:
        return {"url": self._endpoint.url}

    def record_autoscaling_stats(self) -> dict[str, float]:
        """What Serve's controller tells the lane's policy; nothing where nothing is known."""
        now, guard = time.monotonic(), self._endpoint.guard
        is_old = guard.in_flight and now - self._loaded_at > OLD_LOAD_S
        if self._load is None or is_old:
            return {}
        told = self._heard.summed(now)
        tokens = self._signals.tokens
        return stats_of(self._load, tokens, guard.served_total, told, self._start_up_s)

    async def record_routing_stats(self) -> dict[str, Any]:
        """Published by Serve to every handle once a period: load, and who is here."""
        used = self._load["kv_utilization"] if self._load else 0.0
        return self._visits.report(used, draining=self._is_draining).to_mapping()

    @property
    def _is_draining(self) -> bool:
        return self._drain is not None and self._drain.is_on

    async def begin_drain(self, replica: str, end_within_s: float | None) -> dict[str, Any] | None:
        """Drain this replica; see `Drain.begin`. None: another one is meant."""
        return self._drained().begin(end_within_s) if replica == replica_id() else None

    async def stop_drain(self, replica: str) -> dict[str, Any] | None:
        """Take turns again. None: another one is meant."""
        return self._drained().stop() if replica == replica_id() else None

    def _drained(self) -> Drain:
        if self._drain is None:
            self._drain = Drain(replica_id(), self._endpoint)
        return self._drain

    async def read_prefixes(self, model_id: str, hot: list[HotPrefix], within_s: float) -> int:
        """Have this replica's engine read prefixes, hottest first; return how many it has."""
        return await prefill(self._http, model_id, hot, within_s)

    async def engine_load(
        self, ingress: str = "", queued_tokens: float = 0.0, offered_tokens_per_s: float = 0.0
    ) -> dict[str, Any]:
        """The load alone, for those who ask every few seconds; they may tell their demand."""
        if ingress:
            now = time.monotonic()
            self._heard.hear(ingress, queued_tokens, offered_tokens_per_s, now)
        return {**await self._signals.load(), "draining": self._is_draining}

    async def engine_metrics(self) -> dict[str, Any]:
        """The row of `/status`, and as `text` the metrics of engine, replica and cards."""
        row = {**await self._signals.metrics(), "draining": self._is_draining}
        return row if self._switch is None else {**row, "phase": self._switch.phase.value}

    async def _engine_text(self) -> str:
        own = self._info if self._switch is None else self._info + self._switch.metrics.text()
        async with self._http.get("/metrics/") as response:
            return await response.text() + own

    async def _close(self) -> None:
        """Let streams finish for `drain_s`, then break off what is left.

        Whoever reads a broken stream can resume it elsewhere, which it could not if
        Serve's kill came first: Serve waits longer (`lane_options`).
        """
        if not self._tasks:
            return
        if self._switch is not None:
            self._switch.close()
        left = await self._endpoint.drain(within_s=self._life.drain_s)
        if left:
            logger.warning("lane '%s': %d streams outlast the drain", self._life.lane, left)
        for task in self._tasks:
            task.cancel()
        await self._http.close()
        await self._endpoint.stop()


class SimulatedLaneServer(LaneEndpoint):
    """A simulated engine and its endpoint. Nothing it says comes from a model."""

    async def __init__(  # type: ignore[misc]
        self, spec: EngineSpec, *, life: LaneLife, pool: str | None = None
    ) -> None:
        self._begin(life)
        if pool is None:
            await self._open(SimulatedEngineApp(spec), model_id=spec.model_id)
            return
        engine = SimulatedSleeper(spec, lambda: self.warm_engine(spec.model_id, life.task))
        await self._open_asleep(engine, pool, WAKE_WITHIN_S, spec.model_id)

    async def check_health(self) -> None:
        """Healthy for as long as it answers."""

    async def __del__(self) -> None:
        await self._close()
