"""Chats that outlive their socket: taken up again here, elsewhere, or given up."""

import pytest

from serve_app.config.serving import TimeoutConfig
from serve_app.websocket import peers
from tests.unit.serve_app.socket_world import SocketWorld, seqs_of, text_of, until
from tests.unit.serve_app.websocket.test_websocket import bearer


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """All replicas share a loop here, which a busy machine may hold longer than peers wait."""
    monkeypatch.setattr(peers, "ANSWER_S", 60.0)
    monkeypatch.setattr(peers, "TIMEOUTS", peers.TIMEOUTS.model_copy(update={"connect_s": 60.0}))


def resume(chat_id, after, token=None) -> dict:
    frame = {"id": chat_id, "type": "resume", "after": after}
    return frame if token is None else {**frame, "resume": token}


async def begun(world, tokens=60, chat_id="a", at=0, frames=5):
    """A chat of which a client has read some frames before it left."""
    client = await world.connect(at=at)
    client.chat(chat_id, tokens=tokens)
    read = await client.frames(frames)
    await client.leave()
    return read


@pytest.mark.parametrize("at", [0, 1], ids=["same replica", "another replica"])
@pytest.mark.parametrize("by", ["token", "id"])
async def test_a_chat_goes_on_without_its_client_and_is_resumed(slow_world, at, by):
    """No frame is lost or repeated, and nothing is generated twice."""
    read = await begun(slow_world)
    client = await slow_world.connect(at=at)

    client.say(resume("a", 5, read[0]["resume"] if by == "token" else None))
    rest = await client.until_end("a")

    assert seqs_of(read + rest) == list(range(1, len(read + rest) + 1))
    assert len(text_of(read + rest).split()) == 60
    assert slow_world.engine_requests() == 1
    where = "local" if at == 0 else "relayed"
    outcome = slow_world.ingresses[at].count("pointsman_websocket_resumes_total", outcome=where)
    assert outcome == 1
    await client.leave()
    await slow_world.idle()


@pytest.mark.parametrize("at", [0, 1], ids=["same replica", "another replica"])
async def test_a_chat_that_ended_meanwhile_is_replayed(slow_world, at):
    """From any number that is kept, the first and the last included."""
    read = await begun(slow_world, tokens=20)
    await until(lambda: not slow_world.running)
    client = await slow_world.connect(at=at)
    client.say(resume("a", 0, read[0]["resume"]))
    replays = [await client.until_end("a")]
    last = replays[0][-1]["seq"]

    for after in (5, last - 1):
        client.say(resume("a", after, read[0]["resume"]))
        replays.append(await client.until_end("a"))

    assert [seqs_of(replay)[0] for replay in replays] == [1, 6, last]
    assert replays[0][:5] == read
    assert len(text_of(replays[0]).split()) == 20
    assert all(replay[-1]["type"] == "done" for replay in replays)


@pytest.mark.parametrize("at", [0, 1], ids=["same replica", "another replica"])
async def test_a_client_whose_old_socket_looks_alive_takes_its_chat_over(slow_world, at):
    """A broken network tells nobody; the old socket is told, if it can still hear."""
    old, new = await slow_world.connect(), await slow_world.connect(at=at)
    old.chat("a", tokens=60)
    read = await old.frames(4)

    new.say(resume("a", 4, read[0]["resume"]))
    rest = await new.until_end("a")
    old_rest = await old.until_end("a")
    old.chat("b", tokens=2)

    assert seqs_of(read + rest) == list(range(1, len(read + rest) + 1))
    assert old_rest[-1]["error"]["message"] == "The chat was resumed on another socket."
    assert (await old.until_end("b"))[-1]["type"] == "done"


@pytest.mark.parametrize("at", [0, 1], ids=["same replica", "another replica"])
async def test_a_resumed_chat_can_be_cancelled(slow_world, at):
    """The engine's request is aborted on the replica that owns it."""
    read = await begun(slow_world, tokens=2000)
    client = await slow_world.connect(at=at)
    client.say(resume("a", 5, read[0]["resume"]))
    await client.frames(3)

    client.say({"id": "a", "type": "cancel"})
    rest = await client.until_end("a")

    assert rest[-1]["cancelled"]
    await client.leave()
    await slow_world.idle()


@pytest.mark.parametrize("at", [0, 1], ids=["same replica", "another replica"])
@pytest.mark.parametrize("by", ["token", "id"])
async def test_a_chat_that_nobody_reads_can_be_cancelled(slow_world, at, by):
    """A client that comes back and does not want it any more."""
    read = await begun(slow_world, tokens=2000)
    client = await slow_world.connect(at=at)
    token = {"resume": read[0]["resume"]} if by == "token" else {}

    client.say({"id": "a", "type": "cancel", **token})
    frame = await client.frame()

    assert (frame["type"], frame["cancelled"]) == ("done", True)
    await client.leave()
    await slow_world.idle()


