"""The replicas of one lane: how many there are, which serve, and what they cost."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from statistics import fmean
from typing import Any

from fleet.simulation.engines.replica import Replica
from fleet.simulation.spec import FleetSpec, LaneSpec
from fleet.simulation.world import Incident, World
from router.placement.open_turns import OpenTurns
from router.scaling.demand import LaneDemand
from router.scaling.lane_load import LaneLoad
from router.scaling.throughput import Throughput
from simulator.model.profile import Profile
from simulator.model.striding import StridingEngine

REPORT_DELAY_S = 0.3
"""Reports travel from the replica over Serve's controller to the ingress replicas."""

SCALING_PERIOD_S = 2.0
"""How often the autoscaling policy is asked."""


COARSE = 2
"""Blocks of a KV cache that are counted as one: the book of blocks is a third of a run's time.
What of a prefix is found is rounded down to 32 tokens in place of 16 (docs/simulation.md)."""


def profile_of(lane: LaneSpec) -> Profile:
    """Return the lane's profile with its slots; replicas serve only once they are warm."""
    own = lane.profile.scheduling
    slots = own.max_num_seqs if lane.slots is None else lane.slots
    scheduling = own.model_copy(
        update={
            "max_num_seqs": slots,
            "max_num_batched_tokens": max(own.max_num_batched_tokens, slots),
            "block_size": own.block_size * COARSE,
            "num_gpu_blocks": max(2, own.num_gpu_blocks // COARSE),
        }
    )
    timing = lane.profile.timing.model_copy(update={"warm_up_s": 0.0})
    return lane.profile.model_copy(update={"timing": timing, "scheduling": scheduling})


class LaneEngines:
    """The engines of one lane.

    Attributes:
        stats: what each replica that is listed has published, as ingress replicas see it.
        slots: sequences that one engine runs at once.
        starting: replicas that were asked for and do not serve yet.
        history: (time, replicas that serve, replicas that start), each time that changed.
        demands: what each ingress replica counts of the lane's tokens.

    """

    def __init__(self, name: str, spec: LaneSpec, fleet: FleetSpec, world: World) -> None:
        self.name, self.spec = name, spec
        self.profile = profile_of(spec)
        self.slots = self.profile.scheduling.max_num_seqs
        self.block_size = self.profile.scheduling.block_size
        self.overhead_s = self.profile.timing.request_overhead_ms / 1000
        self.replicas: dict[str, Replica] = {}
        self.stats: dict[str, Mapping[str, Any]] = {}
        self.starting = 0
        self.history: list[tuple[float, int, int]] = []
        self.replica_s = 0.0
        self._fleet, self._world = fleet, world
        self._numbers = itertools.count()
        self._counted_at = 0.0
        self.demands: list[LaneDemand] = []
        terms = spec.scaling
        self._throughput = Throughput(None if terms is None else terms.slots)
        self._scaler = None if terms is None else spec.scaler(terms)
        for _ in range(spec.replicas):
            self._add(0.0)
        world.every(fleet.report_period_s, self._publish)
        if self._scaler is not None:
            world.every(SCALING_PERIOD_S, self._scale)

    # -- replicas -------------------------------------------------------------

    def _add(self, now: float) -> None:
        turns = OpenTurns(self._fleet.max_spilled, self._fleet.warm_s)
        name = f"{self.name}-{next(self._numbers)}"
        replica = Replica(name, self._engine(), turns, self._world)
        self.replicas[replica.name] = replica
        self._list()
        self._count(now)

    def _engine(self) -> StridingEngine:
        profile, world = self.profile, self._world
        return StridingEngine(profile.timing, profile.scheduling, world.time, keeps_step_times=True)

    def forget(self) -> None:
        """Empty the caches: it gives up its card. Its replicas stay, and have nothing open."""
        for replica in self.replicas.values():
            replica.renew(self._engine())

    def _start(self, now: float) -> None:
        self.starting += 1
        self._count(now)
        self._world.at(now + self.spec.start_s, self._started)

    def _started(self, now: float) -> None:
        self._count(now)
        self.starting -= 1
        self._add(now)

    def _remove(self, gone: list[Replica], now: float) -> None:
        """End replicas, all at one instant; then their requests hear of it."""
        self._count(now)
        for replica in gone:
            replica.is_gone = True
            del self.replicas[replica.name]
        self._list()
        self._count(now)
        for replica in gone:
            for request in list(replica.open):
                request.lost(now)

    def _drain(self, replica: Replica, now: float, then: Callable[[float], None]) -> None:
        """Give a replica no new turns; `then` is called when it has gone."""
        replica.is_draining = True
        self._list()
        deadline = now + self.spec.drain_s

        def look(at: float) -> None:
            if replica.is_gone:
                return
            if not replica.open or at >= deadline:
                self._remove([replica], at)
                then(at)
            else:
                self._world.at(at + 1.0, look)

        self._world.at(now + 1.0, look)

    def _count(self, now: float) -> None:
        """Add up the time that replicas hold their cards: those that start, too."""
        held = len(self.replicas) + self.starting
        if self.history:
            _, ready, starting = self.history[-1]
            self.replica_s += (ready + starting) * (now - self._counted_at)
        self._counted_at = now
        if self.history and self.history[-1][0] == now:
            self.history.pop()
        self.history.append((now, held - self.starting, self.starting))

    def close(self, now: float) -> None:
        """Count up to the end of the run."""
        self._count(now)

    # -- what happens to it ---------------------------------------------------

    def suffer(self, incident: Incident) -> None:
        """Plan an incident. Raises ValueError for a kind that is not known."""
        if any(self.name == x.lane.name for p in self._fleet.pools.values() for x in p.lanes):
            raise ValueError(
                f"lane '{self.name}' shares its cards: of incidents only wake_fails and "
                "wake_hangs are simulated there"
            )
        if incident.kind == "lose":
            self._world.at(incident.at, lambda now: self._lose(incident, now))
        elif incident.kind == "redeploy":
            self._world.at(incident.at, self._redeploy)
        else:
            raise ValueError(f"no incident '{incident.kind}': lose, redeploy")

    def _lose(self, incident: Incident, now: float) -> None:
        lost = list(self.replicas.values())[: incident.replicas]
        self._remove(lost, now)
        for _ in lost:
            self.starting += 1
            self._world.at(now + incident.for_s, self._started)
        self._count(now)

    def _redeploy(self, now: float) -> None:
        """Replace the replicas one after the other: each drains, goes, and starts anew."""
        old = list(self.replicas.values())

        def next_one(at: float) -> None:
            if old:
                self._drain(old.pop(), at, restart)

        def restart(at: float) -> None:
            self._start(at)
            self._world.at(at + self.spec.start_s, next_one)

        next_one(now)

    # -- looking --------------------------------------------------------------

    def _publish(self, now: float) -> None:
        for replica in self.replicas.values():
            replica.publish(now)
        self._world.at(now + REPORT_DELAY_S, self._hear)

    def _hear(self, _: float) -> None:
        self._list()

    def _list(self) -> None:
        """List the replicas that serve, as Serve does: one that is to go is left out at once."""
        self.stats = {x.name: x.published for x in self.replicas.values() if not x.is_draining}

    @property
    def waiting(self) -> float:
        """Requests that wait in an engine, mean over the replicas."""
        replicas = self.replicas.values()
        return sum([x.engine.waiting for x in replicas]) / len(replicas) if replicas else 0.0

    @property
    def running(self) -> float:
        """Sequences that run, over the replicas' slots."""
        replicas = self.replicas.values()
        running = sum([x.engine.running for x in replicas]) / len(replicas) if replicas else 0.0
        return running / self.slots

    @property
    def kv_utilization(self) -> float:
        """The fullest replica's."""
        return max([x.engine.utilization() for x in self.replicas.values()], default=0.0)

    # -- scaling --------------------------------------------------------------

    def _scale(self, now: float) -> None:
        assert self._scaler is not None
        target = self._scaler.decide(self._load(now), now).target
        ready = [x for x in self.replicas.values() if not x.is_draining]
        for _ in range(target - len(ready) - self.starting):
            self._start(now)
        spare = len(ready) + self.starting - max(1, target)
        if spare > 0 and not self.starting:
            for replica in sorted(ready, key=lambda x: len(x.open))[:spare]:
                self._drain(replica, now, lambda _: None)

    def _load(self, now: float) -> LaneLoad:
        """Return what the policy is told, as `serve_app.scaling` gathers it."""
        ready = [x for x in self.replicas.values() if not x.is_draining]
        for x in ready:
            self._throughput.note(x.name, x.reading(now))
        self._throughput.retain(frozenset(x.name for x in ready))
        told = [demand.told(now) for demand in self.demands]
        waiting = sum(x.engine.waiting for x in ready)
        served = sum(x.served for x in ready)
        each = sum(x.tokens for x in ready) / served if served else 0.0
        return LaneLoad(
            ready=len(ready),
            starting=self.starting,
            reporting=len(ready),
            age_s=0.0,
            running=float(sum(x.engine.running for x in ready)),
            kv_utilization=fmean(x.engine.utilization() for x in ready) if ready else 0.0,
            queued_tokens=sum(queued for queued, _ in told) + waiting * each,
            offered_tokens_per_s=sum(offered for _, offered in told),
            tokens_per_s=self._throughput.tokens_per_s,
            start_up_s=self.spec.start_s,
        )
