"""What of a conversation its engine reads: bounds on tasks, long results, old turns.

In this order, because depth is that of the whole conversation, and turns are left out by the
sizes that their results have then. It is done once with the summaries that are known, and
again when those that were missing have been made.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

from router.agents.task_table import TaskTable
from router.errors import Rejected
from serve_app.agents.guard import Guarded, guarding
from serve_app.agents.results import measuring
from serve_app.bodies.parsed_request import ParsedRequest
from serve_app.bodies.routes import CONVERSATIONS
from serve_app.bodies.steps import Steps
from serve_app.routing.history import Trimmed, trimming
from serve_app.summaries.turns import summarising_turns
from serve_app.summaries.view import SummaryView
from serve_app.tenancy.auth import Tenant


@dataclass(frozen=True, slots=True)
class Shape:
    """A conversation as its engine gets it.

    Attributes:
        given: as its client sent it.
        view: the summaries that it has and wants; None: its tenant wants none.

    """

    given: ParsedRequest
    guarded: Guarded
    history: Trimmed | None
    view: SummaryView | None = field(default=None, compare=False)

    @property
    def parsed(self) -> ParsedRequest:
        return self.guarded.parsed if self.history is None else self.history.parsed

    @property
    def is_open(self) -> bool:
        """Whether summaries are missing."""
        return self.view is not None and bool(self.view.wanted)


class Shaping:
    """Shapes the conversations of one ingress replica.

    `clock`: the one that `tasks` is told.
    """

    def __init__(self, tasks: TaskTable, clock: Callable[[], float]) -> None:
        self._tasks, self._clock = tasks, clock

    def shaping(
        self,
        tenant: Tenant,
        task_key: Hashable,
        given: ParsedRequest,
        view: SummaryView | None = None,
    ) -> Steps[Shape | Rejected]:
        """A request's shape, or why its task may not go on, in pieces."""
        guarded = yield from guarding(
            given, tenant.agents, self._tasks, task_key, self._clock(), view
        )
        if isinstance(guarded, Rejected):
            return guarded
        yield
        sized = None if view is None else (yield from _sizing(tenant, given))
        history = yield from trimming(guarded.parsed, tenant.history, sized)
        if view is None or history is None:
            return Shape(given, guarded, history, view)
        view.leave_out(history.cuts[-1])
        if tenant.history is not None and tenant.history.is_summarised:
            history = yield from summarising_turns(
                history, given, guarded.parsed, tenant.history.summary, view
            )
        return Shape(given, guarded, history, view)


def _sizing(tenant: Tenant, given: ParsedRequest) -> Steps[list[Any] | None]:
    """The messages that the history budget takes the sizes of; None: those that are read."""
    results = tenant.agents.tool_results if tenant.agents is not None else None
    items = given.body.get(CONVERSATIONS.get(given.route.path, ""))
    if tenant.history is None or results is None or not isinstance(items, list):
        return None
    return (yield from measuring(items, results.limit)) if results.is_summarised else None
