"""Schemas as people send them: none of these may be refused."""

from __future__ import annotations

from typing import Any

from tests.wrong_bodies import CHAT, MESSAGES, RESPONSES

TEXT = {"type": "string"}

FORM = {
    "type": "object",
    "properties": {
        f"field_{i}": (
            {"type": "string", "description": "What the applicant wrote.", "maxLength": 50 + i}
            if i % 2
            else {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 100}, {"type": "null"}]}
        )
        for i in range(200)
    },
    "required": [f"field_{i}" for i in range(0, 200, 2)],
    "additionalProperties": False,
}
"""A form of 200 fields, half of them optional."""

COUNTRIES = {
    "type": "object",
    "properties": {"country": {"enum": [f"Country of number {i}" for i in range(250)]}},
    "required": ["country"],
}

READ_FILE = {
    "type": "object",
    "properties": {
        "file_path": {"type": "string", "description": "The absolute path to the file to read"},
        "offset": {"type": "number", "description": "The line number to start reading from"},
        "limit": {"type": "integer", "exclusiveMinimum": 0, "maximum": 9007199254740991},
        "pages": {"type": "string", "pattern": "^[0-9]+(-[0-9]+)?$"},
    },
    "required": ["file_path"],
    "additionalProperties": False,
    "$schema": "http://json-schema.org/draft-07/schema#",
}
ISSUES = {
    "type": "object",
    "properties": {
        "owner": {"type": "string", "description": "Repository owner"},
        "repo": {"type": "string", "description": "Repository name"},
        "state": {"type": "string", "enum": ["open", "closed", "all"], "default": "open"},
        "labels": {"type": "array", "items": TEXT, "maxItems": 100},
        "since": {"type": "string", "format": "date-time"},
        "page": {"type": "integer", "minimum": 1, "maximum": 1000},
        "sort": {"anyOf": [{"enum": ["created", "updated"]}, {"type": "null"}]},
    },
    "required": ["owner", "repo"],
}
TOOLS = [
    {
        "name": f"server_{i}__tool",
        "description": "Reads something and says what it is. " * 40,
        "parameters": READ_FILE if i % 2 else ISSUES,
    }
    for i in range(60)
]
"""A coding agent with a few servers of tools."""

ORDERS = {
    "$defs": {
        "Address": {
            "type": "object",
            "properties": {
                "street": {"type": "string", "maxLength": 200},
                "zip": {"type": "string", "pattern": "^[0-9]{5}(-[0-9]{4})?$"},
                "country": {"enum": ["DE", "FR", "US"]},
            },
            "required": ["street", "zip"],
        },
        "Item": {
            "type": "object",
            "properties": {
                "sku": {"type": "string", "pattern": "^[A-Z]{3}-[0-9]{4,8}$"},
                "count": {"type": "integer", "minimum": 1, "maximum": 9999},
                "price": {"type": "number", "minimum": 0, "exclusiveMaximum": 1000000},
                "parts": {"type": "array", "items": {"$ref": "#/$defs/Item"}},
            },
            "required": ["sku", "count"],
        },
        "Card": {"properties": {"kind": {"const": "card"}, "last4": {"pattern": "^[0-9]{4}$"}}},
        "Transfer": {"properties": {"kind": {"const": "transfer"}, "iban": {"maxLength": 34}}},
    },
    "type": "object",
    "properties": {
        "id": {"type": "string", "format": "uuid"},
        "at": {"type": "string", "format": "date-time"},
        "to": {"allOf": [{"$ref": "#/$defs/Address"}]},
        "items": {"type": "array", "items": {"$ref": "#/$defs/Item"}, "minItems": 1},
        "payment": {"oneOf": [{"$ref": "#/$defs/Card"}, {"$ref": "#/$defs/Transfer"}]},
    },
    "required": ["id", "items"],
}

PATTERNS = {
    "slug": r"^[a-z0-9]+(?:-[a-z0-9]+)*$",
    "version": r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?"
    r"(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?$",
    "mail": r"^[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,}$",
    "address": r"^((25[0-5]|(2[0-4]|1\d|[1-9]|)\d)\.?\b){4}$",
    "uuid": r"^[0-9a-f]{8}-[0-9a-f]{4}-[1-5][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$",
    "instant": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$",
    "base64": r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$",
    "phone": r"^\+?\d{1,3}[-.\s]?\(?\d{1,4}\)?[-.\s]?\d{1,4}[-.\s]?\d{1,9}$",
    "url": r"^https?://[^\s/$.?#].[^\s]*$",
    "host": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
    "duration": r"^P(?:\d+Y)?(?:\d+M)?(?:\d+W)?(?:\d+D)?(?:T(?:\d+H)?(?:\d+M)?(?:\d+S)?)?$",
    "list": r"^\w+(,\s?\w+)*$",
    "colour": r"^#?([a-f0-9]{6}|[a-f0-9]{3})$",
    "money": r"^-?\d{1,3}(,\d{3})*(\.\d{2})?$",
    "name": r"^(?<first>[A-Z][a-z]+) [^0-9]{1,40}$",
    "lines": r"(- [^\n]{1,80}\n){3,7}",
    "letters": r"\p{L}+",
}


def _chat(tools: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"tools": [{"type": "function", "function": tool} for tool in tools], **more}


def _answer(schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    }


REAL: dict[str, tuple[str, dict[str, Any]]] = {
    "form": (CHAT, _answer(FORM)),
    "enum": (CHAT, _answer(COUNTRIES)),
    "orders": (CHAT, _answer(ORDERS)),
    "tools": (CHAT, _chat(TOOLS)),
    "forced tools": (CHAT, _chat(TOOLS, tool_choice="required")),
    "strict tools": (CHAT, _chat([{**tool, "strict": True} for tool in TOOLS])),
    "tools of responses": (
        RESPONSES,
        {"tools": [{"type": "function", **x} for x in TOOLS], "tool_choice": "required"},
    ),
    "tools of messages": (
        MESSAGES,
        {
            "tools": [{"name": x["name"], "input_schema": x["parameters"]} for x in TOOLS],
            "tool_choice": {"type": "any"},
        },
    ),
    "labels": (CHAT, {"structured_outputs": {"choice": [f"label number {i}" for i in range(300)]}}),
    **{
        name: (CHAT, {"structured_outputs": {"regex": pattern}})
        for name, pattern in PATTERNS.items()
    },
}
