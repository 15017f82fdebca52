"""The tasks and turns that are under way in one ingress replica, and their spans.

Theory of operation. Nobody tells when a task begins and ends: each request is one LLM call,
and may come to any ingress replica. What all of them can work out alike is the trace's id
(`trace_ids`). The spans above an LLM call are each replica's own: a task's span and a turn's
are made when a request of theirs comes and none is open here, and are sent when it ends here.
So whatever order requests come in, and wherever, the parent of a span was made by the process
that made the span, and no id is ever sent twice. A turn that several replicas have served has
one span of each.

Nothing here reads a clock or sends anything. Memory is bounded for each tenant: over its
bound a tenant's own oldest task ends.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from serve_app.agents.verdict import JudgedCall
from serve_app.protocol.trace_context import TraceContext
from serve_app.tracing import conventions as c
from serve_app.tracing.span import MAX_TEXT_CHARS, Attributes, Span

MAX_TASKS = 10_000
MAX_TASKS_OF_TENANT = 1_000
MAX_TURNS = 16
"""Open turns of one task: each sub-agent has its own."""

MAX_AWAITED = 64
"""Tool calls of one task whose result has not come, and as many whose result was told."""

MAX_CALL_ID_CHARS = 128

TurnKey = tuple[int, bytes]
"""Number of the conversation's user turns, and a digest of the newest."""


@dataclass(frozen=True, slots=True)
class Awaited:
    """A call whose result has not come back; `since_ns`: its answer's end."""

    call: JudgedCall
    since_ns: int
    made_by: TraceContext


@dataclass(slots=True)
class _Open:
    """A span that has not ended.

    Attributes:
        has_children: whether a span that is sent has it as its parent.

    """

    context: TraceContext
    begun_ns: int
    last_ns: int
    common: Attributes
    llm_calls: int = 0
    tool_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    has_children: bool = False

    def note_end(self, now_ns: int, input_tokens: int, output_tokens: int) -> None:
        self.last_ns = max(self.last_ns, now_ns)
        self.llm_calls += 1
        self.input_tokens += input_tokens
        self.output_tokens += output_tokens

    @property
    def counts(self) -> Attributes:
        return {
            c.LLM_CALLS: self.llm_calls,
            c.TOOL_CALLS: self.tool_calls,
            c.INPUT_TOKENS: self.input_tokens,
            c.OUTPUT_TOKENS: self.output_tokens,
        }


@dataclass(slots=True)
class OpenTask(_Open):
    """A task; `turns` are those that have not ended, the one asked for last at the end."""

    tenant: str = ""
    turns: OrderedDict[TurnKey, OpenTurn] = field(default_factory=OrderedDict)
    turn_count: int = 0
    awaited: OrderedDict[str, Awaited] = field(default_factory=OrderedDict)
    told: OrderedDict[int, None] = field(default_factory=OrderedDict)

    @property
    def is_running(self) -> bool:
        return any(turn.running for turn in self.turns.values())

    @property
    def is_waiting(self) -> bool:
        """Whether a turn has not ended and results of tool calls are to come."""
        return bool(self.turns and self.awaited)

    def await_result(self, call: JudgedCall, now_ns: int, made_by: TraceContext) -> None:
        """Note a call that a client was given."""
        call = call._replace(id=call.id[:MAX_CALL_ID_CHARS], name=call.name[:MAX_TEXT_CHARS])
        self.awaited[call.id] = Awaited(call, now_ns, made_by)
        if len(self.awaited) > MAX_AWAITED:
            self.awaited.popitem(last=False)

    def take(self, call_id: str, place: int) -> tuple[Awaited | None, bool]:
        """Return the call that a result is of, if it was made here; and whether that is news.

        `place` tells results of different steps apart whose calls have the same id.
        """
        found = self.awaited.pop(call_id[:MAX_CALL_ID_CHARS], None)
        mark = hash((call_id, place))
        is_news = found is not None or mark not in self.told
        self.told[mark] = None
        if len(self.told) > MAX_AWAITED:
            self.told.popitem(last=False)
        return found, is_news


@dataclass(slots=True)
class OpenTurn(_Open):
    """A turn; `running`: its LLM calls that have not ended."""

    task: OpenTask | None = None
    running: int = 0


