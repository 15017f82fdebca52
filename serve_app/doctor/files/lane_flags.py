"""What the FP8 document asks of a lane's flags, and whether its tokenizer has a template."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fleet.cards.table import cards_by_kind
from fleet.memory.models import read_object
from fleet.memory.shape import NotReckoned
from serve_app.config.fleet import FleetConfig
from serve_app.config.lane import LaneConfig
from serve_app.config.settings import home, own_path
from serve_app.doctor.check import Check, Section, Verdict, failure, not_applicable, ok, warning
from serve_app.doctor.fit.cards import kind_of_lane
from serve_app.doctor.fit.checkpoint import find_file

_EYES = frozenset({"vision_config", "visual", "img_processor", "mm_vision_tower"})
"""Keys of a config.json that describe how a model reads images."""

TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json")


def lane_flags(fleet: FleetConfig) -> Verdict:
    """Warn of flags without which a card does less than it could, or stops for others."""
    found = [
        (f"lanes.{name}: {told}", f"lanes.{name}.{fix}")
        for name, lane in fleet.enabled_lanes.items()
        if lane.engine == "vllm"
        for told, fix in _wanting(lane)
    ]
    if not found:
        return ok("chunked prefill, prefix caching and KV type are as the documents ask")
    return warning("\n      ".join(told for told, _ in found), "; ".join(fix for _, fix in found))


def _wanting(lane: LaneConfig) -> Iterator[tuple[str, str]]:
    args = lane.engine_args
    if not lane.generates:
        # An encoder has no cache, and reads each text in one piece.
        return
    if lane.sees is None and not lane.media_hosts and _has_eyes(lane):
        yield (
            "its config.json says that it reads images; they are routed to lanes that say so",
            "sees: true",
        )
    # Both are vLLM's default: only what is switched off is a fault.
    if args.get("enable_chunked_prefill") is False:
        yield (
            "without chunked prefill one long prompt stops every other stream (30k tokens: 1.6 s)",
            "engine_args.enable_chunked_prefill: true",
        )
    if args.get("enable_prefix_caching") is False:
        yield (
            "without prefix caching every turn reads its whole history again",
            "engine_args.enable_prefix_caching: true",
        )
    card = cards_by_kind().get(kind_of_lane(lane) or "")
    has_fp8 = card is not None and card.tflops_fp8 is not None
    if has_fp8 and str(args.get("kv_cache_dtype") or "auto") == "auto":
        yield (
            "a 16-bit KV cache holds half the tokens of an FP8 one",
            "engine_args.kv_cache_dtype: fp8",
        )


def _has_eyes(lane: LaneConfig) -> bool:
    path = find_file(lane, "config.json")
    try:
        return path is not None and not _EYES.isdisjoint(read_object(path))
    except NotReckoned:
        return False


def template_checks(fleet: FleetConfig) -> list[Check]:
    """One check for each enabled lane with a vLLM engine."""

    def made(name: str, lane: LaneConfig) -> Check:
        return Check(f"chat template {name}", Section.FLEET, lambda: template_of(name, lane))

    lanes = fleet.enabled_lanes.items()
    return [made(name, lane) for name, lane in lanes if lane.engine == "vllm" and lane.generates]


def _named_template(lane: str, given: str) -> Verdict:
    """Look for the file as the engine does; what has braces or lines is the template itself."""
    path = Path(own_path(given))
    if path.is_absolute() and path.is_file():
        return ok(str(path))
    if path.is_absolute() or not set("{}\n") & set(given):
        place = f"lanes.{lane}.engine_args.chat_template"
        return failure(f"{place}: no file {home() / given}", f"{place}: a path from {home()}")
    return ok("the fleet file has one")


def template_of(name: str, lane: LaneConfig) -> Verdict:
    """Look for a chat template where the tokenizer can be read here."""
    given = lane.engine_args.get("chat_template")
    if given:
        return _named_template(name, str(given))
    for file in TEMPLATE_FILES:
        if (path := find_file(lane, file)) is not None:
            return ok(str(path))
    path = find_file(lane, "tokenizer_config.json")
    if path is None:
        return not_applicable(f"cannot tell: the tokenizer of {lane.model_source} is not here yet")
    try:
        has_one = bool(read_object(path).get("chat_template"))
    except NotReckoned as error:
        return not_applicable(f"cannot tell: {error}")
    if has_one:
        return ok(f"chat_template in {path}")
    return warning(
        f"{path} has no chat_template: answers are nonsense, or chats are refused",
        f"lanes.{name}.model_source: the -Instruct checkpoint, or "
        f"lanes.{name}.engine_args.chat_template: FILE",
    )
