"""What an ingress replica remembers of its traffic: turns and recent requests."""

from serve_app.records.traffic import Traffic, TurnClock

HI = {"messages": [{"role": "user", "content": "hi"}]}


def test_a_turn_is_from_its_first_request_to_its_answer():
    clock = TurnClock()

    assert clock.end("t", 10.0, 11.0, is_last=False) is None
    assert clock.end("t", 12.0, 13.0, is_last=False) is None
    assert clock.end("t", 14.0, 16.5, is_last=True) == 6.5
    assert len(clock) == 0


def test_requests_of_a_turn_that_run_side_by_side_are_one_turn():
    """The one that began first may end last."""
    clock = TurnClock()
    clock.end("t", 12.0, 13.0, is_last=False)

    assert clock.end("t", 10.0, 20.0, is_last=True) == 10.0


def test_turns_that_nobody_ends_are_forgotten_by_number_and_age():
    clock = TurnClock(max_turns=2, idle_s=100)
    for number in range(3):
        clock.end(number, 0.0, float(number), is_last=False)
    assert len(clock) == 2
    clock.end("late", 500.0, 500.0, is_last=False)
    assert len(clock) == 1


def test_nothing_that_was_said_is_kept_and_sessions_have_the_same_number_everywhere(world):
    one, other = Traffic(b"secret"), Traffic(b"secret")

    assert one.number("acme/s1") == other.number("acme/s1")
    assert one.number("acme/s1") != Traffic(b"another").number("acme/s1")


async def test_a_request_is_measured_and_remembered(world, engine):
    world.lanes.answers.append(engine())

    answer = await world.post("/v1/chat/completions", HI, "acme")

    assert answer.status_code == 200
    (row,) = world.state.traffic.export()["chat"]
    _, prompt, cached, output, session, tenant, _ = row
    assert (prompt, cached, output) == (7, 0, 3)
    assert all(isinstance(x, int) and 0 <= x < 2**32 for x in (session, tenant))
    text = world.metrics.render()
    assert 'pointsman_turn_seconds_count{ingress="i1",lane="chat",tier="paid"} 1.0' in text
    assert 'pointsman_request_prompt_tokens_bucket{ingress="i1",lane="chat",le="512.0"} 1.0' in text


async def test_a_refused_request_is_no_turn(world):
    world.lanes.empty = True

    await world.post("/v1/chat/completions", HI, "acme")

    assert world.state.traffic.export() == {}
    assert "pointsman_turn_seconds_count" not in world.metrics.render()


async def test_only_the_newest_requests_are_kept(world, engine):
    world.state.traffic = traffic = Traffic(b"s", most=2)
    for number in range(3):
        world.lanes.answers.append(engine())
        body = {"messages": [{"role": "user", "content": f"hi {number}"}]}
        await world.post("/v1/chat/completions", body, "acme")
    kept = traffic.export()["chat"]

    assert len(kept) == 2
    assert kept == sorted(kept)