async def test_a_chat_that_has_ended_is_not_cancelled_again(socket_world):
    """Cancel and done may cross on the way; the client has its answer."""
    client = await socket_world.connect()
    client.chat("a", tokens=2)
    await client.until_end("a")

    client.say({"id": "a", "type": "cancel"})
    client.chat("b", tokens=2)

    assert {frame["id"] for frame in await client.until_end("b")} == {"b"}
    assert client.sent.empty()


@pytest.mark.security
@pytest.mark.parametrize("at", [0, 1], ids=["same replica", "another replica"])
async def test_another_tenant_cannot_take_a_chat(slow_world, at):
    """Not by id and not with its token."""
    read = await begun(slow_world)
    thief = await slow_world.connect(at=at, headers=bearer(slow_world, "other"))

    thief.say(resume("a", 0))
    by_id = await thief.frame()
    thief.say(resume("a", 0, read[0]["resume"]))
    by_token = await thief.frame()

    assert [x["error"]["code"] for x in (by_id, by_token)] == ["no_replica"] * 2


@pytest.mark.security
@pytest.mark.parametrize("at", [0, 1], ids=["same replica", "another replica"])
async def test_an_id_that_means_two_chats_is_not_guessed(slow_world, at):
    """The token tells them apart."""
    first = await begun(slow_world, tokens=40)
    second = await begun(slow_world, tokens=50)
    client = await slow_world.connect(at=at)

    client.say(resume("a", 5))
    refused = await client.frame()
    client.say(resume("a", 5, second[0]["resume"]))
    rest = await client.until_end("a")

    assert (refused["error"]["code"], refused["error"]["param"]) == ("invalid_request", "resume")
    assert len(text_of(second + rest).split()) == 50
    assert first[0]["resume"] != second[0]["resume"]


@pytest.mark.parametrize("at", [0, 1], ids=["same replica", "another replica"])
async def test_a_resume_has_to_fit_its_chat(slow_world, at):
    """A number that was never sent, or the token of another id, is refused."""
    read = await begun(slow_world)
    client = await slow_world.connect(at=at)

    client.say(resume("a", 10_000, read[0]["resume"]))
    client.say(resume("b", 1, read[0]["resume"]))
    errors = [await client.frame() for _ in range(2)]

    assert {x["id"]: x["error"]["param"] for x in errors} == {"a": "after", "b": "id"}


async def test_a_chat_that_is_not_resumed_in_time_is_aborted_and_settled():
    """The window bounds what a client that is gone can cost."""
    async with SocketWorld(itl_s=0.01, websocket={"resume_window_s": 0.05}) as world:
        read = await begun(world, tokens=3000)
        await world.idle()
        await until(lambda: not world.ingresses[0].hub.snapshot()["kept"])
        client = await world.connect()
        client.say(resume("a", 5, read[0]["resume"]))
        frame = await client.frame()
        abandoned = world.ingresses[0].count("pointsman_websocket_chats_abandoned_total")

    assert frame["error"]["code"] == "no_replica"
    assert "a retry is safe" in frame["error"]["message"]
    assert abandoned == 1
    assert world.ingresses[0].hub.kept_bytes == 0


async def test_the_loss_of_the_owner_is_a_broken_stream(slow_world):
    """Before a resume and in the middle of one: an error whose code says that a retry is safe."""
    read = await begun(slow_world, tokens=3000)
    await begun(slow_world, tokens=3000, chat_id="b")
    client = await slow_world.connect(at=1)
    client.say(resume("a", 5, read[0]["resume"]))
    await client.frames(3)

    await slow_world.ingresses[0].die()
    broken = (await client.until_end("a"))[-1]
    client.say(resume("b", 5, read[0]["resume"]))
    gone = await client.frame()

    assert [x["error"]["code"] for x in (broken, gone)] == ["no_replica"] * 2


async def test_an_owner_that_falls_silent_is_given_up(slow_world, monkeypatch):
    """A stopped process keeps its connections; the missing heartbeat tells."""
    owner, other = slow_world.ingresses
    owner.owner.heartbeat_s = 60.0
    other.peers.upstream.apply(TimeoutConfig(read_s=0.05))
    slow_world.ingresses[0].lanes.gate.clear()
    client = await slow_world.connect()
    client.chat("a")
    await until(lambda: owner.hub.running() == 1)
    await client.leave()
    back = await slow_world.connect(at=1)

    back.say(resume("a", 0))
    frame = await back.frame()

    assert frame["error"]["code"] == "no_replica"
    owner.lanes.gate.set()


# -- clients that do not read -------------------------------------------------------------


# -- going away ------------------------------------------------------------------------------
