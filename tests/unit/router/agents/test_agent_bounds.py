"""How deep, how long and how large a task may become."""

import pytest

from router.agents.bounds import Bounds, Limit, find_exceeded
from router.agents.task import Call, Task
from router.agents.task_table import MAX_TURNS, Spent, TaskTable
from router.errors import RejectReason

NOTHING = Spent()
STEP = (Call("a", "f", "{}"),)


def task(steps, turn_steps=None) -> Task:
    return Task((STEP,) * steps, steps - (steps if turn_steps is None else turn_steps))


def find(steps=0, turn_steps=None, spent=NOTHING, bounds=Bounds(), **given):
    found = find_exceeded(bounds, task(steps, turn_steps), spent, **{"finishes": False, **given})
    return found and (found.limit, found.found, found.allowed)


def test_the_answer_after_the_last_allowed_step_may_come():
    assert find(steps=5) is None
    assert find(steps=6) == (Limit.TURN_DEPTH, 6, 5)


def test_where_turns_are_finished_it_is_the_one_without_tools():
    assert find(steps=4, finishes=True) is None
    assert find(steps=5, finishes=True) == (Limit.TURN_DEPTH, 5, 5)


def test_all_turns_together_are_the_task():
    assert find(steps=25, turn_steps=2) is None
    assert find(steps=26, turn_steps=2) == (Limit.TASK_DEPTH, 26, 25)
    assert find(steps=25, turn_steps=2, finishes=True) == (Limit.TASK_DEPTH, 25, 25)


@pytest.mark.parametrize(
    ("bounds", "spent", "found"),
    [
        (Bounds(turn_s=5), Spent(turn_s=5), None),
        (Bounds(turn_s=5), Spent(turn_s=6), (Limit.TURN_S, 6, 5)),
        (Bounds(task_s=25), Spent(task_s=25.5), (Limit.TASK_S, 25.5, 25)),
        (Bounds(task_tokens=100), Spent(tokens=101), (Limit.TASK_TOKENS, 101, 100)),
    ],
)
def test_time_and_tokens_are_bounded_where_it_is_said(bounds, spent, found):
    assert find(spent=spent) is None
    assert find(spent=spent, bounds=bounds) == found
    assert bounds.need_table and not Bounds().need_table


def test_none_lifts_a_bound():
    assert find(steps=400, bounds=Bounds(None, None)) is None


@pytest.mark.parametrize("limit", list(Limit))
def test_a_refusal_says_what_is_the_matter_and_what_to_do(limit):
    bounds = Bounds(**{name.value: 5 if name is limit else None for name in Limit})
    found = find_exceeded(bounds, task(7), Spent(7.2, 7.2, 7), finishes=False)

    refusal = found.refusal()

    assert refusal.reason is RejectReason.TOOL_DEPTH_EXCEEDED
    assert refusal.param == "tools"
    assert " 7 " in refusal.message and " 5 " in refusal.message
    assert "without 'tools'" in refusal.message


def test_a_task_has_used_the_time_since_it_was_seen_first():
    tasks = TaskTable()
    assert tasks.see("a", "1", now=10) == NOTHING
    tasks.spend("a", 40, now=11)
    tasks.spend("a", 2, now=12)
    assert tasks.see("a", "1", now=13) == Spent(3, 3, 42)
    assert tasks.see("a", "2", now=14) == Spent(0, 4, 42)
    assert tasks.see("a", "1", now=15) == Spent(5, 5, 42)
    assert tasks.see("b", "1", now=15) == NOTHING


def test_tasks_that_are_idle_or_too_many_are_forgotten():
    tasks = TaskTable(max_tasks=2, idle_s=100)
    for now, key in enumerate("abac"):
        tasks.see(key, "1", now)
    assert len(tasks) == 2
    assert tasks.see("b", "1", now=4) == NOTHING
    assert tasks.see("c", "1", now=4) == Spent(1, 1)

    tasks.see("c", "1", now=103)
    assert tasks.see("c", "1", now=150) == Spent(147, 147)
    assert len(tasks) == 1
    assert tasks.see("c", "1", now=250) == NOTHING


def test_the_turns_of_a_task_are_bounded():
    tasks = TaskTable()
    for turn in range(MAX_TURNS):
        tasks.see("a", str(turn), now=turn)
    tasks.see("a", "0", now=MAX_TURNS)
    tasks.see("a", "newest", now=MAX_TURNS)

    assert tasks.see("a", "0", now=50).turn_s == 50
    assert tasks.see("a", "1", now=50).turn_s == 0
