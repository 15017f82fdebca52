"""Lanes by what their engines run with: `kv=fp8`, `weights=awq`, `dtype=bfloat16`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from serve_app.commands.client import CommandError
from serve_app.config.lane import LaneConfig

KINDS = ("kv", "weights", "dtype")

_SIXTEEN = "16bit"
_OF_NAME = ("awq", "gptq", "fp8")
"""What a checkpoint's name ends with where its own configuration has it quantised."""

_NOT_OF_A_MODEL = re.compile(
    r"awq|gptq|fp8|fp16|bf16|nvfp4|int[48]|[48]bit|w\d+a\d+|bnb|marlin|dynamic|quantized|meta"
)
"""Parts of a checkpoint's name that say how it is stored, or who made it, and not what it is."""


def facts_of(lane: LaneConfig) -> dict[str, str]:
    """Return what a lane's cache, weights and arithmetic are, by its file."""
    args, dtype = lane.engine_args, str(lane.engine_args.get("dtype", "auto"))
    plain = "32bit" if dtype in ("float32", "float") else _SIXTEEN
    kv = str(args.get("kv_cache_dtype", "auto"))
    given = args.get("quantization")
    named = next((x for x in _OF_NAME if x in lane.model_source.lower()), None)
    return {
        "kv": plain if kv in ("auto", "bfloat16", "float16", "half") else kv,
        "weights": str(given or named or plain),
        "dtype": dtype,
    }


def pair_of(given: str, lanes: Mapping[str, LaneConfig]) -> tuple[str, str]:
    """Return the candidate's and the incumbent's names, which `--compare` gives or describes.

    Where a description fits several lanes, those with the same model as the other side are meant:
    the same checkpoint, else one whose name differs by its quantisation alone.
    Raises CommandError, which lists the lanes.
    """
    names = [name.strip() for name in given.split(",")]
    if len(names) != 2 or not all(names):
        raise CommandError("--compare: say CANDIDATE,INCUMBENT: chat,quality or kv=fp8,kv=16bit")
    if not any("=" in name for name in names):
        return names[0], names[1]
    one, other = (_fitting(name, lanes) for name in names)
    pairs = [(a, b) for a in one for b in other if a != b]
    if len(pairs) > 1:
        same = [(a, b) for a, b in pairs if lanes[a].model_source == lanes[b].model_source]
        pairs = same or [(a, b) for a, b in pairs if _model(lanes[a]) == _model(lanes[b])]
    if len(pairs) != 1:
        what = "fits several pairs of lanes" if pairs else "fits no two lanes of one model"
        raise CommandError(f"--compare {given}: {what}; name them. {listed(lanes)}")
    return pairs[0]


def _model(lane: LaneConfig) -> list[str]:
    """Return the parts of a checkpoint's name without those of its quantisation."""
    parts = re.split(r"[-_]", lane.model_source.lower().rstrip("/").rpartition("/")[2])
    return [part for part in parts if not _NOT_OF_A_MODEL.fullmatch(part)]


def _fitting(name: str, lanes: Mapping[str, LaneConfig]) -> list[str]:
    kind, sign, value = name.partition("=")
    if not sign:
        return [name]
    if kind not in KINDS:
        raise CommandError(f"--compare {name}: say a lane, or one of {', '.join(KINDS)} with =")
    found = [
        lane
        for lane, config in lanes.items()
        if config.generates and _is_kind(facts_of(config)[kind], value)
    ]
    if not found:
        raise CommandError(f"--compare {name}: no lane is that. {listed(lanes)}")
    return found


def _is_kind(fact: str, value: str) -> bool:
    """`fp8` stands for `fp8_e4m3` and `awq` for `awq_marlin`, too."""
    return fact == value or fact.startswith(f"{value}_")


def listed(lanes: Mapping[str, LaneConfig]) -> str:
    """Return the lanes and what they are, in one sentence."""
    told = [
        f"{name} ({', '.join(f'{k}={v}' for k, v in facts_of(lane).items())})"
        for name, lane in lanes.items()
        if lane.generates
    ]
    return f"The lanes: {'; '.join(told)}"
