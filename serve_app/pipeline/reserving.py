"""Admission under the tenant's ceilings and quotas."""

from __future__ import annotations

import time

from router.errors import Rejected
from router.limits.ceiling import TenantCeiling
from router.limits.contention import paces
from serve_app.pipeline.state import IngressState
from serve_app.request.call import Call
from serve_app.request.charge import Charge, Reserved
from serve_app.request.metering import Metering
from serve_app.request.plan import Plan


class Reserving:
    """Reserves a request's tokens in one ingress replica."""

    def __init__(self, state: IngressState, metering: Metering) -> None:
        self._state = state
        self._metering = metering

    async def reserve(self, call: Call, plan: Plan) -> Rejected | None:
        """Reserve; what only the lease here is too small for waits for the next ones."""
        since = time.monotonic()
        while True:
            ceiling = self._state.ceiling(call.tenant)
            refused = self._try(call, plan, ceiling)
            if refused is None or not call.route.generates:
                return refused
            tokens = ceiling.first_charge(plan.cost)
            if not await self._state.may_grow(ceiling, refused, tokens, since):
                return refused

    def _try(self, call: Call, plan: Plan, ceiling: TenantCeiling) -> Rejected | None:
        tenant = call.tenant
        contention = self._state.contention(tenant, plan.lane)
        call.charge = Charge(ceiling, contention)
        if not call.route.generates:
            return None
        refused = self._metering.refusal(tenant, plan.cost)
        if refused is not None:
            return refused
        held = ceiling.try_admit(
            ceiling.first_charge(plan.cost), now=time.monotonic(), is_paced=paces(contention)
        )
        if isinstance(held, Rejected):
            return held
        call.charge = Reserved(ceiling, contention, plan, held, tenant.weights.completion)
        self._metering.begin(call, plan)
        return None

    def would_admit(self, call: Call, plan: Plan) -> bool:
        """Return whether quotas and ceilings have room for a request, as far as is known here."""
        if self._metering.refusal(call.tenant, plan.cost) is not None:
            return False
        now, ceiling = time.monotonic(), self._state.ceiling(call.tenant)
        tokens = ceiling.first_charge(plan.cost)
        is_paced = paces(self._state.contention(call.tenant, plan.lane))
        refused = ceiling.refusal(tokens, now=now, is_paced=is_paced)
        if refused and ceiling.is_short(tokens, now=now):
            # A request would wait a heartbeat or two, and be let in.
            holder = self._state.lease_holder
            return holder is not None and holder.has_session(now)
        return refused is None
