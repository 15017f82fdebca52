"""Where one request stands between its attempts: what was given, what is asked next."""

from __future__ import annotations

from functools import cached_property
from hashlib import blake2b

from router.errors import Rejected, RejectReason
from router.recovery.resume import Delivered, RecoveryAction, ResumePoint, StreamTraits, decide
from serve_app.agents.gate import Gate
from serve_app.metrics import Metrics
from serve_app.protocol.errors import Dialect
from serve_app.protocol.logprobs import StrippingReader
from serve_app.protocol.sse import EventReader
from serve_app.relay.engine_stream import EngineStream, FirstStream
from serve_app.relay.gated_stream import GatedStream
from serve_app.relay.repeat.told import Told
from serve_app.relay.repeat.told_stream import ToldStream
from serve_app.relay.resumed_stream import ResumedStream
from serve_app.relay.resumption import Ask, held_chars
from serve_app.relay.tool_use import Messages
from serve_app.relay.transcript import Transcript
from serve_app.request.call import Call
from serve_app.request.hold import Hold
from serve_app.request.plan import Plan
from serve_app.request.reply import StreamState

MAX_OBJECTIONS = 2
"""Replicas that may fail on one request and be well: then it is the request."""

_NOT_KEPT = Transcript(Delivered(), is_chat=False, has_ids=False, shows_ids=False)
"""Of all streams that could not go on elsewhere: nothing is noted in it."""


