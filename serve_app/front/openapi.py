"""`GET /openapi.json`: the outward interface, as far as it is ours.

Bodies of the generation routes are the pinned vLLM's; they are described as open
objects because every field a client sends reaches the engine.
"""

from __future__ import annotations

from typing import Any

from router.errors import RejectReason
from router.types import Reason
from serve_app.front.openapi_admin import ADMIN_PATHS
from serve_app.request.call import MAX_REQUEST_ID_CHARS

NOT_YET: frozenset[RejectReason | Reason] = frozenset({RejectReason.DRAINING})
"""Names of the interface that nothing produces so far. A test compares them with the source."""

CODES = [x.value for x in RejectReason if x not in NOT_YET] + ["internal_error"]
REASONS = [x.value for x in Reason if x not in NOT_YET]

_ERROR = {
    "description": "An error, in the API's own dialect.",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}
_OPEN = {"type": "object", "additionalProperties": True}
_TEXT = {"type": "string"}


def _headers(*names: str) -> list[dict[str, Any]]:
    return [{"name": name, "in": "header", "schema": _TEXT} for name in names]


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _generation(summary: str) -> dict[str, Any]:
    answer = {**_json({"type": "object"}), "text/event-stream": {"schema": _TEXT}}
    return {
        "post": {
            "summary": summary,
            "parameters": _headers(
                "x-session-id",
                "x-tenant-id",
                "x-request-id",
                "x-task-id",
                "x-pointsman-debug",
                "x-pointsman-background",
            ),
            "requestBody": {"required": True, "content": _json(_OPEN)},
            "responses": {
                "200": {"description": "What the engine answered.", "content": answer},
                "4XX": _ERROR,
                "5XX": _ERROR,
            },
        }
    }


def _pooling(summary: str) -> dict[str, Any]:
    """Describe a route whose answer is no stream."""
    described = _generation(summary)
    answer = _json({"type": "object"})
    described["post"]["responses"]["200"]["content"] = answer
    return described


def _read(summary: str) -> dict[str, Any]:
    return {"get": {"summary": summary, "responses": {"200": {"description": "OK"}, "4XX": _ERROR}}}


_ID = {"type": "string", "minLength": 1, "maxLength": 128}
_REQUEST_ID = {"type": "string", "minLength": 1, "maxLength": MAX_REQUEST_ID_CHARS}


def _judgement(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"request_id": _REQUEST_ID, name: schema},
        "required": ["request_id", name],
        "additionalProperties": False,
    }


_THUMB = _judgement("thumb", {"type": "string", "enum": ["up", "down"]})
_PREFERENCE = _judgement("preferred_over", _REQUEST_ID)
_FEEDBACK: dict[str, Any] = {
    "post": {
        "summary": "Judge a finished request of the same tenant, by its x-request-id.",
        "requestBody": {"required": True, "content": _json({"oneOf": [_THUMB, _PREFERENCE]})},
        "responses": {
            "200": {"description": "Kept; a later one of its kind replaces it."},
            "404": {**_ERROR, "description": "The caller has no such request, or not any more."},
            "4XX": _ERROR,
        },
    }
}

_STORED: dict[str, Any] = {
    **_read("A stored response of the caller's."),
    "delete": {
        "summary": "Delete a stored response of the caller's.",
        "responses": {"200": {"description": "It is gone."}, "4XX": _ERROR, "5XX": _ERROR},
    },
}
_CANCEL: dict[str, Any] = {
    "post": {
        "summary": "Refused: no response runs in the background.",
        "responses": {"4XX": _ERROR},
    }
}

_FRAME_ID = {"oneOf": [_ID, {"type": "integer"}]}


def _frame(kind: str, required: list[str], **members: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"id": _FRAME_ID, "type": {"const": kind}, **members},
        "required": ["id", "type", *required],
    }


