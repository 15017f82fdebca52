"""A sum that is kept says what adding up would."""

import random

from router.leases.running_sum import RENEWED_AFTER, RunningSum


def test_sum_follows_what_holders_put():
    """The last value of each holder counts, and those that are dropped do not."""
    kept = RunningSum()

    kept.put("a", 3)
    kept.put("b", 4)
    kept.put("a", 1)
    kept.drop("c")

    assert (kept.total, kept.besides("a"), kept.besides("c"), len(kept)) == (5, 4, 5, 2)

    kept.drop("b")

    assert (kept.total, kept.besides("a"), len(kept)) == (1, 0, 1)


def test_nothing_is_exactly_nothing():
    """Where all others have nothing they come to 0, not to what rounding left."""
    kept = RunningSum()

    for value in (0.1, 0.2, 0.3):
        kept.put("a", value)
        kept.put("b", value / 3)
    kept.put("b", 0)

    assert kept.besides("a") == 0

    kept.put("a", 0)

    assert kept.total == 0


def test_rounding_does_not_add_up():
    """After many changes the sum is as good as a new one; of whole numbers it is exact."""
    rng, kept, whole = random.Random(1), RunningSum(), RunningSum()
    values, numbers = dict.fromkeys("abcd", 0.0), dict.fromkeys("abcd", 0)

    for _ in range(50 * RENEWED_AFTER):
        name = rng.choice("abcd")
        values[name], numbers[name] = 10 ** rng.uniform(-9, 9), rng.randrange(100)
        kept.put(name, values[name])
        whole.put(name, numbers[name])

    assert abs(kept.total - sum(values.values())) < 1e-3
    assert whole.total == sum(numbers.values())
