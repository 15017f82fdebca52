"""Between a request and the meter: what is held for it, what it has used, what it used."""

from __future__ import annotations

from collections.abc import Callable

from router.errors import Rejected
from router.limits.reservation import Reckoning
from serve_app.protocol.sse import Usage
from serve_app.request.call import Call
from serve_app.tenancy.auth import Tenant
from serve_app.tenancy.meter import UsageMeter
from serve_app.tenancy.store import Counts


class Metering:
    """Counts the requests of one ingress replica; without a meter, nothing."""

    def __init__(self, meter: UsageMeter | None = None) -> None:
        self._meter = meter

    def refusal(self, tenant: Tenant, cost: Reckoning) -> Rejected | None:
        """The quota that would refuse a request now: with a usual answer, not with a wish."""
        if self._meter is None:
            return None
        return self._meter.refusal(tenant.name, tenant.quotas, tenant.weights, cost.short)

    def begin(self, call: Call, cost: Reckoning) -> None:
        """Hold the weighted tokens for an admitted request."""
        if self._meter is not None:
            tenant = call.tenant
            tokens = self._meter.first_hold(tenant.name, tenant.quotas, tenant.weights, cost)
            call.usage_number = self._meter.begin(
                tenant.name, call.lane, tenant.weights, tokens, _progress(call)
            )

    def end(self, call: Call, usage: Usage | None) -> None:
        """Account for a call, however it ended; None: no engine did anything."""
        if self._meter is None or call.usage_number is None:
            return
        number, call.usage_number = call.usage_number, None
        self._meter.end(number, _counts(usage) if usage else None)


def _counts(usage: Usage) -> Counts:
    return Counts(1, usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens)


def _progress(call: Call) -> Callable[[], tuple[int, int]]:
    """What an open call has used so far, read by the meter's thread."""

    def progress() -> tuple[int, int]:
        if call.replica is None:
            return 0, 0
        usage, live = call.usage, call.live_tokens
        if usage is not None:
            return usage.prompt_tokens, usage.completion_tokens
        return call.prompt_tokens, live() if live is not None else call.delivered_tokens

    return progress
