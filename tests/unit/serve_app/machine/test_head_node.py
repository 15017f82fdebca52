"""Work for the head node, with a Ray that is made up: where it is called, and by which resource."""

import pytest
import ray

from serve_app.config.settings import fleet_path, load_fleet
from serve_app.machine.head_node import BESIDE_THE_STATE, on_head


@pytest.fixture
def nodes(monkeypatch):
    """Ray, with nodes to be filled in; notes what was called by a task."""
    alive: list[bool] = []
    options: list[dict[str, object]] = []

    class Task:
        def __init__(self, work):
            self.remote = work

    def remote(**given):
        options.append(given)
        return Task

    monkeypatch.setattr(ray, "is_initialized", lambda: bool(alive))
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": x} for x in alive])
    monkeypatch.setattr(ray, "remote", remote)
    monkeypatch.setattr(ray, "get", lambda found, timeout: found)
    return alive, options


@pytest.mark.parametrize("alive", [[], [True], [True, False]])
def test_alone_it_is_called_here(nodes, alive):
    nodes[0].extend(alive)
    assert on_head(lambda: 7) == 7
    assert nodes[1] == []


def test_in_a_cluster_it_is_called_where_the_state_is(nodes):
    nodes[0].extend([True, True])
    assert on_head(lambda: 7) == 7
    assert nodes[1] == [{"num_cpus": 0, "resources": BESIDE_THE_STATE}]


@pytest.mark.parametrize(
    ("told", "taken"), [({}, BESIDE_THE_STATE), ({"front": 1.0}, {"front": 1.0})]
)
def test_ingress_replicas_are_beside_the_state_unless_it_is_said_where(told, taken):
    from serve_app.app import _ingress

    fleet = load_fleet(fleet_path("local"))
    config = fleet.ingress.model_copy(update={"resources": told})
    deployment = _ingress(fleet.model_copy(update={"ingress": config}))
    assert deployment.ray_actor_options["resources"] == taken
