"""What a changed fleet file may change without a new deployment."""

import asyncio
import copy
import threading

import pytest
import yaml

from serve_app.config.fleet import FleetConfig
from serve_app.routing.reload import Reloader
from tests.unit.serve_app.conftest import FLEET, TIERS

TENANTS = {"tiers": TIERS, "tenants": {"acme": {"tier": "paid"}}, "local_tenant": "acme"}


@pytest.fixture
def files(tmp_path):
    paths = tmp_path / "fleet.yaml", tmp_path / "tenants.yaml"
    for path, data in zip(paths, (FLEET, TENANTS), strict=True):
        path.write_text(yaml.safe_dump(data))
    return paths


@pytest.fixture
def applied() -> list:
    return []


@pytest.fixture
def reloader(files, applied) -> Reloader:
    return Reloader(*files, FleetConfig.model_validate(FLEET), applied.append)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("feedback", {"request_ttl_days": 1}),
        ("request_log", {"path": "log"}),
        ("traces", {"flush_s": 1}),
        ("tracing", {"sample_ratio": 0.5}),
        ("ledger", {"lease_s": 2.0}),
        ("warm_up", {"prefixes": 3}),
    ],
)
async def test_what_is_built_once_needs_a_new_deployment(files, reloader, applied, part, value):
    """The old policies stay, and the operator is told what to run."""
    files[0].write_text(yaml.safe_dump({**FLEET, part: value}))

    result = await reloader.reload()

    assert not result["ok"]
    assert part in result["error"] and "serve deploy" in result["error"]
    assert applied == []


async def test_keeping_prompts_begins_with_the_next_reading_of_the_tenants(
    files, reloader, applied
):
    """The tenants file reloads."""
    data = copy.deepcopy(TENANTS)
    data["tenants"]["acme"]["keep_prompts_days"] = 7
    files[1].write_text(yaml.safe_dump(data))

    result = await reloader.reload()

    assert result["ok"]
    tenant = applied[0].auth.identify(None, is_local=True)
    assert (tenant.name, tenant.keep_prompts_days) == ("acme", 7)


async def test_another_store_needs_a_new_deployment(files, reloader, applied):
    """The keys and totals that are known come from the first."""
    files[1].write_text(yaml.safe_dump({**TENANTS, "store": {"path": "other.db"}}))

    result = await reloader.reload()

    assert not result["ok"]
    assert "store changed" in result["error"] and "serve deploy" in result["error"]
    assert applied == []


async def test_who_asks_may_go_and_what_was_begun_is_applied(reloader, applied, monkeypatch):
    """The files' stamps are taken at once: nobody else would make up for it."""
    load, may_load = reloader.load, threading.Event()
    monkeypatch.setattr(reloader, "load", lambda: may_load.wait(20) and load())
    asking = asyncio.create_task(reloader.reload())
    await asyncio.sleep(0.01)

    asking.cancel()
    await asyncio.wait([asking])
    assert asking.cancelled() and not applied
    may_load.set()
    # Its turn comes when the one before it is over.
    assert (await reloader.reload())["ok"]

    assert len(applied) == 2


SILENT = {"ok": False, "error": "did not answer"}


@pytest.mark.parametrize(
    ("answers", "is_ok", "told"),
    [
        ([{"ok": True}], True, [{"ok": True}]),
        # One more is on its way out.
        ([{"ok": True}, {"ok": True}], True, [{"ok": True}, {"ok": True}]),
        ([], False, [SILENT]),
        ([RuntimeError("died")], False, [SILENT]),
        ([{"ok": False, "error": "e"}], False, [{"ok": False, "error": "e"}]),
    ],
)
async def test_the_command_succeeds_when_every_ingress_replica_has_read(
    world, answers, is_ok, told
):
    """Who failed or did not answer is told, not left out."""
    world.reloads = answers

    async with world.client(key="root") as client:
        answer = (await client.post("/admin/reload")).json()

    assert answer == {"ok": is_ok, "replicas": told}


@pytest.mark.parametrize("kind", ["tiers", "tenants"])
@pytest.mark.parametrize("block", ["agents", "history"])
async def test_a_summarys_lane_has_to_be_there(files, reloader, applied, kind, block):
    """A typing error would leave everybody without summaries, and say nothing."""
    data = copy.deepcopy(TENANTS)
    summarised = {"mode": "summarise", "summary": {"lane": "chatt"}}
    config = {"high_tokens": 1000, **summarised}
    if block == "agents":
        config = {"tool_results": summarised}
    data[kind][{"tiers": "paid", "tenants": "acme"}[kind]][block] = config
    files[1].write_text(yaml.safe_dump(data))

    result = await reloader.reload()

    assert not result["ok"] and applied == []
    assert f"{kind}." in result["error"] and "'chatt'" in result["error"]
    assert "chat" in result["error"].replace("chatt", "")
    summarised["summary"]["lane"] = "chat"
    files[1].write_text(yaml.safe_dump(data))
    assert (await reloader.reload())["ok"]
