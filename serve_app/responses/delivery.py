"""Between the relay and a client whose answer is to be stored: what passes is what is kept.

A whole answer waits until it is written; of a stream only its last event does. So the client
has the id of a response only when whoever it asks next can find it. What engines do not know
is put in on the way: which response was continued, and whether this one is stored.
"""

from __future__ import annotations

import json
import re
from typing import Any

from starlette.types import Message, Send

from serve_app.agents.forms.form import event_of
from serve_app.bodies.json_body import dump
from serve_app.protocol.sse import data_line
from serve_app.request.keeping import Keeping
from serve_app.responses.desk import StoredResponses
from serve_app.responses.rows import Content, NewResponse, Outcome

HEADER = b"x-pointsman-not-stored"

KEPT = frozenset({"completed", "incomplete"})
"""Status of answers that can be gone on with."""

MAX_ID_CHARS = 256

# Inside a JSON string the quotes would be escaped: these are members.
_NOTED = re.compile(
    rb'"type": ?"response\.(?:created|in_progress|completed|incomplete|output_item\.done)"'
)
_LAST = frozenset({"response.completed", "response.incomplete"})


class Delivery:
    """The `send` of one request.

    Args:
        tenant: whose the response is.

    """

    def __init__(self, send: Send, tenant: str, keeping: Keeping, stored: StoredResponses) -> None:
        self._send, self._tenant = send, tenant
        self._keeping, self._stored = keeping, stored
        self._head: Message | None = None
        self._is_stream = False
        self._items: list[dict[str, Any]] = []

    async def __call__(self, message: Message) -> None:
        """Pass a message on; those that matter, when the response is written."""
        if message["type"] == "http.response.start":
            await self._begin(message)
        elif self._head is not None:
            head, self._head = self._head, None
            await self._deliver_whole(head, message)
        elif self._is_stream and _NOTED.search(message.get("body", b"")):
            await self._send({**message, "body": await self._with_notes(message["body"])})
        else:
            await self._send(message)

    async def _begin(self, message: Message) -> None:
        kind = next((v for k, v in message["headers"] if k == b"content-type"), b"")
        self._is_stream = kind.startswith(b"text/event-stream")
        if self._is_stream or message["status"] != 200:
            await self._send(message)
        else:
            # Its headers say what became of the response.
            self._head = message

    async def _deliver_whole(self, head: Message, message: Message) -> None:
        answer = _object(message["body"])
        if answer is None or message.get("more_body"):
            await self._send(head)
            await self._send(message)
            return
        outcome = await self._keep(answer)
        body = dump(answer)
        headers = [(k, v) for k, v in head["headers"] if k != b"content-length"]
        if outcome not in (None, Outcome.STORED):
            headers.append((HEADER, outcome.value.encode()))
        headers.append((b"content-length", str(len(body)).encode()))
        await self._send({**head, "headers": headers})
        await self._send({**message, "body": body})

    async def _with_notes(self, events: bytes) -> bytes:
        out = []
        for event in events.split(b"\n\n"):
            if not event:
                continue
            raw = event + b"\n\n"
            data = _object(data_line(event)) if _NOTED.search(event) else None
            out.append(raw if data is None else await self._noted(raw, data))
        return b"".join(out)

    async def _noted(self, raw: bytes, data: dict[str, Any]) -> bytes:
        kind, response = data.get("type"), data.get("response")
        if kind == "response.output_item.done":
            item = data.get("item")
            self._items += [item] if isinstance(item, dict) else []
            return raw
        if not isinstance(response, dict):
            return raw
        if kind not in _LAST:
            response |= self._told(is_stored=self._keeping.is_wanted)
            return event_of(data)
        self._agree(response)
        outcome = await self._keep(response)
        if outcome in (None, Outcome.STORED):
            return event_of(data)
        return b": %b: %b\n\n" % (HEADER, outcome.value.encode()) + event_of(data)

    def _agree(self, response: dict[str, Any]) -> None:
        """Let the last event have the calls that the stream had.

        vLLM reads its whole text anew for it, and gives each call another id. A client may
        answer either; what goes on must know what is answered.
        """
        if not any(map(_is_call, self._items)):
            return
        is_cut_short = response.get("status") == "incomplete"
        # Half a call could not be read again: no engine would go on from it.
        response["output"] = [
            x for x in self._items if not (is_cut_short and _is_call(x) and _is_half(x))
        ]

    async def _keep(self, answer: dict[str, Any]) -> Outcome | None:
        """Write an answer, and say in it what was done; None: it is none to be stored."""
        answer |= self._told(is_stored=False)
        if not self._keeping.is_wanted or answer.get("status") not in KEPT:
            return None
        response_id, output = answer.get("id"), answer.get("output")
        if not isinstance(output, list) or not _is_id(response_id):
            self._stored.note(Outcome.FAILED)
            return Outcome.FAILED
        head = {k: v for k, v in answer.items() if k != "output"} | {"store": True}
        content = Content(dump(head), self._keeping.input, dump(output))
        new = NewResponse(self._tenant, str(response_id), self._keeping.previous, content)
        outcome = await self._stored.keep(new, self._keeping.bounds)
        answer["store"] = outcome is Outcome.STORED
        return outcome

    def _told(self, *, is_stored: bool) -> dict[str, Any]:
        return {"previous_response_id": self._keeping.previous, "store": is_stored}


def _is_call(item: dict[str, Any]) -> bool:
    return item.get("type") == "function_call"


def _is_half(call: dict[str, Any]) -> bool:
    arguments = call.get("arguments")
    return not isinstance(arguments, str) or _object(arguments.encode()) is None


def _is_id(value: object) -> bool:
    """Whether a response can be asked for by this id: clients may have made it."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ID_CHARS:
        return False
    return value.isprintable() and "/" not in value and value not in (".", "..")


def _object(text: bytes) -> dict[str, Any] | None:
    """Read an object, with its numbers as they were written."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
