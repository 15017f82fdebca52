"""Ids and times of a repeated answer, in the words of the first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serve_app.relay.repeat.parts import Data, inner


class Names:
    """Ids and times under which a client knows an answer and its parts."""

    def __init__(self) -> None:
        self._head: Data = {}
        self._items: list[Data] = []
        self._others: dict[str, str] = {}
        self._skipped = 0
        self._number = -1

    def learn(self, data: Data) -> None:
        """Note the names in an event that the client was told."""
        if isinstance(number := data.get("sequence_number"), int):
            self._number = max(self._number, number)
        if not self._head:
            self._head = _head(data)
        self._items += _begun(data)

    @property
    def others(self) -> dict[str, str]:
        """What the client knows the parts of the newest engine's answer by."""
        return self._others

    def begin_again(self) -> None:
        """From here on the names of events are another engine's."""
        self._others, self._skipped = {}, 0

    def skip(self, data: Data) -> None:
        """Note the names in an event that says what the client was told."""
        for new in _begun(data):
            if self._skipped < len(self._items):
                old = self._items[self._skipped]
                self._others |= {new[name]: old[name] for name in new.keys() & old.keys()}
            self._skipped += 1

    def apply(self, data: Data) -> Data:
        """Return a new event with the client's names."""
        if "sequence_number" in data:
            self._number += 1
            data = {**data, "sequence_number": self._number}
        if "choices" in data:
            return {**data, **self._head}
        if isinstance(response := data.get("response"), dict):
            return {**data, "response": {**response, **self._head}}
        item_id = data.get("item_id")
        if isinstance(item_id, str) and item_id in self._others:
            data = {**data, "item_id": self._others[item_id]}
        return {**data, "item": self._known(data["item"])} if "item" in data else data

    def _known(self, item: Any) -> Any:
        """An item under the client's names."""
        known = {name: self._others.get(own, own) for name, own in _ids(item).items()}
        return {**item, **known} if known else item


def _begun(data: Data) -> Sequence[dict[str, str]]:
    """The ids of the parts that begin in an event, and have some."""
    kind = data.get("type")
    if kind is None:
        begun = _calls(data)
    elif kind == "response.output_item.added":
        begun = [data.get("item")]
    elif kind == "content_block_start":
        begun = [data.get("content_block")]
    else:
        return ()
    return [ids for part in begun if (ids := _ids(part))] if begun else ()


def _calls(data: Data) -> Sequence[Any]:
    """The calls that begin in a chunk of chat: those that have a name."""
    choices = data.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    delta = choice.get("delta") if isinstance(choice, dict) else None
    calls = delta.get("tool_calls") if isinstance(delta, dict) else None
    if not isinstance(calls, list):
        return ()
    return [x for x in calls if isinstance(x, dict) and inner(x, "function").get("name")]


def _ids(part: Any) -> dict[str, str]:
    if not isinstance(part, dict):
        return {}
    return {k: part[k] for k in ("id", "call_id") if isinstance(part.get(k), str)}


def _head(data: Data) -> Data:
    response = data.get("response")
    whole = response if isinstance(response, dict) else data
    names = ("id", "created_at") if whole is response else ("id", "object", "created", "model")
    return {name: whole[name] for name in names if name in whole}
