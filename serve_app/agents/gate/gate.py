"""The gate: which events of a stream pass, which wait, and what is mended of them."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from serve_app.agents.forms.form import Data, Form, MadeCall, Piece, What, event_of
from serve_app.agents.gate.answers import Answers, Entry, Fault, GivenCall
from serve_app.agents.gate.frame import Frame, frame_of
from serve_app.agents.gate.writing import written
from serve_app.agents.schemas import Schemas
from serve_app.agents.tools import Tools
from serve_app.agents.verdict import CUT_SHORT, EMPTY, VALID, CallOutcome, JudgedCall, judge
from serve_app.protocol.sse import data_line, parsed_json

MAX_TRIES = 8
"""Frames that are learned in a row without a token that has one: these events differ more."""


class Gate:
    """One response's calls, on their way to the client.

    Args:
        holds: whether invalid calls wait to be mended; else all passes, and is judged.

    """

    def __init__(self, form: Form, tools: Tools, schemas: Schemas, *, holds: bool) -> None:
        self._form, self._tools, self._schemas = form, tools, schemas
        self._holds = holds
        self._answers = Answers(tools, schemas)
        self._queue: deque[Entry] = deque()
        self._has_begun = False
        self._frame: Frame | None = None
        self._tries = 0

    @property
    def holds(self) -> bool:
        return self._holds

    @property
    def tools(self) -> Tools:
        return self._tools

    @property
    def outcomes(self) -> list[CallOutcome]:
        """How each call was judged so far, and each answer without the calls it should have."""
        return self._answers.outcomes

    @property
    def faults(self) -> list[Fault]:
        """What has to be mended before `rest`."""
        return self._answers.faults

    @property
    def delivered(self) -> list[JudgedCall]:
        """The calls that the client has when all has been passed on, mended ones included."""
        return self._answers.delivered(drops=self._holds)

    def know_calls_as(self, ids: dict[str, str]) -> None:
        """Take the ids that the client knows calls by, where it has them of another engine."""
        if ids:
            self._answers.know_calls_as(ids)

    def afresh(self) -> Gate:
        """Return one for an answer that begins again."""
        return Gate(self._form, self._tools, self._schemas, holds=self._holds)

    # -- a stream -----------------------------------------------------------

    def feed(self, events: bytes) -> bytes:
        """Take whole events, return those that may go on."""
        if events.find(b"\n\n") == len(events) - 2:
            return self._feed(events)
        fed = [self._feed(event + b"\n\n") for event in events.split(b"\n\n") if event]
        return b"".join(fed) if self._holds else events

    def _feed(self, event: bytes) -> bytes:
        frame = self._frame
        token = None if frame is None else frame.token(event)
        if frame is not None and token is not None:
            self._tries = 0
            passed = self._feed_token(event, frame, token)
            if passed is not None:
                return passed
        self._take(event, is_new=token is None)
        if not self._holds:
            self._queue.clear()
            return event
        return self._released()

    def _feed_token(self, event: bytes, frame: Frame, token: str) -> bytes | None:
        """Take one more token; None: what it says has to be looked at."""
        entry = Entry(event)
        if frame.what is What.TEXT:
            self._say(token, entry, frame.key[0])
        elif frame.what is What.ARGUMENTS:
            entry.call = self._answers.of(frame.key[0]).open
            if entry.call is None:
                return None
            entry.call.arguments.append(token)
        if not self._holds:
            return event
        if entry.call is None and entry.text_of is None and self._has_begun and not self._queue:
            return event
        self._queue.append(entry)
        return b"" if entry.call is not None else self._released()

    def _say(self, text: str, entry: Entry, number: int) -> None:
        answer = self._answers.of(number)
        answer.text.append(text)
        if answer.watch.feed(text):
            entry.text_of = number
            answer.waiting.append(entry)
        elif answer.waiting:
            answer.let_text_go()

    def _take(self, event: bytes, *, is_new: bool) -> None:
        """Read an event; `is_new`: what stands around its token is not known."""
        data = parsed_json(data_line(event))
        if not isinstance(data, dict):
            self._queue.append(Entry(event))
            return
        pieces = list(self._form.read(data))
        if len(pieces) <= 1 or _is_one_call(pieces):
            self._take_one(event, data, pieces)
            if is_new and self._tries < MAX_TRIES:
                self._learn(event, data, pieces)
            return
        for part in self._form.split(data):
            self._take_one(event_of(part), part, list(self._form.read(part)))

    def _learn(self, event: bytes, data: Data, pieces: list[Piece]) -> None:
        frame = frame_of(event, data, pieces, self._form)
        if frame is not None:
            self._frame = frame
            self._tries += 1

    def _take_one(self, event: bytes, data: Data, pieces: list[Piece]) -> None:
        entry = Entry(event, data)
        self._queue.append(entry)
        number = pieces[0].key[0] if pieces else 0
        answer = self._answers.of(number)
        answer.last_index = max(answer.last_index, self._form.index_of(data))
        for piece in pieces:
            if piece.what is What.TEXT:
                self._say(piece.text, entry, number)
            elif piece.what is What.BEGIN:
                call = GivenCall(piece.key, self._form.id_of(data), piece.text, data)
                self._answers.begin_call(answer, call)
            elif piece.what is What.ARGUMENTS and answer.open is not None:
                answer.open.arguments.append(piece.text)
            entry.call = entry.call or (answer.open if piece.what is not What.TEXT else None)
            if piece.what is What.END:
                self._answers.end_call(answer)
            elif piece.what is What.FINISH:
                entry.call, entry.ends = None, number
                self._answers.finish(number, piece.text)

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

    def _is_opening(self, entry: Entry) -> bool:
        if entry.data is None or entry.call is not None or entry.text_of is not None:
            return False
        return self._form.is_opening(entry.data)

    def _waits(self, entry: Entry) -> bool:
        if entry.call is not None and entry.call.verdict not in (VALID, CUT_SHORT):
            return True
        if entry.text_of is not None:
            return True
        return bool(self.faults or self._answers.mended.is_needed)

    # -- a whole answer -----------------------------------------------------

    def read_whole(self, answer: Data) -> None:
        """Judge a whole answer."""
        self._answers.read_whole(self._form, answer)

    def whole(self, answer: Data) -> Data:
        """Return the whole answer with what was mended in it."""
        mended = self._answers.mended
        return self._form.whole_mended(answer, mended) if mended.is_needed else answer

    # -- mending ------------------------------------------------------------

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

    def _is_valid(self, call: MadeCall) -> bool:
        return judge(call.name, call.arguments, self._tools, self._schemas).is_valid

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

    def mend(self, fault: Fault, made: list[MadeCall]) -> None:
        """Put valid calls in a fault's place, one in that of a call; none: there is nothing."""
        self.faults.remove(fault)
        mended, (number, at) = self._answers.mended, fault.key
        answer = self._answers.of(number)
        if at >= 0:
            if not made:
                mended.dropped.add(fault.key)
            else:
                old = next(x for x in answer.calls if x.key == fault.key)
                mended.calls[fault.key] = replace(made[0], key=fault.key, id=old.id)
        elif made:
            mended.added[number] = made
        else:
            mended.texts.pop(number, None)
            answer.let_text_go()

    def say(self, fault: Fault, text: str) -> None:
        """Put a text in the place of an answer that was empty."""
        self.faults.remove(fault)
        self._answers.mended.texts[fault.key[0]] = text
        self._answers.mended.said.add(fault.key[0])

    def note_usage(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Add what mending took to the usage that the client is told."""
        self._answers.mended.prompt_tokens += prompt_tokens
        self._answers.mended.completion_tokens += completion_tokens

    def rest(self) -> bytes:
        """Return what waited, with what was mended; of a broken stream, only whole calls."""
        waited = list(self._queue)
        self._queue.clear()
        return written(waited, self._answers, self._form)


def _is_one_call(pieces: list[Piece]) -> bool:
    """Whether an event is about one call and nothing else."""
    inside = all(piece.what in (What.BEGIN, What.ARGUMENTS) for piece in pieces)
    return inside and len({piece.key for piece in pieces}) == 1
