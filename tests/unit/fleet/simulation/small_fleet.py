"""A small fleet for tests: a lane or two of the documented profile, paid and free tenants."""

from __future__ import annotations

from dataclasses import replace

from fleet.simulation import FleetSpec, LaneSpec, TenantSpec
from fleet.simulation.world import Answer, Ask
from router.admission.ticket import Tier
from router.limits.ceiling import CeilingConfig
from router.routing.policy import RoutingPolicy
from router.slo.objectives import SloPolicy, Targets
from router.types import Lane
from simulator.model.profile import load_profile
from simulator.virtual_time.workload import load_workload

PROFILE = load_profile("llama-3.1-8b-fp8-rtx4090")
SAAS = load_workload("saas").model_copy(update={"tenants": 50, "tenant_skew": 0.0})
PAID = TenantSpec(Tier("paid", 0, start_within_s=30.0))
FREE = TenantSpec(Tier("free", 10, sheddable=True, min_share=0.05, start_within_s=20.0))
CHAT = Lane("chat", "small", 16_384)


def spec(slots=16, replicas=1, *, paid=PAID, ingresses=1, **more) -> FleetSpec:
    lane = LaneSpec(CHAT, PROFILE, replicas, slots, start_s=20.0, drain_s=60.0)
    return FleetSpec(
        lanes={"chat": lane},
        routing=RoutingPolicy({"chat": CHAT}, "chat"),
        tiers={"paid": paid, "free": FREE},
        ingresses=ingresses,
        slo=SloPolicy(Targets(0.8, 1.2, 15.0, 0.001), tiers={"free": {"failures_ratio": None}}),
        **more,
    )


def limited(**ceilings) -> TenantSpec:
    return replace(PAID, ceilings=CeilingConfig(**ceilings))


class Asked:
    """A source of requests at given times, and how each ended."""

    def __init__(self, *times, tier="paid", tenant="acme", prompt=500, output=50, **more):
        self.times, self.tier, self.tenant = times, tier, tenant
        self.prompt, self.output, self.more = prompt, output, more
        self.answers: list[Answer] = []
        self.ended: list[float] = []

    def begin(self, fleet):
        for number, at in enumerate(self.times):
            fleet.world.at(at, lambda _, number=number: fleet.ask(self._ask(number)))

    def _ask(self, number):
        own = (hash(self.tenant) % 1000 * 1000 + number) << 24
        return Ask(
            self.tenant,
            self.tier,
            number,
            self.prompt,
            self.output,
            lambda _: lambda index: own + index,
            self._done,
            **self.more,
        )

    def _done(self, answer, now):
        self.answers.append(answer)
        self.ended.append(now)

    @property
    def codes(self):
        return [answer.code for answer in self.answers]


def rows(report):
    return {(row.lane, row.tier): row for row in report.rows}
