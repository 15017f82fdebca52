"""The routes of the engine, and what sets them apart."""

from __future__ import annotations

from dataclasses import dataclass, field

from router.types import Task
from serve_app.protocol.errors import Dialect


@dataclass(frozen=True, slots=True)
class Route:
    """One route of the engine.

    Attributes:
        dialect: form of its errors and events.
        prompt: field with the messages, input items or texts; it has to be there.
        generates: False for token counting, which costs nothing.
        task: what its engine does.
        limits: fields that cap an answer's tokens; the first that is there counts.
        default_limit: what caps it when none is; None: the context.
        answers: its engine writes an answer, token by token.
        is_bare: its engine reads texts as they are, not a conversation.

    """

    path: str
    dialect: Dialect
    prompt: str = "messages"
    generates: bool = True
    limits: tuple[str, ...] = ()
    default_limit: int | None = None
    task: Task = Task.GENERATE
    answers: bool = field(init=False)
    is_bare: bool = field(init=False)

    def __post_init__(self) -> None:
        is_generation = self.task is Task.GENERATE
        object.__setattr__(self, "answers", self.generates and is_generation)
        object.__setattr__(self, "is_bare", self.prompt == "prompt" or not is_generation)

    @property
    def texts_each(self) -> int:
        """Texts that each of its inputs has: a model that embeds reads those of a pair apart."""
        return 2 if self.task is Task.SCORE else 1

    @property
    def engine_path(self) -> str:
        """Where the engine answers the same; at `/v1/score` vLLM logs a warning each time."""
        return "/score" if self.path == "/v1/score" else self.path

    @property
    def has_priority(self) -> bool:
        """Whether its request model knows `priority`."""
        return self.dialect is not Dialect.ANTHROPIC

    @property
    def stores(self) -> bool:
        """Whether its API stores answers and goes on with them."""
        return self.dialect is Dialect.RESPONSES

    @property
    def has_n(self) -> bool:
        """Whether its request model knows `n`."""
        return self.dialect is Dialect.OPENAI

    @property
    def has_stream_options(self) -> bool:
        """Whether usage must be asked for on streams."""
        return self.dialect is Dialect.OPENAI


ROUTES: dict[str, Route] = {
    route.path: route
    for route in (
        Route(
            "/v1/chat/completions", Dialect.OPENAI, limits=("max_completion_tokens", "max_tokens")
        ),
        Route(
            "/v1/completions", Dialect.OPENAI, "prompt", limits=("max_tokens",), default_limit=16
        ),
        Route("/v1/responses", Dialect.RESPONSES, "input", limits=("max_output_tokens",)),
        Route("/v1/messages", Dialect.ANTHROPIC, limits=("max_tokens",)),
        Route("/v1/messages/count_tokens", Dialect.ANTHROPIC, generates=False),
        Route("/v1/embeddings", Dialect.OPENAI, "input", task=Task.EMBED),
        Route("/v1/score", Dialect.OPENAI, "queries", task=Task.SCORE),
        Route("/v1/rerank", Dialect.OPENAI, "documents", task=Task.SCORE),
        # Where Cohere's client sends the same.
        Route("/v2/rerank", Dialect.OPENAI, "documents", task=Task.SCORE),
    )
}

CONVERSATIONS = {
    path: route.prompt for path, route in ROUTES.items() if route.generates and not route.is_bare
}
"""Field with a conversation's messages or items, of the routes whose answers go on with one."""
