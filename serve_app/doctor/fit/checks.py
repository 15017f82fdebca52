"""Whether each lane fits its card, and whether its quantisation suits it."""

from __future__ import annotations

from collections.abc import Mapping

from fleet.cards.table import cards_by_kind
from fleet.memory.budget import GIB
from fleet.memory.shape import ModelShape, NotReckoned
from serve_app.config.fleet import FleetConfig
from serve_app.config.lane import LaneConfig
from serve_app.doctor.check import (
    Check,
    Section,
    Verdict,
    failure,
    not_applicable,
    ok,
    warning,
)
from serve_app.doctor.fit.cards import SizedCard, kind_of_lane
from serve_app.doctor.fit.checkpoint import shape_of_lane
from serve_app.doctor.fit.reckoning import Fit, reckon
from serve_app.doctor.fit.remedies import SAFE_UTILIZATION, remedy

TIGHT_UTILIZATION = 0.95
"""From here on a burst has no room: the documents warn of 0.97 and run 0.92."""
LEAST_TOKENS_EACH = 1000
"""Below this a full batch preempts itself all the time: a system prompt alone is longer."""
AWQ_FROM = 13.5e9
"""Parameters: FP8 up to 13B, AWQ from 14B on, on a card of 24 GB (the FP8 document)."""
SMALL_CARD = 26 * GIB
FP8_CAPABILITY = (8, 9)


def fit_checks(
    fleet: FleetConfig, here: Mapping[str, SizedCard], assumed: SizedCard | None = None
) -> list[Check]:
    """One check a lane, also of lanes that are off.

    Args:
        fleet: the fleet.
        here: the cards of this machine by their kind, which count before the table.
        assumed: of lanes that may be placed on any card; None: those of this machine.

    """

    def made(name: str, lane: LaneConfig) -> Check:
        return Check(f"fit {name}", Section.FLEET, lambda: fit_of(name, lane, here, assumed))

    return [made(name, lane) for name, lane in fleet.lanes.items()]


def fit_of(
    name: str,
    lane: LaneConfig,
    here: Mapping[str, SizedCard],
    assumed: SizedCard | None = None,
) -> Verdict:
    """Reckon one lane."""
    if lane.engine != "vllm":
        return not_applicable("a simulated engine has no weights")
    if lane.accelerator == "cpu":
        return not_applicable("it runs in host memory, where the fleet file sets the KV's size")
    if not lane.generates:
        return not_applicable(_POOLING)
    card = _card(lane, here, assumed)
    if card is None:
        return not_applicable(_NO_CARD.format(name))
    try:
        shape, source = shape_of_lane(lane)
        fit = reckon(lane, shape, card.memory_bytes)
        return _verdict(name, lane, shape, card, fit, source)
    except NotReckoned as error:
        return not_applicable(f"cannot tell: {error}")


_POOLING = (
    "it keeps no sessions, so that its KV cache bounds nothing: its weights have to fit into "
    "engine_args.gpu_memory_utilization, beside the lanes that share its card"
)
_NO_CARD = (
    "lanes.{}.bundle names no kind of card that is known here (accelerator_type:...), and this "
    "machine has none to reckon with: `--card rtx3090`, say, is one that you have"
)


def _card(
    lane: LaneConfig, here: Mapping[str, SizedCard], assumed: SizedCard | None
) -> SizedCard | None:
    kind = kind_of_lane(lane)
    if kind is not None:
        return here.get(kind) or cards_by_kind().get(kind)
    if assumed is not None:
        return assumed
    # Ray puts the lane on any: the smallest decides.
    return min(here.values(), key=lambda card: card.memory_bytes, default=None)


def _verdict(
    name: str, lane: LaneConfig, shape: ModelShape, card: SizedCard, fit: Fit, source: str
) -> Verdict:
    told = f"{_account(fit, lane)} (sizes from {source})"
    if lane.max_model_len > shape.window:
        fix = f"lanes.{name}.max_model_len: {shape.window}"
        return failure(f"{told}; the model reads at most {shape.window:,} tokens", fix)
    if shape.heads % lane.tensor_parallel_size:
        fix = f"lanes.{name}.engine_args.tensor_parallel_size: a divisor of {shape.heads}"
        return failure(f"{told}; {shape.heads} attention heads do not divide so", fix)
    if not fit.fits:
        fp8 = card.capability >= FP8_CAPABILITY
        fix = remedy(name, lane, shape, card.memory_bytes, fp8=fp8)
        return failure(f"{told}: does not fit one window of {fit.window:,} tokens", fix)
    args = f"lanes.{name}.engine_args"
    used = float(lane.engine_args.get("gpu_memory_utilization") or SAFE_UTILIZATION)
    if used >= TIGHT_UTILIZATION:
        fix = f"{args}.gpu_memory_utilization: {SAFE_UTILIZATION}"
        return warning(f"{told}; {used:g} of the card leaves nothing for bursts", fix)
    if fit.tokens_each < LEAST_TOKENS_EACH:
        fix = f"{args}.max_num_seqs: {max(1, int(fit.pool_tokens // LEAST_TOKENS_EACH))}"
        return warning(f"{told}; a full batch has {fit.tokens_each:,.0f} tokens a session", fix)
    return _suited(args, lane, shape, card, told)


def _suited(args: str, lane: LaneConfig, shape: ModelShape, card: SizedCard, told: str) -> Verdict:
    """FP8 up to 13B, AWQ from 14B on, where a card is small and knows FP8."""
    size = f"{shape.parameters / 1e9:.1f}B"
    is_small = card.memory_bytes < SMALL_CARD and lane.tensor_parallel_size == 1
    method = shape.method or lane.engine_args.get("quantization")
    if method is None and card.capability >= FP8_CAPABILITY and shape.parameters < AWQ_FROM:
        fix = f"{args}.quantization: fp8"
        return warning(f"{told}; 16-bit weights decode at half the speed of FP8", fix)
    if is_small and shape.parameters >= AWQ_FROM and method in (None, "fp8"):
        fix = f"lanes' model_source: an AWQ checkpoint, and {args}.quantization: awq_marlin"
        return warning(f"{told}; {size} leave little for KV at FP8: AWQ from 14B on", fix)
    note = ""
    if is_small and shape.parameters < AWQ_FROM and method in ("awq", "awq_marlin", "gptq"):
        note = f"; {size} would fit as FP8, which keeps more of the quality than 4 bits"
    return ok(told + note)


def _account(fit: Fit, lane: LaneConfig) -> str:
    cards = f" on each of {lane.workers} cards" if lane.workers > 1 else ""
    of = fit.memory
    return (
        f"{of.weights / GIB:.1f} GiB weights + {of.overhead / GIB:.1f} overhead + "
        f"{max(0.0, of.pool) / GIB:.1f} KV of {of.budget / GIB:.1f}{cards}: "
        f"{max(0.0, fit.pool_tokens):,.0f} tokens of KV, {max(0.0, fit.tokens_each):,.0f} for each "
        f"of {fit.slots} sessions"
    )
