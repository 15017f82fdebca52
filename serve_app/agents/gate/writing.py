"""Writes the events that waited, with the calls that came in place of invalid ones."""

from __future__ import annotations

from collections.abc import Iterable

from serve_app.agents.forms.form import Form, Key, event_of
from serve_app.agents.gate.answers import Answers, Entry, GivenCall
from serve_app.protocol.sse import data_line, parsed_json


def written(entries: Iterable[Entry], answers: Answers, form: Form) -> bytes:
    """Return the events as the client gets them; of a call that is not whole, nothing."""
    writer = _Writer(answers, form)
    return b"".join(map(writer.write, entries))


class _Writer:
    def __init__(self, answers: Answers, form: Form) -> None:
        self._answers, self._form = answers, form
        self._calls: set[Key] = set()

    def write(self, entry: Entry) -> bytes:
        mended, data = self._answers.mended, entry.data
        if entry.call is not None:
            return self._call(entry, entry.call)
        if entry.text_of is not None and entry.text_of in mended.texts:
            return self._kept_text(entry.text_of, entry)
        if data is None or not mended.is_needed:
            return entry.raw
        before = b""
        if entry.ends is not None and entry.ends in mended.said:
            first = self._answers.of(entry.ends).last_index + 1
            said = self._form.new_text(data, first, mended.texts[entry.ends])
            before = b"".join(map(event_of, said))
        if entry.ends is not None and (added := mended.added.get(entry.ends)) is not None:
            first = self._answers.of(entry.ends).last_index + 1
            events = [self._form.new_call(data, first + at, call) for at, call in enumerate(added)]
            before = b"".join(event_of(event) for call in events for event in call)
        return before + event_of(self._form.closed(data, mended))

    def _call(self, entry: Entry, call: GivenCall) -> bytes:
        mended = self._answers.mended
        if call.verdict is None or call.key in mended.dropped:
            return b""
        new = mended.calls.get(call.key)
        if new is None:
            return entry.raw
        if call.key in self._calls:
            return b""
        self._calls.add(call.key)
        return b"".join(map(event_of, self._form.events(call.begin, new)))

    def _kept_text(self, number: int, entry: Entry) -> bytes:
        """What stands before the call, in the first event of the text that was held."""
        watch = self._answers.of(number).watch
        found, data = watch.called(), parsed_json(data_line(entry.raw))
        if found is None or not found[0] or not isinstance(data, dict):
            return b""
        watch.held = ""
        return event_of(self._form.said(data, found[0]))
