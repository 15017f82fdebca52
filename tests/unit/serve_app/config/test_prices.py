"""What tokens cost, by lane."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from serve_app.config.errors import ConfigError
from serve_app.config.prices import PricesConfig, TokenPrices
from serve_app.config.settings import fleet_path, load_fleet

MANY = st.integers(0, 10**9)
RATE = st.floats(0, 100)


def test_a_million_tokens_of_each_kind_cost_their_price():
    """Cached ones are part of the prompt."""
    prices = PricesConfig.model_validate(
        {"lanes": {"chat": {"prompt": 2.0, "cached": 0.5, "completion": 8.0}}}
    )

    assert prices.cost("chat", 3_000_000, 1_000_000, 500_000) == pytest.approx(4 + 0.5 + 4)
    assert prices.cost("other", 3_000_000, 0, 1) == 0


@given(prompt=MANY, share=st.floats(0, 1), completion=MANY, rate=RATE, write=RATE)
def test_cached_tokens_cost_as_others_where_nothing_else_is_said(
    prompt, share, completion, rate, write
):
    """Whatever share of the prompt they are."""
    prices = TokenPrices(prompt=rate, completion=write)

    assert prices.cost(prompt, int(prompt * share), completion) == pytest.approx(
        prices.cost(prompt, 0, completion)
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"currency": "dollars"},
        {"lanes": {"chat": {"prompt": -1, "completion": 1}}},
        {"lanes": {"chat": {"prompt": float("nan"), "completion": 1}}},
        {"lanes": {"chat": {"prompt": 1}}},
    ],
)
def test_a_price_that_is_none_is_refused(wrong):
    """With its path."""
    with pytest.raises(ValidationError):
        PricesConfig.model_validate(wrong)


def test_prices_of_a_lane_that_is_not_there_are_refused(tmp_path):
    """A typing mistake would make a tenant's tokens free."""
    path = tmp_path / "fleet.yaml"
    text = fleet_path("local").read_text()
    path.write_text(f"{text}\nprices: {{lanes: {{chatt: {{prompt: 1, completion: 1}}}}}}\n")

    with pytest.raises(ConfigError, match=r"no lane 'chatt'.*'chat'"):
        load_fleet(path)
