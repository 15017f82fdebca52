"""Deployments for the end-to-end tests: one of each kind for the whole run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import anthropic
import httpx
import openai
import pytest

from benchmarks.support.deployment import ROOT, deployed
from tests.e2e.support import await_all

HERE = Path(__file__).parent

TENANTS = """
tiers:
  open: {max_n: 4}
  slow: {ceilings: {tokens_per_second: 10}}
  small: {ceilings: {tokens_per_minute: 600}}
  wishing: {ceilings: {tokens_per_minute: 3000}}
  counted: {ceilings: {requests_per_minute: 60}}
  two_at_once: {ceilings: {concurrent_requests: 2}}
  two_a_minute: {ceilings: {requests_per_minute: 2}}
  narrow: {lanes: [chat]}
tenants:
  local: {tier: open}
local_tenant: local
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here is `e2e`, and runs last: the simulated fleet, then the real one.

    What is elsewhere comes first, while no deployment is up that it could meet.
    """
    for item in items:
        if _is_here(item):
            item.add_marker(pytest.mark.e2e)
    items.sort(key=lambda item: (_is_here(item), "simulated" not in item.path.name))


def _is_here(item: pytest.Item) -> bool:
    """Whether the test is one of this folder: the hook is given those of the whole run."""
    return HERE in item.path.parents


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


def _scope(fixture_name: str, config: pytest.Config) -> Literal["session", "module"]:
    """One a module, as tests kill and change it; those of the walls leave theirs as it is."""
    return "session" if config.option.markexpr == "security" else "module"


@pytest.fixture(scope=_scope)
def simulated(tenants_file: Path) -> Iterator[str]:
    """Base URL of a deployment with simulated engines and two ingress replicas."""
    fleet = str(HERE / "simulated_fleet.yaml")
    with (
        deployed(fleet=fleet, tenants=str(tenants_file)) as url,
        httpx.Client(timeout=60) as http,
    ):
        await_all(http, url, ingresses=2)
        yield url


@pytest.fixture(scope="session")
def real(tenants_file: Path) -> Iterator[str]:
    """Base URL of a deployment with real vLLM engines."""
    fleet = str(HERE / "fleet.yaml")
    with (
        deployed(ready_s=1200, fleet=fleet, tenants=str(tenants_file)) as url,
        httpx.Client(timeout=60) as http,
    ):
        await_all(http, url, ingresses=1)
        yield url


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
