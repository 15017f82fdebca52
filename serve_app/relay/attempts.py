"""Where one request stands between its attempts: what was given, what is asked next."""

from __future__ import annotations

from functools import cached_property
from hashlib import blake2b

from router.errors import Rejected, RejectReason
from router.recovery.resume import Delivered, RecoveryAction, ResumePoint, StreamTraits, decide
from serve_app.agents.gate import Gate
from serve_app.protocol.errors import Dialect
from serve_app.protocol.sse import EventReader
from serve_app.relay.engine_stream import EngineStream, FirstStream
from serve_app.relay.resumed_stream import ResumedStream
from serve_app.relay.resumption import Ask, held_chars
from serve_app.relay.tool_use import Messages
from serve_app.relay.transcript import Transcript
from serve_app.request.call import Call
from serve_app.request.plan import Plan
from serve_app.request.reply import StreamState

MAX_OBJECTIONS = 2
"""Replicas that may fail on one request and be well: then it is the request."""

_NOT_KEPT = Transcript(Delivered(), is_chat=False, has_ids=False, shows_ids=False)
"""Of all streams that could not go on elsewhere: nothing is noted in it."""


class RequestAttempts:
    """One request's way: its call and plan, its stream, its faults.

    Attributes:
        gate: judges its tool calls; None: it can have none.
        transcript: what the client was given; kept up only where `keeps_transcript`.
        faults: in a row, without a token in between; `failovers`: in all.
        outcome: what the next attempt counts as once it is answered.
        losses: replicas that were lost before a word, in a row.
        objectors: replicas that are well and failed on this request.
        verdict: why no other is tried; of an objection, unless another replica answers.

    """

    def __init__(
        self, call: Call, plan: Plan, body: bytes, traits: StreamTraits, gate: Gate | None = None
    ) -> None:
        self.call, self.plan = call, plan
        self.body = body
        self.traits = traits
        self.gate = gate
        self.lane = call.policies.fleet.lanes[plan.lane]
        self.wants_usage = plan.parsed.wants_usage
        self.state = call.reply.stream = StreamState()
        self.avoid: frozenset[str] = frozenset()
        self.faults = 0
        self.failovers = 0
        self.outcome = ""
        self.losses = 0
        self.objectors: frozenset[str] = frozenset()
        self.verdict: Rejected | None = None
        self._seen_tokens = 0
        self.keeps_transcript = traits.is_known and traits.copies == 1
        self.ask = Ask(call.route.path, body)
        self.stream: EngineStream = self._first_stream()

    def _first_stream(self) -> FirstStream:
        parsed, dialect = self.plan.parsed, self.call.route.dialect
        self.transcript = _NOT_KEPT
        if self.keeps_transcript:
            self.transcript = Transcript(
                Delivered(holds_back=held_chars(parsed, self.lane) > 0),
                is_chat=self.traits.is_chat,
                has_ids=self.traits.wants_ids,
                shows_ids=bool(parsed.body.get("return_token_ids")),
            )
        reader = EventReader(hide_usage=not self.wants_usage)
        if dialect is Dialect.ANTHROPIC and parsed.tools:
            return Messages(reader, None, dialect)
        return FirstStream(reader, self.transcript if self.keeps_transcript else None, dialect)

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
        has_progress = self.state.tokens > self._seen_tokens
        if has_progress:
            self._seen_tokens, self.faults, self.avoid = self.state.tokens, 0, frozenset()
            self.losses = 0
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
        if not self.keeps_transcript:
            return RecoveryAction.END
        return decide(self.traits, self.transcript.delivered)

    def start_over(self) -> None:
        """Ask the same again: nothing of the answer was given."""
        self.ask, self.outcome = Ask(self.call.route.path, self.body), "retried"
        if self.gate is not None:
            self.gate = self.gate.afresh()
        if not self.has_begun:
            self.stream = self._first_stream()
            return
        # Who speaks was said, under an id: that stays.
        self.stream = ResumedStream(self.transcript, ResumePoint(0), wants_usage=self.wants_usage)
