"""Build engine configurations as production does, on a machine without a GPU.

Run as a script, by `test_engine_config.py`, in a process of its own: it makes vLLM
believe in two cards of the case's kind before vLLM is imported, and that must not leak
into other tests. Reads a JSON list of cases from the file in argv[1], writes a list of results
to the file in argv[2].

What is false here is only what a CPU build lacks: the compiled CUDA extensions are
empty modules, three kernel queries answer what such a device answers, and the card's
name, memory, capability and count are stated. The platform's code is vLLM's own
CudaPlatformBase. Models are inspected in this process to save a subprocess for each.
"""

from __future__ import annotations

import argparse
import json
import sys
import types
from pathlib import Path
from typing import Any

from kv_check import capacity

from fleet.cards.table import Card, cards, cards_by_kind


class _Extension(types.ModuleType):
    """A compiled module: any function can be imported, none will be called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_args, **_kwargs: None


class Cards:
    """The two cards that vLLM is to believe in: a row of fleet/cards/cards.yaml."""

    card: Card = cards()["rtx4090"]


def pretend_cards() -> None:
    """Make vLLM resolve its platform to CUDA with two of `Cards.card`."""
    sys.modules["vllm._C_stable_libtorch"] = _Extension("vllm._C_stable_libtorch")
    sys.modules["vllm.vllm_flash_attn"] = _Extension("vllm.vllm_flash_attn")
    _answer_kernel_queries()
    _import_image_processors()

    from vllm import platforms
    from vllm.platforms.cuda import CudaPlatformBase
    from vllm.platforms.interface import DeviceCapability

    class Pretended(CudaPlatformBase):
        @classmethod
        def get_device_capability(cls, device_id=0):
            return DeviceCapability(*Cards.card.capability)

        @classmethod
        def get_device_name(cls, device_id=0):
            return f"NVIDIA {Cards.card.kind.replace('-', ' ')}"

        @classmethod
        def get_device_total_memory(cls, device_id=0):
            return Cards.card.memory_bytes

        @classmethod
        def device_count(cls):
            return 2

        def is_cumem_allocator_available(self):
            return True

        @classmethod
        def is_fully_connected(cls, device_ids):
            return False

    platforms._current_platform = Pretended()

    from vllm.model_executor.models import registry

    registry._run_in_subprocess = lambda inspect: inspect()


def _import_image_processors() -> None:
    """Let models that see be imported without torchvision, which CUDA builds have."""
    from transformers.utils import is_torchvision_available

    if is_torchvision_available():
        return
    names = ("torchvision", "transforms", "v2", "functional")
    for end in range(1, len(names) + 1):
        name = ".".join(names[:end])
        sys.modules[name] = _Extension(name)
        sys.modules[name].__path__ = []


def _answer_kernel_queries() -> None:
    import torch

    global _library  # noqa: PLW0603  # dropping it would unregister the operators
    _library = torch.library.Library("_C", "FRAGMENT")
    for name, since in (
        ("cutlass_scaled_mm_supports_fp8", (8, 9)),
        ("cutlass_scaled_mm_supports_block_fp8", (9, 0)),
        ("cutlass_group_gemm_supported", (9, 0)),
    ):
        _library.define(f"{name}(int cuda_device_capability) -> bool")
        _library.impl(
            name,
            lambda _capability, since=since: Cards.card.capability >= since,
            "CompositeExplicitAutograd",
        )


def check(case: dict[str, Any]) -> dict[str, Any]:
    """The steps of `ray.serve.llm`'s VLLMEngine.start() up to the engine itself."""
    from ray.llm._internal.serve.engines.vllm.vllm_engine import _get_vllm_engine_config
    from vllm.entrypoints.launchers.cli_args import FrontendArgs
    from vllm.entrypoints.launchers.launcher import validate_api_server_args
    from vllm.v1.metrics.stats import PromptTokenStats

    from serve_app.app import lane_options
    from serve_app.config.lane import LaneConfig
    from serve_app.engine.host_cache import HostMemory
    from serve_app.engine.lane_deployment import offload
    from serve_app.engine.vllm_lane import llm_config

    lane = LaneConfig.model_validate(case["lane"])
    options = lane_options(case["name"], lane)
    options.pop("name")  # as build_vllm_lane does
    config = llm_config(lane, case["source"], options)
    # What the replica does with a host of 128 GiB and four cards.
    offload(config, lane.host_kv_cache, HostMemory(ram=128, shm=64, shm_free=60), cards=4)
    engine = config.get_engine_config()
    arguments, vllm_config = _get_vllm_engine_config(config)
    frontend = FrontendArgs(**engine.frontend_kwargs)
    # Ray leaves this one out; without it an unknown parser shows after the weights load.
    validate_api_server_args(argparse.Namespace(**(vars(frontend) | vars(arguments))))
    scheduler = vllm_config.scheduler_config
    transfer = vllm_config.kv_transfer_config
    return {
        "model": arguments.model,
        "served": arguments.served_model_name,
        "quantization": vllm_config.model_config.quantization,
        "kv_cache_dtype": vllm_config.cache_config.cache_dtype,
        "prefix_caching": vllm_config.cache_config.enable_prefix_caching,
        "memory": vllm_config.cache_config.gpu_memory_utilization,
        "blocks_override": vllm_config.cache_config.num_gpu_blocks_override,
        "chunked_prefill": scheduler.enable_chunked_prefill,
        "batched_tokens": scheduler.max_num_batched_tokens,
        "seqs": scheduler.max_num_seqs,
        "policy": scheduler.policy,
        "max_model_len": vllm_config.model_config.max_model_len,
        "tensor_parallel": vllm_config.parallel_config.tensor_parallel_size,
        "prompt_tokens_details": frontend.enable_prompt_tokens_details,
        "tool_parser": frontend.tool_call_parser,
        "reasoning_parser": vllm_config.structured_outputs_config.reasoning_parser,
        "media_domains": vllm_config.model_config.allowed_media_domains,
        "revisions": [arguments.revision, arguments.tokenizer_revision],
        "bundles": engine.placement_bundles,
        "sources": PromptTokenStats.ALL_SOURCES,
        "worker_extension": vllm_config.parallel_config.worker_extension_cls,
        "kv": capacity(vllm_config),
        "samples": _samples_of(vllm_config) if case["name"] == "rtx4090 chat" else [],
        "offload": transfer
        and [
            transfer.kv_connector,
            transfer.kv_role,
            transfer.kv_connector_extra_config["cpu_bytes_to_use"] / 2**30,
        ],
    }


def _samples_of(vllm_config: Any) -> list[str]:
    """Names of the samples that the engine's server has before any request, `reason` included."""
    from prometheus_client import REGISTRY
    from vllm.v1.metrics.loggers import PrometheusStatLogger

    logger = PrometheusStatLogger(vllm_config)
    logger.log_engine_initialized()
    found = {
        f"{sample.name}:{sample.labels['reason']}" if "reason" in sample.labels else sample.name
        for family in REGISTRY.collect()
        for sample in family.samples
    }
    return sorted(name for name in found if name.startswith("vllm:"))


def main() -> None:
    """Answer every case; an error is a result."""
    pretend_cards()
    results = []
    for case in json.loads(Path(sys.argv[1]).read_text()):
        Cards.card = cards_by_kind()[case["kind"]]
        try:
            results.append(check(case))
        except Exception as error:  # noqa: BLE001
            results.append({"error": f"{type(error).__name__}: {error}"})
    Path(sys.argv[2]).write_text(json.dumps(results))


if __name__ == "__main__":
    main()
