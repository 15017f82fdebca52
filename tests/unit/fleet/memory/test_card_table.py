"""The table of cards, and an operator's own."""

import pytest
from pydantic import ValidationError
from yaml import YAMLError

from fleet.cards.table import cards, cards_by_kind


def test_units_and_speeds_are_in_order():
    for card in cards().values():
        assert (card.tflops_fp8 is not None) == (card.capability >= (8, 9))
        assert (card.tflops_fp4 is not None) == (card.capability >= (10, 0))
        # 8 bits twice as fast as 16; 4 bits at least as fast as 8.
        if card.tflops_fp8:
            assert card.tflops_fp8 == pytest.approx(2 * card.tflops_16bit, rel=0.02)
        if card.tflops_fp4:
            assert card.tflops_fp4 >= 1.9 * card.tflops_fp8


def test_a_bought_card_pays_for_itself_within_two_years():
    """A rent and a price that do not belong together would be a slip of the table."""
    for name, card in cards().items():
        assert 0.15 < card.price_usd / (card.rent_usd_per_h * 8760) < 2, name


def test_of_two_cards_with_one_name_the_smaller_decides():
    assert cards_by_kind()["A100"] == cards()["a100-40gb"]


def test_an_operator_s_card_replaces_and_adds(tmp_path):
    own = tmp_path / "cards.yaml"
    shipped = cards()["rtx4090"].model_dump()
    shipped["capability"] = list(shipped["capability"])
    own.write_text(
        f"rtx4090: {shipped | {'price_usd': 1100, 'power_cap_w': 300}}\nmine: {shipped}\n".replace(
            "None", "null"
        ).replace("False", "false")
    )
    found = cards(own)
    assert found["rtx4090"].price_usd == 1100
    assert found["mine"] == cards()["rtx4090"]
    assert set(found) == {*cards(), "mine"}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("rtx4090: {kind: x}", ValidationError),
        ("rtx4090: {price: 5}", ValidationError),
        ("a: {}\na: {}", YAMLError),
    ],
)
def test_a_slip_in_the_file_is_refused(tmp_path, text, error):
    own = tmp_path / "cards.yaml"
    own.write_text(text)
    with pytest.raises(error):
        cards(own)
