"""What is to be stored of one request and its answer (docs/responses.md)."""

from __future__ import annotations

from dataclasses import dataclass

from serve_app.config.records import ResponsesConfig


@dataclass(frozen=True, slots=True)
class Keeping:
    """What one request asks of the store of responses.

    Attributes:
        previous: id of the response that it continues; None: it begins a conversation.
        input: its own items, without those that it continues: a JSON array.
        is_wanted: whether its answer is to be stored.
        bounds: of its tenant.

    """

    previous: str | None
    input: bytes
    is_wanted: bool
    bounds: ResponsesConfig
