"""`tools: {"registry": "crm@7"}` in a body: a named set in place of a list of tools."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from router.errors import Rejected, RejectReason
from serve_app.bodies.routes import Route

FIELD = "registry"


@dataclass(frozen=True, slots=True)
class ToolSetUse:
    """Which version of which set a request's tools are.

    Attributes:
        follows: it was asked for by its name alone, so its version is the promoted one.
        bytes: of the tools' JSON.

    """

    name: str
    version: int
    follows: bool
    bytes: int

    @property
    def label(self) -> str:
        return f"{self.name}@{self.version}"


Expand = Callable[[dict[str, Any], Route], ToolSetUse | Rejected]
"""Puts the tools of the set that a body names into it, or says why not (400)."""


def names_a_set(body: dict[str, Any]) -> bool:
    """Return whether a body has a set's name where others have tools."""
    tools = body.get("tools")
    return type(tools) is dict and FIELD in tools


LISTED = Rejected(
    RejectReason.INVALID_REQUEST,
    "'tools' must be an array of tools, or in its place the name of one tool set, as "
    '{"registry": "crm"}: a set cannot stand among tools.',
    param="tools",
)


def lists_a_set(body: dict[str, Any]) -> bool:
    """Return whether a set's name stands among a body's tools, where no engine knows it."""
    tools = body.get("tools")
    return type(tools) is list and any(
        type(tool) is dict and FIELD in tool and "name" not in tool and "function" not in tool
        for tool in tools
    )
