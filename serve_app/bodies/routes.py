"""The generation routes of the engine, and what sets them apart."""

from __future__ import annotations

from dataclasses import dataclass

from serve_app.protocol.errors import Dialect


@dataclass(frozen=True, slots=True)
class Route:
    """One generation route of the engine.

    Attributes:
        dialect: form of its errors and events.
        prompt: field with the messages, input items or texts; it has to be there.
        generates: False for token counting.
        limits: fields that cap an answer's tokens; the first that is there counts.
        default_limit: what caps it when none is; None: the context.

    """

    path: str
    dialect: Dialect
    prompt: str = "messages"
    generates: bool = True
    limits: tuple[str, ...] = ()
    default_limit: int | None = None

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
    )
}

CONVERSATIONS = {
    path: route.prompt
    for path, route in ROUTES.items()
    if route.generates and route.prompt != "prompt"
}
"""Field with a conversation's messages or items, of the routes whose answers go on with one."""
