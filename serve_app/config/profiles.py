"""Which documented profile a lane's engine should behave like."""

from __future__ import annotations

from serve_app.config.lane import LaneConfig

CARD = "accelerator_type:GeForce-RTX-4090"

PROFILES = {
    "meta-llama/Llama-3.1-8B-Instruct": "llama-3.1-8b-fp8-rtx4090",
    "Qwen/Qwen2.5-14B-Instruct-AWQ": "qwen-2.5-14b-awq-rtx4090",
    "Qwen/Qwen2.5-32B-Instruct-AWQ": "qwen-2.5-32b-awq-rtx4090",
    "hugging-quants/Meta-Llama-3.1-70B-Instruct-AWQ-INT4": "llama-3.1-70b-awq-int4-rtx4090",
    "mistralai/Mistral-7B-Instruct-v0.3": "mistral-7b-fp8-rtx4090",
    "casperhansen/mixtral-instruct-awq": "mixtral-8x7b-awq-rtx4090",
    "microsoft/Phi-3-mini-4k-instruct": "phi-3-mini-fp8-rtx4090",
    "mistralai/Mistral-Nemo-Instruct-2407": "mistral-nemo-12b-fp8-rtx4090",
}
"""By `model_source`, the profile of the model on an RTX 4090, quantised as in the shipped fleet."""


def profile_name(lane: LaneConfig) -> str | None:
    """Return the profile's name: a simulated engine's own, or the documented one of its model.

    None: there is none of this model on this card, so nothing is known to compare with.
    """
    if lane.engine == "simulated":
        return lane.simulated.profile
    return PROFILES.get(lane.model_source) if CARD in (lane.bundle or {}) else None
