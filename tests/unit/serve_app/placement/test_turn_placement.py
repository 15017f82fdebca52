"""A turn on its way to a replica: what is chosen, counted, told and published."""

import asyncio
import contextlib
from types import SimpleNamespace

import pytest
from ray.serve.exceptions import DeploymentUnavailableError

from router.placement.affinity import TurnFacts
from router.placement.spilled_sessions import session_hash
from serve_app.config.fleet import FleetConfig
from serve_app.config.serving import AffinityConfig, TimeoutConfig
from serve_app.engine.load_tracker import LoadTracker
from serve_app.front.status import _imbalance
from serve_app.placement.lanes import Lanes, NoReplica, UpstreamFault
from serve_app.placement.replica_router import SessionRouter
from serve_app.placement.turn_placement import TURN_HEADER, build_placements
from serve_app.transport.endpoint import Guard
from serve_app.transport.upstream import Response

FLEET = FleetConfig.model_validate(
    {
        "name": "test",
        "lanes": {
            "chat": {
                "model_id": "m",
                "model_source": "x",
                "max_model_len": 64,
                "engine_args": {"max_num_seqs": 2},
            },
            "card": {
                "model_id": "n",
                "model_source": "x",
                "max_model_len": 64,
                "engine": "simulated",
                "simulated": {"profile": "llama-3.1-8b-fp8-rtx4090"},
            },
        },
        "routing": {"default": "chat"},
    }
)


class FakeHandle:
    """Serve's handle, down to the request router: replicas with what they published."""

    def __init__(self, stats) -> None:
        self.stats = stats
        self.mute: set[str] = set()
        self.asked = 0
        self.router = object.__new__(SessionRouter)
        # Where Serve keeps those that it knows of.
        self.listed = self.router._replicas = {}

    @contextlib.asynccontextmanager
    async def choose_replica(self, *, _reserve, **kwargs):
        assert not _reserve
        self.asked += 1
        self.listed.update({name: self._replica(name) for name in self.stats})
        if not self.stats:
            raise DeploymentUnavailableError(None)
        candidates = list(self.listed.values())
        pending = SimpleNamespace(kwargs=kwargs)
        ranks = await self.router.choose_replicas(candidates, pending)
        chosen = ranks[0][0]
        yield SimpleNamespace(
            replica_id=chosen.replica_id.unique_id, replica_metadata=chosen.replica_metadata
        )

    def _replica(self, name) -> SimpleNamespace:
        return SimpleNamespace(
            replica_id=SimpleNamespace(unique_id=name),
            routing_stats=self.stats[name],
            replica_metadata={"url": f"http://{name}"} if name not in self.mute else {},
        )


class FakeUpstream:
    """Answers with a response that can be closed, or fails."""

    def __init__(self) -> None:
        self.sent = []
        self.fault = None

    async def post(self, url, path, body, headers):
        self.sent.append((url, headers))
        if self.fault is not None:
            raise self.fault
        return Response(None, 200, {})


class FakedLanes(Lanes):
    """A lane of two replicas, down to the handle and the connections."""

    def __init__(self) -> None:
        self.handle = FakeHandle({"r1": {}, "r2": {}})
        self.placements = build_placements(FLEET, "me")
        super().__init__({"chat": self.handle}, "secret", TimeoutConfig(), self.placements)
        self.upstream = self._upstream = FakeUpstream()


@pytest.fixture
def lanes():
    return FakedLanes()


def loads(lanes):
    return lanes.placements["chat"].lane.loads(now=1e9)


def turn(session="s"):
    return TurnFacts(session_hash("g"), session)


async def test_an_open_turn_counts_until_its_response_is_closed(lanes):
    """Once, and not again when it is closed twice."""
    replica = await lanes.choose("chat", turn())
    response = await lanes.open(replica, "/", b"", {})
    during = loads(lanes)

    response.close()
    response.close()

    assert during[replica.id] == 1
    assert sum(loads(lanes).values()) == 0


async def test_a_turn_that_could_not_be_opened_counts_no_more(lanes):
    """Whatever the fault."""
    lanes.upstream.fault = ConnectionRefusedError()
    replica = await lanes.choose("chat", turn())

    with pytest.raises(UpstreamFault):
        await lanes.open(replica, "/", b"", {})

    assert sum(loads(lanes).values()) == 0


async def test_a_full_replica_passes_the_session_on_and_tells_the_next(lanes):
    """The header names the ingress, the group and the spilled session with its move."""
    home = await lanes.choose("chat", turn())
    for _ in range(2):
        await lanes.open(home, "/", b"", {})

    other = await lanes.choose("chat", turn())
    await lanes.open(other, "/", b"", {"traceparent": "t"})

    assert other.id != home.id
    assert (home.placed.has_spilled, other.placed.has_spilled) == (False, True)
    headers = lanes.upstream.sent[-1][1]
    assert headers["traceparent"] == "t"
    assert headers[TURN_HEADER] == f"me {session_hash('g')} {session_hash('s')} 1"


