"""Disks, ports, clock and limits of a host."""

import os
import socket

import pytest

from serve_app.config.settings import fleet_path, load_fleet
from serve_app.doctor.check import Result
from serve_app.doctor.machine.host import clock, limits, ports, shared_memory, state_room
from serve_app.engine.host_cache import HostMemory

GB = 10**9
RTX4090 = load_fleet(fleet_path("rtx4090"))


def test_a_folder_that_is_not_there_yet_is_judged_by_its_parent(tmp_path):
    found = state_room([tmp_path / "state" / "x"], lambda _: (100 * GB, 0, 50 * GB))
    assert (found.result, found.fix) == (Result.OK, "")
    assert "50 GB free" in found.detail


def test_little_room_for_state_warns(tmp_path):
    found = state_room([tmp_path], lambda _: (100 * GB, 0, GB))
    assert found.result is Result.WARNING
    assert "POINTSMAN_STATE" in found.fix


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_fails(tmp_path):
    tmp_path.chmod(0o500)
    assert state_room([tmp_path / "x"]).result is Result.FAILURE


def test_who_holds_a_port_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = ports({port: "the API"}, frozenset())
        assert found.result is Result.FAILURE
        assert f"{port} (the API) is taken by " in found.detail
        assert str(os.getpid()) in found.detail
        assert f":{port}" in found.fix
        # A running deployment is no fault.
        assert ports({port: "the API"}, frozenset({port})).result is Result.OK
    assert ports({port: "the API"}, frozenset()).detail == f"{port} are free"


def test_rays_agent_without_its_port_is_told():
    local = ("127.0.0.1", 0)
    with socket.create_server(local) as api, socket.create_server(local) as other:
        port, agent = api.getsockname()[1], other.getsockname()[1]
        without = ports({port: "the API"}, frozenset({port}), agent)
        assert without.result is Result.WARNING
        assert f"has not got its port ({agent})" in without.detail
        assert f"ip_local_reserved_ports={agent}" in without.fix
        assert ports({port: "the API"}, frozenset({port, agent}), agent).result is Result.OK
        # On other ports.
        assert ports({1: "the API"}, frozenset({agent}), agent).result is Result.OK
        # Nothing of ours runs: it is somebody else's.
        foreign = ports({1: "the API"}, frozenset(), agent)
        assert foreign.result is Result.WARNING
        assert f"{agent} (Ray's agent) is taken by " in foreign.detail


@pytest.mark.parametrize(
    ("ahead_s", "kept", "result", "said"),
    [
        (-10, 0, Result.OK, "kept in step"),
        (-10, 5, Result.WARNING, "nothing keeps the clock"),
        (7200, 0, Result.FAILURE, "2.0 h behind files"),
        (-10, -1, Result.NOT_APPLICABLE, "does not tell"),
    ],
)
def test_the_clock_is_held_against_files_and_the_kernel(tmp_path, ahead_s, kept, result, said):
    path = tmp_path / "serve.log"
    path.touch()
    os.utime(path, (1_000_000 + ahead_s, 1_000_000 + ahead_s))
    found = clock([path, tmp_path / "missing"], now=1_000_000, kept=kept)
    assert found.result is result
    assert said in found.detail


def test_the_kernel_is_asked_for_the_clock():
    assert clock([]).result in Result


@pytest.mark.parametrize(
    ("soft", "hard", "result"),
    [
        (1024, 1_048_576, Result.OK),
        (1024, 20_000, Result.WARNING),
        (1024, 4096, Result.FAILURE),
    ],
)
def test_the_limit_on_open_files_counts_as_ray_raises_it(soft, hard, result):
    found = limits(soft, hard)
    assert found.result is result
    assert bool(found.fix) == (result is not Result.OK)


@pytest.mark.parametrize(
    ("shm", "cards", "result"),
    [
        (64, 4, Result.OK),
        (0.0625, 4, Result.WARNING),
        (64, 0, Result.NOT_APPLICABLE),
    ],
)
def test_shared_memory_has_room_for_history_that_a_card_evicts(shm, cards, result):
    """A container has 64 MiB unless it is told otherwise."""
    found = shared_memory(RTX4090, HostMemory(ram=128, shm=shm, shm_free=shm), cards)
    assert found.result is result
    if result is Result.WARNING:
        assert "--shm-size" in found.fix


def test_a_size_that_does_not_fit_shared_memory_fails():
    lanes = {
        name: lane.model_copy(update={"host_kv_cache": 40.0})
        for name, lane in RTX4090.lanes.items()
    }
    fleet = RTX4090.model_copy(update={"lanes": lanes})
    found = shared_memory(fleet, HostMemory(ram=128, shm=64, shm_free=64), 4)
    assert found.result is Result.FAILURE
    assert "160 GiB" in found.detail
