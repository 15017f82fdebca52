"""What cards cost a month, what hosted models ask, and where both meet.

A month has 30 days, as the documents' tables have it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from fleet.cards.table import Card
from fleet.plan.reckoning.demand import MONTH_S

HOURS_A_MONTH = MONTH_S / 3600

PROMPT_SHARE = 2 / 3
"""Of a hosted model's tokens: at two of prompt for one of completion the documents' prices
a million come out of the price lists (0.30, 5, 0.58 and 7 dollars)."""


@dataclass(frozen=True, slots=True)
class Hosted:
    """A hosted model's list price in dollars a million tokens."""

    prompt: float
    completion: float

    def blended(self, prompt_share: float = PROMPT_SHARE) -> float:
        """Return dollars a million tokens, of which this share is prompt."""
        return prompt_share * self.prompt + (1 - prompt_share) * self.completion


HOSTED_ON = date(2025, 6, 1)
"""Day of the prices below; `genai-prices`, where it is installed, has newer ones."""

HOSTED = {
    "gpt-4o-mini": Hosted(0.15, 0.60),
    "gpt-4o": Hosted(2.50, 10.00),
    "claude-3-haiku": Hosted(0.25, 1.25),
    "claude-sonnet-4-0": Hosted(3.00, 15.00),
}
"""Those of the agent document, by the names that `genai-prices` has."""


@dataclass(frozen=True, slots=True)
class Tariff:
    """How cards are paid.

    Attributes:
        rent_per_month: of one card; None: by the hour, as the table of cards has it.
        months: over which a bought card is written off; None: cards are rented.
        kwh: price of a kilowatt hour, of bought cards.

    """

    rent_per_month: float | None = None
    months: int | None = None
    kwh: float = 0.15

    def card_a_month(self, card: Card, cap_w: float | None = None, busy: float = 1.0) -> float:
        """Return what one card costs a month; a bought one idles at a tenth of its power."""
        if self.months is None:
            if self.rent_per_month is not None:
                return self.rent_per_month
            return card.rent_usd_per_h * HOURS_A_MONTH
        watts = min(card.power_w, cap_w or card.power_w) * (IDLE + (1 - IDLE) * busy)
        return card.price_usd / self.months + watts / 1000 * HOURS_A_MONTH * self.kwh


IDLE = 0.1
"""Power of an idle card over its limit."""


def tokens_a_month(tokens_per_s: float) -> float:
    """Return what a card makes in a month that is busy throughout."""
    return tokens_per_s * MONTH_S


def break_even_tokens(bill: float, dollars_a_million: float) -> float:
    """Return the tokens a month from which cards of this bill are cheaper."""
    return bill / dollars_a_million * 1e6


def hosted_bill(tokens: float, dollars_a_million: float) -> float:
    """Return what a hosted model asks for so many tokens."""
    return tokens / 1e6 * dollars_a_million


def capped_speed(card: Card, cap_w: float) -> float:
    """Return the share of a card's compute speed that a power cap leaves.

    Power rises with the cube of the clock where voltage follows it: 400 of a 4090's 450 W
    leave 96.1 %, and the FP8 document says 3 to 4 % of throughput. Decoding is bound by
    memory, which the cap does not slow, so that is the most it costs.
    """
    return float(min(1.0, (cap_w / card.power_w) ** (1 / 3)))


def day_share(mean_ratio: float, warm_ratio: float) -> float:
    """Return the card hours of a fleet that follows the day, over those of one at its peak.

    Args:
        mean_ratio: mean of the day's demand over its peak.
        warm_ratio: of the peak, what is kept ready for the steepest rise.

    """
    return min(1.0, mean_ratio + warm_ratio)


def warm_ratio(swing: float, start_s: float, rise_h: float = 12.0) -> float:
    """Return the share of the peak that must stand ready while a replica starts.

    A sinusoid from trough to peak in `rise_h` hours is steepest in the middle: π / 2 times
    its mean slope.
    """
    steepest_per_h = 3.141592653589793 / 2 * (1 - 1 / swing) / rise_h
    return steepest_per_h * start_s / 3600
