"""Engine arguments of every lane against the installed vLLM: names and values."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from serve_app.config.errors import nearest
from serve_app.config.fleet import FleetConfig
from serve_app.doctor.check import Verdict, failure, ok

Known = Mapping[str, frozenset[str]]
"""Values that a flag may have, by flag."""


def engine_args(fleet: FleetConfig) -> Verdict:
    """Check flags and values, also of lanes that are off; imports vLLM (10 s)."""
    return checked(fleet, _flags(), _values())


def checked(fleet: FleetConfig, flags: frozenset[str], values: Known) -> Verdict:
    """Check against what the installed vLLM has."""
    faults = [
        fault
        for name, lane in fleet.lanes.items()
        if lane.engine == "vllm"
        for fault in _faults(name, lane.engine_args, flags, values)
    ]
    if faults:
        return failure("\n      ".join(told for told, _ in faults), faults[0][1])
    return ok(f"{len(fleet.lanes)} lanes use flags and values that the installed vLLM has")


def _faults(
    lane: str, given: Mapping[str, Any], flags: frozenset[str], values: Known
) -> Iterable[tuple[str, str]]:
    for flag, value in given.items():
        place = f"lanes.{lane}.engine_args.{flag}"
        if flag not in flags:
            hint = nearest(flag, flags)
            yield f"{place}: not a flag of the installed vLLM{hint}", f"take {place} out{hint}"
        elif flag in values and value is not None and str(value) not in values[flag]:
            hint = nearest(str(value), values[flag])
            known = ", ".join(sorted(values[flag])[:40])
            yield f"{place}: '{value}' is not one of {known}", f"{place}: {_first(hint, known)}"


def _first(hint: str, known: str) -> str:
    return hint.rpartition("mean ")[2].strip("'?") if hint else known.split(", ", 1)[0]


def _flags() -> frozenset[str]:
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.entrypoints.launchers.cli_args import FrontendArgs

    return frozenset(
        f.name for cls in (AsyncEngineArgs, FrontendArgs) for f in dataclasses.fields(cls)
    )


def _values() -> Known:
    """Values of the flags that decide what a card does; others a start checks as it begins."""
    from vllm.config.cache import CacheDType
    from vllm.config.model import ModelDType
    from vllm.config.scheduler import SchedulerPolicy
    from vllm.model_executor.layers.quantization import QUANTIZATION_METHODS
    from vllm.tool_parsers import ToolParserManager

    return {
        "quantization": frozenset(QUANTIZATION_METHODS),
        "kv_cache_dtype": frozenset(get_args(CacheDType)),
        "dtype": frozenset(get_args(ModelDType)),
        "scheduling_policy": frozenset(get_args(SchedulerPolicy)),
        "tool_call_parser": frozenset(ToolParserManager.list_registered()),
    }
