"""Paid p99 with and without a replay beside it, in virtual time."""

from __future__ import annotations

import statistics
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from evals.replay.spare import LaneUse, rest_s, room_in
from fleet.simulation import FleetReport, FleetSpec
from fleet.simulation.run import SimulatedFleet
from fleet.simulation.spec import TenantSpec
from fleet.simulation.world import Answer, Ask
from fleet.traffic.recorded import Recorded as Request
from fleet.traffic.recorded import Replay as Recorded
from fleet.traffic.scores import SCORES
from router.admission.ticket import Tier
from serve_app.commands.fleet_spec import spec_of
from serve_app.commands.replay.spare import LOOK_PERIOD_S
from serve_app.config.settings import fleet_path, load_fleet, load_tenants, tenants_path

LANE, FLEET = "chat", "rtx4090"
SKIP_S, DURATION_S = 120.0, 1020.0
SEEDS = (1, 2)
PAID_PER_S = (1.0, 3.5)
"""Paying requests a second: about 4 and 20 of the lane's sequences are in use."""

MOST = 4
RETRY_S = 5.0
SYSTEM_TOKENS = 1400
"""With which all of the replayed prompts begin, as those of one tenant do."""

COMMON = 1 << 60
WAYS = ("none", "priority alone", "spare room")
METRICS = ("ttft_p99_s", "itl_p99_s", "duration_p99_s")


def fleet_spec() -> FleetSpec:
    """Return one lane of the shipped fleet, a tier for replays, and paid work without ceilings."""
    spec = spec_of(load_fleet(fleet_path(FLEET)), load_tenants(tenants_path()))
    tiers = {
        "paid": TenantSpec(Tier("paid", 0)),
        "replay": TenantSpec(Tier("replay", 100, sheddable=True, min_share=0.0)),
    }
    lanes = {LANE: spec.lanes[LANE]}
    return replace(spec, lanes=lanes, levels=(), planning=None, tiers=tiers, tenants={})


