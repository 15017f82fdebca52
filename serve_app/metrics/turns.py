"""The metrics of turns and prompts: how long a turn took, how long a prompt was."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from serve_app.metrics.loop_histogram import LoopHistogram

# Seconds. The agent guide's budget of a turn, 4 to 5 s, falls on edges.
_TURN = (0.5, 1, 2, 3, 4, 5, 7, 10, 25, 60, 300)
# Tokens. Halves of usual windows, and the chatbot guide's 32k.
_PROMPT = (512, 1024, 2048, 4096, 8192, 16_384, 32_000, 32_768, 65_536)


class TurnMetrics:
    """Observed once a request, when it is settled. Label sets are bounded."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.turns = LoopHistogram(
            "pointsman_turn_seconds",
            "A user's turn: from its first request to the end of its answer, tools included.",
            ("lane", "tier"),
            _TURN,
            registry,
        )
        self.prompts = LoopHistogram(
            "pointsman_request_prompt_tokens",
            "Prompt tokens of a request, as the engine counts.",
            ("lane",),
            _PROMPT,
            registry,
        )
