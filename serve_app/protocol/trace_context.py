"""W3C Trace Context, level 1: which span a request belongs to, in two headers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_PARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_KEY = rb"[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13}"
_MEMBER = re.compile(rb"(?:%b)=[ -+\--<>-~]{0,255}[!-+\--<>-~]" % _KEY)
_INVALID_VERSION = b"ff"
_SAMPLED = 1

MAX_STATE_BYTES = 2048
"""A longer `tracestate` is left out, as the recommendation allows past 512 characters."""

MAX_STATE_MEMBERS = 32

TRACE_HEADERS = (b"traceparent", b"tracestate")


@dataclass(frozen=True, slots=True)
class TraceContext:
    """One span, as other processes are told of it.

    Attributes:
        trace_id, span_id: 128 and 64 bits, neither of them 0.
        is_sampled: whether the span is kept somewhere.
        state: `tracestate`, as it came.

    """

    trace_id: int
    span_id: int
    is_sampled: bool
    state: str = ""

    @property
    def trace(self) -> str:
        """The trace's id as it is written: 32 hexadecimal digits."""
        return f"{self.trace_id:032x}"

    @property
    def headers(self) -> dict[str, str]:
        """What a request that this span makes carries."""
        parent = f"00-{self.trace_id:032x}-{self.span_id:016x}-{int(self.is_sampled):02x}"
        headers = {"traceparent": parent}
        if self.state:
            headers["tracestate"] = self.state
        return headers


def read_trace_context(headers: Mapping[bytes, bytes]) -> TraceContext | None:
    """Return the caller's span; None: it names none, or not in the form it should have."""
    given = headers.get(b"traceparent")
    found = _PARENT.fullmatch(given.strip()) if given is not None else None
    if found is None:
        return None
    version, trace, span, flags, more = found.groups()
    trace_id, span_id = int(trace, 16), int(span, 16)
    # A later version may say more behind the flags, version 0 may not.
    if version == _INVALID_VERSION or (more and version == b"00") or not trace_id or not span_id:
        return None
    is_sampled = bool(int(flags, 16) & _SAMPLED)
    return TraceContext(trace_id, span_id, is_sampled, _state_of(headers))


def _state_of(headers: Mapping[bytes, bytes]) -> str:
    """Return the vendors' part; empty where it is none, for which readers discard all of it."""
    given = headers.get(b"tracestate", b"").strip()
    if len(given) > MAX_STATE_BYTES:
        return ""
    members = [member for x in given.split(b",") if (member := x.strip(b" \t"))]
    keys = {member.partition(b"=")[0] for member in members}
    is_one = len(keys) == len(members) <= MAX_STATE_MEMBERS and all(map(_MEMBER.fullmatch, members))
    return given.decode("ascii") if is_one else ""
