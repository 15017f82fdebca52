"""What an engine has to be able to do to give its card to others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from starlette.types import ASGIApp


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What is only known of an engine that was loaded.

    Attributes:
        cards: UUIDs of the cards that it runs on; empty: it has none. None: not known.
        weights_gib: what its weights take of host memory while it sleeps; None: not known.

    """

    cards: frozenset[str] | None = None
    weights_gib: float | None = None


class SleepyEngine(Protocol):
    """An engine that can go and come back. One of these is awaited at a time."""

    async def load(self) -> ASGIApp:
        """Start the engine and return its routes."""

    async def warm(self) -> None:
        """Have an engine that was loaded answer once, through the replica's endpoint."""

    async def unload(self) -> None:
        """End the engine and free all its memory; harmless where there is none."""

    async def sleep(self) -> None:
        """Move the weights to host memory and free the card (vLLM's sleep level 1)."""

    async def wake(self) -> None:
        """Take them back."""

    async def facts(self) -> EngineFacts:
        """Say where an engine that was loaded runs, and how large it is."""
