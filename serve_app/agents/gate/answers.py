"""The answers of one stream, or of one whole body, and what is wrong with their calls."""

from __future__ import annotations

from dataclasses import dataclass, field

from serve_app.agents.call_text import TextWatch
from serve_app.agents.forms.form import Data, Form, Key, Mended
from serve_app.agents.schemas import Schemas
from serve_app.agents.tools import Tools
from serve_app.agents.verdict import (
    CUT_SHORT,
    EMPTY,
    IN_TEXT,
    NO_CALL,
    TOO_MANY,
    CallOutcome,
    JudgedCall,
    Verdict,
    judge,
)

_CUT_SHORT = frozenset({"length", "max_tokens"})
_CALLS = frozenset({"tool_calls", "tool_use", "function_call"})


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one answer, or one call of it.

    Attributes:
        key: of the call; its second number is -1 where none was made.
        name: of the tool that was called, as far as it is known and offered.
        said: the call, or the text that stands for it, as the model wrote it.
        may_be_many: whether several calls may come in its place.

    """

    key: Key
    name: str | None
    said: str
    verdict: Verdict
    may_be_many: bool = False


@dataclass(slots=True)
class GivenCall:
    """A call as the model makes it.

    Attributes:
        begin: the event that it began with; empty of a whole answer.
        arguments: pieces of their JSON text, so far.
        verdict: None until the arguments are complete.

    """

    key: Key
    id: str
    name: str
    begin: Data
    arguments: list[str] = field(default_factory=list)
    verdict: Verdict | None = None


@dataclass(slots=True)
class Entry:
    """An event that waits, or that comes after one that does.

    Attributes:
        data: what it says; None where nothing in it can change: the end mark, or a token.
        call: the call that it is a part of.
        text_of: the answer whose text it is a part of, while that may be a call.
        ends: the answer that it ends.

    """

    raw: bytes
    data: Data | None = None
    call: GivenCall | None = None
    text_of: int | None = None
    ends: int | None = None


@dataclass(slots=True)
class Answer:
    """One answer so far.

    Attributes:
        calls: in the order in which they began; `open` is the one that goes on.
        text: what is said to the user, in pieces.
        waiting: the events of text that may be a call.
        last_index: the highest index of a part of the answer; -1: none has one.

    """

    watch: TextWatch
    calls: list[GivenCall] = field(default_factory=list)
    open: GivenCall | None = None
    text: list[str] = field(default_factory=list)
    waiting: list[Entry] = field(default_factory=list)
    last_index: int = -1

    def let_text_go(self) -> None:
        """Take text that waited for what it is: it was no call."""
        for entry in self.waiting:
            entry.text_of = None
        self.waiting.clear()


class Answers:
    """Judges the answers of one response; most have one, `n` makes it several.

    Attributes:
        outcomes: how each call was judged so far, and each answer without the calls it
            should have had.
        faults: what has to be mended.
        mended: what is different from what the model said, so far.

    """

    def __init__(self, tools: Tools, schemas: Schemas) -> None:
        self._tools, self._schemas = tools, schemas
        self._answers: dict[int, Answer] = {}
        self.outcomes: list[CallOutcome] = []
        self.faults: list[Fault] = []
        self.mended = Mended({}, {}, set(), {})
        self._absent: dict[int, CallOutcome] = {}

    def of(self, number: int) -> Answer:
        """Return the answer of this number, a new one where it had said nothing yet."""
        found = self._answers.get(number)
        if found is None:
            found = self._answers[number] = Answer(TextWatch(self._tools))
        return found

    def begin_call(self, answer: Answer, call: GivenCall) -> None:
        """Take the beginning of a call, which ends the one before."""
        self.end_call(answer)
        answer.open = call
        answer.calls.append(call)

    def end_call(self, answer: Answer) -> None:
        """Judge the call that goes on, if one does: it is complete."""
        call, answer.open = answer.open, None
        if call is None:
            return
        said = "".join(call.arguments)
        verdict = judge(call.name, said, self._tools, self._schemas)
        if len(answer.calls) > 1 and not self._tools.allows_parallel:
            # The first stands: what the others are for, the model can say in its next turn.
            verdict = TOO_MANY
            self.mended.dropped.add(call.key)
        elif not verdict.is_valid:
            name = call.name if call.name in self._tools.schemas else None
            self.faults.append(Fault(call.key, name, f"{call.name}({said})", verdict))
        call.verdict = verdict
        self.outcomes.append(verdict.outcome)

    def finish(self, number: int, reason: str) -> None:
        """Judge an answer that is over: its last call, its text, and whether it lacks a call.

        `reason` is why it ended, in any route's words.
        """
        answer = self.of(number)
        is_cut_short = reason in _CUT_SHORT
        self.end_call(answer)
        if is_cut_short and answer.calls:
            self._excuse(answer.calls[-1])
        found = None if is_cut_short else answer.watch.called()
        if found is not None:
            kept, names = found
            name = names[0] if len(names) == 1 or not self._tools.allows_parallel else None
            text = "".join(answer.text)
            self.mended.texts[number] = text[: len(text) - len(answer.watch.held)] + kept
            self._note_absent(number, IN_TEXT, name, answer.watch.held[len(kept) :])
            return
        answer.let_text_go()
        if answer.calls or is_cut_short:
            return
        if reason in _CALLS or self._tools.demanded:
            self._note_absent(number, NO_CALL, self._tools.named, "".join(answer.text))
        elif not "".join(answer.text).strip():
            self._note_absent(number, EMPTY, None, "")

    def _excuse(self, call: GivenCall) -> None:
        """The last call of an answer that ended at its limit: half, as its client will see."""
        if any(fault.key == call.key for fault in self.faults):
            self.faults = [fault for fault in self.faults if fault.key != call.key]
            call.verdict = CUT_SHORT
            self.outcomes[-1] = CUT_SHORT.outcome

    def _note_absent(self, number: int, verdict: Verdict, name: str | None, said: str) -> None:
        self.outcomes.append(verdict.outcome)
        self._absent[number] = verdict.outcome
        may_be_many = name is None and self._tools.allows_parallel
        self.faults.append(Fault((number, -1), name, said, verdict, may_be_many))

    def delivered(self, *, drops: bool) -> list[JudgedCall]:
        """Return the calls that the client has when all has been passed on.

        `drops`: whether calls that may not stand are kept from it.
        """
        mended, found = self.mended, []
        for call in (call for answer in self._answers.values() for call in answer.calls):
            if call.verdict is not None and not (drops and call.key in mended.dropped):
                name = mended.calls[call.key].name if call.key in mended.calls else call.name
                found.append(JudgedCall(call.id, name, call.verdict.outcome))
        for number, added in mended.added.items():
            found += [JudgedCall(x.id, x.name, self._absent[number]) for x in added]
        return found

    def know_calls_as(self, ids: dict[str, str]) -> None:
        """Put ids in the place of others."""
        for call in (call for answer in self._answers.values() for call in answer.calls):
            call.id = ids.get(call.id, call.id)

    def read_whole(self, form: Form, body: Data) -> None:
        """Judge the answers of a whole body."""
        calls, texts = form.whole_calls(body), dict(form.whole_texts(body))
        for number, says_calls, is_short in form.whole_finish(body):
            answer = self.of(number)
            answer.text.append(texts.get(number, ""))
            answer.watch.feed(texts.get(number, ""))
            for call in calls:
                if call.key[0] == number:
                    given = GivenCall(call.key, call.id, call.name, {}, [call.arguments])
                    self.begin_call(answer, given)
            self.finish(number, "length" if is_short else "tool_calls" if says_calls else "stop")
