"""The outward surface as it was: a refactoring leaves it alone, a feature shows in its diff.

`tests/outward/` has a snapshot of each part; `REFRESH` writes them anew.
"""

import asyncio
import hashlib
import json
import subprocess
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[3]
SNAPSHOTS = ROOT / "tests" / "outward"
REFRESH = "python -m tests.unit.serve_app.test_outward"

ABSENT = "(absent)"

FLEET = ROOT / "tests" / "e2e" / "simulated_fleet.yaml"
TENANTS = """
tiers: {small: {ceilings: {tokens_per_minute: 100}}}
tenants: {acme: {tier: small}}
local_tenant: acme
"""
CHAT = {"max_tokens": 5, "messages": [{"role": "user", "content": "Say hello to me. " * 6}]}


def digest(value) -> str:
    """Short name of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def openapi() -> dict:
    """A digest of each operation and component."""
    from serve_app.front.openapi import OPENAPI

    rest = dict(OPENAPI)
    paths, components = rest.pop("paths"), rest.pop("components")
    ways = {f"{path} {way}": digest(v) for path, of in paths.items() for way, v in of.items()}
    parts = {f"{kind} {k}": digest(v) for kind, of in components.items() for k, v in of.items()}
    return {**rest, **ways, **parts}


def configuration() -> dict:
    """Each configuration file as its model reads it: a digest of each section."""
    command = ["git", "ls-files", "*.yaml"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    # A script is what one test's model says: no file of an operator's.
    scripts = {"tests/clients/task.yaml"}
    files = [name for name in listed.stdout.split() if name[0] != "." and name not in scripts]
    # Those of Ray and Kubernetes have tests of their own.
    own = {"fleet.yaml", "tenants.yaml", "serve_config.yaml"}
    files = [x for x in files if not x.startswith("deploy/") or Path(x).name in own]
    # Facts about cards and models, and what others have recorded.
    files = [x for x in files if not x.startswith(("fleet/", "benchmarks/data/"))]
    return {name: {key: digest(v) for key, v in _read(name).items()} for name in files}


def _read(name: str) -> dict:
    from serve_app.app import AppArgs
    from serve_app.config.errors import load_yaml
    from serve_app.config.fleet import FleetConfig
    from serve_app.config.tenants import TenantsConfig
    from serve_app.config.tools import ToolSetConfig
    from simulator import strict_yaml
    from simulator.model.profile import Profile
    from simulator.virtual_time.workload import Workload

    if Path(name).name == "serve_config.yaml":
        serve = strict_yaml.load((ROOT / name).read_text())
        args = AppArgs.model_validate(serve["applications"][0]["args"])
        return {**serve, "args": args.model_dump(mode="json")}
    models = {
        "profile": Profile,
        "workload": Workload,
        "tenants": TenantsConfig,
        "configs/tools/": ToolSetConfig,
    }
    model = next((model for word, model in models.items() if word in name), FleetConfig)
    return load_yaml(ROOT / name, model).model_dump(mode="json")


def metrics(served) -> dict:
    """Type and label names of each family of `/metrics`; a histogram's `le` is left out."""
    from prometheus_client.parser import text_string_to_metric_families

    labels = {}
    for collector in served.registry._collector_to_names:
        names = getattr(collector, "_labelnames", None) or getattr(collector, "_labels", ())
        labels |= {family.name: {"ingress", *names} for family in collector.collect()}
    found = {}
    for family in text_string_to_metric_families(served.metrics):
        if family.name.endswith("_created"):
            continue  # there once something was counted
        seen = {label for sample in family.samples for label in sample.labels} - {"le"}
        found[family.name] = f"{family.type} {sorted(seen | labels.pop(family.name, seen))}"
    assert not labels, "counted, and not in /metrics"
    return found


def shape(value) -> object:
    """Keys and types of a JSON value; of a list, each shape of its members once."""
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items()}
    if isinstance(value, list):
        shapes = {digest(each): each for each in map(shape, value)}
        return {f"[{i}]": shapes[key] for i, key in enumerate(sorted(shapes))}
    return type(value).__name__


async def ask(folder: Path) -> SimpleNamespace:
    """`/status` and `/metrics` of a deployment that has answered one request."""
    import httpx

    from benchmarks.support.one_process import SECRET, one_process
    from serve_app.tenancy.local_key import local_admin_key

    tenants = folder / "tenants.yaml"
    tenants.write_text(TENANTS)
    operator = {"authorization": f"Bearer {local_admin_key(SECRET)}"}
    async with one_process(FLEET, tenants, folder / "state") as made:
        transport = httpx.ASGITransport(made.app, client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            while (await client.post("/v1/chat/completions", json=CHAT)).status_code == 200:
                pass  # until the minute's tokens are spent, which `/status` then tells
            status = (await client.get("/status", headers=operator)).json()
            text = (await client.get("/metrics", headers=operator)).text
        return SimpleNamespace(status=status, metrics=text, registry=made.ingress._metrics.registry)


async def surface() -> dict:
    """What each snapshot should hold, by name."""
    with tempfile.TemporaryDirectory() as folder:
        served = await ask(Path(folder))
    return {
        "openapi": openapi(),
        "configuration": configuration(),
        "metrics": metrics(served),
        "status": shape(served.status),
    }


def changes(old, new, at="") -> list[str]:
    """Where two snapshots differ, a line each."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [] if old == new else [f"{at}: {old} -> {new}"]
    return [
        line
        for key in dict.fromkeys((*old, *new))
        for line in changes(old.get(key, ABSENT), new.get(key, ABSENT), f"{at} {key}")
    ]


async def test_the_outward_surface_is_that_of_the_snapshots():
    old = {path.stem: json.loads(path.read_text()) for path in SNAPSHOTS.glob("*.json")}

    found = changes(old, await surface())

    if found:
        pytest.fail("\n".join([*found, f"If this is meant: {REFRESH}"]), pytrace=False)


def main() -> None:
    SNAPSHOTS.mkdir(exist_ok=True)
    for name, what in asyncio.run(surface()).items():
        text = json.dumps(what, indent=1, sort_keys=True) + "\n"
        (SNAPSHOTS / f"{name}.json").write_text(text)


if __name__ == "__main__":
    main()