_SEQ = {"type": "integer", "minimum": 1}
_HEADERS = {"type": "object", "additionalProperties": _TEXT}
_CLIENT_FRAMES = [
    _frame("chat", ["body"], body=_OPEN, session_id=_TEXT, request_id=_REQUEST_ID),
    _frame("cancel", [], resume=_TEXT),
    _frame("resume", [], after={"type": "integer"}, resume=_TEXT),
]
_DATA = {"type": "object"}
_SERVER_FRAMES = [
    _frame("chunk", ["seq", "data"], seq=_SEQ, data=_DATA, resume=_TEXT, headers=_HEADERS),
    _frame("done", ["seq"], seq=_SEQ, cancelled={"const": True}),
    _frame(
        "error",
        ["error"],
        id={"oneOf": [*_FRAME_ID["oneOf"], {"type": "null"}]},
        error={"$ref": "#/components/schemas/Error/properties/error"},
        status={"type": "integer"},
        headers=_HEADERS,
    ),
]
_SOCKET: dict[str, Any] = {
    "get": {
        "summary": "Chats over a WebSocket; docs/websocket.md has the frames and an example.",
        "description": "An upgrade request. The key is in the Authorization header, or offered "
        "as subprotocol pointsman.key.KEY beside pointsman.v1.",
        "parameters": _headers("x-session-id", "x-tenant-id", "sec-websocket-protocol"),
        "responses": {
            "101": {"description": "The socket is open."},
            "4XX": _ERROR,
            "5XX": _ERROR,
        },
        "x-websocket": {
            "client": {"oneOf": _CLIENT_FRAMES},
            "server": {"oneOf": _SERVER_FRAMES},
        },
    }
}

_ERROR_OBJECT = {
    "type": "object",
    "properties": {
        "message": _TEXT,
        "type": _TEXT,
        "param": {"type": ["string", "null"]},
        "code": {"type": "string", "enum": CODES},
    },
}

OPENAPI: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "Pointsman", "version": "0.1.0"},
    "security": [{}, {"bearer": []}, {"x-api-key": []}],
    "paths": {
        "/": _read("What this is and where to look, as HTML, text or JSON."),
        "/v1/chat/completions": _generation("Chat completions, as vLLM answers them."),
        "/v1/completions": _generation("Completions, as vLLM answers them."),
        "/v1/responses": _generation("Responses, as vLLM answers them."),
        "/v1/responses/{id}": _STORED,
        "/v1/responses/{id}/input_items": _read("What a stored response's engine read, in pages."),
        "/v1/responses/{id}/cancel": _CANCEL,
        "/v1/messages": _generation("Anthropic messages, as vLLM answers them."),
        "/v1/messages/count_tokens": _generation("Tokens of an Anthropic request."),
        "/v1/embeddings": _pooling("Vectors of texts, as vLLM answers them."),
        "/v1/rerank": _pooling("Documents by their relevance to a query, as vLLM answers them."),
        "/v2/rerank": _pooling("The same as /v1/rerank."),
        "/v1/score": _pooling("How alike texts are, in pairs, as vLLM answers it."),
        "/v1/chat/ws": _SOCKET,
        "/v1/route": _generation("Dry run: the routing decision for a chat body."),
        "/v1/feedback": _FEEDBACK,
        "/v1/models": _read("`auto`, lanes and model ids that the caller may use."),
        "/v1/models/{id}": _read("One model."),
        "/health": _read("The process answers."),
        "/ready": _read("Every required lane is loaded and warmed (503 until then)."),
        "/metrics": _read("Prometheus text of the whole deployment."),
        "/status": _read("Lanes, replicas, warnings for an admin key; else the caller's own part."),
        **ADMIN_PATHS,
        "/console": _read("The same as a page for operators; docs/console.md."),
        "/console/static/{name}": _read("A file of that page."),
        "/console/feed": _read("The page's figures each second, as server-sent events."),
    },
    "components": {
        "securitySchemes": {
            "bearer": {"type": "http", "scheme": "bearer"},
            "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
        },
        "schemas": {
            "Error": {"type": "object", "properties": {"error": _ERROR_OBJECT}},
            "Reason": {"type": "string", "enum": REASONS},
        },
    },
}
