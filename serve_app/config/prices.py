"""`prices:` of the fleet file: what tokens cost, for bills, and cards, for advice.

Nothing is refused by it.
"""

from __future__ import annotations

from pydantic import Field

from router.advice.table import Prices
from serve_app.config.errors import StrictModel

MILLION = 1_000_000


class TokenPrices(StrictModel):
    """Prices of a million tokens of one lane.

    Attributes:
        prompt: of those that the engine reads.
        cached: of those that its prefix cache has; None: as `prompt`.
        completion: of those that it writes.

    """

    prompt: float = Field(ge=0, allow_inf_nan=False)
    cached: float | None = Field(None, ge=0, allow_inf_nan=False)
    completion: float = Field(ge=0, allow_inf_nan=False)

    def cost(self, prompt: int, cached: int, completion: int) -> float:
        """Return what these tokens cost; the cached ones are part of the prompt's."""
        rate = self.prompt if self.cached is None else self.cached
        read = (prompt - cached) * self.prompt + cached * rate
        return (read + completion * self.completion) / MILLION


class PricesConfig(StrictModel):
    """Prices of tokens by lane, and of cards; a lane without any costs nothing.

    Attributes:
        currency: by its ISO 4217 code.
        card: a month of one; the default is the guides' RTX 4090.
        larger_card: the same; the default is a guess of an RTX 5090.

    """

    currency: str = Field("USD", pattern=r"^[A-Z]{3}$")
    lanes: dict[str, TokenPrices] = Field(default_factory=dict)
    card: float = Field(700.0, ge=0, allow_inf_nan=False)
    larger_card: float = Field(1000.0, ge=0, allow_inf_nan=False)

    @property
    def of_cards(self) -> Prices:
        return Prices(self.card, self.larger_card, self.currency)

    def cost(self, lane: str, prompt: int, cached: int, completion: int) -> float:
        """Return what tokens of a lane cost, in `currency`."""
        prices = self.lanes.get(lane)
        return 0.0 if prices is None else prices.cost(prompt, cached, completion)
