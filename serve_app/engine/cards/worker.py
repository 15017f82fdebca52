"""What vLLM's workers can be asked about their cards: an extension of its worker class."""

from __future__ import annotations


class CardReporter:
    """Mixed into vLLM's worker by the engine argument `worker_extension_cls`."""

    def reported_card(self) -> str | None:
        """Return the UUID of the worker's card, as NVML writes it; None: it has none."""
        import torch

        if not torch.cuda.is_available():
            return None
        return f"GPU-{torch.cuda.get_device_properties(torch.cuda.current_device()).uuid}"

    def held_weights(self) -> int:
        """Return the bytes that the worker's part of the model takes."""
        return int(self.model_runner.model_memory_usage)  # type: ignore[attr-defined]  # vLLM's
