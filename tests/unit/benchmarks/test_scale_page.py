"""docs/scale.md says what its figures come to."""

import pytest

from benchmarks import scale


def test_the_page_has_the_figures_that_were_measured():
    """`python -m benchmarks.scale` would change nothing."""
    text = scale.PAGE.read_text()

    assert scale.page(text, scale.render()) == text


def test_a_token_is_reckoned_without_its_request():
    """At 104 us a token and 2 ms a request, as a stream of 100 tokens has them."""
    row = {"path_cpu_us_per_token": 124.0, "path_cpu_us_per_request": 2000.0}

    for_tokens, for_requests = scale.cores(row)

    assert for_tokens == pytest.approx(15_000_000 * 104e-6)
    assert for_requests == pytest.approx(50_000 * 2e-3)


def test_the_demand_is_the_documents():
    """50,000 turns a second of 19 s are 950,000 at once."""
    assert scale.DEMAND.streams == 950_000
    assert scale.DEMAND.tokens_per_s == 15_000_000
