"""The history budget: leaving old turns out of what the engine reads.

`router.routing.history` says where the cut is, from the conversation alone; this module
applies it to the client's body. `/v1/completions` has no turns, and
`/v1/messages/count_tokens` is asked by clients that mind their own history: both
pass as they came.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from router.routing.history import HistoryPlan, Kind, Piece, plan_history
from serve_app.bodies.json_body import dump
from serve_app.bodies.parsed_request import ParsedRequest
from serve_app.bodies.routes import CONVERSATIONS
from serve_app.bodies.steps import Steps
from serve_app.bodies.tool_parts import is_result
from serve_app.bodies.turns import read_turns
from serve_app.config.history import HistoryConfig
from serve_app.config.summaries import MODE
from serve_app.routing.history_pieces import read_pieces, read_sizes

DROP = "drop"

AT_ONCE = 1000
"""Messages whose size is read in one piece."""


@dataclass(frozen=True, slots=True)
class Trimmed:
    """A request whose old turns are left out.

    Attributes:
        parsed: the request as the engine gets it.
        mode: `summarise` where a summary stands for the turns, else `drop`.
        dropped: messages (or items) left out.
        dropped_tokens: their estimated size.
        moved: whether this request moved the cut.
        cuts: where the cut has stood, as indexes of what the client sent; the last one holds.
        first: the index of the first message of `parsed` that is behind the cut.

    """

    parsed: ParsedRequest
    mode: str
    dropped: int
    dropped_tokens: int
    moved: bool
    cuts: tuple[int, ...] = ()
    first: int = 0

    @property
    def is_summarised(self) -> bool:
        return self.mode == MODE

    @property
    def header(self) -> bytes:
        """Value of `x-pointsman-history`."""
        done = b"summarised" if self.is_summarised else b"trimmed"
        return b"%b; dropped=%d; tokens=%d" % (done, self.dropped, self.dropped_tokens)


def trimming(
    parsed: ParsedRequest, config: HistoryConfig | None, sized: list[Any] | None = None
) -> Steps[Trimmed | None]:
    """The request without its old turns, in pieces; None when all of it is kept.

    `sized`: what to take the sizes of, message by message; default: what the engine reads.
    """
    field = CONVERSATIONS.get(parsed.route.path)
    items = parsed.body.get(field) if field is not None else None
    if config is None or field is None or not isinstance(items, list):
        return None
    sized = items if sized is None else sized
    sizes: list[int] = []
    for begin in range(0, len(items), AT_ONCE):
        sizes += read_sizes(sized[begin : begin + AT_ONCE], config.bytes_per_token)
        yield
    if sum(sizes) <= config.high_tokens:
        return None
    pieces = read_pieces(items, sizes)
    yield
    plan = plan_history(pieces, config.budget)
    if not plan.cuts:
        return None
    yield
    kept = _kept(items, pieces, plan)
    body = {**parsed.body, field: kept}
    yield
    dropped_users = len(read_turns(items[: plan.cut]).users)
    prompt = replace(
        parsed.prompt, bytes=len(dump(body)), messages=len(kept), dropped_users=dropped_users
    )
    return Trimmed(
        parsed=replace(parsed, body=body, prompt=prompt),
        mode=DROP,
        dropped=len(items) - len(kept),
        dropped_tokens=plan.dropped_tokens,
        moved=plan.moved,
        cuts=plan.cuts,
        first=sum(piece.kind is Kind.PINNED for piece in pieces[: plan.cut]),
    )


def explain_history(config: HistoryConfig | None, trimmed: Trimmed | None) -> object:
    """The history's part of a dry run: None where there is no budget."""
    if config is None:
        return None
    return {
        "mode": config.mode,
        "high_tokens": config.budget.high_tokens,
        "low_tokens": config.budget.low_tokens,
        "dropped": trimmed.dropped if trimmed else 0,
        "dropped_tokens": trimmed.dropped_tokens if trimmed else 0,
        "summarised": trimmed is not None and trimmed.is_summarised,
    }


def _kept(items: list[Any], pieces: list[Piece], plan: HistoryPlan) -> list[Any]:
    pinned = [
        item
        for item, piece in zip(items[: plan.cut], pieces, strict=False)
        if piece.kind is Kind.PINNED
    ]
    if not plan.torn:
        return pinned + items[plan.cut :]
    torn: dict[int, set[str]] = {}
    for index, call in plan.torn:
        torn.setdefault(index, set()).add(call)
    rest = enumerate(items[plan.cut :], plan.cut)
    left = (_without(item, torn[i]) if i in torn else item for i, item in rest)
    return pinned + [item for item in left if item is not None]


def _without(item: dict[str, Any], calls: Collection[str]) -> dict[str, Any] | None:
    """A message without the results of these calls; None when nothing is left of it."""
    content = item.get("content")
    if item.get("role") != "user" or not isinstance(content, list):
        return None
    left = [
        part
        for part in content
        if not (isinstance(part, dict) and is_result(part) and part.get("tool_use_id") in calls)
    ]
    return {**item, "content": left} if left else None
