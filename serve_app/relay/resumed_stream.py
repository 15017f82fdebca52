"""The stream of an engine that goes on with what another began, in the first one's words."""

from __future__ import annotations

from array import array
from typing import Any

from router.recovery.resume import Delivered, ResumePoint
from router.recovery.stops import StopMatcher
from serve_app.bodies.json_body import dump
from serve_app.protocol.sse import EventReader, Usage
from serve_app.relay.engine_stream import EngineStream
from serve_app.relay.transcript import DONE, Transcript, count_ids, data_of, note_choice


class ResumedStream(EngineStream):
    """The stream of an engine that goes on, in the words of the one that began.

    Args:
        transcript: what was given, and the envelope of its chunks.
        point: where it goes on.
        stops: the matcher over stop strings; None where the engine watches them.
        least_tokens: the answer cannot be stopped before so many.
        wants_usage: the client asked for the closing usage event.

    """

    def __init__(
        self,
        transcript: Transcript,
        point: ResumePoint,
        *,
        stops: StopMatcher | None = None,
        least_tokens: int = 0,
        wants_usage: bool = False,
    ) -> None:
        super().__init__(EventReader(hide_usage=False), is_steady=transcript.has_ids)
        self._transcript = transcript
        self._delivered: Delivered = transcript.delivered
        self._kept = point.ids
        self._held = point.held
        self._stops = stops
        self._least_tokens = least_tokens
        self._wants_usage = wants_usage
        self._told: Usage | None = None
        self._is_done = False

    def feed(self, chunk: bytes) -> bytes:
        out = []
        reader = self.reader
        events = reader.feed(chunk)
        self.is_over = self.is_over or reader.is_endless
        self.ids += count_ids(events)
        self.tokens = self.ids or reader.events
        for event in events.split(b"\n\n"):
            if self.is_over:
                break
            if event == b"data: [DONE]":
                self._is_done = True
                out.append(DONE)
            elif (data := data_of(event)) is not None:
                out.append(self._translate(data))
        return b"".join(out)

    @property
    def is_complete(self) -> bool:
        return self._is_done

    @property
    def usage(self) -> Usage | None:
        """Of both parts: the first part's prompt, both parts' completion.

        What the first engine had cached it would have told at the end only.
        """
        return self._told

    @property
    def has_failed(self) -> bool:
        return self.reader.has_failed or not (self._is_done or self.is_over)

    def _translate(self, data: dict[str, Any]) -> bytes:
        choices = data.get("choices") or []
        if not choices:
            return self._closing(data)
        choice = choices[0]
        if not self._delivered.prompt and data.get("prompt_token_ids") and not self._kept:
            self._delivered.prompt = array("I", data["prompt_token_ids"])
        if (choice.get("delta") or {}).get("role") and self._transcript.has_role:
            # Who speaks was said by the first engine.
            if not choice["delta"].get("content") and choice.get("finish_reason") is None:
                return b""
            choice["delta"].pop("role")
        ids = choice.get("token_ids") or []
        text, ending = self._watched(choice, ids)
        if "text" in choice and self._transcript.is_chat:
            choice = _as_chat(choice)
        _set_text(choice, text, ending)
        note_choice(self._delivered, choice)
        if not self._transcript.shows_ids:
            choice["token_ids"] = None
        choice.pop("prompt_token_ids", None)
        chunk = {**self._transcript.envelope, "choices": [choice]}
        if data.get("usage"):
            chunk["usage"] = self._both(data["usage"])
        out = _event(chunk)
        if ending is not None:
            out += self._stopped()
        return out

    def _watched(self, choice: dict[str, Any], ids: list[int]) -> tuple[str, str | None]:
        """The text that may be passed on, and the stop string that ends the answer."""
        text = choice.get("text")
        if text is None:
            text = (choice.get("delta") or {}).get("content") or ""
        held, self._held = self._held, ""
        if self._stops is None:
            return held + text, None
        if held:
            counts = self._kept > self._least_tokens
            passed = self._stops.feed(held, counts=counts)
            if passed.stop is not None:
                return passed.text, passed.stop
            held = passed.text
        tokens = len(self._delivered.ids) + len(ids)
        passed = self._stops.feed(text, counts=tokens > self._least_tokens)
        if passed.stop is None and choice.get("finish_reason") is not None:
            return held + passed.text + self._stops.flush(), None
        return held + passed.text, passed.stop

    def _stopped(self) -> bytes:
        """A stop string ended the answer: what the engine would have said after it."""
        self.is_over = True
        self._told = known_usage(self._delivered)
        return closing(self._transcript, self._told, wants_usage=self._wants_usage)

    def _closing(self, data: dict[str, Any]) -> bytes:
        if not data.get("usage"):
            return b""
        usage = self._both(data["usage"])
        self._told = Usage(usage["prompt_tokens"], usage["completion_tokens"])
        if not self._wants_usage:
            return b""
        return _event({**data, **self._transcript.envelope, "usage": usage})

    def _both(self, usage: dict[str, Any]) -> dict[str, Any]:
        """An engine's count of the second part, as a count of both."""
        if self._delivered.prompt:
            prompt = len(self._delivered.prompt)
        else:
            prompt = usage["prompt_tokens"] - self._kept
        completion = usage["completion_tokens"] + self._kept
        both = {**usage, "prompt_tokens": prompt, "completion_tokens": completion}
        if both.get("prompt_tokens_details") and self._kept:
            both["prompt_tokens_details"] = {"cached_tokens": 0}
        return {**both, "total_tokens": prompt + completion}


def known_usage(delivered: Delivered) -> Usage | None:
    """The count that token ids give; None where the engine told none."""
    if not delivered.prompt or delivered.lacks_ids:
        return None
    return Usage(len(delivered.prompt), len(delivered.ids))


def closing(transcript: Transcript, usage: Usage | None, *, wants_usage: bool) -> bytes:
    """The end of a stream whose answer is whole: usage where it was asked for, the mark."""
    if usage is None or not wants_usage:
        return DONE
    told = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total,
    }
    return _event({**transcript.envelope, "choices": [], "usage": told}) + DONE


def _as_chat(choice: dict[str, Any]) -> dict[str, Any]:
    """A choice of a completion chunk as one of a chat chunk, member by member."""
    names = ("index", "logprobs", "finish_reason")
    chat: dict[str, Any] = {name: choice[name] for name in names if name in choice}
    if choice.get("finish_reason") is not None:
        chat["stop_reason"] = choice.get("stop_reason")
    return {**chat, "delta": {}, "token_ids": choice.get("token_ids")}


def _set_text(choice: dict[str, Any], text: str, ending: str | None) -> None:
    if "text" in choice:
        choice["text"] = text
    elif text or not choice.get("delta"):
        choice["delta"] = {**(choice.get("delta") or {}), "content": text}
    if ending is not None:
        choice |= {"finish_reason": "stop", "stop_reason": ending}


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + dump(data) + b"\n\n"
