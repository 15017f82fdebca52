"""Whose turn it is among the tenants of a tier."""

import random
from dataclasses import dataclass

import pytest

from router.admission.fair_queue import MAX_OVERTAKES, Account, FairQueue


@dataclass(eq=False)
class Ask:
    account: Account
    prompt: int = 10
    user: str = ""


def push(queue, tenant, prompt=10, weight=1.0, *, is_background=False, user="") -> Ask:
    ask = Ask(queue.account(tenant, weight), prompt, user)
    queue.push(ask, is_background=is_background)
    return ask


def serve(queue) -> str:
    """Start and end the next request; returns whose it was."""
    ask = queue.peek()
    queue.remove(ask)
    queue.begin(ask.account, ask.prompt)
    queue.end(ask.account)
    queue.check()
    return ask.account.tenant


def test_tenants_take_turns_by_what_they_were_served():
    """One prompt of 30 tokens is worth three of 10."""
    queue = FairQueue()
    for _ in range(3):
        push(queue, "long", prompt=30)
    for _ in range(6):
        push(queue, "short")

    assert [serve(queue) for _ in range(9)] == [
        *("long", "short", "short", "short"),
        *("long", "short", "short", "short"),
        "long",
    ]


def test_a_tenant_of_twice_the_weight_is_served_twice_as_often():
    """Weights divide what is counted."""
    queue = FairQueue()
    for _ in range(6):
        push(queue, "gold", weight=2.0)
        push(queue, "plain")

    order = [serve(queue) for _ in range(6)]

    assert order.count("gold") == 4


def test_answers_count_twice_as_much_as_prompts():
    """As the paper's evaluation has it, and most price lists."""
    queue = FairQueue()
    talker = push(queue, "talker").account
    push(queue, "reader", prompt=15)
    push(queue, "talker")
    push(queue, "reader")

    assert serve(queue) == "talker"
    talker.charge(output_tokens=3)

    assert talker.counter == 10 + 6
    assert [serve(queue), serve(queue)] == ["reader", "reader"]


def test_idle_time_is_no_credit():
    """Who comes back is lifted to the least of those who wait."""
    queue = FairQueue()
    push(queue, "back")
    serve(queue)
    for _ in range(20):
        push(queue, "busy")
    for _ in range(10):
        serve(queue)

    assert push(queue, "back").account.counter == 110
    assert [serve(queue) for _ in range(4)].count("back") == 1


def test_an_empty_queue_remembers_who_left_it_last():
    """A newcomer to an empty queue begins where that tenant is."""
    queue = FairQueue()
    push(queue, "first", prompt=70)
    serve(queue)

    assert queue.account("newcomer", 1.0).counter == 70


def test_requests_leave_from_anywhere():
    """A client that hangs up takes its request out; the tenant's others keep their order."""
    queue = FairQueue()
    asks = [push(queue, "a", prompt=n) for n in (1, 2, 3)]

    queue.remove(asks[1])
    queue.check()

    assert (queue.peek(), queue.newest(), len(queue)) == (asks[0], asks[2], 2)
    queue.remove(asks[0])
    queue.remove(asks[2])
    assert queue.peek() is None and queue.newest() is None


@pytest.mark.parametrize("served", [False, True])
def test_tenants_that_come_once_are_not_remembered_for_ever(served):
    """However many there are, whether they were served or hung up."""
    queue = FairQueue(max_idle=50)
    keeper = push(queue, "keeper")
    for number in range(2_000):
        ask = push(queue, f"t{number}", prompt=5)
        queue.remove(ask)
        if served:
            queue.begin(ask.account, 5)
            queue.end(ask.account)
        queue.check()

    assert queue.known_tenants <= 51
    assert queue.peek() is keeper


def test_the_idle_tenant_that_is_ahead_least_is_forgotten_first():
    """So that little is forgiven."""
    queue = FairQueue(max_idle=2)
    push(queue, "waits")
    for tenant, prompt in (("a", 50), ("b", 10), ("c", 30)):
        account = queue.account(tenant, 1.0)
        queue.begin(account, prompt)
        queue.end(account)

    assert [queue.account(x, 1.0).counter for x in "abc"] == [50, 0, 30]


