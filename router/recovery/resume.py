"""What may be done for an answer whose replica failed, and from where it goes on.

A stream that breaks off is known by two things: what its request asked for
(`StreamTraits`, fixed) and what the client has been given (`Delivered`, which grows).
`decide` turns the two into a recovery action:

- nothing given yet: the request is *retried*, whatever it asked for;
- everything but the closing lines given: the stream is *closed*;
- text given: it is *resumed*, from token ids where nothing stands between tokens and
  text but the detokenizer, by an unfinished assistant message where the chat route
  itself must do the work and the template keeps whitespace;
- otherwise it is *repeated* where it can be: the same is asked again, and what the client
  has is left out, as long as the model says the same;
- otherwise it *ends* with an error that says a retry is safe.

**Where an answer resumes.** Tokens run ahead of text: a detokenizer keeps back a token that
ends inside a character, and an engine that watches for stop strings keeps back the last
characters. An engine primed with half a character gives its whole prompt back as new
text (tokenizers' DecodeStream). So a resume begins after a token at which all text of
the tokens before it is known. After an event of one token that carried text, nothing is
kept back; elsewhere `ResumePointSearch` asks for the text of the tokens and compares.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

MAX_PENDING_TOKENS = 64
"""Tokens that may be kept back in a row. One character takes at most three, but a token
may end one character and begin the next."""

REPLACEMENT = "\ufffd"
"""What half a character is decoded to."""


class RecoveryAction(StrEnum):
    """What is done for a stream that broke off."""

    RETRY = "retry"
    CLOSE = "close"
    BY_TOKENS = "by_tokens"
    BY_MESSAGE = "by_message"
    REPEAT = "repeat"
    END = "end"


@dataclass(frozen=True, slots=True)
class StreamTraits:
    """What a request asked for, as far as resuming depends on it.

    Attributes:
        is_chat: the chat route; else completions.
        is_known: a route whose stream we can continue at all.
        copies: answers in the stream.
        has_tools: tools are offered, so a parser stands between tokens and text.
        has_reasoning: the lane splits reasoning from the answer.
        has_penalties: presence or frequency penalties, which weigh what was generated
            and not what was asked. (A repetition penalty weighs both alike.)
        is_structured: a grammar is at work.
        reads_history: other rules over what was generated before: bad words,
            repetition detection, thinking budgets.
        is_text: the prompt is text alone, so its token ids are all of it.
        keeps_whitespace: the lane's chat template leaves messages as they are.
        is_continuation: the client continues a message of its own.
        may_repeat: one stream without log probabilities or token ids that are shown: what
            was given of it can be recognised when it is said again.

    """

    is_chat: bool
    is_known: bool = True
    copies: int = 1
    has_tools: bool = False
    has_reasoning: bool = False
    has_logprobs: bool = False
    has_penalties: bool = False
    is_structured: bool = False
    has_echo: bool = False
    reads_history: bool = False
    is_text: bool = True
    keeps_whitespace: bool = False
    is_continuation: bool = False
    may_repeat: bool = False

    @property
    def otherwise(self) -> RecoveryAction:
        """What is done where nothing goes on from what was given."""
        return RecoveryAction.REPEAT if self.may_repeat else RecoveryAction.END

    @property
    def can_resume(self) -> bool:
        """Return whether nothing rules out every way of going on once text was given."""
        return (
            self.is_known
            and self.copies == 1
            and not self.has_logprobs
            and not self.has_penalties
            and not self.is_structured
            and not self.has_echo
            and not self.reads_history
            and not self.has_reasoning
        )

    @property
    def goes_by_tokens(self) -> bool:
        """Return whether token ids alone say how the answer goes on."""
        return self.can_resume and not self.has_tools and self.is_text

    @property
    def wants_ids(self) -> bool:
        """Return whether to ask the engine for token ids: to go on, or to count."""
        return self.goes_by_tokens or (self.can_resume and self.keeps_whitespace)


@dataclass(slots=True)
class Delivered:
    """What a stream has given its client.

    Attributes:
        holds_back: text may be kept back after any token: for stop strings, or by a
            parser that looks for its markers.
        prompt: the prompt's token ids; none until the engine has told them.
        ids: ids of the answer's tokens.
        parts: the answer's text as it came, of so many `chars` in all.
        clean_ids: ids up to the last event after which no text was kept back.
        clean_chars: characters of text up to there.

    """

    holds_back: bool = False
    prompt: array[int] = field(default_factory=lambda: array("I"))
    ids: array[int] = field(default_factory=lambda: array("I"))
    parts: list[str] = field(default_factory=list)
    chars: int = 0
    clean_ids: int = 0
    clean_chars: int = 0
    has_content: bool = False
    has_tool_call: bool = False
    has_reasoning: bool = False
    is_finished: bool = False
    lacks_ids: bool = False

    @property
    def text(self) -> str:
        if len(self.parts) > 1:
            self.parts = ["".join(self.parts)]
        return self.parts[0] if self.parts else ""

    def add(self, ids: Sequence[int] | None, text: str) -> None:
        """Add an event's new tokens (None: not told) and its new text."""
        if ids is None:
            self.lacks_ids = self.lacks_ids or bool(text)
        else:
            self.ids.extend(ids)
        if text:
            self.parts.append(text)
            self.chars += len(text)
        self.has_content = self.has_content or bool(ids or text)
        if text and ids is not None and len(ids) == 1 and not self.holds_back:
            self.clean_ids, self.clean_chars = len(self.ids), self.chars

    def rewind(self, point: ResumePoint) -> None:
        """Forget the tokens after the resume point: they will be generated again."""
        del self.ids[point.ids :]
        if not point.held:
            self.clean_ids, self.clean_chars = point.ids, self.chars


