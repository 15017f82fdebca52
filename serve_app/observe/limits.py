"""Thresholds of the alerts: the guides' figures, and what follows from them for each lane.

The guides give their thresholds for one RTX 4090 with Llama 3.1 8B in FP8 and 32 sequences.
A larger model is slower on a healthy card, too, so a lane's own figures are reckoned from its
file and the profile of its model. For `chat` they are the guides', to the digit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from serve_app.config.fleet import FleetConfig
from serve_app.config.lane import LaneConfig
from serve_app.config.profiles import profile_name
from simulator.model.profile import Profile, load_profile

KV_RATIO = 0.90
"""Of the KV pool: above it for a minute the cache thrashes (FP8 guide)."""

WAITING = 4
"""Requests that wait per replica: with more of them the lane is at capacity (FP8 guide)."""

TTFT_S = 1.0
"""p95 of the time to the first token (FP8 guide: prefill is saturated)."""

TOKEN_S = 0.012
"""p95 of the time per output token, 83 tokens/s (FP8 guide: decode has slowed)."""

TOKEN_BATCH = 11.5
"""Sequences at which a healthy card takes TOKEN_S with Llama 3.1 8B, by its profile."""

FULL_BATCH = 8
"""With more sequences in a step the token time says that a lane is busy, not that it is slow:
prefill of other requests comes between the tokens, and is a twentieth of the steps."""

DECODE_RATIO = 150 / 195
"""Of the profile's decode speed at batch 1: 150 of 195 tokens/s (FP8 guide)."""

TEMPERATURE_C = 83
"""Above it an RTX 4090 lowers its clocks (FP8 guide)."""

POWER_CAP_W = 400
"""Cap of an RTX 4090 that steadies latency (FP8 guide); a lower one slows it for nothing."""

SESSIONS_RATIO = 25 / 32
"""Of a lane's sequences: 25 sessions at 32 sequences (chatbot guide), 12 at 16 (agent guide)."""

TURN_S = 5.0
"""p95 of an agent's turn (agent guide)."""

FALLBACK_RATIO = 0.15
"""Of the agents' requests that a stronger lane had to answer (agent guide)."""

LEAST_REQUESTS = 20
"""Fewer in a window have no p95: the slowest one of them would be it."""

LONG_PREFILL = "llama-3.1-8b-fp8-rtx4090-bare"
"""Prefill of the guides' engine page, which is that of long prompts."""


@dataclass(frozen=True)
class LaneLimits:
    """What one lane is measured by.

    Attributes:
        ttft_s: p95 of the time to the first token.
        token_s: p95 of the time per output token up to FULL_BATCH sequences in a step, in
            seconds; None: its model has no profile.
        step_s: mean time per output token of a single stream, in seconds; None likewise.
        sessions: active sessions per replica at which it wants another one; None: the file
            does not say how many sequences run at once.
        share: of the scored requests, from which it wants a card of its own; None: none is
            meant for it.
        is_for_tools: whether it serves requests that carry tools.
        wants_fp8: whether its file asks for an FP8 KV cache.

    """

    lane: str
    ttft_s: float
    token_s: float | None
    step_s: float | None
    sessions: int | None
    share: float | None
    is_for_tools: bool
    wants_fp8: bool


def limits_of(fleet: FleetConfig) -> Iterator[LaneLimits]:
    """One entry for each lane of the file, also for those that are off: they may be turned on."""
    routing = fleet.routing
    stronger = (routing.complex, routing.frontier)
    for name, lane in fleet.lanes.items():
        profile = _profile_of(lane)
        is_long = name == routing.long_context
        yield LaneLimits(
            lane=name,
            ttft_s=round(TTFT_S + (_window_s(lane) if is_long else 0), 1),
            token_s=None if profile is None else round(_step_s(profile, TOKEN_BATCH), 4),
            step_s=None if profile is None else round(_step_s(profile, 1) / DECODE_RATIO, 5),
            sessions=None if lane.slots is None else int(lane.slots * SESSIONS_RATIO),
            share=routing.escalation_alarm if name in stronger else None,
            is_for_tools=name == routing.tools,
            wants_fp8=str(lane.engine_args.get("kv_cache_dtype", "")).startswith("fp8"),
        )


def _profile_of(lane: LaneConfig) -> Profile | None:
    name = profile_name(lane)
    return None if name is None else load_profile(name)


def _window_s(lane: LaneConfig) -> float:
    """Prefill of a prompt that fills the window, which a lane for long prompts may be sent."""
    timing = load_profile(LONG_PREFILL).timing
    return (timing.prefill_step_ms + timing.prefill_ms_per_token * lane.max_model_len) / 1000


def _step_s(profile: Profile, batch: float) -> float:
    """Time of a decode step in seconds, linear between the profile's points."""
    points = list(profile.timing.decode_step_ms.items())
    for (below, low), (above, high) in pairwise(points):
        if below <= batch <= above:
            return (low + (high - low) * (batch - below) / (above - below)) / 1000
    return points[-1][1] / 1000
