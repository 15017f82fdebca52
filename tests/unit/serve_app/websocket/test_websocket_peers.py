"""Chats that are read slowly or through another replica, and what is known of the others."""

import asyncio
import json

import pytest

from serve_app.config.serving import TimeoutConfig
from serve_app.websocket import connection
from serve_app.websocket.connection import MAX_NOTICES
from serve_app.websocket.peers import Peers
from serve_app.websocket.remote import HIGH_WATER, RemoteReader
from tests.unit.serve_app.socket_world import SocketWorld, check_hub, seqs_of, text_of, until
from tests.unit.serve_app.websocket.test_websocket_resume import begun, resume


async def test_a_quiet_chat_is_kept_alive_between_replicas(slow_world):
    """The heartbeat passes where nothing else does."""
    owner, other = slow_world.ingresses
    owner.owner.heartbeat_s = 0.01
    read_s = 0.3
    other.peers.upstream.apply(TimeoutConfig(read_s=read_s))
    owner.lanes.gate.clear()
    client = await slow_world.connect()
    client.chat("a", tokens=3)
    await until(lambda: owner.hub.running() == 1)
    await client.leave()
    back = await slow_world.connect(at=1)
    back.say(resume("a", 0))
    await until(lambda: owner.endpoint.guard.in_flight == 1)

    (busy,) = other.peers.upstream.busy
    heard = busy.heard_at
    await until(lambda: busy.heard_at > heard + read_s)
    owner.lanes.gate.set()

    assert len(text_of(await back.until_end("a")).split()) == 3


async def test_a_client_that_does_not_read_holds_its_chat_up():
    """What is kept stays within bounds; nothing is lost when it reads again."""
    async with SocketWorld(itl_s=0.0002, websocket={"replay_bytes": 16384}) as world:
        client = await world.connect()
        client.chat("a", tokens=3000)
        read = await client.frames(1)
        client.reads.clear()
        hub = world.ingresses[0].hub
        (chat,) = hub.chats.values()
        await until(lambda: chat.room is not None)
        kept = hub.kept_bytes
        client.reads.set()
        frames = read + await client.until_end("a")
        await client.leave()
        await world.idle()

    # One body of events more than the bound may be taken in.
    assert kept < 16384 + 2**17
    assert seqs_of(frames) == list(range(1, len(frames) + 1))
    assert len(text_of(frames).split()) == 3000


