"""`GET /openapi.json`: the routes below /admin, and a key holder's own usage (docs/admin.md)."""

from __future__ import annotations

from typing import Any

from serve_app.admin.drains import DrainReplica
from serve_app.admin.keys import MakeKey, RevokeKey
from serve_app.config.tiers import CeilingsConfig

_ERROR = {
    "description": "An error.",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}
_ANSWER = {"application/json": {"schema": {"type": "object"}}}
_PAGE = {
    "name": "x-pointsman-console",
    "in": "header",
    "description": "1, of a page in a browser; others need not send it.",
    "schema": {"const": "1"},
}


def _parameter(name: str, where: str, schema: dict[str, Any], *, required: bool) -> dict[str, Any]:
    return {"name": name, "in": where, "required": required, "schema": schema}


def _named(name: str) -> dict[str, Any]:
    return _parameter(name, "path", {"type": "string"}, required=True)


def _asked(name: str, kind: str = "string") -> dict[str, Any]:
    return _parameter(name, "query", {"type": kind}, required=False)


def _reads(summary: str, *parameters: dict[str, Any]) -> dict[str, Any]:
    answers = {"200": {"description": "OK", "content": _ANSWER}, "4XX": _ERROR, "5XX": _ERROR}
    return {"summary": summary, "parameters": list(parameters), "responses": answers}


def _changes(
    summary: str, *parameters: dict[str, Any], body: dict[str, Any] | None = None
) -> dict[str, Any]:
    """An operation that is noted in the audit trail; `body` is its schema."""
    told = _reads(summary, *parameters, _PAGE)
    if body is None:
        return told
    return {**told, "requestBody": {"content": {"application/json": {"schema": body}}}}


def _schema(model: Any) -> dict[str, Any]:
    """A model's schema with nothing that points to somewhere else."""
    schema: dict[str, Any] = model.model_json_schema()
    defined = schema.pop("$defs", {})
    for name, of in schema.get("properties", {}).items():
        reference = str(of.get("$ref", ""))
        if reference:
            schema["properties"][name] = defined[reference.rpartition("/")[2]]
    return schema


_SET = {
    "type": "object",
    "properties": {
        "set": {"type": "string"},
        "now": {"type": "boolean"},
        "force": {"type": "boolean"},
    },
    "required": ["set"],
    "additionalProperties": False,
}

ADMIN_PATHS: dict[str, Any] = {
    "/v1/usage": {"get": _reads("The caller's own usage, limits and last requests.")},
    "/admin/reload": {"post": _changes("Have every ingress replica read its files again.")},
    "/admin/keys": {
        "get": _reads("Keys: ids, rights, uses; never a key.", _asked("tenant")),
        "post": _changes("Make a key; it is shown once.", body=_schema(MakeKey)),
    },
    "/admin/keys/{id}/revoke": {
        "post": _changes("Revoke a key for good.", _named("id"), body=_schema(RevokeKey))
    },
    "/admin/ceilings": {
        "get": _reads("Tenants and their ceilings.", _asked("search"), _asked("limit", "integer"))
    },
    "/admin/ceilings/{tenant}": {
        "get": _reads("One tenant's ceilings, with the file's etag.", _named("tenant")),
        "put": _changes(
            "Make these the tenant's own ceilings, in the tenants file and in force.",
            _named("tenant"),
            _parameter("if-match", "header", {"type": "string"}, required=True),
            body=_schema(CeilingsConfig),
        ),
    },
    "/admin/replicas": {"get": _reads("Lane replicas, and which of them drain.")},
    "/admin/replicas/{id}/drain": {
        "post": _changes(
            "Place nothing more on a replica.", _named("id"), body=_schema(DrainReplica)
        )
    },
    "/admin/replicas/{id}/undrain": {
        "post": _changes("Have a replica take turns again.", _named("id"))
    },
    "/admin/audit": {"get": _reads("Who did what, newest first.", _asked("limit", "integer"))},
    "/admin/tools": {"get": _reads("Named tool sets.", _asked("set"))},
    "/admin/tools/promote": {"post": _changes("Have a set's name stand for a version.", body=_SET)},
    "/admin/tools/rollback": {"post": _changes("Have it stand for the version before.", body=_SET)},
    "/admin/tools/retire": {"post": _changes("Offer no version of a set.", body=_SET)},
}
