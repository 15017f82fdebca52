"""How far the answer to one client has come."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from serve_app.agents.gate import Gate
from serve_app.agents.verdict import CallOutcome


def nothing() -> None:
    """Do nothing."""


def not_sooner(_within_s: float) -> None:
    """Do nothing: nobody is told that it waits."""


@dataclass(slots=True)
class StreamState:
    """One client's stream, from whichever engines it comes.

    Attributes:
        held: events that wait for their time under the ceiling, with their position on
            the pacer's clock: the rate may change while they wait.
        last: when something was last passed on.
        newest: what that was: whole events.
        tokens: passed on by sources that are done, and what they had given that waits.
        untold_tokens: those of the last source of which the client has nothing.
        read: tokens that had come when one was last held back under the ceiling, and when it
            had come, by `time.perf_counter`.

    """

    held: deque[tuple[float, bytes]] = field(default_factory=deque)
    last: float = 0.0
    newest: bytes = b""
    tokens: int = 0
    untold_tokens: int = 0
    read: tuple[int, float] = (0, 0.0)


@dataclass(slots=True)
class Reply:
    """What the client of one request has.

    Attributes:
        has_head: the response's status line was sent. A stream that waits for long has
            one before there is anything to say.
        has_started: something of the answer was passed on, or a refusal told.
        stream: what is passed on, event by event.
        repairs: steps that were taken to have invalid tool calls made again.
        verdicts: how the tool calls were judged, as the model made them first.
        gate: what judged them; None: the answer could have none, or did not come so far.
        recoveries: what was done about faults of replicas, in order.
        is_waking: its lane slept when it came, which its head says.
        hush: the last of the response is about to be sent: no comment may follow it.
        hasten: send the next comment after so many seconds at the latest.

    """

    has_head: bool = False
    has_started: bool = False
    stream: StreamState = field(default_factory=StreamState)
    repairs: list[str] = field(default_factory=list)
    verdicts: list[CallOutcome] = field(default_factory=list)
    gate: Gate | None = None
    recoveries: list[str] = field(default_factory=list)
    is_waking: bool = False
    hush: Callable[[], None] = nothing
    hasten: Callable[[float], None] = not_sooner
