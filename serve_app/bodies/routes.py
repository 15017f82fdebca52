"""The generation routes of the engine, and what sets them apart."""

from __future__ import annotations

from dataclasses import dataclass

from serve_app.protocol.errors import Dialect


@dataclass(frozen=True, slots=True)
class Route:
    """One generation route of the engine.

    Attributes:
        dialect: form of its errors and events.
        has_priority: whether its request model knows `priority`.
        has_stream_options: whether usage must be asked for on streams.
        generates: False for token counting.
        limits: fields that cap an answer's tokens; the first that is there counts.
        default_limit: what caps it when none is; None: the context.
        has_n: whether its request model knows `n`.

    """

    path: str
    dialect: Dialect
    has_priority: bool = True
    has_stream_options: bool = False
    generates: bool = True
    limits: tuple[str, ...] = ()
    default_limit: int | None = None
    has_n: bool = False


ROUTES: dict[str, Route] = {
    route.path: route
    for route in (
        Route(
            "/v1/chat/completions",
            Dialect.OPENAI,
            has_stream_options=True,
            limits=("max_completion_tokens", "max_tokens"),
            has_n=True,
        ),
        Route(
            "/v1/completions",
            Dialect.OPENAI,
            has_stream_options=True,
            limits=("max_tokens",),
            default_limit=16,
            has_n=True,
        ),
        Route("/v1/responses", Dialect.RESPONSES, limits=("max_output_tokens",)),
        Route("/v1/messages", Dialect.ANTHROPIC, has_priority=False, limits=("max_tokens",)),
        Route("/v1/messages/count_tokens", Dialect.ANTHROPIC, has_priority=False, generates=False),
    )
}
