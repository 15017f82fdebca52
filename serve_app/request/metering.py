"""Between a request and the meter: what is held for it, what it has used, what it used."""

from __future__ import annotations

from collections.abc import Callable

from router.errors import Rejected
from router.limits.reservation import Reckoning
from serve_app.protocol.sse import Usage
from serve_app.request.call import Call, Served
from serve_app.request.plan import Plan
from serve_app.tenancy.auth import Tenant
from serve_app.tenancy.meter import UsageMeter
from serve_app.tenancy.store import Counts


class Metering:
    """Counts the requests of one ingress replica; without a meter, nothing."""

    def __init__(self, meter: UsageMeter | None = None) -> None:
        self._meter = meter

    def refusal(self, tenant: Tenant, cost: Reckoning) -> Rejected | None:
        """Refuse a request over a quota. Its answer is reckoned as usual, not as wished for."""
        if self._meter is None:
            return None
        return self._meter.refusal(tenant.name, tenant.quotas, tenant.weights, cost.short)

    def begin(self, call: Call, plan: Plan) -> None:
        """Hold the weighted tokens for an admitted request."""
        if self._meter is not None:
            tenant = call.tenant
            tokens = self._meter.first_hold(tenant.name, tenant.quotas, tenant.weights, plan.cost)
            call.charge.usage_number = self._meter.begin(
                tenant.name, plan.lane, tenant.weights, tokens, _progress(call.served, plan)
            )

    def move(self, call: Call, plan: Plan) -> None:
        """Hold the same for a request that another lane answers: nothing was used of the first."""
        number = call.charge.usage_number
        if self._meter is not None and number is not None:
            self.begin(call, plan)
            self._meter.end(number, None)

    def end(self, call: Call, usage: Usage | None) -> None:
        """Account for a call, however it ended. `usage` None: no engine did anything."""
        number = call.charge.usage_number
        if self._meter is None or number is None:
            return
        call.charge.usage_number = None
        self._meter.end(number, _counts(usage) if usage else None)

    def begin_besides(self, tenant: Tenant, lane: str, cost: Reckoning) -> int | None:
        """Hold weighted tokens for what is done for a request at another engine, if need be.

        Returns the meter's number for it, for `end_besides`.
        """
        if self._meter is None:
            return None
        return self._meter.begin(tenant.name, lane, tenant.weights, cost.whole, _nothing_yet)

    def end_besides(self, number: int | None, usage: Usage | None) -> None:
        """Account for that: it is no request of the tenant's, its tokens are."""
        if self._meter is not None and number is not None:
            self._meter.end(number, _counts(usage, requests=0) if usage else None)


def _counts(usage: Usage, requests: int = 1) -> Counts:
    return Counts(requests, usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens)


def _nothing_yet() -> tuple[int, int]:
    return 0, 0


def _progress(served: Served, plan: Plan) -> Callable[[], tuple[int, int]]:
    """Return what tells the meter's thread how much an open call has used so far."""

    def progress() -> tuple[int, int]:
        if served.replica is None:
            return 0, 0
        usage, live = served.usage, served.live_tokens
        if usage is not None:
            return usage.prompt_tokens, usage.completion_tokens
        return plan.prompt_tokens, live() if live is not None else served.delivered_tokens

    return progress
