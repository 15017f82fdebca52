"""Loops are found in time, and work that goes on is left alone."""

from dataclasses import replace

import pytest

from router.agents.loops import MAX_CALLS, Loop, LoopKind, LoopRules, find_loop
from router.agents.task import Call, Result

RULES = LoopRules(repeats=4, cycle=3, changing=8, near=6, max_period=5)
NEVER = LoopRules(repeats=None, cycle=None, changing=None, near=None)


def call(name, arguments="{}", result="same") -> Call:
    given = None if result is None else Result(len(result), result.encode(), "no " in result)
    return Call("", name, arguments, given)


def steps(*calls):
    return [(each,) for each in calls]


def find(turn, rules=RULES):
    return find_loop(turn, rules)


def first_found(turn, rules=RULES):
    """After how many steps a loop is found, and which."""
    for size in range(len(turn) + 1):
        loop = find(turn[:size], rules)
        if loop is not None:
            return size, loop.kind
    return None


A, B, C, D, E, F = (call(name) for name in "abcdef")


def test_a_call_that_brings_the_same_again_and_again_is_a_repeat():
    assert first_found(steps(*[A] * 9)) == (4, LoopKind.REPEAT)
    assert find(steps(*[A] * 4)) == Loop(LoopKind.REPEAT, ("a",), 4)


@pytest.mark.parametrize("period", range(2, 6))
def test_a_cycle_of_any_period_is_found_when_its_third_round_ends(period):
    turn = steps(*[A, B, C, D, E][:period] * 4)

    assert first_found(turn) == (3 * period, LoopKind.CYCLE)
    assert find(turn).tools == tuple("abcde"[:period])


@pytest.mark.parametrize("rule", ["repeats", "cycle", "changing", "near"])
def test_a_rule_finds_its_loop_where_the_others_are_off(rule):
    """And a turn that is too short for it has none."""
    turns = {
        "repeats": steps(*[A] * 4),
        "cycle": steps(*[A, B] * 3),
        "changing": steps(*(call("a", result=str(n)) for n in range(8))),
        "near": steps(*(call("a", f"{n}" + "x" * 9, "no luck") for n in range(7))),
    }
    alone = replace(NEVER, **{rule: getattr(RULES, rule)})

    assert {name for name, turn in turns.items() if find(turn, alone)} >= {rule}
    assert find(turns[rule][: getattr(RULES, rule) - 1], alone) is None


def test_a_cycle_is_found_behind_other_work():
    before = steps(*(call("read", str(n), str(n)) for n in range(20)))

    assert first_found(before + steps(*[A, B] * 4)) == (26, LoopKind.CYCLE)


def test_calls_that_wander_among_a_few_are_a_cycle_too():
    turn = steps(A, B, C, B, A, C, A, C, B, B, A)

    assert first_found(turn) == (9, LoopKind.CYCLE)


def test_calls_at_once_that_come_in_another_order_are_a_cycle_too():
    assert first_found([(A, B), (B, A), (A, B)]) == (3, LoopKind.CYCLE)


def test_a_longer_cycle_than_the_longest_is_none():
    assert first_found(steps(*[A, B, C, D, E, F] * 6)) is None


def test_results_that_change_are_no_repeat_until_there_are_many():
    polling = steps(*(call("status", result=f"{n} %") for n in range(20)))

    assert first_found(polling) == (8, LoopKind.CHANGING)
    assert first_found(polling, replace(RULES, changing=None)) is None


def test_waiting_and_polling_in_turns_is_a_cycle_of_changing_results():
    polling = [
        one for n in range(20) for one in steps(call("wait"), call("status", result=f"{n} %"))
    ]

    assert first_found(polling) == (16, LoopKind.CHANGING)


def test_a_new_user_message_begins_anew():
    """The caller passes the newest turn only: a turn of three repeats is no loop."""
    assert find(steps(A, A, A)) is None
    assert find([]) is None


def test_a_loop_that_the_model_has_left_is_none():
    assert find(steps(*[A] * 6, B)) is None


def test_tests_that_fail_alike_after_each_edit_are_no_loop():
    turn = [one for n in range(30) for one in steps(call("edit", f"change {n}" * 9), call("test"))]

    assert first_found(turn) is None


def test_reading_page_after_page_is_no_loop():
    turn = steps(*(call("read", f'{{"page":{n}}}', f"page {n}") for n in range(200)))

    assert first_found(turn) is None


def test_reading_files_again_is_no_loop():
    files = [call("read", f'{{"path":"src/{n}.py"}}', f"text {n}") for n in range(8)]

    assert first_found(steps(*files, *files), LoopRules()) is None


def test_small_changes_without_a_new_result_are_a_loop():
    guesses = [call("grep", f'{{"pattern":"handler{n}"}}', "no match") for n in range(20)]

    assert first_found(steps(*guesses)) == (6, LoopKind.NEAR)
    assert find(steps(*guesses[:7])) == Loop(LoopKind.NEAR, ("grep",), 7)


@pytest.mark.parametrize(
    "between",
    [
        call("grep", '{"pattern":"handler"}', "found"),
        call("list", '{"pattern":"handler"}'),
        call("grep", '{"somewhere":"quite different"}', "no match"),
    ],
)
def test_they_count_from_the_last_result_tool_or_idea_that_was_new(between):
    guesses = [call("grep", f'{{"pattern":"handler{n}"}}', "no match") for n in range(20)]

    assert first_found(steps(*guesses[:5], between, *guesses[5:9])) is None


def test_work_that_is_acknowledged_one_by_one_takes_longer_to_be_a_loop():
    labels = [call("label", f'{{"mail":"number {n}"}}', "ok") for n in range(30)]

    assert first_found(steps(*labels)) == (18, LoopKind.NEAR)


def test_many_calls_at_once_are_one_guess():
    folders = tuple(call("mkdir", f'{{"path":"build/{n}"}}', "ok") for n in range(20))

    assert find([folders]) is None


def test_calls_that_wait_for_their_results_are_compared_too():
    turn = steps(*[call("a", result=None)] * 4)

    assert find(turn).kind is LoopKind.REPEAT


def test_none_switches_a_kind_off():
    turns = (
        steps(*[A] * 90),
        steps(*[A, B] * 90),
        steps(*(call("grep", f'{{"pattern":"handler{n}"}}') for n in range(90))),
    )
    assert [first_found(turn, NEVER) for turn in turns] == [None] * 3


def test_of_a_very_long_turn_the_end_is_looked_at():
    new = steps(*(call("read", str(n), str(n)) for n in range(MAX_CALLS)))

    assert find([*new, *steps(*[A] * 4)]).kind is LoopKind.REPEAT
    assert find([(B, *[A] * MAX_CALLS)]).kind is LoopKind.REPEAT
    assert find([(A,) * MAX_CALLS, *new]) is None


@pytest.mark.parametrize("kind", list(LoopKind))
def test_a_loop_says_what_goes_on(kind):
    sentence = Loop(kind, ("read", "x" * 100), 7).sentence

    assert "'read', 'xxx" in sentence and " 7 " in sentence
    assert len(sentence) < 250


@pytest.mark.parametrize("wrong", [{"repeats": 1}, {"near": 0}, {"max_period": 0}])
def test_rules_that_would_find_loops_everywhere_are_refused(wrong):
    with pytest.raises(ValueError, match=r"rounds|max_period"):
        LoopRules(**wrong)
