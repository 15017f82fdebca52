"""A request whose lane has no replica: it waits for one, and sheddable work goes first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.admission.shed_order import Event
from router.admission.ticket import Stage

if TYPE_CHECKING:
    from fleet.simulation.gateway.request import Request

NO_REPLICA = "no_replica"
BROKEN = "broken"
PERIOD_S = 0.05
LOOK_PERIOD_S = 0.25


def strand(request: Request, now: float) -> None:
    """Have it wait for a replica for a while; sheddable work goes before protected hears no."""
    desk, ingress = request.desk, request.ingress
    until = desk.stranded.get(request)
    if until is None:
        until = desk.stranded[request] = now + ingress.spec.choose_s
    if now < until:
        at = min(until, now + LOOK_PERIOD_S)
        ingress.world.at(at, lambda then: _look_again(request, then))
        return
    del desk.stranded[request]
    if request.spec.tier.sheddable:
        _refuse(request, now)
    else:
        _drain_others(request, now, now + ingress.spec.choose_s)


def _look_again(request: Request, now: float) -> None:
    desk = request.desk
    if request in desk.stranded and request.ticket.stage is Stage.RUNNING:
        if desk.engines.stats:
            del desk.stranded[request]
        request.dispatch(now)


def _drain_others(request: Request, now: float, until: float) -> None:
    drained = request.desk.queue.preemption.drain_sheddable(now, 4 * PERIOD_S)
    if drained or now >= until:
        _refuse(request, now)
    else:
        at = now + PERIOD_S
        request.ingress.world.at(at, lambda then: _drain_others(request, then, until))


def _refuse(request: Request, now: float) -> None:
    request.note(Event.REFUSED, NO_REPLICA)
    code = NO_REPLICA if request.first_at is None else BROKEN
    request.close(code, request.delivered, now)
