"""Bits of a weight in each format that the pinned vLLM loads, scales included."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fleet.memory.shape import NotReckoned

AWQ_BITS = 4 + (16 + 4) / 128
"""4-bit weights, and for each group of 128 a 16-bit scale and a 4-bit zero."""
NVFP4_BITS = 4 + 8 / 16
"""4-bit floats, and for each 16 an 8-bit scale (NVIDIA's format)."""
MXFP4_BITS = 4 + 8 / 32
"""4-bit floats, and for each 32 an 8-bit exponent (OCP microscaling formats 1.0)."""
NF4_BITS = 4 + 32 / 64
"""bitsandbytes: for each 64 weights a 32-bit scale, as vLLM keeps it."""

WEIGHT_BITS = {
    "fp8": 8.0,
    "fp8_per_tensor": 8.0,
    "fp8_per_block": 8.0,
    "fp8_per_channel": 8.0,
    "awq": AWQ_BITS,
    "awq_marlin": AWQ_BITS,
    "auto_awq": AWQ_BITS,
    "gptq": AWQ_BITS,
    "gptq_marlin": AWQ_BITS,
    "auto_gptq": AWQ_BITS,
    "int8_per_channel_weight_only": 8.0,
    "bitsandbytes": NF4_BITS,
    "mxfp4": MXFP4_BITS,
    "nvfp4": NVFP4_BITS,
    "modelopt_fp4": NVFP4_BITS,
}
"""By vLLM's name of `quantization`."""


def quantised(told: Mapping[str, Any]) -> tuple[str | None, float | None]:
    """Name and bits of a checkpoint's own quantisation, from `quantization_config`.

    Raises:
        NotReckoned: a format that is not known here.

    """
    method = told.get("quant_method")
    if method is None:
        return None, None
    if method not in _BITS:
        raise NotReckoned(f"its weights are quantised as {method}, whose size is not reckoned")
    return str(method), _BITS[method](told)


def _compressed(told: Mapping[str, Any]) -> float:
    """Of llm-compressor's checkpoints; one group of layers, as their recipes have it."""
    groups = list((told.get("config_groups") or {}).values())
    weights = groups[0].get("weights") if groups else None
    if not weights:
        raise NotReckoned("its quantization_config names no weights")
    bits, size = weights.get("num_bits", 8), weights.get("group_size")
    if weights.get("type") == "float" and bits == 4:
        return NVFP4_BITS if size == 16 else MXFP4_BITS
    return _grouped(bits, size, zeros=not weights.get("symmetric", True))


def _grouped(bits: int, group: int | None, *, zeros: bool) -> float:
    """Integers with a 16-bit scale for each group; groups of a whole row count for nothing."""
    if not group or group < 1:
        return float(bits)
    return bits + (16 + (bits if zeros else 0)) / group


def _integers(told: Mapping[str, Any]) -> float:
    return _grouped(told.get("bits", 4), told.get("group_size") or 128, zeros=True)


_BITS: Mapping[str, Callable[[Mapping[str, Any]], float]] = {
    "awq": _integers,
    "gptq": _integers,
    "auto-round": _integers,
    "fp8": lambda _: 8.0,
    "fbgemm_fp8": lambda _: 8.0,
    "mxfp4": lambda _: MXFP4_BITS,
    "bitsandbytes": lambda told: NF4_BITS if told.get("load_in_4bit") else 8.0,
    "modelopt": lambda told: NVFP4_BITS if "FP4" in str(told.get("quant_algo", "")) else 8.0,
    "compressed-tensors": _compressed,
}
"""By `quant_method` of a config.json."""
