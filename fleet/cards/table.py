"""The table of cards, and an operator's own on top of it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from pydantic import Field, TypeAdapter

from simulator import strict_yaml
from simulator.model.profile import Strict

SHIPPED = Path(__file__).with_name("cards.yaml")
MIB = 2**20


class Card(Strict):
    """One kind of card; cards.yaml says where each figure is from.

    Attributes:
        kind: the name that Ray gives it, without `accelerator_type:`.
        capability: CUDA's compute capability.
        tflops_16bit: dense, as the others; None: the card has no such units.
        power_cap_w: what the documents cap it at for a steady latency; None: no advice.
        pcie_gb_per_s: to the host, one direction.
        rent_is_estimate: nobody's offer, but a guess from its sisters'.

    """

    kind: str
    memory_mib: int = Field(gt=0)
    capability: tuple[int, int]
    bandwidth_gb_per_s: float = Field(gt=0)
    tflops_16bit: float = Field(gt=0)
    tflops_fp8: float | None = Field(None, gt=0)
    tflops_fp4: float | None = Field(None, gt=0)
    power_w: float = Field(gt=0)
    power_cap_w: int | None = Field(None, gt=0)
    pcie_gb_per_s: float = Field(gt=0)
    price_usd: float = Field(ge=0)
    rent_usd_per_h: float = Field(ge=0)
    rent_is_estimate: bool = False

    @property
    def memory_bytes(self) -> int:
        return self.memory_mib * MIB

    @property
    def bandwidth_bytes_per_s(self) -> float:
        return self.bandwidth_gb_per_s * 1e9


_TABLE = TypeAdapter(dict[str, Card])


@cache
def cards(own: Path | None = None) -> Mapping[str, Card]:
    """Return all cards by name; those of `own`, a file of the same form, replace the shipped.

    Raises:
        OSError: `own` cannot be read.
        yaml.YAMLError, pydantic.ValidationError: it is not of that form.

    """
    found = _TABLE.validate_python(strict_yaml.load(SHIPPED.read_text()))
    if own is not None:
        found |= _TABLE.validate_python(strict_yaml.load(own.read_text()) or {})
    return found


@cache
def cards_by_kind() -> Mapping[str, Card]:
    """Return the shipped cards by Ray's name; of two with one name, the one with less memory."""
    ordered = sorted(cards().values(), key=lambda card: -card.memory_mib)
    return {card.kind: card for card in ordered}
