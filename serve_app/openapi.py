"""`GET /openapi.json`: the outward interface, as far as it is ours.

Bodies of the generation routes are the pinned vLLM's; they are described as open
objects because every field a client sends reaches the engine.
"""

from __future__ import annotations

from typing import Any

from router.errors import RejectReason
from router.types import Reason

_ERROR = {
    "description": "An error, in the API's own dialect.",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}


def _generation(summary: str) -> dict[str, Any]:
    body = {"application/json": {"schema": {"type": "object", "additionalProperties": True}}}
    answer = {
        "application/json": {"schema": {"type": "object"}},
        "text/event-stream": {"schema": {"type": "string"}},
    }
    return {
        "post": {
            "summary": summary,
            "parameters": [
                {"name": "x-session-id", "in": "header", "schema": {"type": "string"}},
                {"name": "x-request-id", "in": "header", "schema": {"type": "string"}},
                {"name": "x-pointsman-debug", "in": "header", "schema": {"type": "string"}},
            ],
            "requestBody": {"required": True, "content": body},
            "responses": {
                "200": {"description": "What the engine answered.", "content": answer},
                "4XX": _ERROR,
                "5XX": _ERROR,
            },
        }
    }


def _read(summary: str) -> dict[str, Any]:
    return {"get": {"summary": summary, "responses": {"200": {"description": "OK"}, "4XX": _ERROR}}}


OPENAPI: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "Pointsman", "version": "0.1.0"},
    "security": [{}, {"bearer": []}],
    "paths": {
        "/v1/chat/completions": _generation("Chat completions, as vLLM answers them."),
        "/v1/completions": _generation("Completions, as vLLM answers them."),
        "/v1/responses": _generation("Responses, as vLLM answers them."),
        "/v1/messages": _generation("Anthropic messages, as vLLM answers them."),
        "/v1/messages/count_tokens": _generation("Tokens of an Anthropic request."),
        "/v1/route": _generation("Dry run: the routing decision for a chat body."),
        "/v1/models": _read("`auto`, lanes and model ids that the caller may use."),
        "/v1/models/{id}": _read("One model."),
        "/health": _read("The process answers."),
        "/ready": _read("Every required lane is loaded and warmed (503 until then)."),
        "/metrics": _read("Prometheus text of the whole deployment."),
        "/status": _read("Lanes, replicas, sessions, ceilings, warnings."),
    },
    "components": {
        "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        "schemas": {
            "Error": {
                "type": "object",
                "properties": {
                    "error": {
                        "type": "object",
                        "properties": {
                            "message": {"type": "string"},
                            "type": {"type": "string"},
                            "param": {"type": ["string", "null"]},
                            "code": {"type": "string", "enum": [x.value for x in RejectReason]},
                        },
                    }
                },
            },
            "Reason": {"type": "string", "enum": [x.value for x in Reason]},
        },
    },
}
