"""What an engine runs with, against what was asked for, and as one line of its metrics.

vLLM's own `vllm:cache_config_info` has the KV cache, but nothing has the weights' quantisation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vllm.config import VllmConfig

NAME = "pointsman_engine_info"
SIXTEEN_BITS = frozenset({"none", "auto", "float16", "bfloat16"})
"""What weights and KV cache are that nobody has quantised. FP8 has many other names."""


class FellBack(Exception):
    """The engine runs with something else than the fleet file asks for."""


def refuse_fall_back(asked: Mapping[str, Any], config: VllmConfig) -> None:
    """Raise FellBack where FP8 was asked for and the engine is not in it.

    It would look well at first, and run out of memory in a long context.

    Args:
        asked: the lane's engine_args.
        config: the engine's own, resolved configuration.

    """
    running = {
        "quantization": config.model_config.quantization or "none",
        "kv_cache_dtype": config.cache_config.cache_dtype,
    }
    for name, found in running.items():
        wanted = str(asked.get(name) or "")
        if wanted.startswith("fp8") and found in SIXTEEN_BITS:
            raise FellBack(f"asked for {name} {wanted}, the engine runs with {found}")


def engine_info(config: VllmConfig) -> str:
    """Prometheus text with the engine's own, resolved configuration."""
    return info_text(
        {
            "quantization": config.model_config.quantization or "none",
            "kv_cache_dtype": config.cache_config.cache_dtype,
            "dtype": str(config.model_config.dtype).removeprefix("torch."),
        }
    )


def info_text(labels: Mapping[str, str]) -> str:
    """Return the Prometheus text of one engine's settings."""
    inside = ",".join(f'{name}="{value}"' for name, value in labels.items())
    return (
        f"# HELP {NAME} What the engine runs with: weights, KV cache, computation.\n"
        f"# TYPE {NAME} gauge\n{NAME}{{{inside}}} 1.0\n"
    )