@dataclass
class ReplaySource:
    """A replay as a source of traffic: `most` requests at a time, or as many as there is room for.

    Attributes:
        way: one of `WAYS`.
        done: requests answered after `SKIP_S`; `refused`: those sent again later.

    """

    way: str
    seed: int
    done: int = 0
    refused: int = 0
    _own: int = 0
    _own_then: int = 0
    _use: LaneUse = field(default_factory=lambda: LaneUse(0, 0, None))
    _numbers: int = 0
    _seen_at: float = 0.0
    _rests_until: float = 0.0

    def begin(self, fleet: SimulatedFleet) -> None:
        self._fleet, self._random = fleet, Random(f"replay.{self.seed}")
        if self.way == "spare room":
            self._look(0.0)
            fleet.world.every(LOOK_PERIOD_S, self._look)
        elif self.way != "none":
            for _ in range(MOST):
                self._send(fleet.world.now)

    def _look(self, _now: float) -> None:
        """Read what `/status` says, and send as many more as there is room for."""
        desks = [ingress.desks[LANE] for ingress in self._fleet.ingresses]
        capacities = [desk.queue.slots.capacity for desk in desks]
        engines = self._fleet.lanes[LANE]
        self._own_then = self._own
        self._use = LaneUse(
            running=float(sum(desk.queue.slots.used for desk in desks)),
            waiting=engines.waiting + sum(desk.queue.in_line for desk in desks),
            slots=sum(x for x in capacities if x is not None),
            kv=engines.kv_utilization,
        )
        if self._use.others(self._own_then) or self._use.waiting:
            self._seen_at = self._fleet.world.now
        self._fill()

    def _fill(self) -> None:
        """Send as many as `serve_app.commands.replay.spare` would."""
        now = self._fleet.world.now
        if now < self._rests_until:
            return
        quiet_s = now - self._seen_at
        while self._own < room_in(self._use, self._own_then, MOST, quiet_s=quiet_s).requests:
            self._send(now)

    def _send(self, _now: float) -> None:
        self._own += 1
        self._numbers += 1
        base = COMMON + (self._numbers << 24)
        self._fleet.ask(
            Ask(
                tenant="replay",
                tier="replay",
                session=(1 << 40) + self._numbers,
                prompt_tokens=SYSTEM_TOKENS + min(4000, int(self._random.lognormvariate(6.0, 1.0))),
                output_tokens=max(8, min(512, int(self._random.lognormvariate(5.0, 0.6)))),
                blocks=lambda size: (
                    lambda index: (COMMON if index < SYSTEM_TOKENS // size else base) + index
                ),
                done=self._ended,
                limit=512,
                pinned=LANE,
                is_background=True,
            )
        )

    def _ended(self, answer: Answer, now: float) -> None:
        self._own -= 1
        ok = answer.code == "200"
        self.done += ok and now >= SKIP_S
        self.refused += not ok
        if self.way == "spare room":
            quiet_s = now - self._seen_at
            self._rests_until = now + rest_s(answer.took_s, quiet_s=quiet_s)
            self._fill()
        else:
            self._fleet.world.at(now if ok else now + RETRY_S, self._send)


def paid_traffic(rate: float, seed: int) -> Recorded:
    """Return paying requests at times of their own, the same whatever runs beside them."""
    random, at, requests = Random(f"paid.{seed}"), 0.0, []
    while (at := at + random.expovariate(rate)) < DURATION_S:
        prompt = SYSTEM_TOKENS + min(6000, int(random.lognormvariate(6.3, 1.0)))
        output = max(8, min(1024, int(random.lognormvariate(5.0, 0.6))))
        requests.append(
            Request(at, prompt, output, "paid", "paid", shared_tokens=SYSTEM_TOKENS, model=LANE)
        )
    return Recorded(requests, "paid", frozenset({"paid"}))


def run(rate: float, way: str, seed: int) -> tuple[FleetReport, ReplaySource]:
    """Run paying requests and a replay beside them."""
    fleet = SimulatedFleet(fleet_spec(), Random(seed), SKIP_S, SCORES.shipped())
    paid_traffic(rate, seed).begin(fleet)
    replayed = ReplaySource(way, seed)
    replayed.begin(fleet)
    return fleet.run(DURATION_S), replayed


def paid_figures(report: FleetReport) -> dict[str, float]:
    """Return the paid tier's 99th percentiles, in seconds."""
    row = next(x for x in report.rows if (x.lane, x.tier) == (LANE, "paid"))
    return {name: row.percentiles[name] for name in METRICS}


def runs_of(load: tuple[float, int]) -> dict[str, tuple[dict[str, float], int]]:
    """Return, by way, the paid figures and the answered cases of one load and seed."""
    rate, seed = load
    found = {}
    for way in WAYS:
        report, replayed = run(rate, way, seed)
        found[way] = (paid_figures(report), replayed.done)
    return found


def spare_rows(workers: int | None = None) -> list[dict[str, Any]]:
    """Return a row for each load and way."""
    loads = [(rate, seed) for rate in PAID_PER_S for seed in SEEDS]
    with ProcessPoolExecutor(workers) as pool:
        runs = dict(zip(loads, pool.map(runs_of, loads), strict=True))
    rows = []
    for rate in PAID_PER_S:
        of_load = [runs[rate, seed] for seed in SEEDS]
        rows += [row_of(rate, way, of_load) for way in WAYS]
    return rows


def row_of(rate: float, way: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a row: means over the seeds, and beside them those without a replay."""
    values = {name: [x[way][0][name] for x in runs] for name in METRICS}
    usual = {name: [x["none"][0][name] for x in runs] for name in METRICS}
    done = statistics.fmean(x[way][1] for x in runs)
    return {
        "paid_per_s": rate,
        "replay": way,
        "replayed_an_hour": round(3600 * done / (DURATION_S - SKIP_S)),
        **{f"paid_{name}": statistics.fmean(values[name]) for name in METRICS},
        **{
            f"{name[:-2]}_over_none": statistics.fmean(values[name]) / statistics.fmean(usual[name])
            for name in METRICS
        },
        "spread_ttft": max(usual["ttft_p99_s"]) / min(usual["ttft_p99_s"]),
    }
