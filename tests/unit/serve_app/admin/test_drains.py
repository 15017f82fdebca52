"""Draining a lane replica over the admin API: who may be, and who is told."""

import asyncio
from types import SimpleNamespace

import pytest

from router.errors import Rejected
from serve_app.admin.drains import DrainDesk, DrainReplica
from serve_app.config.fleet import FleetConfig

LANE = {"model_id": "m", "model_source": "x", "max_model_len": 64}
FLEET = FleetConfig.model_validate(
    {
        "name": "t",
        "lanes": {"chat": LANE, "spare": LANE | {"model_id": "n", "required": False}},
        "routing": {"default": "chat"},
    }
)


class Lanes:
    """Lanes whose replicas answer as a test says."""

    def __init__(self) -> None:
        self.replicas = {"chat": {"c1": False, "c2": False}, "spare": {"s1": False}}
        self.asked = []
        self.silent = set()

    def names(self):
        return list(self.replicas)

    async def engine_metrics(self, lane):
        rows = self.replicas[lane].items()
        return [{"replica": name, "draining": on, "in_flight": 1} for name, on in rows]

    async def begin_drain(self, lane, replica, end_within_s):
        self.asked.append((replica, end_within_s))
        if replica in self.silent:
            return None
        self.replicas[lane][replica] = True
        return {"draining": True, "ends": end_within_s is not None, "in_flight": 1}

    async def stop_drain(self, lane, replica):
        self.replicas[lane][replica] = False
        return {"draining": False, "ends": False, "in_flight": 1}


class Told:
    """The ingress replicas, and what they were told."""

    def __init__(self) -> None:
        self.said = []

    async def ask(self, *what, **_):
        self.said.append(what)
        return [{"replica": "i1", "ok": True}]


@pytest.fixture
def lanes():
    return Lanes()


@pytest.fixture
def peers():
    return Told()


@pytest.fixture
def desk(lanes, peers):
    return DrainDesk(SimpleNamespace(policies=SimpleNamespace(fleet=FLEET)), lanes, peers)


async def test_one_of_two_is_drained_and_every_ingress_replica_told(desk, lanes, peers):
    told = await desk.drain("c1", DrainReplica(end=True, within_s=60))
    listed = (await desk.listing())["replicas"]

    assert told["ok"] and (told["lane"], told["draining"], told["ends"]) == ("chat", True, True)
    assert lanes.asked == [("c1", 60)]
    assert peers.said == [("withdraw", "chat", "c1")]
    assert [x["replica"] for x in listed if x["draining"]] == ["c1"]


async def test_the_last_of_a_required_lane_is_not_unless_it_is_forced(desk, lanes):
    """Of a lane that nobody requires it is."""
    await desk.drain("c1", DrainReplica())

    refused = await desk.drain("c2", DrainReplica())
    forced = await desk.drain("c2", DrainReplica(force=True))

    assert isinstance(refused, Rejected) and refused.param == "force"
    assert "'chat'" in refused.message
    assert forced["draining"]
    assert (await desk.drain("s1", DrainReplica()))["draining"]


async def test_two_admins_at_once_do_not_drain_both(desk, lanes, peers):
    """The other one asked another ingress replica: each looks again when it is done."""
    other = DrainDesk(SimpleNamespace(policies=SimpleNamespace(fleet=FLEET)), lanes, peers)

    one, two = await asyncio.gather(
        desk.drain("c1", DrainReplica()), other.drain("c2", DrainReplica())
    )

    assert isinstance(one, Rejected) or isinstance(two, Rejected)
    assert not all(lanes.replicas["chat"].values())


async def test_one_that_does_not_answer_is_placed_turns_again(desk, lanes, peers):
    lanes.silent.add("c1")

    refused = await desk.drain("c1", DrainReplica())

    assert refused.reason.value == "no_replica"
    assert peers.said == [("withdraw", "chat", "c1"), ("restore", "chat", "c1")]


async def test_it_is_taken_back(desk, lanes, peers):
    await desk.drain("c1", DrainReplica(end=True))

    told = await desk.undrain("c1")

    assert not told["draining"] and peers.said[-1] == ("restore", "chat", "c1")
    assert await desk.undrain("nobody") is None
    assert await desk.drain("nobody", DrainReplica()) is None


async def test_over_http_the_only_replica_of_a_lane_is_a_409(deployment):
    """And forced it serves on: one that drains is better than none."""
    replica = (await deployment.ask("GET", "/admin/replicas")).json()["replicas"][0]
    path = f"/admin/replicas/{replica['replica']}/drain"

    refused = await deployment.ask("POST", path)
    forced = await deployment.ask("POST", path, json={"force": True})
    status = (await deployment.ask("GET", "/status")).json()

    assert refused.status_code == 409
    assert forced.json()["draining"] and not forced.json()["ends"]
    assert status["lanes"]["chat"]["replicas"][0]["draining"]
    assert any(f"pointsman drain {replica['replica']} --undo" in x for x in status["warnings"])
    assert (await deployment.chat("acme")).status_code == 200
    undrained = await deployment.ask("POST", path.replace("/drain", "/undrain"))
    assert not undrained.json()["draining"]
    assert [x["action"] for x in await deployment.audit()] == [
        "replicas.undrain",
        "replicas.drain",
        "replicas.drain",
    ]
    assert (await deployment.ask("POST", "/admin/replicas/no/drain")).status_code == 404
