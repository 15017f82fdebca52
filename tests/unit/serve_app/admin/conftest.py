"""An ingress replica in this process over simulated engines, with an admin and two tenants."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import pytest
import yaml

from benchmarks.support.one_process import SECRET, one_process
from serve_app import ingress
from serve_app.config.files import stamps_of
from serve_app.tenancy.auth import make_key
from serve_app.tenancy.local_key import local_admin_key

FLEET = Path(__file__).parents[3] / "e2e" / "simulated_fleet.yaml"

FILE = """\
# The operator's own words.
tiers:
  paid: {ceilings: {tokens_per_minute: 100000, tokens_per_day: 1000, requests_per_minute: 500}}
  free: {priority: 10}
tenants:
  acme: {tier: paid}
  rival: {tier: paid}
  ops: {tier: free}
"""


@dataclass
class Deployment:
    """What a test needs of it; `keys` by what they are for."""

    app: Any
    ingress: Any
    keys: dict[str, str]
    tenants: Path
    state: Path

    def client(self, key: str | None = "admin", **headers: str) -> httpx.AsyncClient:
        if key is not None:
            headers["authorization"] = f"Bearer {self.keys.get(key, key)}"
        transport = httpx.ASGITransport(self.app, client=("127.0.0.1", 1))
        return httpx.AsyncClient(
            transport=transport, base_url="http://localhost:8000", headers=headers
        )

    async def ask(self, method, path, key="admin", *, headers=None, **kwargs) -> httpx.Response:
        async with self.client(key, **(headers or {})) as client:
            return await client.request(method, path, **kwargs)

    async def chat(self, key, text="Hello", **body) -> httpx.Response:
        messages = [{"role": "user", "content": text}]
        asked = {"messages": messages, "max_tokens": 4, **body}
        return await self.ask("POST", "/v1/chat/completions", key, json=asked)

    async def audit(self, **params) -> list[dict]:
        return (await self.ask("GET", "/admin/audit", params=params)).json()["entries"]


def key_id(key: str) -> str:
    return key.split("-")[1]


@contextlib.asynccontextmanager
async def deployed(folder: Path, timing: str = "ttft_s: 0, itl_s: 0"):
    """One whose engines have this timing, with its files in `folder`."""
    keys, entries = {"local": local_admin_key(SECRET)}, {}
    for name, admin in (("acme", False), ("rival", False), ("admin", True)):
        keys[name], entries[name] = make_key(admin=admin)
    config = yaml.safe_load(FILE)
    for name, entry in entries.items():
        tenant = "ops" if name == "admin" else name
        config["tenants"][tenant]["keys"] = [entry.model_dump(exclude_unset=True, mode="json")]
    tenants = folder / "etc" / "tenants.yaml"
    tenants.parent.mkdir()
    tenants.write_text("# The operator's own words.\n" + yaml.safe_dump(config, sort_keys=False))
    # One replica of each, as there are in one process.
    text = FLEET.read_text().replace("replicas: 2", "replicas: 1")
    for given in ("ttft_s: 0.02, itl_s: 0.02", "profile: llama-3.1-8b-fp8-rtx4090"):
        text = text.replace(given, timing)
    fleet = folder / "fleet.yaml"
    fleet.write_text(text)
    # The files were written just now; nobody else writes them.
    with (
        mock.patch.object(ingress, "await_rest", lambda files, _: stamps_of(files)),
        # There is no Serve to ask how its deployments are: asked, Ray would start one.
        mock.patch.object(ingress, "serve_states", dict),
    ):
        async with one_process(fleet, tenants, folder / "state") as made:
            yield Deployment(made.app, made.ingress, keys, tenants, folder / "state")


@pytest.fixture
async def deployment(tmp_path):
    async with deployed(tmp_path) as made:
        yield made
