"""Running a fleet: everything is made here, and joined to the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from random import Random

from fleet.simulation.engines.lane import LaneEngines
from fleet.simulation.gateway.ingress import Ingress
from fleet.simulation.gateway.limits import Limits
from fleet.simulation.pools.faults import KINDS, PlannedFaults
from fleet.simulation.pools.foreseen import Foreseen
from fleet.simulation.pools.pool import SimulatedPool
from fleet.simulation.report import FleetReport, Tally, rows_of
from fleet.simulation.spec import FleetSpec, PoolSpec
from fleet.simulation.world import Ask, Incident, Source, World
from fleet.traffic.scores import SCORES, Scores
from router.admission.saturation import Level
from router.admission.shed_order import Held, judge
from router.swap.terms import Order, Phase

HEARTBEAT_S = 0.2
"""How often ingress replicas tell each other what they hold (`ledger.heartbeat_s`)."""

EXCHANGE_S = 6.0
"""How often they exchange what they saw of scores."""

JUDGE_S = 5.0
"""How often refusals of protected work are judged; logs are kept for three times as long."""


class SimulatedFleet:
    """A fleet in virtual time: ingress replicas, lanes, tally. Requests come in by `ask`."""

    def __init__(
        self, spec: FleetSpec, random: Random, skip_s: float, shipped: Callable[[float], float]
    ) -> None:
        self.spec, self.world = spec, World()
        self._random = random
        self.tally = Tally(spec, skip_s)
        self.limits = Limits(self.world)
        self.lanes = {
            name: LaneEngines(name, lane, spec, self.world) for name, lane in spec.lanes.items()
        }
        self.ingresses = [
            Ingress(n, spec, self.lanes, self.world, self.limits, self.tally, shipped)
            for n in range(spec.ingresses)
        ]
        for ingress in self.ingresses:
            ingress.meet(self.ingresses)
        self._faults, self._foreseen = PlannedFaults(), Foreseen(self.world, spec.history)
        self.pools = {name: self._pool(pool) for name, pool in spec.pools.items()}
        self._foreseen.watch(self.pools.values())
        self.verdicts: Counter[str] = Counter()
        self.world.every(HEARTBEAT_S, self._beat)
        self.world.every(JUDGE_S, self._judge)
        if spec.ingresses > 1 and (spec.levels or spec.planning):
            self.world.every(EXCHANGE_S, self._exchange)

    def _pool(self, spec: PoolSpec) -> SimulatedPool:
        """Put gates before the lanes that share the cards of a pool."""
        policy, turns = spec.policy(), self.tally.turns

        def told(order: Order, now: float) -> None:
            is_load = policy.lanes[order.lane].origin is Phase.UNLOADED
            turns[order.lane].told(order, now, is_load=is_load)

        def rested(lane: str, now: float) -> None:
            turns[lane].rested(now)
            self.lanes[lane].forget()

        def failed(lane: str, now: float) -> None:
            turns[lane].failed(now)

        costs = {x.lane.name: x.costs for x in spec.lanes}
        pool = SimulatedPool(
            self.world,
            policy,
            costs,
            [x.name for x in self.ingresses],
            places=spec.max_waiting,
            told=told,
            rested=rested,
            failed=failed,
            expected=self._foreseen.expected(costs),
            faults=self._faults,
            load_within_s={x.lane.name: x.load_within_s for x in spec.lanes},
        )
        for ingress, gate in zip(self.ingresses, pool.gates, strict=True):
            for lane in costs:
                desk = ingress.desks[lane]
                desk.gate, desk.wait_bound_s = gate, spec.bounds.wait_bound_s
        pool.begin()
        return pool

    def ask(self, ask: Ask) -> None:
        """Take a request, at an ingress replica drawn at random, as HAProxy would."""
        number = self._random.randrange(len(self.ingresses)) if self.spec.ingresses > 1 else 0
        self.ingresses[number].take(ask)

    def suffer(self, incident: Incident) -> None:
        """Plan an incident. Raises ValueError for one that its lane cannot have."""
        if incident.kind not in KINDS:
            self.lanes[incident.lane].suffer(incident)
        elif incident.lane in self.tally.turns:
            self._faults.add(incident)
        else:
            raise ValueError(f"lane '{incident.lane}' shares no cards: it is never woken")

    def _beat(self, now: float) -> None:
        for ingress in self.ingresses:
            for desk in ingress.desks.values():
                desk.told_used = desk.queue.slots.used
        if not self.limits.has_contentions:
            return
        for name in self.lanes:
            desks = [x.desks[name] for x in self.ingresses]
            demand = sum(desk.in_flight for desk in desks)
            is_saturated = any(desk.queue.level > Level.NORMAL for desk in desks)
            self.limits.observe(name, demand, is_saturated=is_saturated, now=now)

    def _exchange(self, now: float) -> None:
        for ingress in self.ingresses:
            for other in self.ingresses:
                ingress.climbing.merge(other.climbing, now)

    def _judge(self, now: float) -> None:
        """Look for protected work that was refused while sheddable work was held."""
        refusals = [x for ingress in self.ingresses for x in ingress.log.take_refusals()[0]]
        if refusals:
            logs = [Held.read(x.name, x.log.export(now)) for x in self.ingresses]
            for refusal in refusals:
                self.verdicts[judge(refusal, logs, len(logs))[0].value] += 1

    def run(self, duration_s: float) -> FleetReport:
        self.world.run(duration_s)
        self._judge(duration_s)
        for lane in self.lanes.values():
            lane.close(duration_s)
        hours, pooled = {}, self.tally.turns
        for name, lane in self.lanes.items():
            if name not in pooled:
                hours[name] = lane.replica_s * lane.spec.cards / 3600
        for name, pool in self.spec.pools.items():
            hours[name] = pool.bounds.gpus * duration_s / 3600
        rows = rows_of(self.tally)
        by_tenant: dict[str, dict[str, int]] = {}
        for (tenant, code), count in self.tally.by_tenant.items():
            by_tenant.setdefault(tenant, {})[code] = count
        return FleetReport(
            virtual_s=duration_s,
            rows=rows,
            shed_order=dict(self.verdicts),
            replicas={name: x.history for name, x in self.lanes.items()},
            card_hours=hours,
            token_cost=sum(row.cost for row in rows),
            card_cost=sum(hours.values()) * self.spec.card_hour,
            currency=self.spec.currency,
            by_tenant=by_tenant,
            turns={
                x.lane.name: pooled[x.lane.name].row(name, duration_s)
                for name, pool in self.spec.pools.items()
                for x in pool.lanes
            },
        )


def simulate(
    spec: FleetSpec,
    workload: Source | Iterable[Source],
    *,
    duration_s: float,
    seed: int = 1,
    skip_s: float = 0.0,
    incidents: Iterable[Incident] = (),
    scores: Scores = SCORES,
) -> FleetReport:
    """Run traffic on a fleet in virtual time.

    Args:
        spec: the fleet and its policy.
        workload: one source of traffic or several (`fleet.traffic`).
        duration_s: of the run, in virtual seconds.
        seed: of all that is drawn; the same gives the same report.
        skip_s: requests asked before are not reported (the caches fill).
        incidents: what happens to lanes.
        scores: where the shipped thresholds of stronger lanes come from.

    Raises ValueError for an incident of a kind, and KeyError for one of a lane, that is not
    there.

    """
    # Nothing here is a secret.
    fleet = SimulatedFleet(spec, Random(seed), skip_s, scores.shipped())  # noqa: S311
    for incident in incidents:
        fleet.suffer(incident)
    for source in [workload] if isinstance(workload, Source) else workload:
        source.begin(fleet)
    return fleet.run(duration_s)
