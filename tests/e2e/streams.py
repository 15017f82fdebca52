"""Streams of every kind, read to their end whatever happens to what serves them."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterable, Sequence
from typing import Any

import httpx

from tests.e2e.support import PATIENCE_S, chat

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
MESSAGES = "/v1/messages"
RESPONSES = "/v1/responses"

ENDS = {
    CHAT: "data: [DONE]",
    COMPLETIONS: "data: [DONE]",
    MESSAGES: '"type":"message_stop"',
    RESPONSES: '"type":"response.completed"',
}
"""What the last event of a whole answer has."""

STORIES = [
    chat(f"Tell me a story about {what}.", model="chat", temperature=0, ignore_eos=True)
    for what in ("a fox", "the sea", "two kings", "a train", "rain", "an old clock")
]
"""What real engines are asked: always the same answer, of as many tokens as one likes."""


def form(path: str, text: str, tokens: int, **fields: Any) -> dict[str, Any]:
    """What asks for a stream of so many tokens at this path."""
    if path == RESPONSES:
        asked = {"model": "auto", "input": text, "max_output_tokens": tokens}
    elif path == COMPLETIONS:
        asked = {"model": "auto", "prompt": text, "max_tokens": tokens}
    else:
        asked = chat(text, max_tokens=tokens)
    return asked | {"stream": True} | fields


def events(stream: str) -> list[str]:
    """The events of a stream, without the comments between them."""
    parts = (event.strip() for event in stream.split("\n\n"))
    return [event for event in parts if event and not event.startswith(":")]


def data_of(stream: str) -> list[dict[str, Any]]:
    """The events of a stream that are JSON: of one that still comes, those that are whole.

    A read may end anywhere in an event, so a last line without its end may be half of one.
    """
    *ended, last = stream.split("\n")
    found = [json.loads(x[6:]) for x in ended if x.startswith("data: {")]
    if last.startswith("data: {"):
        with contextlib.suppress(json.JSONDecodeError):
            found.append(json.loads(last[6:]))
    return found


def text_of(data: Iterable[dict[str, Any]]) -> str:
    """What the texts of events come to."""
    return "".join(map(_said, data))


def words(stream: str) -> list[str]:
    """The simulated engine's tokens in a stream: a word each, however they were merged."""
    return text_of(data_of(stream)).split()


def _said(event: dict[str, Any]) -> str:
    """The text that an event adds."""
    if event.get("type") == "response.output_text.delta":
        return str(event["delta"])
    if event.get("type") == "content_block_delta":
        return str(event["delta"].get("text", ""))
    choices = event.get("choices", ())
    return "".join(x.get("text") or x.get("delta", {}).get("content") or "" for x in choices)


class Stream(threading.Thread):
    """One answer, read until it ends however that is. Begun once something was said.

    Attributes:
        replica: id of the lane replica that began it, once it has begun.

    """

    def __init__(self, url: str, path: str, asked: dict[str, Any], session: str = "") -> None:
        super().__init__(daemon=True)
        self.path, self.text, self.begun = path, "", threading.Event()
        self.replica = ""
        self._url, self._asked = url, asked
        self._headers = {"x-pointsman-debug": "1"}
        if session:
            self._headers["x-session-id"] = session

    @property
    def is_whole(self) -> bool:
        said = events(self.text)
        return bool(said) and ENDS[self.path] in said[-1] and '"error":{' not in self.text

    @property
    def words(self) -> list[str]:
        return words(self.text)

    def whole(self) -> tuple[str, dict[str, int]]:
        """Text and usage of a chat, which has to end whole and under one id."""
        self.join()
        assert self.is_whole, self.text[-500:]
        data = data_of(self.text)
        assert len({event["id"] for event in data}) == 1
        return text_of(data), data[-1]["usage"]

    def run(self) -> None:
        with (
            # How it ended is in its text.
            contextlib.suppress(httpx.HTTPError),
            httpx.Client(timeout=240) as http,
            http.stream(
                "POST",
                self._url + self.path,
                json=self._asked,
                headers=self._headers,
            ) as response,
        ):
            self.replica = response.headers.get("x-pointsman-replica", "")
            for part in response.iter_text():
                self.text += part
                self.begun.set()


def begin(streams: Sequence[Stream]) -> None:
    """Start them, and wait until each has said something."""
    for stream in streams:
        stream.start()
    for stream in streams:
        assert stream.begun.wait(PATIENCE_S)


def stories(url: str, tokens: int) -> list[Stream]:
    """A stream of so many tokens for each of `STORIES`."""
    more = {"max_tokens": tokens, "stream": True, "stream_options": {"include_usage": True}}
    return [Stream(url, CHAT, story | more) for story in STORIES]
