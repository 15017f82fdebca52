"""One request on its way through an ingress replica and its lane's engines."""

from __future__ import annotations

from array import array
from math import ceil
from typing import TYPE_CHECKING

from fleet.simulation.engines.replica import Attempt, Decoded, Replica
from fleet.simulation.gateway import waking
from fleet.simulation.gateway.stranding import BROKEN, NO_REPLICA, strand
from fleet.simulation.pools.gate import Passing
from fleet.simulation.spec import TenantSpec
from fleet.simulation.world import Answer, Ask
from router.admission.shed_order import Event
from router.admission.ticket import Stage, Ticket
from router.errors import Rejected
from router.limits.ceiling import TenantCeiling
from router.limits.pacer import Paces
from router.limits.reservation import Reckoning, Reservation
from router.placement.affinity import TurnFacts
from router.recovery.resume import Delivered, RecoveryAction, StreamTraits, decide

if TYPE_CHECKING:
    from fleet.simulation.gateway.desk import Desk
    from fleet.simulation.gateway.ingress import Ingress


class Request:
    """A request from its lane decision to its end. The ingress makes it, engines call it back."""

    ticket: Ticket

    def __init__(
        self,
        ingress: Ingress,
        desk: Desk,
        ask: Ask,
        spec: TenantSpec,
        cost: Reckoning,
        output_tokens: int,
        ceiling: TenantCeiling,
    ) -> None:
        self.ingress, self.desk, self.ask, self.spec = ingress, desk, ask, spec
        self.cost, self.output_tokens = cost, output_tokens
        self.asked_at = ingress.world.now
        self.ceiling = ceiling
        self.reservation: Reservation
        self.pacer: Paces | None = None
        self.quota_held = 0.0
        self.number = ingress.log.number()
        self.replica: Replica | None = None
        self.attempt: Attempt | None = None
        self.first_at: float | None = None
        self.cached_tokens = 0
        self.tries = self.failovers = 0
        # Tokens that it counts with among those that wait; None: it waits no more.
        self.demanded: int | None = None
        # Of earlier attempts, and of what the client has of a repeated one.
        self.delivered = self._skipped = 0
        # Its way through the gate of a lane that shares its cards.
        self.passing: Passing | None = None
        self._booked = 0
        self._position: float | None = None
        self._avoid: frozenset[str] = frozenset()

    # -- what it holds ----------------------------------------------------------

    @property
    def generated(self) -> int:
        """Tokens of the answer so far."""
        return self.generated_in(Decoded())

    def generated_in(self, decoded: Decoded) -> int:
        """Return tokens of the answer, by the decode steps of the engines."""
        attempt, replica = self.attempt, self.replica
        if attempt is None or replica is None or attempt.number < 0:
            return self.delivered
        new = attempt.generated - self._skipped
        if attempt.joined >= 0:
            new += decoded[replica] - attempt.joined
        return self.delivered + new if new > 0 else self.delivered

    def book(self, decoded: Decoded, now: float) -> None:
        """Book what came since the last time under the tenant's tokens a second."""
        booked, generated = self._booked, self.generated_in(decoded)
        if generated > booked:
            pacer = self.pacer
            assert pacer is not None
            self._booked = generated
            self._position = pacer.hold(generated - booked, now=now)
            self.ticket.deliver(generated)

    # -- queue --------------------------------------------------------------------

    def changed(self) -> None:
        """Follow the queue's word: it starts, is refused, or has to leave its engine."""
        stage, ingress = self.ticket.stage, self.ingress
        if self.demanded is not None:
            self.desk.demand.started += self.demanded
            self.demanded = None
        if stage is Stage.RUNNING:
            self.note(Event.STARTED)
            self._start(ingress.world.now)
            return
        refused = self.ticket.refused
        assert refused is not None
        if stage is Stage.EVICTED:
            # Its engine is told in a moment; the queue must not be re-entered from its own call.
            ingress.world.at(ingress.world.now, lambda now: self._leave(refused, now))
        else:
            self.note(Event.REFUSED, refused.reason.value)
            self._settle(0)
            self._end(refused.reason.value, ingress.world.now)

    def _start(self, now: float) -> None:
        gate = self.desk.gate
        if gate is None:
            self.dispatch(now)
        else:
            waking.enter(self, gate, self.desk.wait_bound_s, now)

    def _leave(self, refused: Rejected, now: float) -> None:
        if self.ticket.stage is Stage.EVICTED:
            self._stop(now)
            self.close(refused.reason.value, 0, now)

    def note(self, event: Event, code: str = "") -> None:
        """Write it into the ingress replica's admission log."""
        tier = self.spec.tier
        log, now = self.ingress.log, self.ingress.world.now
        log.note(
            now, self.desk.name, self.number, tier.name, event, sheddable=tier.sheddable, code=code
        )

    # -- engine -------------------------------------------------------------------

    def dispatch(self, now: float) -> None:
        """Place it and send it to its engine; without a replica it waits for one."""
        desk = self.desk
        if not desk.engines.stats:
            strand(self, now)
            return
        self.replica = self._placed(now)
        self.replica.open[self] = None
        desk.slots.note(self.replica.name, self.ticket.cost)
        desk.breakers.note_chosen(self.replica.name, now=now)
        done = self.delivered - self._skipped
        self.attempt = attempt = Attempt(
            self,
            self.ask.prompt_tokens + done,
            max(1, self.output_tokens - done),
            self.ask.blocks(desk.engines.block_size),
            self.spec.tier.priority,
        )
        replica = self.replica

        def submit(at: float) -> None:
            if self.attempt is attempt and not replica.is_gone:
                replica.add(attempt, at)

        self.ingress.world.at(now + desk.engines.overhead_s, submit)

    def _placed(self, now: float) -> Replica:
        desk, ask, me = self.desk, self.ask, self.ingress.name
        avoid = self._avoid | desk.slots.full | desk.breakers.avoided(now=now)
        turn = TurnFacts(
            ask.tenant, f"{ask.tenant}\0{ask.session}", ask.history_tokens, ask.system_tokens
        )
        stats = desk.engines.stats
        placed = desk.placement.choose(turn, stats, desk.engines.slots, avoid, now=now)
        chosen = placed.order[0]
        desk.placement.begin(chosen)
        replica = desk.engines.replicas[chosen]
        replica.turns.begin(me, ask.tenant, placed.spilled, now=now)
        return replica

    def first_token(self, now: float) -> None:
        """Take the engine's word that the first token of this attempt is there."""
        attempt = self.attempt
        assert attempt is not None
        self.cached_tokens = max(self.cached_tokens, attempt.cached_tokens)
        if self.first_at is None:
            self.first_at = now
            self.desk.queue.begin(self.ticket)
            self.note(Event.FIRST_TOKEN)

    def finished(self, now: float) -> None:
        self._release(now)
        self.ingress.answered(self, now)
        self.close("200", self.output_tokens, now)

    def lost(self, now: float) -> None:
        """Go on elsewhere, if recovery says so: its replica is gone."""
        replica, ingress, desk = self.replica, self.ingress, self.desk
        assert replica is not None
        self.delivered = self.generated
        self._skipped = 0
        self._release(now)
        desk.breakers.note_fault(replica.name, self.ask.tenant, now=now, is_gone=True)
        self._avoid |= {replica.name}
        self.failovers += 1
        self.tries = 0 if self.delivered else self.tries + 1
        spec = ingress.spec
        may = self.tries < spec.attempts and self.failovers <= spec.max_failovers
        if not may or not ingress.retries.try_spend(self.ask.tenant, now=now):
            self.close(BROKEN if self.delivered else NO_REPLICA, self.delivered, now)
            return
        action = decide(self._traits(), self._shown())
        if action is RecoveryAction.REPEAT:
            self._skipped = self.delivered
        ingress.tally.resumed(desk.name, self.spec.tier.name, action.value)
        self.dispatch(now)

    def _traits(self) -> StreamTraits:
        return StreamTraits(is_chat=True, has_tools=self.ask.has_tools, may_repeat=True)

    def _shown(self) -> Delivered:
        given = Delivered(prompt=array("I", [0]))
        if self.delivered:
            given.add([0], " ")
        return given

    # -- the end ------------------------------------------------------------------

    def _stop(self, now: float) -> None:
        if self.attempt is not None and self.replica is not None:
            self.replica.abort(self.attempt)
            self._release(now)

    def _release(self, now: float) -> None:
        """Leave the replica, whatever the reason."""
        replica, me = self.replica, self.ingress.name
        if replica is None:
            return
        replica.open.pop(self, None)
        replica.turns.end(me, self.ask.tenant, now=now)
        self.desk.placement.end(replica.name)
        self.desk.slots.note(replica.name, -self.ticket.cost)

    def close(self, code: str, tokens: int, now: float) -> None:
        """Give back the slots and settle."""
        if self.ticket.stage is not Stage.REFUSED:
            self.note(Event.LEFT)
        if self.passing is not None and self.desk.gate is not None:
            self.desk.gate.leave(self.passing, now)
        self._settle(tokens)
        if self.pacer is not None and code == "200":
            self.book_all(tokens, now)
        if tokens:
            self.desk.demand.note_answer(tokens)
        self.desk.queue.release(self.ticket, tokens, now)
        self.desk.arm()
        self._end(code, now)

    def book_all(self, tokens: int, now: float) -> None:
        assert self.pacer is not None
        if tokens > self._booked:
            self._position = self.pacer.hold(tokens - self._booked, now=now)
            self._booked = tokens

    def _settle(self, tokens: int) -> None:
        ingress, weigh = self.ingress, self.spec.weights.weigh
        prompt = self.ask.prompt_tokens if self.first_at is not None else 0
        used = weigh(prompt, self.cached_tokens, tokens)
        self.ceiling.settle(self.reservation, ceil(used), now=ingress.world.now)
        if not self.spec.quotas.is_none:
            ingress.limits.use_quota(self.ask.tenant, used - self.quota_held)
        ingress.limits.forget(self)

    def _end(self, code: str, now: float) -> None:
        late = 0.0
        if self.pacer is not None and self._position is not None and code == "200":
            late = self.pacer.wait_s(self._position, now=now)
        took = now + late - self.asked_at
        tokens = self.output_tokens if code == "200" else self.delivered
        self.ingress.tally.ended(self, code, took, tokens)
        # They hold each other: without this the garbage collector would have to find them.
        self.attempt = self.replica = self.passing = None
        self.ask.done(Answer(code, took, tokens), now + late)
