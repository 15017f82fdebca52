"""One kept request: what was asked, what was decided, what came of it.

Every writer and reader of traces goes by `Trace` and by `evals.traces.schema`. A column that
a later version adds is read as its default where a file does not have it; one that a later version
dropped is passed over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

JSON_COLUMNS = frozenset({"body", "tool_calls", "features", "signals", "stages", "verdicts"})
"""Of nested values, which are kept as text: their shape is the client's, not ours."""


JOINED_COLUMNS = frozenset({"thumb", "preferred_over"})
"""Not in any file: joined when traces are read."""


EVALS_ID = "pointsman-evals-"
"""With which the ids of requests begin that an eval asks itself: a replay, a labeling."""

SHADOW = "shadow"
"""The reason of an experiment's copy of a request, whose answer nobody saw."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One finished generation request of a tenant that lets them be kept.

    Attributes:
        time: when it ended, in UTC.
        session: hash of the conversation's key; `task` of the task's; None: it has none.
        api: path that was asked, such as `/v1/chat/completions`.
        body: the request's JSON, redacted.
        answer: text of the answer, redacted; None: there was none, or it was too long to keep.
        tool_calls: `{"name", "arguments"}` of each call of the answer, arguments as text.
        finish_reason: as the engine said.
        lane: None, as `model` and `reason`, when it was refused before there was one.
        propensity: probability in (0, 1] with which the policy chose this lane for this request;
            1 where chance had no part in it; None: not known.
        features: by name, what the score was made from.
        policy_version: hash of what decided: routing rules, shares, classifier.
        experiment, arm: names, where the request was in one.
        signals: what the weak lane knew of its own answer (`docs/evals.md`).
        code: `200`, `499`, `broken`, or an error code.
        verdicts: how each tool call was judged, as the model made it first.
        redactions: places where something was taken out.
        thumb: 1 or -1; `preferred_over`: the id of the request whose answer was worse. Both are
            joined from the feedback when traces are read, and are in no file.

    """

    time: datetime
    request_id: str
    tenant: str
    tier: str
    session: str | None = None
    task: str | None = None
    api: str = ""
    body: Mapping[str, Any] = field(default_factory=dict)
    answer: str | None = None
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    finish_reason: str | None = None
    lane: str | None = None
    model: str | None = None
    reason: str | None = None
    score: float | None = None
    threshold: float | None = None
    classifier: str | None = None
    propensity: float | None = None
    features: Mapping[str, float] = field(default_factory=dict)
    policy_version: str = ""
    experiment: str | None = None
    arm: str | None = None
    signals: Mapping[str, Any] = field(default_factory=dict)
    code: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    ttft_s: float | None = None
    duration_s: float = 0.0
    stages: Mapping[str, float] = field(default_factory=dict)
    verdicts: tuple[str, ...] = ()
    redactions: int = 0
    thumb: int | None = None
    preferred_over: str | None = None

    @property
    def is_traffic(self) -> bool:
        """Whether a client asked for it: a replay of replays would grow from day to day."""
        return self.reason != SHADOW and not self.request_id.startswith(EVALS_ID)

    def row(self) -> dict[str, Any]:
        """Return it as a row of `evals.traces.schema.SCHEMA`."""
        found = {
            x.name: getattr(self, x.name) for x in fields(self) if x.name not in JOINED_COLUMNS
        }
        return {
            name: _json(value) if name in JSON_COLUMNS else _text(value)
            for name, value in found.items()
        }


def _json(value: Any) -> str:
    written = json.dumps(value, ensure_ascii=False)
    return written if _is_utf8(written) else json.dumps(value)


def _text(value: Any) -> Any:
    """Put a question mark for half a character (a lone surrogate), which no UTF-8 can hold."""
    if not isinstance(value, str) or _is_utf8(value):
        return value
    return value.encode("utf-8", "replace").decode()


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def trace_of(row: Mapping[str, Any]) -> Trace:
    """Read a row, of this version's columns or another's.

    Raises:
        ValueError: a text is no JSON.
        TypeError: a column is missing that every trace has.

    """
    found: dict[str, Any] = {}
    for spec in fields(Trace):
        value = row.get(spec.name)
        if value is not None:
            found[spec.name] = json.loads(value) if spec.name in JSON_COLUMNS else value
    for name in ("tool_calls", "verdicts"):
        found[name] = tuple(found.get(name, ()))
    return Trace(**found)
