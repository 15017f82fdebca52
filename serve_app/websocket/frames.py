"""The frames of `/v1/chat/ws`: what clients send, and what they are sent.

A client's frame is read once; a server's frame is put together from bytes that are
JSON already, because a chunk is the engine's own event and nothing in it changes.
An id is kept as its JSON text: it goes back as it came, string or number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from router.errors import Rejected, RejectReason
from router.placement.session import MAX_SESSION_ID_CHARS, is_session_id
from serve_app.bodies.json_body import as_utf8, loading
from serve_app.bodies.steps import Steps
from serve_app.config.serving import LimitsConfig
from serve_app.protocol.errors import Dialect, error_body, error_headers, status_of
from serve_app.request.call import MAX_REQUEST_ID_CHARS

MAX_ID_CHARS = 128
_MAX_TOKEN_CHARS = 256

_LEADING_ID = re.compile(rb'\s*\{\s*"id"\s*:\s*("[\x20\x21\x23-\x5b\x5d-\x7e]{1,128}"|\d{1,15})')

DONE = b"[DONE]"


@dataclass(frozen=True, slots=True)
class ChatFrame:
    """Begin a chat; its session and request id stand for the upgrade request's headers."""

    id: bytes
    body: dict[str, Any]
    session_id: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class CancelFrame:
    """Stop a chat."""

    id: bytes
    token: str | None = None


@dataclass(frozen=True, slots=True)
class ResumeFrame:
    """Take a chat over: send the frames after number `after`."""

    id: bytes
    after: int
    token: str | None = None


@dataclass(frozen=True, slots=True)
class BadFrame:
    """A frame that cannot be followed, and why."""

    id: bytes
    rejected: Rejected


ClientFrame = ChatFrame | CancelFrame | ResumeFrame

NO_ID = b"null"

MAX_CONTROL_BYTES = 4 * 1024
"""A larger frame can only begin a chat."""


def leading_id(raw: bytes) -> bytes:
    """The id of a frame that is not read, where it comes first."""
    found = _LEADING_ID.match(raw)
    return found[1] if found else NO_ID


def reading_frame(raw: bytes, limits: LimitsConfig) -> Steps[ClientFrame | BadFrame]:
    if len(raw) > limits.max_body_bytes:
        message = f"A frame may have {limits.max_body_bytes} bytes."
        return BadFrame(leading_id(raw), Rejected(RejectReason.REQUEST_TOO_LARGE, message))
    frame = yield from loading(as_utf8(raw), limits)
    if isinstance(frame, Rejected):
        what = frame.message.replace("request body", "frame")
        return BadFrame(leading_id(raw), Rejected(frame.reason, what))
    yield
    chat_id = _id(frame.get("id"))
    if chat_id is None:
        message = f"'id' must be a number or 1 to {MAX_ID_CHARS} printable characters."
        return _bad(NO_ID, message, "id")
    reader = _READERS.get(frame.get("type") if isinstance(frame.get("type"), str) else "")
    if reader is None:
        return _bad(chat_id, "'type' must be 'chat', 'cancel' or 'resume'.", "type")
    return reader(chat_id, frame)


def _read_chat(chat_id: bytes, frame: dict[str, Any]) -> ChatFrame | BadFrame:
    body, session = frame.get("body"), frame.get("session_id")
    if not isinstance(body, dict):
        return _bad(chat_id, "'body' must be an object: a chat request.", "body")
    if session is not None and not (isinstance(session, str) and is_session_id(session)):
        message = f"A session id has 1 to {MAX_SESSION_ID_CHARS} printable characters."
        return _bad(chat_id, message, "session_id")
    request = frame.get("request_id")
    if request is not None and not _is_text(request, MAX_REQUEST_ID_CHARS):
        message = f"'request_id' must be 1 to {MAX_REQUEST_ID_CHARS} printable ASCII characters."
        return _bad(chat_id, message, "request_id")
    return ChatFrame(chat_id, body, session, request)


def _read_cancel(chat_id: bytes, frame: dict[str, Any]) -> CancelFrame | BadFrame:
    token = _token(chat_id, frame)
    return token if isinstance(token, BadFrame) else CancelFrame(chat_id, token)


def _read_resume(chat_id: bytes, frame: dict[str, Any]) -> ResumeFrame | BadFrame:
    token, after = _token(chat_id, frame), frame.get("after", 0)
    if isinstance(token, BadFrame):
        return token
    if not isinstance(after, int) or isinstance(after, bool):
        return _bad(chat_id, "'after' must be the 'seq' of the last frame that came.", "after")
    return ResumeFrame(chat_id, max(0, after), token)


_Reader = Callable[[bytes, dict[str, Any]], ClientFrame | BadFrame]

_READERS: dict[Any, _Reader] = {"chat": _read_chat, "cancel": _read_cancel, "resume": _read_resume}


def _token(chat_id: bytes, frame: dict[str, Any]) -> str | BadFrame | None:
    token = frame.get("resume")
    if token is None:
        return None
    if isinstance(token, str) and _is_text(token, _MAX_TOKEN_CHARS):
        return token
    return _bad(chat_id, "'resume' must be the token of the chat's first frame.", "resume")


def _is_text(value: Any, most: int) -> bool:
    return (
        isinstance(value, str)
        and 0 < len(value) <= most
        and value.isascii()
        and value.isprintable()
    )


def _id(value: Any) -> bytes | None:
    if isinstance(value, str):
        if not 0 < len(value) <= MAX_ID_CHARS or not value.isprintable():
            return None
    elif not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 2**53:
        return None
    return orjson.dumps(value)


def _bad(chat_id: bytes, message: str, param: str) -> BadFrame:
    return BadFrame(chat_id, Rejected(RejectReason.INVALID_REQUEST, message, param=param))


# -- what the server sends --------------------------------------------------------------


def payloads(events: bytes) -> Iterator[bytes]:
    for event in events.split(b"\n\n"):
        if event.startswith(b"data: "):
            yield event[6:]


def chunk(chat_id: bytes, seq: int, data: bytes, extra: bytes = b"") -> bytes:
    """A chunk frame; `extra` are further members, each with a comma before it."""
    return b'{"id":%b,"seq":%d,"type":"chunk","data":%b%b}' % (chat_id, seq, data, extra)


def done(chat_id: bytes, seq: int, *, is_cancelled: bool = False) -> bytes:
    extra = b',"cancelled":true' if is_cancelled else b""
    return b'{"id":%b,"seq":%d,"type":"done"%b}' % (chat_id, seq, extra)


def error(chat_id: bytes, body: bytes, extra: bytes = b"") -> bytes:
    """An error frame from an error body `{"error": …}` as HTTP would have it."""
    return b'{"id":%b,"type":"error",%b%b}' % (chat_id, body.strip()[1:-1], extra)


def ending(chat_id: bytes, rejected: Rejected) -> bytes:
    """The error frame that ends a chat which had begun."""
    return error(chat_id, error_body(rejected, Dialect.OPENAI))


def refusal(chat_id: bytes, rejected: Rejected) -> bytes:
    """The error frame of a chat that did not begin: with what HTTP would have said."""
    headers = {name.decode(): value.decode() for name, value in error_headers(rejected)}
    extra = members(status=status_of(rejected.reason), headers=headers)
    return error(chat_id, error_body(rejected, Dialect.OPENAI), extra)


def members(**values: Mapping[str, str] | str | int) -> bytes:
    """Further members of a frame, as JSON text with a comma before each."""
    return b"".join(b',"%b":%b' % (k.encode(), orjson.dumps(v)) for k, v in values.items())
