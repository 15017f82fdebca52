"""A task from a conversation's calls and results."""

from router.agents.task import Call, Result, TaskBuilder

DONE = Result(4, b"done")
LATER = Result(5, b"later")


def call(call_id="a", name="f", arguments="{}") -> Call:
    return Call(call_id, name, arguments)


def test_calls_of_one_answer_are_one_step():
    builder = TaskBuilder()
    builder.begin_turn("hi")
    builder.add_call(call("a"))
    builder.add_call(call("b"))
    builder.add_result("b", LATER)
    builder.add_result("a", DONE)
    builder.add_call(call("c"))

    task = builder.build()

    assert task.steps == (
        (call("a")._replace(result=DONE), call("b")._replace(result=LATER)),
        (call("c"),),
    )
    assert (task.depth, task.turn_depth) == (2, 2)


def test_a_turn_begins_with_what_the_user_says():
    builder = TaskBuilder()
    for opening in ("one", "two"):
        builder.begin_turn(opening)
        builder.add_call(call(opening))
        builder.add_result(opening, DONE)

    task = builder.build()

    assert (task.depth, task.turn_depth) == (2, 1)
    assert task.turn == ((call("two")._replace(result=DONE),),)


def test_a_turn_keeps_its_name_while_it_goes_on_and_two_like_turns_have_two():
    builder, names = TaskBuilder(), []
    for opening in ("go on", "go on"):
        builder.begin_turn(opening)
        names.append(builder.build().turn_id)
        builder.add_call(call())
        assert builder.build().turn_id == names[-1]

    assert len(set(names)) == 2


def test_answers_without_results_between_them_are_steps_of_their_own():
    builder = TaskBuilder()
    builder.add_call(call("a"))
    builder.end_step()
    builder.add_call(call("b"))

    assert builder.build().depth == 2


def test_results_of_one_id_go_to_its_calls_in_their_order():
    builder = TaskBuilder()
    for result in (DONE, LATER):
        builder.add_call(call("same"))
        builder.add_result("same", result)

    assert [step[0].result for step in builder.build().steps] == [DONE, LATER]


def test_a_result_without_a_known_id_goes_to_the_oldest_waiting_call_of_the_newest_step():
    builder = TaskBuilder()
    builder.add_call(call("a"))
    builder.add_call(call("b"))
    builder.add_result("a", DONE)
    builder.add_result("?", LATER)

    assert [each.result for each in builder.build().steps[0]] == [DONE, LATER]


def test_results_that_no_call_waits_for_are_left_out():
    builder = TaskBuilder()
    builder.add_result("none yet", DONE)
    builder.add_call(call("a"))
    builder.add_result("a", DONE)
    builder.add_result("a", LATER)
    builder.add_result("?", LATER)

    assert builder.build().steps == ((call("a")._replace(result=DONE),),)


def test_a_call_that_got_a_result_without_an_id_gets_no_second_one():
    builder = TaskBuilder()
    builder.add_call(call("a"))
    builder.add_result("?", DONE)
    builder.add_result("a", LATER)

    assert builder.build().steps[0][0].result == DONE
