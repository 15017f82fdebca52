"""What one simulated engine is."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.http.faults import NO_FAULTS, Faults
from simulator.model.profile import FixedTiming, Profile, SleepCosts
from simulator.script.model import Script

NO_PROFILE_SLEEP = SleepCosts()


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """What one simulated engine is.

    Attributes:
        model_id: the only model it answers for.
        window_tokens: prompt and answer together.
        timing: a profile, or fixed times.
        trims_template: whether the chat template strips messages (Llama 3.1's does).
        script: what it says; None: syllables, or what the timing's profile names.
        is_pooling: it embeds and scores texts, and says nothing.
        seed: of what is drawn at random: ids, sampled texts, faults.
        sleep: what giving up its card costs.

    """

    model_id: str
    window_tokens: int
    timing: Profile | FixedTiming
    trims_template: bool = False
    faults: Faults = NO_FAULTS
    script: Script | None = None
    seed: int | None = None
    sleep: SleepCosts = NO_PROFILE_SLEEP
    is_pooling: bool = False
