"""Which version of a tool set each session uses, so that a promotion can leave them on it.

A session's prompts begin with its tools, so another version would have the engine read its
whole conversation anew. What is seen here is asked for once, when a version is promoted
(`serve_app.front.rotation`); a request's own version does not depend on it.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from typing import NamedTuple


class _Seen(NamedTuple):
    at: float
    version: int


class ToolSessions:
    """The sessions of each tenant, the latest at the end.

    Args:
        per_tenant: over it, a tenant's session that was seen longest ago is forgotten.
        in_all: over it, the same of the tenant that has most (200 bytes each).
        idle_s: a session that is not seen for this long is none any more.

    """

    def __init__(
        self, per_tenant: int = 5_000, in_all: int = 50_000, idle_s: float = 3600.0
    ) -> None:
        self._per_tenant = per_tenant
        self._in_all = in_all
        self._idle_s = idle_s
        self._count = 0
        self._seen: defaultdict[str, OrderedDict[tuple[str, bytes], _Seen]] = defaultdict(
            OrderedDict
        )

    def __len__(self) -> int:
        return self._count

    def note(self, tenant: str, tool_set: str, session: bytes, version: int, now: float) -> None:
        """Keep that a session of a tenant uses this version. `session` is its digest."""
        mine = self._seen[tenant]
        self._forget_idle(mine, now)
        key = tool_set, session
        self._count += key not in mine
        mine[key] = _Seen(now, version)
        mine.move_to_end(key)
        if len(mine) > self._per_tenant:
            self._pop(mine)
        if self._count > self._in_all:
            self._pop(max(self._seen.values(), key=len))

    def of(self, tool_set: str, now: float) -> dict[bytes, int]:
        """Return the sessions that use a set, by digest, and the version of each."""
        return {
            session: seen.version
            for mine in self._seen.values()
            for (name, session), seen in mine.items()
            if name == tool_set and now - seen.at < self._idle_s
        }

    def _forget_idle(self, mine: OrderedDict[tuple[str, bytes], _Seen], now: float) -> None:
        while mine:
            oldest = next(iter(mine.values()))
            if now - oldest.at < self._idle_s:
                return
            self._pop(mine)

    def _pop(self, mine: OrderedDict[tuple[str, bytes], _Seen]) -> None:
        mine.popitem(last=False)
        self._count -= 1