def decide(traits: StreamTraits, delivered: Delivered) -> RecoveryAction:
    if delivered.is_finished:
        return RecoveryAction.CLOSE
    is_parsed = delivered.has_tool_call or delivered.has_reasoning
    if not delivered.has_content and not is_parsed:
        return RecoveryAction.RETRY
    if is_parsed or not traits.can_resume:
        return traits.otherwise
    if traits.goes_by_tokens and delivered.prompt and not delivered.lacks_ids:
        return RecoveryAction.BY_TOKENS
    is_whole = traits.is_chat and not traits.is_continuation and bool(delivered.text)
    return RecoveryAction.BY_MESSAGE if is_whole and traits.keeps_whitespace else traits.otherwise


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """Where the answer goes on: the resumed prompt holds so many of its `ids`.

    `held` is text of those tokens that the client has not been given.
    """

    ids: int
    held: str = ""


class ResumePointSearch:
    """Finds the resume point; asks for the text of tokens where events do not tell.

    Give `answer` the text of the ids in `asks` until `asks` is None; then `found` is
    the resume point, or None when tokens and text do not agree. An engine keeps at most
    `hold_chars` characters back for stop strings.
    """

    def __init__(self, delivered: Delivered, hold_chars: int = 0) -> None:
        self._delivered, self._hold_chars = delivered, hold_chars
        self._missing = delivered.text[delivered.clean_chars :]
        self._upto = len(delivered.ids)
        self._least = max(delivered.clean_ids, self._upto - MAX_PENDING_TOKENS)
        self.found: ResumePoint | None = None
        self._is_over = False
        if not self._missing and not hold_chars:
            # Later tokens have shown nothing: they are generated again.
            self.found = ResumePoint(delivered.clean_ids)

    @property
    def asks(self) -> list[int] | None:
        """The ids whose text decides; None when the search is over."""
        if self._is_over or self.found is not None:
            return None
        return self._delivered.ids[self._delivered.clean_ids : self._upto].tolist()

    def answer(self, text: str) -> None:
        """Take the text of the ids asked for."""
        whole = text.rstrip(REPLACEMENT)
        held = text[len(self._missing) :]
        is_known = text.startswith(self._missing) and len(held) <= self._hold_chars
        if is_known and whole == text:
            self.found = ResumePoint(self._upto, held)
            return
        self._upto -= 1
        # Fewer tokens have less text still.
        self._is_over = self._upto < self._least or not whole.startswith(self._missing)


def remaining(limit: int | None, done: int) -> int | None:
    """Return what is left of a limit on tokens; None where there is none."""
    return None if limit is None else max(0, limit - done)


def next_seed(seed: int, done: int) -> int:
    """Return the seed of a resumed answer, in 63 bits.

    An engine draws from the start of a seed's sequence: the same seed would repeat the
    draws that made the first part. (The factor is 2^64 over the golden ratio.)
    """
    return (seed + 0x9E3779B97F4A7C15 * (done + 1)) & (2**63 - 1)