async def test_a_client_that_does_not_read_holds_another_replica_up(stream):
    """The relaying replica keeps little; reading from the owner goes on when the client does."""
    line = b"x" * (HIGH_WATER // 2) + b"\n"
    response = stream(*[line] * 5)
    news = asyncio.Event()
    reader = RemoteReader(b"1", response, news.set, lambda: None)
    for _ in range(10):
        await asyncio.sleep(0)
    unread = len(response.parts)

    taken = 0
    while not reader.is_over:
        taken += reader.take() is not None
        await asyncio.sleep(0)

    assert (unread, taken) == (3, 5)
    assert response.is_closed


async def test_what_was_read_long_ago_cannot_be_asked_for_again():
    """The replay is bounded in bytes; a client further behind is told so."""
    async with SocketWorld(itl_s=0.0002, websocket={"replay_bytes": 16384}) as world:
        client = await world.connect()
        client.chat("a", tokens=3500)
        frames = await client.frames(1)
        (chat,) = world.ingresses[0].hub.chats.values()
        while chat.first < 5:
            frames.append(await client.frame())
        await client.leave()
        client = await world.connect()
        client.say(resume("a", 3, frames[0]["resume"]))
        refused = await client.frame()
        read = chat.read
        client.say(resume("a", read, frames[0]["resume"]))
        rest = await client.frames(1)

    assert refused["error"]["code"] == "no_replica"
    assert seqs_of(rest) == [read + 1]


@pytest.mark.security
async def test_a_flood_of_bad_frames_without_reading_ends_the_socket(socket_world):
    """Error frames do not pile up without a bound."""
    client = await socket_world.connect()
    client.reads.clear()

    for _ in range(3 * MAX_NOTICES):
        client.say("{")
    await until(lambda: client.task.done() or client.inbox.qsize() < MAX_NOTICES * 3)
    client.reads.set()
    messages = [await client.message()]
    while messages[-1]["type"] == "websocket.send":
        messages.append(await client.message())

    assert messages[-1] == {
        "type": "websocket.close",
        "code": connection.POLICY_VIOLATION,
    }
    assert len(messages) <= MAX_NOTICES + 3


@pytest.mark.security
async def test_all_replays_together_are_bounded():
    """Past the bound the oldest chats that have ended are forgotten."""
    async with SocketWorld(itl_s=0.002, websocket={"total_replay_bytes": 2**16}) as world:
        client = await world.connect()
        kept = []
        for number in range(12):
            client.chat(number, tokens=60)
            last = await client.until_end(number)
            kept.append(world.ingresses[0].hub.kept_bytes)
        client.say(resume(0, 0))
        first = await client.frame()
        # Tokens that came while this was busy elsewhere share a frame: few may be left.
        middle = len(last) // 2
        client.say(resume(11, last[middle - 1]["seq"]))
        rest = await client.until_end(11)
        check_hub(world.ingresses[0].hub)

    assert max(kept) < 2**16 + 2**15
    assert first["error"]["code"] == "no_replica"
    assert [f["seq"] for f in rest] == [f["seq"] for f in last[middle:]]
    assert rest[-1]["type"] == "done"


async def test_a_replica_that_goes_waits_until_its_chats_are_read(slow_world):
    """A redeploy: the sockets are closed, and clients read the rest through another replica."""
    read = await begun(slow_world, tokens=40)
    owner = slow_world.ingresses[0]
    draining = asyncio.create_task(owner.hub.drain())
    client = await slow_world.connect(at=1)

    client.say(resume("a", 5, read[0]["resume"]))
    rest = await client.until_end("a")
    async with asyncio.timeout(5):
        await draining

    assert len(text_of(read + rest).split()) == 40


async def test_a_draining_replica_is_known_by_hearsay(slow_world):
    """A replica that never met it learns of it from another."""
    owner, other = slow_world.ingresses
    await other.peers.refresh()
    newcomer = slow_world.ingresses.pop(0)
    exported = json.loads(json.dumps(other.peers.export()))
    slow_world.ingresses.insert(0, newcomer)
    fresh = type(owner.peers)("i3", "s3cret", slow_world.broadcast)

    fresh.merge(exported)

    assert set(fresh.export()) == {"i1", "i2"}
    assert fresh.export()["i1"][0] == owner.endpoint.url
    await fresh.close()


async def test_who_asks_for_peers_while_that_is_done_waits_for_it():
    """A resume during the first exchange of a new replica finds the owner all the same."""
    answered, asked = asyncio.Event(), []

    async def broadcast(method):
        asked.append(method)
        await answered.wait()
        return [{"i1": ("http://127.0.0.1:1", 0.0)}]

    peers = Peers("i2", "s3cret", broadcast)
    first, given_up, last = (asyncio.create_task(peers.refresh()) for _ in range(3))
    await asyncio.sleep(0)
    given_up.cancel()
    answered.set()
    await asyncio.gather(first, last)

    assert asked == ["socket_peers"]
    assert set(peers.export()) == {"i1"}
    await peers.close()


async def test_each_replica_speaks_for_itself_and_for_the_silent():
    """Who knows somebody is told no more of those that answer; of one that drains it is."""
    asked = []

    async def broadcast(method):
        asked.append(method)
        return [{"i1": ("http://127.0.0.1:1", 0.0)}, {"i3": ("http://127.0.0.1:3", 9.0)}]

    peers = Peers("i2", "s3cret", broadcast)
    peers.open_at("http://127.0.0.1:2")
    await peers.refresh()
    peers._refreshed_at -= 1.0
    await peers.refresh()

    assert asked == ["socket_peers", "silent_socket_peers"]
    assert set(peers.export()) == {"i1", "i2", "i3"}
    assert set(peers.export_silent()) == {"i2", "i3"}
    await peers.close()


async def test_what_is_known_of_peers_outlives_a_failed_exchange(caplog):
    """The controller is away: the owner is asked all the same, and nothing is left running."""

    async def broadcast(method):
        raise RuntimeError("no controller")

    peers = Peers("i2", "s3cret", broadcast)
    peers.merge({"i1": ("http://127.0.0.1:1", 0.0)})

    await peers.refresh()

    assert set(peers.export()) == {"i1"}
    assert "no controller" in caplog.text
    await peers.close()


async def test_who_knows_the_others_does_not_wait_for_one_that_hangs():
    """Somebody asks already; and closing ends the exchange."""
    asked = asyncio.Event()

    async def broadcast(method):
        asked.set()
        await asyncio.Event().wait()

    peers = Peers("i2", "s3cret", broadcast)
    first = asyncio.create_task(peers.refresh())
    await asked.wait()
    peers.merge({"i1": ("http://127.0.0.1:1", 0.0)})

    async with asyncio.timeout(5):
        await peers.refresh()
        await peers.close()
        await asyncio.wait([first])

    assert first.cancelled()
