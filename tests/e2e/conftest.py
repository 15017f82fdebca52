"""Deployments for the end-to-end tests: one of each kind for the whole run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import anthropic
import httpx
import openai
import pytest
import yaml

from benchmarks.support.deployment import ROOT, deployed, pids_of
from tests.e2e.replicas import CHAT, QUALITY, Redeploy
from tests.e2e.streams import begin, stories
from tests.e2e.support import await_all, await_two_chat_replicas, fleet_of, redeploy
from tests.warm_profile import warm_profile

HERE = Path(__file__).parent

SIMULATED_ORDER = {
    "production_graph": -1,
    "websocket": 1,
    "deployment": 2,
    "ledger": 3,
    "lane_life": 4,
    "redeploy": 5,
}
"""Of the modules on simulated engines: the other fleet first, those that end processes last.

A ledger that takes over leases nothing new for a while, so what needs a new lease comes before.
"""
REAL_ORDER = (
    *("", "_operated", "_websocket", "_faults"),
    *("_kill", "_bodies", "_ceilings"),
    *("_core", "_first_minutes", "_files", "_sessions", "_walls"),
    *("_idle", "_redeploy", "_schemas", "_messages", "_switches"),
    "_loss",
)
"""Of the modules on real engines. In a row, a replica is lost first; the others do without it.

Of twelve engines that start, eight load whole: three at first, one after each of `_kill` and
`_core`, three of the redeploy. What hangs in `_idle` is replaced by the redeploy before it has
loaded, and the run ends before what is lost in `_loss`. A redeploy puts an end first to what
still loads, so a replica of `chat` that is lost just before it would leave none with open
streams to be stopped.
"""
TIMEOUT_S = 1800.0
"""For a test that does not say its own, with the deployment that it may be the first to need."""

TENANTS = """
tiers:
  open: {max_n: 4}
  slow: {ceilings: {tokens_per_second: 10}}
  small: {ceilings: {tokens_per_minute: 600}}
  tight: {ceilings: {tokens_per_minute: 200}}
  wishing: {ceilings: {tokens_per_minute: 1500}}
  counted: {ceilings: {requests_per_minute: 60}}
  two_at_once: {ceilings: {concurrent_requests: 2}}
  two_a_minute: {ceilings: {requests_per_minute: 2}}
  narrow: {lanes: [chat]}
tenants:
  local: {tier: open}
local_tenant: local
"""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Everything here is `e2e`, and runs last: the simulated fleet, then the real one.

    What is elsewhere comes first, while no deployment is up that it could meet. What is marked
    `soak` runs only where `-m` names it.
    """
    if "soak" not in config.option.markexpr:
        left_out = [item for item in items if item.get_closest_marker("soak")]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)
    for item in items:
        if _is_here(item):
            item.add_marker(pytest.mark.e2e)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(TIMEOUT_S))
    items.sort(key=_turn)


def _is_here(item: pytest.Item) -> bool:
    """Whether the test is one of this folder: the hook is given those of the whole run."""
    return HERE in item.path.parents


def _turn(item: pytest.Item) -> tuple[bool, bool, int]:
    """When a test comes: elsewhere first, then on simulated engines, then on real ones."""
    if not _is_here(item):
        return False, False, 0
    module = item.path.stem
    if "simulated" in module:
        return True, False, SIMULATED_ORDER.get(module.removeprefix("test_simulated_"), 0)
    name = module.removeprefix("test_real_engine")
    return True, True, REAL_ORDER.index(name) if name in REAL_ORDER else 0


@pytest.fixture(scope="session", autouse=True)
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keys, usage and feedback of this run only: what an earlier one left would be added to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POINTSMAN_STATE", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def tenants_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tenants file of the run's own."""
    path = tmp_path_factory.mktemp("config") / "tenants.yaml"
    path.write_text(TENANTS)
    return path


_simulated = contextlib.ExitStack()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """The simulated fleet ends with its last test, not beside the real one at the run's end."""
    if nextitem is None or "simulated" not in nextitem.path.name:
        _simulated.close()


@pytest.fixture(scope="session")
def simulated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The simulated fleet, to be changed at will.

    Its card is warm in a second, not in ten, and says as much as it may, as the other lane.
    """
    folder = tmp_path_factory.mktemp("simulated")
    fleet = fleet_of("simulated_fleet.yaml")
    profile = warm_profile(folder, warm_up_s=1, mean_output_tokens=None)
    fleet["lanes"]["quality"]["simulated"]["profile"] = profile
    path = folder / "fleet.yaml"
    path.write_text(yaml.safe_dump(fleet))
    return path


@pytest.fixture(scope="session")
def simulated(simulated_file: Path, tenants_file: Path) -> Iterator[str]:
    """Base URL of a deployment with simulated engines and two ingress replicas.

    One for all: a test that kills or replaces something waits until all is there again.
    """
    args = {"fleet": str(simulated_file), "tenants": str(tenants_file)}
    with _simulated, httpx.Client(timeout=60) as http:
        url = _simulated.enter_context(deployed(**args))
        await_all(http, url, ingresses=2)
        yield url


@pytest.fixture(scope="session")
def real(tenants_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of a deployment with real vLLM engines."""
    fleet = tmp_path_factory.mktemp("real") / "fleet.yaml"
    fleet.write_text(yaml.safe_dump(fleet_of("fleet.yaml")))
    with (
        # Engines that load in place of lost ones are not waited for.
        deployed(ready_s=1200, grace_s=3, fleet=str(fleet), tenants=str(tenants_file)) as url,
        httpx.Client(timeout=60) as http,
    ):
        await_all(http, url, ingresses=1)
        yield url


@pytest.fixture(scope="session")
def redeployed(real: str, tenants_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Redeploy:
    """Every real engine is replaced under six streams; the quality lane gets a worker process."""
    folder = tmp_path_factory.mktemp("redeploy")
    fleet = fleet_of("fleet.yaml")
    del fleet["lanes"]["quality"]["engine_args"]["distributed_executor_backend"]
    changed = folder / "fleet.yaml"
    changed.write_text(yaml.safe_dump(fleet))
    with httpx.Client(timeout=60) as http:
        await_two_chat_replicas(http, real)
    before = {*pids_of(CHAT), *pids_of(QUALITY)}
    streams = stories(real, 300)
    begin(streams)
    redeploy(folder, changed, tenants_file, revision="drained")
    return Redeploy(before, [stream.whole()[1] for stream in streams])


@pytest.fixture
def client(real: str) -> Iterator[openai.OpenAI]:
    """The stock OpenAI client, only its base_url changed."""
    with openai.OpenAI(base_url=f"{real}/v1", api_key="none", max_retries=0) as made:
        yield made


@pytest.fixture
def claude(real: str) -> Iterator[anthropic.Anthropic]:
    """The stock Anthropic client, only its base_url changed."""
    with anthropic.Anthropic(base_url=real, api_key="none", max_retries=0) as made:
        yield made


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    """A plain HTTP client."""
    with httpx.Client(timeout=60) as made:
        yield made


@pytest.fixture
def environment() -> dict[str, str]:
    """The environment of a second shell in the activated checkout."""
    return {**os.environ, "PWD": str(ROOT)}
