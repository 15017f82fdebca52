"""What must always hold of token estimates."""

from hypothesis import given
from hypothesis import strategies as st

from router.tokens import TOKENS_PER_MESSAGE, TokenEstimator

sizes = st.integers(0, 10_000_000)
counts = st.integers(0, 1_000)
lessons = st.lists(st.tuples(sizes, counts, st.integers(-10, 10_000_000)), max_size=50)


def taught(lessons, smoothing=0.05):
    estimator = TokenEstimator(smoothing)
    for lesson in lessons:
        estimator.learn(*lesson)
    return estimator


@given(lessons, sizes, counts, st.floats(0, 1))
def test_an_estimate_stays_within_one_to_eight_bytes_a_token(lessons, size, messages, smoothing):
    """Whatever was learned, an estimate keeps its bounds."""
    estimator = taught(lessons, smoothing)

    estimate = estimator.estimate(size, messages)

    template = messages * TOKENS_PER_MESSAGE + 1
    assert 1.0 <= estimator.bytes_per_token <= 8.0
    assert size // 8 + template <= estimate <= size + template


@given(lessons, sizes, sizes, counts)
def test_more_bytes_are_never_estimated_as_fewer_tokens(lessons, size, other, messages):
    """Estimates grow with the prompt."""
    estimator = taught(lessons)
    small, large = sorted((size, other))

    assert estimator.estimate(small, messages) <= estimator.estimate(large, messages)


@given(st.floats(1.5, 7.5), st.integers(1, 20))
def test_the_estimate_closes_in_on_a_steady_tokenizer(ratio, messages):
    """Two hundred counts of the same ratio bring the mean within five percent."""
    size = 8_000
    tokens = round(size / ratio) + messages * TOKENS_PER_MESSAGE
    estimator = taught([(size, messages, tokens)] * 200)

    estimate = estimator.estimate(size, messages)

    assert abs(estimate - tokens) <= 0.05 * tokens + 1
