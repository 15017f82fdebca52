"""The model hub: whether a lane's model may be downloaded, and whether there is room for it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path

from fleet.memory.models import known_models
from fleet.memory.shape import ModelShape, NotReckoned
from serve_app.config.fleet import FleetConfig
from serve_app.config.lane import EMBEDDED, LaneConfig
from serve_app.doctor.check import Verdict, failure, not_applicable, ok, warning
from serve_app.doctor.fit.checkpoint import is_here, shape_of_lane

GB = 10**9
VOLUME_GB = 100
"""A model cache grows by every revision (the FP8 document asks for a 100 GB volume)."""
SPARE_GB = 5
ASK_TIMEOUT_S = 5.0


class Access(StrEnum):
    """What the hub says of a model and this machine's token."""

    GRANTED = "granted"
    NO_TOKEN = "no token"  # noqa: S105  # not one
    LICENCE = "licence not accepted"
    MISSING = "no such model"
    UNKNOWN = "cannot tell"


Ask = Callable[[str], Access]


def to_download(fleet: FleetConfig) -> dict[str, LaneConfig]:
    """The enabled lanes whose model is of a hub and not here, one a model."""
    found: dict[str, LaneConfig] = {}
    for lane in fleet.enabled_lanes.values():
        is_of_hub = lane.engine == "vllm" and lane.model_source != EMBEDDED
        if is_of_hub and not Path(lane.model_source).is_absolute() and not is_here(lane):
            found.setdefault(lane.model_source, lane)
    return found


def hub_access(models: Iterable[str], ask: Ask) -> Verdict:
    """Check that every model that is to be downloaded may be."""
    wanted = list(models)
    if not wanted:
        return not_applicable("every model is here already, or needs no download")
    answers = {model: ask(model) for model in wanted}
    fixes = {
        Access.MISSING: "lanes.NAME.model_source: the OWNER/NAME of the model's page",
        Access.NO_TOKEN: "export HF_TOKEN=hf_... of an account that has accepted the licence",
        Access.LICENCE: "accept the licence at https://huggingface.co/{} with the token's account",
    }
    for access, fix in fixes.items():
        bad = [model for model, answer in answers.items() if answer is access]
        if bad:
            return failure(f"{', '.join(bad)}: {access}", fix.format(bad[0]))
    unsure = [model for model, answer in answers.items() if answer is Access.UNKNOWN]
    if unsure:
        known = known_models()
        gated = [x for x in unsure if x in known and known[x].gated]
        if gated and not token_is_there():
            return warning(
                f"the hub does not answer; {', '.join(gated)} is gated, and no HF_TOKEN is set",
                "export HF_TOKEN=hf_... of an account that has accepted the licence",
            )
        return not_applicable(f"cannot tell: the hub does not answer ({', '.join(unsure)})")
    return ok(f"{', '.join(wanted)} may be downloaded")


def ask_hub(model: str) -> Access:
    """Ask the hub whether this machine's token may read a model; one request, 5 s at most."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    if os.environ.get("HF_HUB_OFFLINE") == "1":
        return Access.UNKNOWN
    try:
        HfApi().model_info(model, timeout=ASK_TIMEOUT_S, files_metadata=False)
        HfApi().auth_check(model)
    except GatedRepoError:
        return Access.LICENCE if token_is_there() else Access.NO_TOKEN
    except RepositoryNotFoundError:
        return Access.MISSING
    except (HfHubHTTPError, OSError, ValueError, RuntimeError):
        return Access.UNKNOWN
    return Access.GRANTED


def token_is_there() -> bool:
    """Whether huggingface_hub finds a token, in HF_TOKEN or its file; it is not shown."""
    from huggingface_hub import get_token

    return bool(get_token())


def cache_room(
    wanted: Iterable[LaneConfig],
    folder: Path,
    usage: Callable[[Path], tuple[int, int, int]] = shutil.disk_usage,
) -> Verdict:
    """Check the volume of HF_HOME for what is to be downloaded, and for its size."""
    needed, unknown = 0.0, []
    for lane in wanted:
        try:
            needed += download_bytes(shape_of_lane(lane)[0])
        except NotReckoned:
            unknown.append(lane.model_source)
    total, _, free = usage(_existing(folder))
    told = (
        f"{folder}: {free / GB:,.0f} GB free of {total / GB:,.0f}, {needed / GB:,.0f} to download"
    )
    if unknown:
        told += f" and {', '.join(unknown)}, whose size is not known here"
    fix = (
        f"export HF_HOME to a volume of {VOLUME_GB} GB or more; `hf cache delete` frees old models"
    )
    if free < needed + SPARE_GB * GB and needed:
        return failure(told, fix)
    if total < VOLUME_GB * GB:
        return warning(f"{told}; the cache grows with every revision", fix)
    return ok(told)


def download_bytes(shape: ModelShape) -> float:
    """Bytes of a checkpoint: 16-bit weights unless they are quantised already."""
    return (shape.linear * (shape.weight_bits or 16) + shape.other * 16) / 8


def hub_folder() -> Path:
    """Where huggingface_hub keeps what it downloads."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())
