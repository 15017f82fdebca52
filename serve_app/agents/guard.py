"""Keeps the tasks of agents bounded: applies what `router.agents` decides to a request.

It runs on every ingress replica alike, before old turns are left out, because depth is
that of the whole conversation. Requests without tools and without results pass as they
came, and so do those of tiers without an `agents` block.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any

from router.agents.bounds import FINISH, Exceeded, find_exceeded
from router.agents.loops import Loop, find_loop
from router.agents.task import Task
from router.agents.task_table import Spent, TaskTable
from router.errors import Rejected, RejectReason
from serve_app.agents.history import has_results, items_of, reading_task
from serve_app.agents.notes import with_note, without_tools
from serve_app.agents.results import ResultSummaries, ShortenedResults, shortening
from serve_app.agents.tool_order import in_order
from serve_app.bodies.json_body import dump
from serve_app.bodies.parsed_request import ParsedRequest
from serve_app.bodies.routes import CONVERSATIONS
from serve_app.bodies.steps import Steps
from serve_app.config.agents import AgentConfig

_WARNING = (
    "{} Do not make this call again. Try something else, or answer with what you have found "
    "and say what is missing."
)
_FINISH = (
    "{} No more tools can be called now. Answer with what you have found, and say what is missing."
)


@dataclass(frozen=True, slots=True)
class Guarded:
    """A request that may go on.

    Attributes:
        parsed: the request as the engine gets it; the client's own where nothing changed.
        task: what its conversation says of its task.
        exceeded: the bound for which the model gets no tools.
        loop: the loop that was found, whatever was done.
        is_finished: whether tools were taken away, so that the turn ends.
        results: what was cut or summarised of tool results.

    """

    parsed: ParsedRequest
    task: Task
    exceeded: Exceeded | None = None
    loop: Loop | None = None
    is_finished: bool = False
    results: ShortenedResults | None = None

    @property
    def header(self) -> bytes | None:
        """Value of `x-pointsman-tool-results`; None: no result was changed."""
        return self.results.header if self.results is not None else None


def explain_task(config: AgentConfig | None, guarded: Guarded | None) -> object:
    """The task's part of a dry run: None where its tier has no bounds, or it calls no tools."""
    if config is None or guarded is None:
        return None
    task, loop, cut = guarded.task, guarded.loop, guarded.results
    return {
        "turn_depth": task.turn_depth,
        "task_depth": task.depth,
        "exceeded": guarded.exceeded.limit.value if guarded.exceeded else None,
        "loop": {"kind": loop.kind.value, "tools": loop.tools} if loop else None,
        "loses_tools": guarded.is_finished,
        "results_cut": cut.results if cut else 0,
        "result_tokens_cut": cut.tokens if cut else 0,
        "results_summarised": cut.summarised if cut else 0,
        "result_tokens_summarised": cut.summarised_tokens if cut else 0,
    }


def guarding(
    parsed: ParsedRequest,
    config: AgentConfig | None,
    tasks: TaskTable,
    key: Hashable,
    now: float,
    summaries: ResultSummaries | None = None,
) -> Steps[Guarded | Rejected]:
    """The request within its tier's bounds, or its refusal, in pieces.

    `key` is the task's in `tasks`: tenant, and `x-task-id` or session. `now` is in seconds,
    of the clock that `tasks` is told wherever tokens are spent. `summaries` of long results
    are asked for where the tier wants them.
    """
    path = parsed.route.path
    guarded = Guarded(parsed, Task())
    if config is None or path not in CONVERSATIONS:
        return guarded
    if not parsed.tools and not has_results(items_of(parsed.body, path)):
        return guarded
    yield
    if _may_call(parsed):
        task = yield from reading_task(parsed.body, path)
        yield
        judged = _judge(replace(guarded, task=task), config, tasks, key, now)
        if isinstance(judged, Rejected):
            return judged
        guarded = judged
        yield
    guarded = yield from _shortening(guarded, config, summaries)
    return _apply(guarded, config)


def _may_call(parsed: ParsedRequest) -> bool:
    """Whether the answer may call a tool."""
    choice = parsed.body.get("tool_choice")
    kind = choice.get("type") if isinstance(choice, dict) else choice
    return parsed.tools > 0 and kind != "none"


def _judge(
    guarded: Guarded, config: AgentConfig, tasks: TaskTable, key: Hashable, now: float
) -> Guarded | Rejected:
    """What the bounds and the loops say of a request whose answer may call tools."""
    bounds, task = config.bounds, guarded.task
    spent = tasks.see(key, task.turn_id, now) if bounds.need_table else Spent()
    finishes = config.on_depth == "finish"
    exceeded = find_exceeded(bounds, task, spent, finishes=finishes)
    if exceeded is not None and not finishes:
        return exceeded.refusal()
    loop = find_loop(task.turn, config.loops.rules) if config.loops is not None else None
    stops = loop is not None and config.loops is not None and config.loops.action == "stop"
    if loop is not None and stops and not finishes:
        return _refuse_loop(loop)
    is_finished = exceeded is not None or stops
    return replace(guarded, exceeded=exceeded, loop=loop, is_finished=is_finished)


def _refuse_loop(loop: Loop) -> Rejected:
    return Rejected(
        RejectReason.TOOL_DEPTH_EXCEEDED,
        f"{loop.sentence} {FINISH}, or begin a new turn with a user message.",
        param="tools",
    )


def _shortening(
    guarded: Guarded, config: AgentConfig, summaries: ResultSummaries | None
) -> Steps[Guarded]:
    parsed, results = guarded.parsed, config.tool_results
    if results is None:
        return guarded
    asked = summaries if results.is_summarised else None
    cut = yield from shortening(parsed.body, parsed.route.path, results.limit, asked)
    if cut is None:
        return guarded
    body, gone, told = cut
    return replace(guarded, parsed=_changed(parsed, body, -gone), results=told)


def _apply(guarded: Guarded, config: AgentConfig) -> Guarded:
    """Take the tools away, or put them in order; and tell the model what it must know."""
    parsed = guarded.parsed
    if guarded.is_finished:
        gone = len(dump(parsed.body["tools"]))
        parsed = replace(_changed(parsed, without_tools(parsed.body), -gone), tools=0)
    elif config.tool_order == "canonical" and parsed.tools:
        parsed = _changed(parsed, {**parsed.body, "tools": in_order(parsed.body["tools"])}, 0)
    note = _note(guarded, config)
    if note is not None:
        noted = with_note(parsed.body, parsed.route.path, note)
        parsed = _changed(parsed, noted, len(note))
    return replace(guarded, parsed=parsed)


def _changed(parsed: ParsedRequest, body: dict[str, Any], grown_bytes: int) -> ParsedRequest:
    size = max(0, parsed.prompt.bytes + grown_bytes)
    return replace(parsed, body=body, prompt=replace(parsed.prompt, bytes=size))


def _note(guarded: Guarded, config: AgentConfig) -> str | None:
    cause = guarded.exceeded or guarded.loop
    if guarded.is_finished and cause is not None:
        return _FINISH.format(cause.sentence)
    if guarded.loop is not None and config.loops is not None and config.loops.action == "warn":
        return _WARNING.format(guarded.loop.sentence)
    return None