@pytest.mark.parametrize("max_idle", [0, 3, 1000])
def test_the_books_agree_however_tenants_come_and_go(max_idle):
    """Hundreds of tenants queue, leave unserved, run and rest; memory follows those there are."""
    rng = random.Random(max_idle)
    queue = FairQueue(max_idle)
    waiting, running = [], []
    for round_ in range(3000):
        busy = (round_ // 500) % 2 == 0
        if rng.random() < (0.7 if busy else 0.2):
            waiting.append(push(queue, f"t{rng.randrange(400)}", prompt=rng.randrange(1, 500)))
        elif waiting:
            ask = waiting.pop(rng.randrange(len(waiting)))
            queue.remove(ask)
            if rng.random() < 0.5:
                queue.begin(ask.account, ask.prompt)
                running.append(ask)
        if running and rng.random() < 0.5:
            queue.end(running.pop(rng.randrange(len(running))).account)
        queue.peek()
        queue.check()
    for ask in waiting:
        queue.remove(ask)
    for ask in running:
        queue.end(ask.account)
    queue.check()

    assert queue.peek() is None
    assert queue.known_tenants <= max(max_idle, 1)


def test_a_tenant_that_rests_again_and_again_is_noted_once():
    """Nobody is forgotten while one that waits is behind them all; old notes go."""
    queue = FairQueue()
    push(queue, "behind")
    resting = queue.account("resting", 1.0)
    busy = queue.account("busy", 1.0)
    queue.begin(resting, 1)
    queue.end(resting)
    for _ in range(300):
        queue.begin(busy, 10)
        queue.end(busy)
        queue.check()

    assert queue.known_tenants == 3


def take(queue) -> Ask:
    """Take the next request out, as it starts and ends."""
    ask = queue.peek()
    queue.remove(ask)
    queue.begin(ask.account, ask.prompt)
    queue.end(ask.account)
    queue.check()
    return ask


def test_a_tenants_background_requests_go_behind_its_others():
    """Whenever those came; among themselves they keep their order."""
    queue = FairQueue()
    later = [push(queue, "a", is_background=True) for _ in range(2)]
    sooner = [push(queue, "a") for _ in range(2)]

    assert [take(queue) for _ in range(4)] == [*sooner, *later]


def test_a_background_request_costs_other_tenants_nothing():
    """Tenants take turns by what they were served, whatever it was."""
    queue = FairQueue()
    for _ in range(3):
        push(queue, "a", is_background=True)
        push(queue, "b")

    assert [serve(queue) for _ in range(6)] == ["a", "b"] * 3


def test_a_background_request_does_not_wait_for_ever():
    """After so many others the oldest goes, and then so many others again."""
    queue = FairQueue()
    later = [push(queue, "a", is_background=True) for _ in range(2)]
    for _ in range(3 * MAX_OVERTAKES):
        push(queue, "a")

    order = [take(queue) for _ in range(2 * MAX_OVERTAKES + 2)]

    assert [order.index(ask) for ask in later] == [MAX_OVERTAKES, 2 * MAX_OVERTAKES + 1]


def test_a_new_request_is_told_the_fewest_that_go_before_it():
    """An estimate that is too high would refuse what could have started."""
    queue = FairQueue()
    account = push(queue, "a").account
    push(queue, "a", is_background=True)

    assert account.ahead_of_new("", is_background=False) == 1
    assert account.ahead_of_new("", is_background=True) == 2
    for _ in range(MAX_OVERTAKES + 1):
        push(queue, "a")
    for _ in range(MAX_OVERTAKES):
        take(queue)
    assert account.ahead_of_new("", is_background=True) == 1
    for ask in list(account.queued):
        # Clients that leave.
        queue.remove(ask)
    assert account.ahead_of_new("", is_background=True) == 1


def test_the_users_of_a_tenant_take_turns():
    """A task's parallel calls let one of them go before another user's request."""
    queue = FairQueue()
    task = [push(queue, "a", user="task") for _ in range(12)]
    other = [push(queue, "a", user="person") for _ in range(2)]

    order = [take(queue) for _ in range(14)]

    assert [order.index(ask) for ask in other] == [1, 3]
    assert [ask for ask in order if ask in task] == task


def test_users_who_wait_in_the_background_take_turns_too():
    queue = FairQueue()
    for _ in range(3):
        push(queue, "a", is_background=True, user="task")
    other = push(queue, "a", is_background=True, user="person")

    assert [take(queue) for _ in range(4)].index(other) == 1


def test_a_users_request_that_is_taken_back_costs_no_turn():
    queue = FairQueue()
    mine = [push(queue, "a", user="me") for _ in range(2)]
    push(queue, "a", user="you")

    queue.remove(mine[0], starts=False)

    assert take(queue) is mine[1]


def test_a_new_request_is_told_of_one_of_each_other_user():
    queue = FairQueue()
    account = push(queue, "a", user="task").account
    for _ in range(11):
        push(queue, "a", user="task")
    push(queue, "a", user="person")

    assert account.ahead_of_new("new", is_background=False) == 2
    assert account.ahead_of_new("person", is_background=False) == 2
    assert account.ahead_of_new("task", is_background=False) == 13
    assert account.ahead_of_new("new", is_background=True) == 8


def test_what_waits_can_be_listed():
    queue = FairQueue()
    asks = [push(queue, "a", user=user) for user in "xyx"]

    assert set(asks[0].account.queued) == set(asks)
    assert asks[0] in asks[0].account.queued
