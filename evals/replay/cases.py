r"""Cases: a request, and what a right answer to it is.

A *gold* case is a line of a JSON file that people wrote:

    {"id": "refund-3", "messages": [...], "tools": [...],
     "calls": [{"name": "refund", "arguments": {"order": 7}}]}

- `messages`, or `body` with the whole request of the API that `api` names;
- `calls`: the calls of a right answer, none where no tool should be called; or `calls_any`: a
  list of such lists, each of which is right;
- `answer` or `answers`: texts of which a right answer is one (`evals.replay.exact`). A case
  with neither these nor calls is compared with the incumbent's answer, by a judge or a program;
- `fold`: names of arguments whose texts are compared folded (`evals.replay.tool_f1`).

A case from a *trace* takes the answer of the lane that served it for right, unless its user said
it was wrong. It measures how far a candidate agrees with the incumbent, not how good both are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from evals.replay.said import CHAT, COMPLETIONS, MESSAGES, RESPONSES, Said
from evals.replay.tool_f1 import (
    ToolCall,
    calls_of,
    is_readable,
    schemas_of,
)
from evals.traces.trace import Trace

APIS = {CHAT: "messages", COMPLETIONS: "prompt", MESSAGES: "messages", RESPONSES: "input"}
"""By path of the API, the member of a body that the prompt is in."""

_OF_A_CLIENT = frozenset(
    {"model", "stream", "stream_options", "store", "background", "user", "priority", "cache_salt"}
)
"""Members of a body that say how, and for whom, an answer is delivered."""

_SAYS = ("calls", "calls_any", "answer", "answers", "fold")
_ASKS = ("id", "api", "body", "messages", "tools", "max_tokens", "domain", "source")


class WrongCase(ValueError):
    """A line that is no case; the text says why."""


@dataclass(frozen=True)
class Case:
    """One request to be answered again.

    Attributes:
        name: an id that tells it from the others, for people.
        api: path of the API; `body`: as it was asked, without what `_OF_A_CLIENT` names.
        wanted: alternatives of calls, each right; None: calls are not judged.
        answers: expected texts; none: the text is not compared with any.
        said: what the incumbent answered, where that is known.
        source: `gold` or `trace`.
        lane: that served it.
        row: the line of a gold case as it stands, for a program that checks answers.

    """

    name: str
    api: str
    body: Mapping[str, Any]
    wanted: tuple[tuple[ToolCall, ...], ...] | None = None
    answers: tuple[str, ...] = ()
    folded: frozenset[str] = frozenset()
    said: Said | None = None
    source: str = "gold"
    lane: str | None = None
    row: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the request, in hexadecimal: what tells cases apart."""
        asked = json.dumps([self.api, self.body], sort_keys=True)
        return hashlib.sha256(asked.encode("utf-8", "surrogatepass")).hexdigest()

    @cached_property
    def schemas(self) -> dict[str, Mapping[str, Any]]:
        """Parameters of the tools that the request offers, by name."""
        return schemas_of(self.body)

    @property
    def tools(self) -> tuple[str, ...]:
        """The tools that a right answer calls, each once, in order."""
        return tuple(sorted({x.name for x in self.wanted[0]})) if self.wanted else ()


def gold_case(row: Mapping[str, Any], where: str) -> Case:
    """Read one line of a gold file; raises WrongCase."""
    api, body = row.get("api", CHAT), row.get("body")
    if api not in APIS:
        raise WrongCase(f"{where}: 'api' should be one of {', '.join(APIS)}")
    unknown = sorted(set(row) - {*_ASKS, *_SAYS})
    if unknown:
        raise WrongCase(f"{where}: nothing is known of '{unknown[0]}'")
    if body is None:
        body = {k: row[k] for k in ("messages", "tools", "max_tokens") if k in row}
    if not isinstance(body, Mapping) or not body.get(APIS[api]):
        raise WrongCase(f"{where}: the request has no '{APIS[api]}'")
    wanted = _wanted(row, where)
    answers = tuple(
        str(x) for x in ([row["answer"]] if "answer" in row else row.get("answers", ()))
    )
    return Case(
        name=str(row.get("id", where)),
        api=api,
        body=_asked(body),
        wanted=wanted,
        answers=answers,
        folded=frozenset(map(str, row.get("fold", ()))),
        row=row,
    )


def _wanted(row: Mapping[str, Any], where: str) -> tuple[tuple[ToolCall, ...], ...] | None:
    if "calls" in row and "calls_any" in row:
        raise WrongCase(f"{where}: give 'calls' or 'calls_any', not both")
    if "calls" not in row and "calls_any" not in row:
        return None
    given = row["calls_any"] if "calls_any" in row else [row["calls"]]
    try:
        wanted = tuple(calls_of(calls) for calls in given)
    except (ValueError, TypeError, AttributeError) as error:
        raise WrongCase(f"{where}: each call needs a 'name' and 'arguments'") from error
    if not wanted or not all(is_readable(call) for calls in wanted for call in calls):
        raise WrongCase(f"{where}: 'arguments' of a wanted call should be an object")
    return wanted


def trace_case(trace: Trace) -> Case | str:
    """Return the case of a trace, or why it makes none."""
    why = _useless(trace)
    if why is not None:
        return why
    try:
        calls = calls_of(trace.tool_calls)
    except ValueError:
        calls = None
    if calls is None or not all(map(is_readable, calls)):
        return "its calls cannot be read"
    body = _asked(trace.body)
    return Case(
        name=trace.request_id,
        api=trace.api,
        body=body,
        wanted=(calls,) if schemas_of(body) else None,
        said=Said(trace.answer or "", calls, trace.finish_reason, trace.model),
        source="trace",
        lane=trace.lane,
    )


def _useless(trace: Trace) -> str | None:
    prompt = APIS.get(trace.api)
    reasons = {
        "it was not answered": trace.code != "200",
        "another API": prompt is None,
        "its prompt is not in it": bool(trace.body.get("previous_response_id"))
        or not trace.body.get(prompt or ""),
        "its user said that the answer was wrong": trace.thumb == -1,
        "its answer was not kept": trace.answer is None and not trace.tool_calls,
    }
    return next((why for why, holds in reasons.items() if holds), None)


def _asked(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in _OF_A_CLIENT}


def last_words(case: Case, most: int = 4000) -> str:
    """Return the end of what was asked, for people: the newest message, or the prompt's end."""
    prompt = case.body.get(APIS[case.api])
    if isinstance(prompt, str):
        return prompt[-most:]
    newest = prompt[-1] if isinstance(prompt, list) and prompt else prompt
    content = newest.get("content") if isinstance(newest, Mapping) else newest
    return _text(content)[-most:]


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts: Iterable[Any] = content if isinstance(content, list) else ()
    texts = [x["text"] for x in parts if isinstance(x, Mapping) and isinstance(x.get("text"), str)]
    return "\n".join(texts) or json.dumps(content, ensure_ascii=False)
