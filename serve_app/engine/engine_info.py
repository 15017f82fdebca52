"""What an engine runs with, as one line of its metrics: `/metrics` has it, and the doctor.

vLLM's own `vllm:cache_config_info` has the KV cache, but nothing has the weights' quantisation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vllm.config import VllmConfig

NAME = "pointsman_engine_info"


def engine_info(config: VllmConfig) -> str:
    """Prometheus text with the engine's own, resolved configuration."""
    labels = {
        "quantization": config.model_config.quantization or "none",
        "kv_cache_dtype": config.cache_config.cache_dtype,
        "dtype": str(config.model_config.dtype).removeprefix("torch."),
    }
    inside = ",".join(f'{name}="{value}"' for name, value in labels.items())
    return (
        f"# HELP {NAME} What the engine runs with: weights, KV cache, computation.\n"
        f"# TYPE {NAME} gauge\n{NAME}{{{inside}}} 1.0\n"
    )
