"""Ceilings, quotas and pacing of a simulated fleet's tenants.

Several ingress replicas share one ceiling here, as if every lease were always where it is
needed (`router.leases` is not simulated).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import ceil
from typing import TYPE_CHECKING

from fleet.simulation.engines.replica import Decoded
from fleet.simulation.spec import TenantSpec
from fleet.simulation.world import World
from router.errors import Rejected
from router.limits.ceiling import TenantCeiling
from router.limits.contention import Contention
from router.limits.pacer import ContendedPacer, Pacer, Paces
from router.limits.quota import day_of, first_hold, month_of, refuse
from router.limits.reservation import Reckoning, further_charge

if TYPE_CHECKING:
    from fleet.simulation.gateway.request import Request

PACE_PERIOD_S = 0.5
"""How often delivered tokens are booked under tokens-per-second ceilings."""

GROW_PERIOD_S = 1.0
"""How often running requests are charged for what they have outgrown."""

FIRST_DAY = datetime(2026, 1, 1, tzinfo=UTC)


def paced(pacer: Pacer | None, contention: Contention | None) -> Paces | None:
    """Return a tenant's tokens-per-second ceiling as it binds in a lane."""
    return pacer if pacer is None or contention is None else ContendedPacer(pacer, contention)


class Limits:
    """What all tenants of the fleet have left."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._ceilings: dict[str, TenantCeiling] = {}
        self._used: dict[tuple[str, str], float] = {}
        self._contentions: dict[tuple[str, int], Contention] = {}
        self._paced: dict[Request, None] = {}
        self._growing: dict[Request, None] = {}
        self._is_pacing = self._is_growing = False

    def ceiling(self, tenant: str, spec: TenantSpec) -> TenantCeiling:
        found = self._ceilings.get(tenant)
        if found is None:
            found = TenantCeiling(spec.ceilings, now=self._world.now)
            self._ceilings[tenant] = found
        return found

    # -- quotas ---------------------------------------------------------------

    def quota_refusal(self, tenant: str, spec: TenantSpec, cost: Reckoning) -> Rejected | None:
        """Refuse by a quota, or hold the request's estimate of it."""
        if spec.quotas.is_none:
            return None
        now = FIRST_DAY + timedelta(seconds=self._world.now)
        day, month = self._used_now(tenant, now)
        return refuse(spec.quotas, day=day, month=month, tokens=cost.short, now=now)

    def hold_quota(self, tenant: str, spec: TenantSpec, cost: Reckoning) -> float:
        if spec.quotas.is_none:
            return 0.0
        day, month = self._used_now(tenant, FIRST_DAY + timedelta(seconds=self._world.now))
        held = first_hold(spec.quotas, day=day, month=month, cost=cost)
        self.use_quota(tenant, held)
        return held

    def use_quota(self, tenant: str, tokens: float) -> None:
        """Count weighted tokens of the day and the month; negative: they were not used."""
        now = FIRST_DAY + timedelta(seconds=self._world.now)
        for period in (day_of(now), month_of(now)):
            self._used[tenant, period] = self._used.get((tenant, period), 0.0) + tokens

    def _used_now(self, tenant: str, now: datetime) -> tuple[float, float]:
        used = self._used
        return used.get((tenant, day_of(now)), 0.0), used.get((tenant, month_of(now)), 0.0)

    # -- requests that run ----------------------------------------------------

    def watch(self, request: Request) -> None:
        """Book a request's tokens while it runs, where its tenant has ceilings on them."""
        if request.ceiling.pacer is not None:
            self._paced[request] = None
            if not self._is_pacing:
                self._is_pacing = True
                self._world.at(self._world.now + PACE_PERIOD_S, self._pace)
        if request.ceiling.tokens is not None:
            self._growing[request] = None
            if not self._is_growing:
                self._is_growing = True
                self._world.at(self._world.now + GROW_PERIOD_S, self._grow)

    def forget(self, request: Request) -> None:
        self._paced.pop(request, None)
        self._growing.pop(request, None)

    def _pace(self, now: float) -> None:
        decoded = Decoded()
        for request in self._paced:
            request.book(decoded, now)
        self._is_pacing = bool(self._paced)
        if self._paced:
            self._world.at(now + PACE_PERIOD_S, self._pace)

    def _grow(self, now: float) -> None:
        decoded = Decoded()
        for request in self._growing:
            cost, held = request.cost, request.reservation
            generated = request.generated_in(decoded)
            used = cost.prompt + ceil(generated * request.spec.weights.completion)
            if used > held.tokens:
                more = further_charge(held.tokens, used, cost.whole)
                request.reservation = request.ceiling.grow(held, more, now=now)
        self._is_growing = bool(self._growing)
        if self._growing:
            self._world.at(now + GROW_PERIOD_S, self._grow)

    # -- contention -----------------------------------------------------------

    def contention(self, lane: str, spec: TenantSpec, demand: int) -> Contention | None:
        """Return whether the lane is contended for this tenant; None: its limit always binds."""
        mark = spec.ceilings.contended_from
        if mark is None:
            return None
        found = self._contentions.get((lane, mark))
        if found is None:
            found = self._contentions[lane, mark] = Contention(mark, demand)
        return found

    @property
    def has_contentions(self) -> bool:
        return bool(self._contentions)

    def observe(self, lane: str, demand: int, *, is_saturated: bool, now: float) -> None:
        for (name, _), contention in self._contentions.items():
            if name == lane:
                contention.observe(demand, is_saturated=is_saturated, now=now)
