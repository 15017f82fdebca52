"""Ids and times of a repeated answer, in the words of the first."""

from __future__ import annotations

from typing import Any

from serve_app.relay.repeat.parts import Data


class Names:
    """Ids and times under which a client knows an answer and its parts."""

    def __init__(self) -> None:
        self._head: Data = {}
        self._items: list[Any] = []
        self._others: dict[Any, Any] = {}
        self._skipped = 0
        self._number = -1

    def learn(self, data: Data) -> None:
        """Note the names in an event that the client was told."""
        if isinstance(number := data.get("sequence_number"), int):
            self._number = max(self._number, number)
        if not self._head:
            self._head = _head(data)
        if data.get("type") == "response.output_item.added":
            self._items.append(data.get("item"))

    def begin_again(self) -> None:
        """From here on the names of events are another engine's."""
        self._others, self._skipped = {}, 0

    def skip(self, data: Data) -> None:
        """Note the names in an event that says what the client was told."""
        if data.get("type") == "response.output_item.added" and self._skipped < len(self._items):
            old, new = self._items[self._skipped], data.get("item")
            self._skipped += 1
            if isinstance(old, dict) and isinstance(new, dict):
                self._others |= {
                    new[name]: old.get(name)
                    for name in ("id", "call_id")
                    if isinstance(new.get(name), str)
                }

    def apply(self, data: Data) -> Data:
        """Return a new event with the client's names."""
        if "sequence_number" in data:
            self._number += 1
            data = {**data, "sequence_number": self._number}
        if "choices" in data:
            return {**data, **self._head}
        if isinstance(response := data.get("response"), dict):
            return {**data, "response": {**response, **self._head}}
        if data.get("item_id") in self._others:
            data = {**data, "item_id": self._others[data["item_id"]]}
        if isinstance(item := data.get("item"), dict):
            known = {k: self._others.get(v, v) for k, v in item.items() if k in ("id", "call_id")}
            data = {**data, "item": {**item, **known}}
        return data


def _head(data: Data) -> Data:
    response = data.get("response")
    whole = response if isinstance(response, dict) else data
    names = ("id", "created_at") if whole is response else ("id", "object", "created", "model")
    return {name: whole[name] for name in names if name in whole}
