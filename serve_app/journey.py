"""Where one request stands between its attempts: what was given, what is asked next."""

from __future__ import annotations

from router.recovery import Cut, Means, Said, StreamTraits, decide
from serve_app.call import Call
from serve_app.continuation import Continued
from serve_app.http_errors import Dialect
from serve_app.journal import Journal
from serve_app.relay import Flow
from serve_app.resumption import Ask, held_chars
from serve_app.source import Original, Source
from serve_app.streaming import EventReader
from serve_app.tool_use import Messages


class Journey:
    """One request's way: its call, its stream, its faults.

    Attributes:
        ask: what the next attempt asks.
        source: how its answer is read.
        faults: in a row, without a token in between.
        moves: faults in all.
        outcome: what the next attempt counts as once it is answered.

    """

    def __init__(self, call: Call, body: bytes, traits: StreamTraits) -> None:
        assert call.parsed is not None
        self.call = call
        self.body = body
        self.traits = traits
        self.lane = call.policies.fleet.lanes[call.lane]
        self.wants_usage = call.parsed.wants_usage
        self.flow = call.flow = Flow()
        self.avoid: frozenset[str] = frozenset()
        self.faults = 0
        self.moves = 0
        self.outcome = ""
        self._seen_tokens = 0
        self.journal: Journal | None = None
        self.ask = Ask(call.route.path, body)
        self.source: Source = self._original()

    def _original(self) -> Original:
        call = self.call
        assert call.parsed is not None
        self.journal = None
        if self.traits.is_known and self.traits.copies == 1:
            self.journal = Journal(
                Said(holds_back=held_chars(call.parsed, self.lane) > 0),
                is_chat=self.traits.is_chat,
                has_ids=self.traits.wants_ids,
                shows_ids=bool(call.parsed.body.get("return_token_ids")),
            )
        reader = EventReader(hide_usage=not self.wants_usage)
        if call.route.dialect is Dialect.ANTHROPIC and call.parsed.tools:
            return Messages(reader, None, call.route.dialect)
        return Original(reader, self.journal, call.route.dialect)

    @property
    def has_begun(self) -> bool:
        """Something was passed on, or waits for its time."""
        return self.call.has_started or bool(self.flow.held)

    def note_fault(self, replica: str) -> None:
        """A replica failed; progress since the last fault makes it the first in a row."""
        if self.flow.tokens > self._seen_tokens:
            self._seen_tokens, self.faults, self.avoid = self.flow.tokens, 0, frozenset()
        self.faults += 1
        self.moves += 1
        self.avoid |= {replica}

    @property
    def means(self) -> Means:
        """What may be done now."""
        if not self.has_begun:
            return Means.RETRY
        return Means.END if self.journal is None else decide(self.traits, self.journal.said).means

    def start_over(self) -> None:
        """Nothing of the answer was given: the same request again."""
        self.ask, self.outcome = Ask(self.call.route.path, self.body), "retried"
        if not self.has_begun:
            self.source = self._original()
            return
        # Who speaks was said, under an id: that stays.
        assert self.journal is not None
        self.source = Continued(self.journal, Cut(0), wants_usage=self.wants_usage)
