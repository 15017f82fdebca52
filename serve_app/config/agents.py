"""The `agents:` block of a tier: bounds of tasks, loops and tool results (docs/agents.md)."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from router.agents.bounds import Bounds
from router.agents.loops import LoopRules
from router.agents.shorten import ResultLimit
from router.tokens import START_BYTES_PER_TOKEN
from serve_app.config.errors import StrictModel
from serve_app.config.summaries import MODE, SummaryConfig, check_use


class LoopsConfig(StrictModel):
    """From when on tool calls of one turn are a loop, and what is done then.

    Attributes:
        repeats: times that one call is made with the same arguments and the same result,
            one after another; null: never.
        cycle: rounds of up to `max_period` calls, their results unchanged; null: never.
        changing: rounds of the same calls whose results change; null: never. Polling
            looks like this.
        near: steps in a row that call one tool with small changes of its arguments and
            bring failures that are not new; three times as many if they are no failures.
            null: never.
        max_period: calls of a round, at most.
        action: `count` in metrics; `warn`, by a note to the model at the end of the
            conversation; `stop`, as `on_depth` says.

    """

    repeats: int | None = Field(5, ge=2)
    cycle: int | None = Field(3, ge=2)
    changing: int | None = Field(20, ge=2)
    near: int | None = Field(10, ge=2)
    max_period: int = Field(12, ge=1, le=64)
    action: Literal["count", "warn", "stop"] = "warn"

    @property
    def rules(self) -> LoopRules:
        return LoopRules(**self.model_dump(exclude={"action"}))


class ToolResultsConfig(StrictModel):
    """How much of a tool's result the engine reads.

    Attributes:
        max_tokens: of one result; a longer one is cut.
        mode: what becomes of a longer one. `shorten`: its head and its tail stay, and JSON
            stays JSON. `summarise`: a lane writes a summary in its place.
        summary: how that is written.
        bytes_per_token: UTF-8 bytes of text that count as a token. Fixed, so that a
            result is cut in the same way each time it is sent.

    """

    max_tokens: int = Field(1000, ge=64)
    mode: Literal["shorten", "summarise"] = "shorten"
    summary: SummaryConfig = SummaryConfig()
    bytes_per_token: float = Field(START_BYTES_PER_TOKEN, ge=1, le=8)

    @model_validator(mode="after")
    def _a_summary_is_shorter(self) -> Self:
        check_use(self)
        if self.is_summarised and self.summary.max_tokens > self.max_tokens:
            raise ValueError("summary.max_tokens may not be over max_tokens")
        return self

    @property
    def is_summarised(self) -> bool:
        return self.mode == MODE

    @property
    def limit(self) -> ResultLimit:
        return ResultLimit(self.max_tokens, self.bytes_per_token)


class ToolCallsConfig(StrictModel):
    """What becomes of tool calls that do not validate.

    Attributes:
        check: `hold` each call until it is valid, and have an invalid one made again;
            `count` how calls are, and pass them on as they come. Requests with `strict`
            tools are held in either case.
        attempts: times that the lane is asked for a valid call, with the schema as its
            grammar.
        fallback: ask `routing.tool_fallback`, too, once.

    """

    check: Literal["hold", "count"] = "hold"
    attempts: int = Field(1, ge=0, le=3)
    fallback: bool = True


class AgentConfig(StrictModel):
    """Bounds of tasks that call tools; a tier without this block has none.

    A null lifts a bound. Coding agents work for hundreds of steps a turn: their tiers want
    `turn_depth: null` and `task_depth: null`.

    Attributes:
        turn_depth: answers that call tools since the user wrote last.
        task_depth: answers that call tools in the whole conversation.
        turn_s: seconds since the turn's first request.
        task_s: seconds since the task's first request.
        task_tokens: tokens of prompts and answers of a task's requests together.
        on_depth: `refuse` a request over a bound (400 `tool_depth_exceeded`), or let the
            model `finish`: it gets no tools, and is told to answer with what it has.
        loops: null: they are not looked for.
        tool_results: null: they stay as they are.
        tool_order: `canonical`: tools by name and their members by key, so that the
            prefix cache serves clients that shuffle them; `client`: as they came.
        tool_calls: what becomes of calls that do not validate.

    """

    turn_depth: int | None = Field(5, ge=1)
    task_depth: int | None = Field(25, ge=1)
    turn_s: float | None = Field(None, gt=0)
    task_s: float | None = Field(None, gt=0)
    task_tokens: int | None = Field(None, ge=1)
    on_depth: Literal["refuse", "finish"] = "refuse"
    loops: LoopsConfig | None = LoopsConfig()
    tool_results: ToolResultsConfig | None = None
    tool_order: Literal["client", "canonical"] = "client"
    tool_calls: ToolCallsConfig = ToolCallsConfig()

    @property
    def bounds(self) -> Bounds:
        return Bounds(self.turn_depth, self.task_depth, self.turn_s, self.task_s, self.task_tokens)
