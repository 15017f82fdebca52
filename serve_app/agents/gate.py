"""Lets the calls of an answer through when they are valid, and holds what is not.

Theory of operation. A client acts on a call when the answer ends, or as soon as the next
one begins, and what it was given cannot be taken back. So the events of a call wait until
its arguments are complete and have been judged; text and reasoning pass as they come,
unless they begin like a call. From the first invalid call on everything waits for the
answer's end, in order, so that calls come as the model made them and never half of one.
Then whoever owns the gate has each fault mended, and `rest` gives what waited with the
calls that came in their place.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace

from serve_app.agents.call_text import TextWatch
from serve_app.agents.forms.form import Data, Form, Key, MadeCall, Mended, Piece, What, event_of
from serve_app.agents.schemas import Schemas
from serve_app.agents.tools import Tools
from serve_app.agents.verdict import (
    CUT_SHORT,
    EMPTY,
    IN_TEXT,
    NO_CALL,
    TOO_MANY,
    VALID,
    CallOutcome,
    Verdict,
    judge,
)
from serve_app.protocol.sse import data_line, parsed_json

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
class _Call:
    key: Key
    id: str
    name: str
    begin: Data
    arguments: list[str] = field(default_factory=list)
    verdict: Verdict | None = None


@dataclass(slots=True)
class _Answer:
    watch: TextWatch
    calls: list[_Call] = field(default_factory=list)
    open: _Call | None = None
    text: list[str] = field(default_factory=list)
    waiting: list[_Entry] = field(default_factory=list)
    last_index: int = -1


@dataclass(slots=True)
class _Entry:
    """An event that waits, or that comes after one that does.

    Attributes:
        text_of: the answer whose text it is a part of, while that may be a call.
        ends: the answer that it ends.

    """

    raw: bytes
    data: Data | None = None
    call: _Call | None = None
    text_of: int | None = None
    ends: int | None = None


class Gate:
    """One answer's calls, on their way to the client.

    Args:
        holds: whether invalid calls wait to be mended; else all passes, and is judged.

    Attributes:
        outcomes: how each call was judged so far, and each answer without the calls it
            should have had.
        faults: what has to be mended before `rest`.

    """

    def __init__(self, form: Form, tools: Tools, schemas: Schemas, *, holds: bool) -> None:
        self._form, self._tools, self._schemas = form, tools, schemas
        self._holds = holds
        self._answers: dict[int, _Answer] = {}
        self._queue: deque[_Entry] = deque()
        self._mended = Mended({}, {}, set(), {})
        self._has_begun = False
        self.outcomes: list[CallOutcome] = []
        self.faults: list[Fault] = []

    @property
    def holds(self) -> bool:
        return self._holds

    @property
    def tools(self) -> Tools:
        return self._tools

    def afresh(self) -> Gate:
        """Return one for an answer that begins again."""
        return Gate(self._form, self._tools, self._schemas, holds=self._holds)

    def made_again(self, answer: Data, fault: Fault) -> list[MadeCall]:
        """Return what of a whole answer may stand in a fault's place.

        Its first valid call; where it may be many all of them, or none if one is not valid.
        """
        made = self._form.whole_calls(answer)
        valid = [call for call in made if self._is_valid(call)]
        if not fault.may_be_many:
            made = valid = valid[:1]
        if len(valid) < len(made):
            return []
        return [replace(call, arguments=call.arguments.strip() or "{}") for call in valid]

    def text_of(self, answer: Data) -> str:
        """Return the text of a whole answer that has nothing else, and was not cut short."""
        is_cut = any(is_short for _, _, is_short in self._form.whole_finish(answer))
        if is_cut or self._form.whole_calls(answer) or self.finds_faults(answer):
            return ""
        said = "".join(text for _, text in self._form.whole_texts(answer))
        return said if said.strip() else ""

    def finds_faults(self, answer: Data) -> bool:
        """Whether a whole answer has calls that are not valid, or are not made."""
        judged = self.afresh()
        judged.read_whole(answer)
        return any(fault.verdict is not EMPTY for fault in judged.faults)

    def _is_valid(self, call: MadeCall) -> bool:
        return judge(call.name, call.arguments, self._tools, self._schemas).is_valid

    # -- a stream -----------------------------------------------------------

    def feed(self, events: bytes) -> bytes:
        """Take whole events, return those that may go on."""
        for event in events.split(b"\n\n"):
            if event:
                self._take(event + b"\n\n")
        if not self._holds:
            self._queue.clear()
            return events
        return self._released()

    def _take(self, raw: bytes) -> None:
        data = parsed_json(data_line(raw))
        if not isinstance(data, dict):
            self._queue.append(_Entry(raw))
            return
        pieces = list(self._form.read(data))
        if len(pieces) <= 1 or _is_one_call(pieces):
            self._take_one(raw, data, pieces)
            return
        for part in self._form.split(data):
            self._take_one(event_of(part), part, list(self._form.read(part)))

    def _take_one(self, raw: bytes, data: Data, pieces: list[Piece]) -> None:
        entry = _Entry(raw, data)
        self._queue.append(entry)
        number = pieces[0].key[0] if pieces else 0
        answer = self._answer(number)
        answer.last_index = max(answer.last_index, self._form.index_of(data))
        for piece in pieces:
            if piece.what is What.TEXT:
                answer.text.append(piece.text)
                if answer.watch.feed(piece.text):
                    entry.text_of = number
                    answer.waiting.append(entry)
                else:
                    _let_text_go(answer)
            elif piece.what is What.BEGIN:
                self._judge_open(answer)
                answer.open = _Call(piece.key, self._form.id_of(data), piece.text, data)
                answer.calls.append(answer.open)
            elif piece.what is What.ARGUMENTS and answer.open is not None:
                answer.open.arguments.append(piece.text)
            entry.call = entry.call or (answer.open if piece.what is not What.TEXT else None)
            if piece.what is What.END:
                self._judge_open(answer)
            elif piece.what is What.FINISH:
                entry.call, entry.ends = None, number
                self._finish(number, answer, piece.text)

    def _answer(self, number: int) -> _Answer:
        found = self._answers.get(number)
        if found is None:
            found = self._answers[number] = _Answer(TextWatch(self._tools))
        return found

    def _excuse(self, call: _Call) -> None:
        """The last call of an answer that ended at its limit: half, as its client will see."""
        if any(fault.key == call.key for fault in self.faults):
            self.faults = [fault for fault in self.faults if fault.key != call.key]
            call.verdict = CUT_SHORT
            self.outcomes[-1] = CUT_SHORT.outcome

    def _judge_open(self, answer: _Answer) -> None:
        call, answer.open = answer.open, None
        if call is None:
            return
        said = "".join(call.arguments)
        verdict = judge(call.name, said, self._tools, self._schemas)
        if len(answer.calls) > 1 and not self._tools.allows_parallel:
            # The first stands: what the others are for, the model can say in its next turn.
            verdict = TOO_MANY
            self._mended.dropped.add(call.key)
        elif not verdict.is_valid:
            name = call.name if call.name in self._tools.schemas else None
            self.faults.append(Fault(call.key, name, f"{call.name}({said})", verdict))
        call.verdict = verdict
        self.outcomes.append(verdict.outcome)

    def _finish(self, number: int, answer: _Answer, reason: str) -> None:
        is_cut_short = reason in _CUT_SHORT
        self._judge_open(answer)
        if is_cut_short and answer.calls:
            self._excuse(answer.calls[-1])
        found = None if is_cut_short else answer.watch.called()
        if found is not None:
            kept, names = found
            name = names[0] if len(names) == 1 or not self._tools.allows_parallel else None
            text = "".join(answer.text)
            self._mended.texts[number] = text[: len(text) - len(answer.watch.held)] + kept
            self._note_absent(number, IN_TEXT, name, answer.watch.held[len(kept) :])
            return
        _let_text_go(answer)
        if answer.calls or is_cut_short:
            return
        if reason in _CALLS or self._tools.demanded:
            self._note_absent(number, NO_CALL, self._tools.named, "".join(answer.text))
        elif not "".join(answer.text).strip():
            self._note_absent(number, EMPTY, None, "")

    def _note_absent(self, number: int, verdict: Verdict, name: str | None, said: str) -> None:
        self.outcomes.append(verdict.outcome)
        may_be_many = name is None and self._tools.allows_parallel
        self.faults.append(Fault((number, -1), name, said, verdict, may_be_many))

    def _released(self) -> bytes:
        if not self._has_begun:
            # What comes before the answer waits for its first word, too: until then the
            # request can be answered anew, and headers can say what was done.
            first = next((x for x in self._queue if not self._is_opening(x)), None)
            if first is None or self._waits(first):
                return b""
            self._has_begun = True
        out = []
        while self._queue and not self._waits(self._queue[0]):
            out.append(self._queue.popleft().raw)
        return b"".join(out)

    def _is_opening(self, entry: _Entry) -> bool:
        if entry.data is None or entry.call is not None or entry.text_of is not None:
            return False
        return self._form.is_opening(entry.data)

    def _waits(self, entry: _Entry) -> bool:
        if entry.call is not None and entry.call.verdict not in (VALID, CUT_SHORT):
            return True
        if entry.text_of is not None:
            return True
        return bool(self.faults or self._mended.is_needed)

    # -- mending ------------------------------------------------------------

    def mend(self, fault: Fault, made: list[MadeCall]) -> None:
        """Put valid calls in a fault's place, one in that of a call; none: there is nothing."""
        self.faults.remove(fault)
        number, at = fault.key
        if at >= 0:
            if not made:
                self._mended.dropped.add(fault.key)
            else:
                old = next(x for x in self._answers[number].calls if x.key == fault.key)
                self._mended.calls[fault.key] = replace(made[0], key=fault.key, id=old.id)
        elif made:
            self._mended.added[number] = made
        else:
            self._mended.texts.pop(number, None)
            _let_text_go(self._answers[number])

    def say(self, fault: Fault, text: str) -> None:
        """Put a text in the place of an answer that was empty."""
        self.faults.remove(fault)
        self._mended.texts[fault.key[0]] = text
        self._mended.said.add(fault.key[0])

    def note_usage(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Add what mending took to the usage that the client is told."""
        self._mended.prompt_tokens += prompt_tokens
        self._mended.completion_tokens += completion_tokens

    def rest(self) -> bytes:
        """Return what waited, with what was mended; of a broken stream, only whole calls."""
        out = []
        written: set[Key] = set()
        while self._queue:
            out.append(self._written(self._queue.popleft(), written))
        return b"".join(out)

    def _written(self, entry: _Entry, written: set[Key]) -> bytes:
        mended, data = self._mended, entry.data
        if data is None:
            return entry.raw
        if entry.call is not None:
            return self._written_call(entry, entry.call, written)
        if entry.text_of is not None and entry.text_of in mended.texts:
            return self._kept_text(entry.text_of, data)
        if not mended.is_needed:
            return entry.raw
        before = b""
        if entry.ends in mended.said:
            first = self._answers[entry.ends].last_index + 1
            said = self._form.new_text(data, first, mended.texts[entry.ends])
            before = b"".join(map(event_of, said))
        if entry.ends is not None and (added := mended.added.get(entry.ends)) is not None:
            first = self._answers[entry.ends].last_index + 1
            events = [self._form.new_call(data, first + at, call) for at, call in enumerate(added)]
            before = b"".join(event_of(event) for call in events for event in call)
        return before + event_of(self._form.closed(data, mended))

    def _written_call(self, entry: _Entry, call: _Call, written: set[Key]) -> bytes:
        if call.verdict is None or call.key in self._mended.dropped:
            return b""
        new = self._mended.calls.get(call.key)
        if new is None:
            return entry.raw
        if call.key in written:
            return b""
        written.add(call.key)
        return b"".join(map(event_of, self._form.events(call.begin, new)))

    def _kept_text(self, number: int, data: Data) -> bytes:
        """What stands before the call, in the first event of the text that was held."""
        found = self._answers[number].watch.called()
        if found is None or not found[0]:
            return b""
        self._answers[number].watch.held = ""
        return event_of(self._form.said(data, found[0]))

    # -- a whole answer -----------------------------------------------------

    def read_whole(self, answer: Data) -> None:
        """Judge a whole answer."""
        ends = self._form.whole_finish(answer)
        calls = self._form.whole_calls(answer)
        texts = dict(self._form.whole_texts(answer))
        for number, says_calls, is_short in ends:
            state = self._answer(number)
            state.text.append(texts.get(number, ""))
            state.watch.feed(texts.get(number, ""))
            mine = [call for call in calls if call.key[0] == number]
            for call in mine:
                self._judge_open(state)
                state.open = _Call(call.key, call.id, call.name, {}, [call.arguments])
                state.calls.append(state.open)
            reason = "length" if is_short else "tool_calls" if says_calls else "stop"
            self._finish(number, state, reason)

    def whole(self, answer: Data) -> Data:
        """Return the whole answer with what was mended in it."""
        mended = self._mended
        return self._form.whole_mended(answer, mended) if mended.is_needed else answer


def _is_one_call(pieces: list[Piece]) -> bool:
    """Whether an event is about one call and nothing else."""
    inside = all(piece.what in (What.BEGIN, What.ARGUMENTS) for piece in pieces)
    return inside and len({piece.key for piece in pieces}) == 1


def _let_text_go(answer: _Answer) -> None:
    for entry in answer.waiting:
        entry.text_of = None
    answer.waiting.clear()