class OpenTasks:
    """The open tasks of one ingress replica.

    Args:
        emit: takes the span of a task or turn that has ended.
        new_id: makes the id of a span.
        idle_ns: a task without a request for this long has ended; `result_ns`: the same while
            it waits for the results of tool calls.

    """

    def __init__(
        self,
        emit: Callable[[Span], None],
        new_id: Callable[[], int],
        idle_ns: int,
        result_ns: int,
    ) -> None:
        self._emit, self._new_id = emit, new_id
        self._idle_ns, self._result_ns = idle_ns, max(idle_ns, result_ns)
        self._tenants: dict[str, OrderedDict[int, OpenTask]] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def task(self, tenant: str, trace_id: int, now_ns: int, common: Attributes) -> OpenTask:
        """Return the task that a trace is of, as a request of it comes."""
        mine = self._tenants.setdefault(tenant, OrderedDict())
        found = mine.get(trace_id)
        if found is None:
            context = TraceContext(trace_id, self._new_id(), is_sampled=True)
            found = mine[trace_id] = OpenTask(context, now_ns, now_ns, common, tenant=tenant)
            self._size += 1
            self._make_room(mine)
        # Of two that run at once, the one that began first may be read last.
        found.begun_ns = min(found.begun_ns, now_ns)
        found.last_ns = max(found.last_ns, now_ns)
        mine.move_to_end(trace_id)
        return found

    def _make_room(self, mine: OrderedDict[int, OpenTask]) -> None:
        if len(mine) > MAX_TASKS_OF_TENANT:
            self._end_task(next(iter(mine.values())), "bound")
        elif self._size > MAX_TASKS:
            largest = max(self._tenants.values(), key=len)
            self._end_task(next(iter(largest.values())), "bound")

    def begin(self, task: OpenTask, key: TurnKey, now_ns: int) -> OpenTurn:
        """Return the turn that an LLM call belongs to, which begins now."""
        turn = task.turns.get(key)
        if turn is None:
            context = TraceContext(task.context.trace_id, self._new_id(), is_sampled=True)
            turn = task.turns[key] = OpenTurn(context, now_ns, now_ns, task.common, task=task)
            task.turn_count += 1
            if len(task.turns) > MAX_TURNS:
                self._end_turn(task, next(iter(task.turns)), "bound")
        task.turns.move_to_end(key)
        turn.begun_ns = min(turn.begun_ns, now_ns)
        turn.running += 1
        return turn

    def end(
        self, turn: OpenTurn, now_ns: int, tokens: tuple[int, int], *, is_answered: bool
    ) -> None:
        """Note that an LLM call has ended; `is_answered`: its turn has its answer."""
        task = turn.task
        turn.running -= 1
        turn.note_end(now_ns, *tokens)
        if task is None:
            return
        task.note_end(now_ns, *tokens)
        self._tenants[task.tenant].move_to_end(task.context.trace_id)
        if is_answered and not turn.running:
            key = next((key for key, each in task.turns.items() if each is turn), None)
            if key is not None:
                self._end_turn(task, key, "answer")

    def sweep(self, now_ns: int) -> None:
        """End the tasks that have been idle for long."""
        for mine in list(self._tenants.values()):
            self._end_all(self._idle_of(mine, now_ns), "idle")

    def _idle_of(self, mine: OrderedDict[int, OpenTask], now_ns: int) -> list[OpenTask]:
        idle = []
        for task in mine.values():
            # In order of what happened last, so none behind is idle; but one that runs may
            # stand before those that are.
            if now_ns - task.last_ns < self._idle_ns and not task.is_running:
                break
            bound_ns = self._result_ns if task.is_waiting else self._idle_ns
            if now_ns - task.last_ns >= bound_ns and not task.is_running:
                idle.append(task)
        return idle

    def close(self) -> None:
        """End all of them: the process ends."""
        for mine in list(self._tenants.values()):
            self._end_all(list(mine.values()), "shutdown")

    def _end_all(self, tasks: Iterable[OpenTask], why: str) -> None:
        for task in tasks:
            self._end_task(task, why)

    def _end_task(self, task: OpenTask, why: str) -> None:
        mine = self._tenants[task.tenant]
        del mine[task.context.trace_id]
        if not mine:
            del self._tenants[task.tenant]
        self._size -= 1
        for key in list(task.turns):
            self._end_turn(task, key, why)
        if task.has_children:
            more: Attributes = {c.OPERATION: c.TASK, c.TURNS: task.turn_count, c.ENDED_BY: why}
            self._emit(_ended(c.TASK, task, None, more))

    def _end_turn(self, task: OpenTask, key: TurnKey, why: str) -> None:
        turn = task.turns.pop(key)
        if turn.has_children:
            task.has_children = True
            more: Attributes = {c.OPERATION: c.TURN, c.ENDED_BY: why}
            self._emit(_ended(c.TURN, turn, task.context.span_id, more))
        # What still runs is no part of an open task any more.
        turn.task = None


def _ended(name: str, of: _Open, parent_id: int | None, more: Attributes) -> Span:
    return Span(
        name,
        of.context,
        parent_id,
        of.begun_ns,
        of.last_ns,
        {**more, **of.common, **of.counts},
    )
