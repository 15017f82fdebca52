"""What a lane's engine runs with against what the fleet file asks for."""

from __future__ import annotations

from fleet.cards.table import cards_by_kind
from fleet.memory.shape import ModelShape, NotReckoned
from serve_app.config.lane import LaneConfig
from serve_app.doctor.check import Verdict, failure, not_applicable, ok
from serve_app.doctor.fit.cards import kind_of_lane
from serve_app.doctor.fit.checkpoint import shape_of_lane
from serve_app.doctor.fit.reckoning import reckon
from serve_app.doctor.live.engine_facts import EngineFacts

SAME = 0.15
"""Padding of blocks and rounding of the log's GiB move bytes of a token by less."""
FAR_SMALLER = 0.62
"""A pool in 16 bits holds half the tokens of one in 8; the reckoning is off by up to 20 %."""

FALLS_BACK = (
    "upgrade the driver to 550 or newer (580 for a CUDA 13 build), reboot, and confirm sm_89: "
    "nvidia-smi --query-gpu=driver_version,compute_cap --format=csv"
)
ALIASES = {
    "awq_marlin": "auto_awq",
    "awq": "auto_awq",
    "gptq_marlin": "auto_gptq",
    "gptq": "auto_gptq",
}
"""vLLM 0.29.0 reads several names as one."""


def quantization(name: str, lane: LaneConfig, facts: EngineFacts) -> Verdict:
    """The weights' quantisation, as the engine says it."""
    wanted = str(lane.engine_args.get("quantization") or "none")
    found = facts.quantization
    if found is None:
        return not_applicable("cannot tell: neither /metrics nor a log of this machine says it")
    if wanted == "none":
        return ok(f"{found} (the fleet file leaves it to the checkpoint)")
    if ALIASES.get(wanted, wanted) != ALIASES.get(found, found):
        fix = (
            f"lanes.{name}.engine_args.quantization: {wanted}, then redeploy: this engine is older"
        )
        return failure(f"the engine runs with {found}, the fleet file says {wanted}", fix)
    return ok(found)


def kv_type(lane: LaneConfig, facts: EngineFacts) -> Verdict:
    """The type of the KV cache: measured where the log is here, else from the pool's size."""
    wanted = str(lane.engine_args.get("kv_cache_dtype") or "auto")
    found = facts.kv_dtype
    if found is None and facts.bytes_per_token is None:
        return not_applicable("cannot tell: neither /metrics nor a log of this machine says it")
    if found is not None and _is_eight_bit(wanted) and not _is_eight_bit(found):
        return failure(f"the engine runs with {found}, the fleet file says {wanted}", FALLS_BACK)
    try:
        shape = shape_of_lane(lane)[0]
        measured = _measured(lane, shape, facts)
    except NotReckoned as error:
        return ok(f"{found} by its configuration; not measured ({error})")
    return _judged(wanted, found, measured)


def _judged(wanted: str, found: str | None, measured: tuple[float, str] | None) -> Verdict:
    """Judge by how many times as large a token is as it should be."""
    if measured is None:
        return ok(f"{found} by its configuration; no size of the pool to measure by")
    ratio, how = measured
    if ratio > 1 / FAR_SMALLER:
        return failure(
            f"configured as {wanted}, but {how}: the cache is in 16 bits, and long contexts will "
            "run out of memory",
            FALLS_BACK,
        )
    return ok(f"{found}, confirmed: {how}" if ratio < 1 + SAME else f"{found}; {how}")


def _measured(lane: LaneConfig, shape: ModelShape, facts: EngineFacts) -> tuple[float, str] | None:
    """How many times as large a token is as it should be, and how that was found."""
    card = cards_by_kind().get(kind_of_lane(lane) or "")
    fit = reckon(lane, shape, card.memory_bytes if card else 0)
    expected = fit.memory.window_bytes(fit.window) / fit.window
    if facts.bytes_per_token is not None:
        told = (
            f"{facts.bytes_per_token / 1024:.0f} KiB a token from the log, "
            f"{expected / 1024:.0f} reckoned"
        )
        return facts.bytes_per_token / expected, told
    is_free = not lane.engine_args.get("num_gpu_blocks_override")
    if facts.pool_tokens is None or card is None or not is_free:
        return None
    reckoned = fit.memory.logged_tokens(fit.window)
    told = f"{facts.pool_tokens:,.0f} tokens in the pool, {reckoned:,.0f} reckoned"
    return reckoned / facts.pool_tokens, told


def _is_eight_bit(kv_dtype: str) -> bool:
    return kv_dtype.startswith("fp8")
