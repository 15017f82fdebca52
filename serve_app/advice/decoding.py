"""How long a token should take on a lane, by the simulator's profile of its card and model."""

from __future__ import annotations

import logging
from functools import cache
from itertools import pairwise

from serve_app.config.advice import AdviceConfig
from serve_app.config.lane import LaneConfig
from serve_app.config.profiles import profile_name
from simulator.model.profile import Profile, Timing, load_profile

logger = logging.getLogger("ray.serve")

ROUNDS = 4
"""Of a fixed point that two already come close to."""


def profile_of(name: str, lane: LaneConfig, config: AdviceConfig) -> Profile | None:
    """Return the profile that a lane behaves like; None: there is none, so nothing is simulated."""
    told = config.profiles.get(name) or profile_name(lane)
    return None if told is None else _loaded(told)


@cache
def _loaded(name: str) -> Profile | None:
    try:
        return load_profile(name)
    except (OSError, ValueError) as error:
        logger.warning("advice: profile '%s' cannot be used: %s", name, error)
        return None


def decode_s(timing: Timing, batch: float) -> float:
    """Return how long a step of so many sequences takes, prefill aside."""
    points = list(timing.decode_step_ms.items())
    if batch <= points[0][0]:
        return points[0][1] / 1000
    for (low, low_ms), (high, high_ms) in pairwise(points):
        if batch <= high:
            return (low_ms + (high_ms - low_ms) * (batch - low) / (high - low)) / 1000
    return points[-1][1] / 1000 * batch / points[-1][0]


def token_s(timing: Timing, batch: float, prefills_per_s: float, read_per_s: float) -> float:
    """Return the expected time between two tokens of a stream.

    Args:
        timing: of the profile.
        batch: sequences that decode at once.
        prefills_per_s: steps a second that also read a prompt, or a part of one.
        read_per_s: prompt tokens a second that are not in the cache.

    """
    decode = decode_s(timing, batch)
    if prefills_per_s <= 0:
        return decode
    prefill = (
        timing.prefill_step_ms + timing.prefill_ms_per_token * read_per_s / prefills_per_s
    ) / 1000
    both = max(decode, prefill) + timing.interference * min(decode, prefill)
    step = decode
    for _ in range(ROUNDS):
        # Longer steps are fewer, so that more of them have a prompt to read.
        step = decode + min(1.0, prefills_per_s * step) * (both - decode)
    return step
