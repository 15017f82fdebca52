"""A request that has its slot goes through its lane's gate, where the lane shares its cards."""

from __future__ import annotations

from functools import partial
from math import inf
from typing import TYPE_CHECKING

from fleet.simulation.pools.gate import Gate, Passing
from router.admission.shed_order import Event
from router.errors import RejectReason

if TYPE_CHECKING:
    from fleet.simulation.gateway.request import Request


def enter(request: Request, gate: Gate, bound_s: float, now: float) -> None:
    """Dispatch the request once its lane is awake, or refuse it: `serve_app.swap.gates.enter`."""
    tier, lane = request.spec.tier, request.desk.name
    within_s = min(bound_s, inf if tier.start_within_s is None else tier.start_within_s)

    def begin(at: float) -> None:
        request.ingress.tally.passed(lane, at - now, request.asked_at)
        request.dispatch(at)

    def refuse(at: float) -> None:
        # Not from within this call: the slot goes to the next request, which is refused as well.
        request.ingress.world.at(at, partial(_refuse, request, RejectReason.NO_REPLICA))

    request.passing = passing = Passing(
        lane,
        tier.priority,
        # Of whoever may wait for less, that much of the pool's bound is gone already.
        request.asked_at + within_s - bound_s,
        request.asked_at + within_s,
        begin,
        partial(_refuse, request, RejectReason.DEADLINE_EXCEEDED),
        request.ask.tenant,
        broken=refuse,
    )
    if not gate.try_enter(passing, now):
        refuse(now)


def _refuse(request: Request, reason: RejectReason, now: float) -> None:
    request.ingress.tally.kept_out(request.desk.name, request.asked_at)
    request.note(Event.REFUSED, reason.value)
    request.close(reason.value, 0, now)