class RequestAttempts:
    """One request's way: its call and plan, its stream, its faults.

    Attributes:
        body: what an engine is asked; while the request is held, `hold.body` instead.
        gate: judges its tool calls; None: it can have none.
        transcript: what the client was given; kept up only where `keeps_transcript`.
        faults: in a row, without a token in between; `failovers`: in all.
        unreached: of those in a row, where nothing answered at a replica's address.
        outcome: what this attempt counts as once it has gone on with the answer.
        told: what the client has, where the answer may have to be repeated.
        losses: replicas that were lost before a word, in a row.
        objectors: replicas that are well and failed on this request.
        verdict: why no other is tried; of an objection, unless another replica answers.

    """

    def __init__(
        self,
        call: Call,
        plan: Plan,
        body: bytes,
        traits: StreamTraits,
        gate: Gate | None = None,
        hold: Hold | None = None,
    ) -> None:
        self.call, self.plan = call, plan
        self.body = body
        self._hold = hold
        self.traits = traits
        self.gate = gate
        self.lane = call.policies.fleet.lanes[plan.lane]
        self.wants_usage = plan.parsed.wants_usage
        self.state = call.reply.stream = StreamState()
        self.avoid: frozenset[str] = frozenset()
        self.faults = 0
        self.unreached = 0
        self.failovers = 0
        self.outcome = ""
        self.losses = 0
        self.objectors: frozenset[str] = frozenset()
        self.verdict: Rejected | None = None
        self._seen_tokens = 0
        self.told: Told | None = None
        if traits.may_repeat and not traits.goes_by_tokens:
            self.told = Told(hides_ids=traits.wants_ids)
        self.ask = self._first_ask
        self.stream: EngineStream = self._first_stream()

    def _first_stream(self, *, keeps: bool = True) -> FirstStream:
        parsed, dialect = self.plan.parsed, self.call.route.dialect
        self.transcript = _NOT_KEPT
        self.keeps_transcript = keeps and self.traits.is_known and self.traits.copies == 1
        if self.keeps_transcript:
            self.transcript = Transcript(
                Delivered(holds_back=held_chars(parsed, self.lane) > 0),
                is_chat=self.traits.is_chat,
                has_ids=self.traits.wants_ids,
                shows_ids=bool(parsed.body.get("return_token_ids")),
            )
        is_stripped = self.hold is not None and self.hold.adds
        kind = StrippingReader if is_stripped else EventReader
        reader = kind(hide_usage=not self.wants_usage)
        if dialect is Dialect.ANTHROPIC and parsed.tools:
            return Messages(reader, None, dialect)
        return FirstStream(reader, self.transcript if self.keeps_transcript else None, dialect)

    @property
    def hold(self) -> Hold | None:
        """The request's hold, as long as nothing is decided."""
        return self._hold if self._hold is not None and self._hold.is_open else None

    @property
    def _first_ask(self) -> Ask:
        hold = self.hold
        return Ask(self.call.route.engine_path, self.body if hold is None else hold.body)

    @property
    def has_begun(self) -> bool:
        """Whether something was passed on, or waits for its time."""
        return self.call.reply.has_started or bool(self.state.held)

    @property
    def tenant(self) -> str:
        return self.call.tenant.name

    @cached_property
    def digest(self) -> bytes:
        asked = blake2b(f"{self.tenant}\0{self.call.route.path}\0".encode(), digest_size=16)
        asked.update(self.body)
        return asked.digest()

    def note_fault(self, replica: str, *, is_loss: bool = False) -> bool:
        """Count a fault; progress since the last one makes it the first in a row.

        Return whether it is a loss that this request may be the reason of: it was reading it.
        """
        told = self.state.tokens - self.state.untold_tokens
        has_progress = told > self._seen_tokens
        if has_progress:
            self._seen_tokens, self.faults, self.avoid = told, 0, frozenset()
            self.losses = self.unreached = 0
        self.faults += 1
        self.failovers += 1
        self.avoid |= {replica}
        self.verdict = None
        is_suspect = is_loss and not has_progress
        self.losses += is_suspect
        return is_suspect

    def note_objection(self, replica: str, objection: Rejected) -> None:
        self.note_fault(replica)
        self.objectors |= {replica}
        self.verdict = objection

    @property
    def is_settled(self) -> bool:
        """Whether no other replica may be asked."""
        if self.verdict is None:
            return False
        is_objection = self.verdict.reason is RejectReason.INVALID_REQUEST
        return not is_objection or len(self.objectors) >= MAX_OBJECTIONS

    @property
    def is_refused(self) -> bool:
        """Whether it is the request's fault, as far as could be found out.

        A stream that has begun was no bad request, unless two replicas say so.
        """
        if self.verdict is None or self.verdict.reason is not RejectReason.INVALID_REQUEST:
            return False
        return self.is_settled or not self.has_begun

    @property
    def action(self) -> RecoveryAction:
        if not self.has_begun:
            return RecoveryAction.RETRY
        if self.keeps_transcript:
            action = decide(self.traits, self.transcript.delivered)
        else:
            action = self.traits.otherwise
        can_repeat = self.told is not None and self.told.can_repeat
        return RecoveryAction.END if action is RecoveryAction.REPEAT and not can_repeat else action

    def start_over(self) -> None:
        """Ask the same again: nothing of the answer was given."""
        self._ask_again("retried")
        if not self.has_begun:
            self.stream = self._first_stream()
            return
        # Who speaks was said, under an id: that stays.
        self.stream = ResumedStream(self.transcript, ResumePoint(0), wants_usage=self.wants_usage)

    def repeat(self) -> None:
        """Ask the same again, and leave out what the client has of the answer."""
        self._ask_again("resumed")
        if self.told is not None:
            self.told.begin_again()
        self.stream = self._first_stream(keeps=False)

    def _ask_again(self, outcome: str) -> None:
        self.ask, self.outcome = self._first_ask, outcome
        # They are generated again.
        self.state.tokens -= self.state.untold_tokens
        self.state.untold_tokens = 0
        self.call.served.usage = None
        if self.gate is not None:
            self.gate = self.gate.afresh()

    def shown(self) -> EngineStream:
        """The stream as the client gets it."""
        stream = self.stream if self.gate is None else GatedStream(self.stream, self.gate)
        return stream if self.told is None else ToldStream(stream, self.told)

    @property
    def has_diverged(self) -> bool:
        """Whether the repeated answer is another than what the client was told."""
        return self.told is not None and self.told.has_diverged

    def untold(self, events: bytes) -> bytes | None:
        """What the client has not of an answer's last events; None: it was told another."""
        if self.told is None:
            return events
        new = self.told.pass_on(events)
        return None if self.told.has_diverged or self.told.is_behind else new

    def count_recovery(self, metrics: Metrics) -> None:
        """Count once what this attempt was, where it is not a request's first."""
        outcome, self.outcome = self.outcome, ""
        if outcome:
            metrics.recoveries.labels(outcome).inc()
            self.call.reply.recoveries.append(outcome)
