"""What an ingress replica counts of a lane's tokens."""

from router.scaling.demand import LaneDemand


def test_what_came_waits_until_it_starts():
    demand = LaneDemand()

    tokens = demand.arrive(100, 50)
    assert demand.told(0.0) == (150, 15)
    demand.started += tokens

    assert demand.told(1.0)[0] == 0


def test_answers_are_expected_as_long_as_those_before_and_no_longer_than_they_may_be():
    demand = LaneDemand()

    demand.note_answer(20)
    demand.note_answer(40)

    assert demand.arrive(100, 500) == 121
    assert demand.arrive(100, 5) == 105


def test_the_rate_is_a_mean_over_ten_seconds():
    demand = LaneDemand()
    for second in range(21):
        told = demand.told(float(second))
        demand.arrive(10 if second < 10 else 30, 0)

    assert told[1] == 30


def test_nothing_waits_once_all_has_started_in_whatever_order():
    """Sums of fractions would leave a rest, which the policy takes for a queue."""
    demand = LaneDemand()
    demand.note_answer(100)
    tokens = []
    for number in range(50):
        demand.note_answer(number)
        tokens.append(demand.arrive(number, 10**6))

    for one in reversed(tokens):
        demand.started += one

    assert demand.told(0.0)[0] == 0