async def test_a_bare_name_gets_the_same_replica_and_counts_nowhere(lanes):
    """As readiness asks."""
    first = await lanes.choose("chat", "readiness")
    second = await lanes.choose("chat", "readiness")
    await lanes.open(first, "/", b"", {})

    assert first == second
    assert TURN_HEADER not in lanes.upstream.sent[-1][1]


async def test_serve_is_asked_only_while_it_lists_no_replica(lanes):
    """Those it lists are seen where it keeps them: ones that come, and ones that go."""
    handle = lanes.handle
    first = await lanes.choose("chat", turn())
    again = await lanes.choose("chat", turn())
    assert (first.id, handle.asked) == (again.id, 1)
    assert again.url == f"http://{again.id}"

    del handle.listed[first.id]
    other = await lanes.choose("chat", turn())
    assert (other.id != first.id, handle.asked) == (True, 1)

    handle.listed.clear()
    handle.stats = {"r9": {}}
    assert (await lanes.choose("chat", turn())).id == "r9"
    assert handle.asked == 2

    handle.listed.clear()
    handle.stats = {}
    with pytest.raises(NoReplica):
        await lanes.choose("chat", turn())


@pytest.mark.parametrize("asks", [1, 2], ids=["asked for", "listed"])
async def test_a_replica_without_an_address_is_none(lanes, asks):
    """It has not published one yet."""
    lanes.handle.mute = {"r1", "r2"}

    for _ in range(asks):
        with pytest.raises(NoReplica):
            await lanes.choose("chat", turn())

    assert lanes.handle.asked == 1


async def test_without_an_order_serve_s_candidates_stand():
    """A broadcast, say, is no turn."""
    candidates = [SimpleNamespace()]

    for pending in (None, SimpleNamespace(kwargs={})):
        ranks = await object.__new__(SessionRouter).choose_replicas(candidates, pending)
        assert ranks == [candidates]


async def test_bounds_are_replaced_and_open_turns_stay(lanes):
    """A reload changes the policy, not what is known."""
    replica = await lanes.choose("chat", turn())
    await lanes.open(replica, "/", b"", {})
    placement = lanes.placements["chat"]

    placement.apply(
        FLEET.sessions.model_copy(update={"affinity": AffinityConfig(load_factor=3)}), 9
    )

    assert placement.lane.config.load_factor == 3
    assert loads(lanes)[replica.id] == 1


def test_slots_come_from_the_engine_s_arguments_or_the_profile():
    """32 and 64 sequences are not the same bound."""
    slots = {name: made.slots for name, made in build_placements(FLEET, "me").items()}

    assert slots == {"chat": 2, "card": 64}


@pytest.mark.parametrize(
    ("running", "expected"), [([], 1.0), ([0.0, 0.0], 1.0), ([3.0, 1.0], 1.5), ([2.0], 1.0)]
)
def test_a_lane_s_imbalance_is_the_busiest_over_the_mean(running, expected):
    """1 where nothing runs."""
    assert _imbalance(running) == expected


# -- the replica's side ---------------------------------------------------------


class Slow:
    """An engine that answers when it is told."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()

    async def __call__(self, scope, receive, send):
        await self.may_end.wait()


def scope(header=None):
    headers = [(b"x-pointsman-endpoint", b"secret")]
    if header is not None:
        headers.append((TURN_HEADER.encode(), header))
    return {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": headers}


async def test_a_replica_publishes_who_is_here():
    """Open turns by ingress, the spilled sessions, and nothing for requests that are no turns."""
    app = Slow()
    log = LoadTracker(app, AffinityConfig())
    guard = Guard(log, "secret", frozenset({("POST", "/v1/chat/completions")}))
    headers = [b"i1 g", b"i1 g k1 3", b"i2 h", None, b"odd", b"i1 g k2 x"]

    async with asyncio.TaskGroup() as group:
        for header in headers:
            group.create_task(guard(scope(header), None, None))
        await asyncio.sleep(0)
        during = log.report(0.123).to_mapping()
        app.may_end.set()

    assert (during["open"], during["spilled"], during["kv"]) == (
        {"i1": 2, "i2": 1},
        {"k1": 3},
        0.12,
    )
    assert log.report(0).open == {}
    assert log.report(0).to_mapping() == log.report(0).to_mapping()


async def test_a_turn_that_is_cancelled_counts_no_more():
    """The client left."""
    log = LoadTracker(Slow(), AffinityConfig())
    task = asyncio.create_task(log(scope(b"i1 g"), None, None))
    await asyncio.sleep(0)
    assert log.report(0).open == {"i1": 1}

    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task

    assert log.report(0).open == {}
