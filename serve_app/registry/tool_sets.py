"""All versions that can be asked for, as they are at one moment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from router.errors import Rejected, RejectReason
from serve_app.bodies.routes import Route
from serve_app.bodies.tool_set_use import FIELD, ToolSetUse
from serve_app.config.errors import nearest
from serve_app.registry.tool_set import CHAT, MESSAGES, RESPONSES, Tool, ToolSet

_REFERENCE = re.compile(r"(?P<name>[^@]{1,63})(?:@(?P<version>[0-9]{1,6}))?")
_FORM_OF = {
    CHAT: CHAT,
    RESPONSES: RESPONSES,
    MESSAGES: MESSAGES,
    "/v1/messages/count_tokens": MESSAGES,
}
MAX_TOLD = 20
"""Sets that a refusal names."""


@dataclass(frozen=True, slots=True)
class Promotion:
    """Which version a set's name alone stands for, and which it stood for before."""

    version: int
    previous: int | None = None


@dataclass(frozen=True, slots=True)
class Holdover:
    """Sessions that stay on the version with which they began.

    Attributes:
        until: seconds since the epoch.
        versions: by the session's digest.

    """

    until: float
    versions: Mapping[bytes, int]


@dataclass(frozen=True, slots=True)
class ToolSets:
    """Frozen: a promotion or a reading of the files replaces it as a whole.

    Attributes:
        versions: by name and version.
        promoted: by name; a set has an entry from its first version on.
        held: by name, since the last promotion.
        fault: why nothing is known of any set.

    """

    versions: Mapping[str, Mapping[int, ToolSet]] = field(default_factory=dict)
    promoted: Mapping[str, Promotion] = field(default_factory=dict)
    held: Mapping[str, Holdover] = field(default_factory=dict)
    fault: str = ""

    def find(self, reference: str, allowed: frozenset[str] | None = None) -> ToolSet | Rejected:
        """The version that `crm@7` or `crm` means now; `allowed` None: every set may be used."""
        match = _REFERENCE.fullmatch(reference)
        if match is None:
            return _refused(f"{_FORM} It is '{reference[:80]}'.")
        if self.fault:
            return Rejected(RejectReason.NO_REPLICA, _UNREADABLE, param="tools")
        name, version = match["name"], match["version"]
        versions = self.versions.get(name) if allowed is None or name in allowed else None
        if not versions:
            return _refused(f"There is no tool set '{name}'{self._others(name, allowed)}")
        wanted = int(version) if version else self.promoted[name].version
        found = versions.get(wanted)
        if found is None:
            return _refused(f"The tool set '{name}' has no version {wanted}: {self._told(name)}.")
        return found

    def tools(self, name: str, version: int) -> dict[str, list[Tool]]:
        """A version's tools by the route's path; empty without such a version."""
        found = self.versions.get(name, {}).get(version)
        return {} if found is None else {path: x.tools for path, x in found.forms.items()}

    def kept(self, name: str, session: bytes, now: float) -> ToolSet | None:
        """The version that a session stays on; None: the promoted one. `now`: since the epoch."""
        holdover = self.held.get(name)
        if holdover is None or holdover.until < now:
            return None
        version = holdover.versions.get(session)
        return None if version is None else self.versions.get(name, {}).get(version)

    def _others(self, name: str, allowed: frozenset[str] | None) -> str:
        known = sorted(x for x in self.versions if allowed is None or x in allowed)
        if not known:
            return " here, nor any other that you may use."
        told = "; ".join(map(self._told, known[:MAX_TOLD]))
        more = f" (and {len(known) - MAX_TOLD} more)" if len(known) > MAX_TOLD else ""
        meant = nearest(name, known) or "."
        return f" here that you may use{meant} There are: {told}{more}."

    def _told(self, name: str) -> str:
        """Say what there is of a set: `crm (versions 6, 7; 'crm' is 7)`."""
        versions = ", ".join(map(str, sorted(self.versions[name])))
        return f"{name} (versions {versions}; '{name}' alone is {self.promoted[name].version})"


_FORM = "'tools.registry' must be the name of a tool set, as 'crm', or one version, as 'crm@7'."
_UNREADABLE = "The tool registry cannot be read now; the deployment's /status says why."


def _refused(message: str) -> Rejected:
    return Rejected(RejectReason.INVALID_REQUEST, message, param="tools")


def expand(
    body: dict[str, Any], route: Route, *, sets: ToolSets, allowed: frozenset[str] | None
) -> ToolSetUse | Rejected:
    """Put a set's tools into a body in place of its name."""
    given = body["tools"]
    form = _FORM_OF.get(route.path)
    if form is None:
        return _refused("'tools' must be left out: this route calls no tools.")
    reference = given[FIELD]
    if len(given) > 1 or not isinstance(reference, str):
        return _refused(f"{_FORM} Nothing else may stand beside it.")
    found = sets.find(reference, allowed)
    if isinstance(found, Rejected):
        return found
    return _put(body, form, found, follows="@" not in reference)


def in_version(
    body: dict[str, Any], route: Route, use: ToolSetUse, tool_set: ToolSet
) -> tuple[dict[str, Any], ToolSetUse]:
    """A body with another version's tools, and what it uses then."""
    other = dict(body)
    return other, _put(other, _FORM_OF[route.path], tool_set, follows=use.follows)


def _put(body: dict[str, Any], form: str, tool_set: ToolSet, *, follows: bool) -> ToolSetUse:
    tools = tool_set.forms[form]
    body["tools"] = list(tools.tools)
    return ToolSetUse(tool_set.name, tool_set.version, follows, tools.bytes)
