"""One ingress replica: the way of a request, step by step as in `serve_app.pipeline`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import ceil

from fleet.simulation.engines.lane import LaneEngines
from fleet.simulation.gateway.desk import Desk
from fleet.simulation.gateway.limits import Limits, paced
from fleet.simulation.gateway.request import Request
from fleet.simulation.gateway.scores import Climbing
from fleet.simulation.report import Tally
from fleet.simulation.spec import FleetSpec, TenantSpec
from fleet.simulation.world import Answer, Ask, World
from router.admission.kv_budget import KvAsk
from router.admission.shed_order import AdmissionLog, Event
from router.admission.ticket import SlotRequest, Stage
from router.errors import Rejected, RejectReason
from router.limits.contention import Contention, paces
from router.limits.reservation import Reckoning
from router.recovery.retry_budget import RetryBudget
from router.routing.lane import decide_lane
from router.routing.turn_lanes import TurnLanes
from router.routing.window_room import fitted, left
from router.types import LaneDecision, RequestFacts

NO_LANE = "-"
TOO_LONG = "The prompt does not fit."


class Ingress:
    """Decides for the requests that come to it, and tells engines and tally.

    The other ingress replicas are told to it by `meet`, once they are there.
    """

    def __init__(
        self,
        number: int,
        spec: FleetSpec,
        lanes: dict[str, LaneEngines],
        world: World,
        limits: Limits,
        tally: Tally,
        shipped: Callable[[float], float],
    ) -> None:
        self.name = f"ingress-{number}"
        self.spec, self.world, self.limits, self.tally = spec, world, limits, tally
        self._rest: dict[str, list[Desk]] = {name: [] for name in lanes}
        self.log = AdmissionLog(now=0.0)
        self.retries = RetryBudget(spec.retries, now=0.0)
        self.climbing = Climbing(spec, self.name, lanes, world, shipped)
        self._turns = TurnLanes()
        self._kv_parts = max(1, spec.ingresses)
        self.desks = {
            name: Desk(
                engines,
                spec,
                self.name,
                world,
                partial(self._sheddable_elsewhere, name),
                partial(self._used_elsewhere, name),
            )
            for name, engines in lanes.items()
        }

    def meet(self, others: list[Ingress]) -> None:
        """Learn of all ingress replicas, this one among them."""
        self._rest = {name: [x.desks[name] for x in others if x is not self] for name in self.desks}

    def _sheddable_elsewhere(self, lane: str) -> int:
        return sum([desk.queue.preemption.sheddable_held() for desk in self._rest[lane]])

    def _used_elsewhere(self, lane: str) -> int:
        """Return slots that the others had taken at the last heartbeat."""
        return sum([desk.told_used for desk in self._rest[lane]])

    # -- a request ----------------------------------------------------------------

    def take(self, ask: Ask) -> None:
        now, spec = self.world.now, self.spec.tenant(ask.tenant, ask.tier)
        ceiling = self.limits.ceiling(ask.tenant, spec)
        self.retries.note_request(ask.tenant)
        refused = ceiling.try_request(now=now, will_run=True)
        if refused is not None:
            self._refuse(ask, spec, NO_LANE, refused)
            return
        ceiling.arrived()
        decision = self._route(ask, spec)
        if isinstance(decision, Rejected):
            self._refuse(ask, spec, NO_LANE, decision)
            return
        name, window = decision.lane.name, decision.lane.window_tokens
        desk = self.desks[name]
        room = left(ask.prompt_tokens, window)
        output = min(ask.output_tokens, ask.limit or room, room)
        wrong = self._too_long(ask, spec, desk, output, window)
        if wrong is not None:
            self._refuse(ask, spec, name, wrong)
            return
        cost = self._reckon(ask, spec, window)
        request = Request(self, desk, ask, spec, cost, output, ceiling)
        refused = self._reserve(request, now)
        if refused is not None:
            self._refuse(ask, spec, name, refused)
            return
        self._admit(request, now)

    def _route(self, ask: Ask, spec: TenantSpec) -> LaneDecision | Rejected:
        now, turn = self.world.now, (ask.tenant, ask.session, ask.turn)
        facts = RequestFacts(
            pinned=ask.pinned,
            has_tools=ask.has_tools,
            prompt_tokens=ask.prompt_tokens,
            output_tokens=ask.limit or self.spec.default_output_tokens,
            is_step=ask.is_step,
            held=self._turns.find(turn, now) if ask.is_step else None,
            is_background=ask.is_background,
            is_sub_agent=ask.is_sub_agent,
        )
        judge = self.climbing.judging(ask, spec.rules)
        decision = decide_lane(self.spec.routing, spec.rules, facts, judge)
        if isinstance(decision, LaneDecision):
            self.climbing.note(ask.tenant, spec.rules, decision)
            if ask.has_tools:
                self._turns.note(turn, decision, now)
        return decision

    def _too_long(
        self, ask: Ask, spec: TenantSpec, desk: Desk, output: int, window: int
    ) -> Rejected | None:
        limit = spec.session_tokens
        scheduling = desk.engines.profile.scheduling
        pool = scheduling.num_gpu_blocks * scheduling.block_size
        is_long = ask.prompt_tokens + output > min(window, pool)
        if is_long or (limit is not None and ask.prompt_tokens >= limit):
            return Rejected(RejectReason.CONTEXT_LENGTH_EXCEEDED, TOO_LONG)
        return None

    def _reckon(self, ask: Ask, spec: TenantSpec, window: int) -> Reckoning:
        prompt, weigh = ask.prompt_tokens, spec.weights.weigh
        room = left(prompt, window)
        most = room if ask.limit is None else fitted(ask.limit, prompt, window)
        short = ceil(weigh(prompt, 0, min(self.spec.default_output_tokens, most)))
        return Reckoning(ceil(weigh(prompt, 0, 0)), short, ceil(weigh(prompt, 0, most)))

    def _reserve(self, request: Request, now: float) -> Rejected | None:
        ask, spec, cost = request.ask, request.spec, request.cost
        refused = self.limits.quota_refusal(ask.tenant, spec, cost)
        if refused is not None:
            return refused
        ceiling = request.ceiling
        contention = self._contention(request.desk, spec)
        held = ceiling.try_admit(ceiling.first_charge(cost), now=now, is_paced=paces(contention))
        if isinstance(held, Rejected):
            return held
        request.reservation = held
        request.quota_held = self.limits.hold_quota(ask.tenant, spec, cost)
        request.pacer = paced(ceiling.pacer, contention)
        self.limits.watch(request)
        return None

    def _contention(self, desk: Desk, spec: TenantSpec) -> Contention | None:
        if spec.ceilings.contended_from is None:
            return None
        demand = desk.in_flight + sum([x.in_flight for x in self._rest[desk.name]])
        return self.limits.contention(desk.name, spec, demand)

    def _admit(self, request: Request, now: float) -> None:
        ask, spec, desk = request.ask, request.spec, request.desk
        kv, answer = None, ask.limit or self.spec.default_output_tokens
        if spec.kv_tokens is not None:
            limit = max(1, spec.kv_tokens // self._kv_parts)
            kv = KvAsk(limit, ask.prompt_tokens, answer)
        asked = SlotRequest(
            spec.tier,
            ask.tenant,
            ask.prompt_tokens,
            1,
            spec.weight,
            kv,
            ask.is_background,
            str(ask.session),
        )
        request.note(Event.QUEUED)
        request.demanded = desk.demand.arrive(ask.prompt_tokens, answer)
        request.ticket = ticket = desk.queue.submit(asked, now)
        if ticket.stage is Stage.WAITING:
            ticket.on_change = request.changed
            desk.arm()
        else:
            ticket.on_change = request.changed if ticket.stage is Stage.RUNNING else None
            request.changed()

    def _refuse(self, ask: Ask, spec: TenantSpec, lane: str, refused: Rejected) -> None:
        self.tally.refused(lane, spec.tier.name, ask.tenant, refused.reason.value, self.world.now)
        ask.done(Answer(refused.reason.value, 0.0, 0), self.world.now)

    def answered(self, request: Request, now: float) -> None:
        """Note what an answer that came whole says of its replica and lane."""
        replica, desk = request.replica, request.desk
        assert replica is not None
        assert request.first_at is not None
        desk.breakers.note_success(replica.name, request.ask.tenant, now=now)
        self.climbing.note_ttft(desk.name, request.first_at - request.asked_at)
