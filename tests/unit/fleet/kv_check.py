"""The KV pool of an engine configuration, dealt out by vLLM's own code.

Part of `engine_check.py`'s process. The specification of each layer is made here from what
vLLM has read of the model, as its layers make theirs (`Attention.get_kv_cache_spec` and its
kin; the layers themselves need the device). Grouping, sizes of blocks and the count are vLLM's.
"""

from __future__ import annotations

from typing import Any

POOL_BYTES = 8 * 2**30


def capacity(vllm_config: Any) -> dict[str, float]:
    """Bytes of a block, and windows that a pool of 8 GiB holds at once."""
    from vllm.v1.core import kv_cache_utils as kv

    _align(vllm_config)
    vllm_config.cache_config.kv_cache_layout = "LBNHC"
    specs = {f"layers.{i}": spec for i, spec in enumerate(_specs(vllm_config))}
    groups = kv.get_kv_cache_groups(vllm_config, specs)
    dealt = kv.get_kv_cache_config_from_groups(vllm_config, groups, POOL_BYTES)
    return {
        "block_bytes": POOL_BYTES // dealt.num_blocks,
        "windows": kv.get_kv_cache_capacity(vllm_config, dealt)[1],
    }


def _align(vllm_config: Any) -> None:
    from vllm import platforms
    from vllm.v1.attention.backends.triton_attn import TritonAttentionBackend

    if vllm_config.model_config.is_hybrid:
        platforms.current_platform._align_hybrid_block_size(vllm_config, TritonAttentionBackend)


def _specs(vllm_config: Any) -> list[Any]:
    from vllm.model_executor.models import ModelRegistry
    from vllm.utils.torch_utils import STR_DTYPE_TO_TORCH_DTYPE
    from vllm.v1 import kv_cache_interface as kv
    from vllm.v1.attention.backends.triton_attn import TritonAttentionBackend

    model, cache = vllm_config.model_config, vllm_config.cache_config
    text, arch = model.hf_text_config, model.model_arch_config
    cards, named = vllm_config.parallel_config.tensor_parallel_size, cache.cache_dtype
    common = {
        "block_size": cache.block_size,
        "dtype": model.dtype if named == "auto" else STR_DTYPE_TO_TORCH_DTYPE[named],
        "kv_quant_mode": kv.get_kv_quant_mode(named),
    }

    def made(layer: int, kind: str) -> Any:
        if kind == "linear_attention":
            cls, _ = ModelRegistry.resolve_model_cls(model.architecture, model_config=model)
            return kv.MambaSpec(
                shapes=tuple(cls.get_mamba_state_shape_from_config(vllm_config)),
                dtypes=tuple(cls.get_mamba_state_dtype_from_config(vllm_config)),
                block_size=cache.mamba_block_size,
                page_size_padded=cache.mamba_page_size_padded,
                mamba_cache_mode=cache.mamba_cache_mode,
            )
        heads = max(1, arch[layer].total_num_kv_heads // cards)
        own = {**common, "num_kv_heads": heads, "head_size": arch[layer].head_size}
        if model.use_mla:
            return kv.MLAAttentionSpec(**{**own, "num_kv_heads": 1})
        if kind == "chunked_attention":
            return kv.ChunkedLocalAttentionSpec(
                **own, attention_chunk_size=text.attention_chunk_size
            )
        if kind == "sliding_attention":
            # The smallest that the kernels take, whatever the other layers have.
            own["block_size"] = 16
            spec = kv.SlidingWindowSpec(**own, sliding_window=text.sliding_window)
        else:
            spec = kv.FullAttentionSpec(**own)
        return TritonAttentionBackend.customize_spec(spec)

    every = "sliding_attention" if cache.sliding_window else "full_attention"
    kinds = getattr(text, "layer_types", None) or [every] * text.num_hidden_layers
    return [made(layer, kind) for layer, kind in enumerate(kinds)]
