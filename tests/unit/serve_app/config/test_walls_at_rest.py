"""What lies on the disk and in memory: nobody else's to read, and nothing of it is told."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from unittest.mock import Mock

import pytest

from serve_app.config.fleet import FleetConfig
from serve_app.config.private_files import narrow
from serve_app.config.records import FeedbackConfig, RequestLogConfig
from serve_app.config.settings import deployment_secret
from serve_app.engine.embedded_model import GGUF, prepare
from serve_app.engine.lane_endpoint import LaneLife
from serve_app.machine.start import log_path
from serve_app.records.feedback_store import FeedbackStore
from serve_app.records.request_log import RequestLog
from serve_app.tenancy.sqlite_store import SqliteStore
from serve_app.tenancy.usage_log import UsageLog
from tests.unit.serve_app.conftest import FLEET
from tests.unit.serve_app.records.records import record

pytestmark = pytest.mark.security


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request):
    """What the operator's shell has set, which is not ours to trust."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    """The mode of everything below a directory."""
    found = {str(path.relative_to(folder)): path.stat().st_mode for path in folder.rglob("*")}
    return {name: stat.S_IMODE(mode) for name, mode in found.items()}


def test_all_that_a_deployment_keeps_is_its_owner_s_alone(tmp_path, monkeypatch, umask) -> None:
    """The state directory and everything in it, at any depth, under any umask."""
    state = tmp_path / "home" / "state" / "pointsman"
    monkeypatch.setenv("POINTSMAN_STATE", str(state))
    deployment_secret()
    log_path().write_text("a start")
    log_path()
    store = SqliteStore(state / "tenancy" / "tenancy.db")
    store.keys()
    log = UsageLog(state / "tenancy" / "tenancy.db.usage")
    feedback = FeedbackStore(state / "feedback" / "feedback.db", FeedbackConfig())
    feedback.write([record()])
    RequestLog(state / "log", "i1", RequestLogConfig(path="log")).write([record()])

    kept = modes(tmp_path / "home")

    files = {name for name in kept if (tmp_path / "home" / name).is_file()}
    for of in ("tenancy.db", "feedback.db"):
        assert {Path(x).name for x in files} >= {of, f"{of}-wal", f"{of}-shm", f"{of}.lock"}
    assert len(files) >= 12
    assert {name: oct(mode) for name, mode in kept.items() if mode & 0o077} == {}
    log.close(is_accounted=False)
    feedback.close()
    store.close()


def test_what_an_earlier_version_left_open_is_narrowed_and_told(tmp_path, monkeypatch, caplog):
    """The secret, once, and it stays the same; a directory that others write to, each time."""
    state = tmp_path / "state"
    monkeypatch.setenv("POINTSMAN_STATE", str(state))
    before = deployment_secret()
    state.chmod(0o775)
    (state / "endpoint-secret").chmod(0o644)

    with caplog.at_level("WARNING", logger="ray.serve"):
        assert deployment_secret() == before == deployment_secret()

    assert (stat.S_IMODE(state.stat().st_mode), modes(state)) == (0o775, {"endpoint-secret": 0o600})
    told = [x.getMessage() for x in caplog.records]
    written = f"{state} may be written by others (mode 0775)"
    assert [x.startswith(written) for x in told] == [True, False, True]
    assert "(mode 0644)" in told[1] and before not in "".join(told)


def test_what_cannot_be_narrowed_is_told_and_left(tmp_path, monkeypatch):
    """A mounted secret."""
    path = tmp_path / "secret"
    path.write_text("x")
    path.chmod(0o644)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "chmod", Mock(side_effect=PermissionError(1, "not permitted")))
        assert narrow(path) == f"{path} is open to others (mode 0644) and stays so: not permitted"

    path.chmod(0o600)
    assert narrow(path) is None


def test_the_prepared_model_is_its_owner_s_alone(tmp_path, monkeypatch, umask) -> None:
    """Whoever could change a checkpoint, or put another in its place, would change answers."""
    monkeypatch.setenv("POINTSMAN_CACHE", str(tmp_path / "home" / "cache"))

    def save(source: Path, target: Path) -> None:
        (target / "model.safetensors").write_bytes(b"weights")

    monkeypatch.setattr("serve_app.engine.embedded_model._save_checkpoint", save)
    (tmp_path / GGUF).write_bytes(b"")
    monkeypatch.setattr("serve_app.engine.embedded_model.GGUF_SHA256", hashlib.sha256().hexdigest())
    monkeypatch.setattr("serve_app.engine.embedded_model.gguf_dir", lambda: tmp_path)

    made = prepare()

    folders = [made, *made.parents][: -len(tmp_path.parts)]
    assert {oct(stat.S_IMODE(x.stat().st_mode)) for x in folders} == {"0o700"}
    lock = made.with_name(f"{made.name}.lock")
    assert stat.S_IMODE(lock.stat().st_mode) & 0o077 == 0


# -- what is told -------------------------------------------------------------------------


def test_no_secret_is_in_what_a_replica_is_told_by_its_own_words() -> None:
    """Serve logs arguments and exceptions their locals."""
    fleet = FleetConfig.model_validate(FLEET)
    affinity = fleet.sessions.affinity
    life = LaneLife("chat", "s3cr3t-of-ours", "127.0.0.1", 1.0, 1.0, 1.0, fleet.warm_up, affinity)

    assert "s3cr3t" not in repr(life) + str(life)


async def test_no_key_is_in_a_request_s_own_words(world, engine, monkeypatch) -> None:
    """Of the caller and of the call: what a traceback with locals would show."""
    from serve_app.pipeline.pipeline import Pipeline
    from serve_app.tenancy.callers import caller_of

    seen = []
    run = Pipeline.run

    async def note(self, call, *args, **kwargs):
        seen.append(call)
        await run(self, call, *args, **kwargs)

    monkeypatch.setattr(Pipeline, "run", note)
    world.lanes.answers = [engine()]
    body = {"messages": [{"role": "user", "content": "Hello"}]}
    assert (await world.post("/v1/chat/completions", body, key="acme")).status_code == 200
    line = (b"authorization", b"Bearer " + world.keys["acme"].encode())
    caller = caller_of({"headers": [line], "path": "/", "client": ("127.0.0.1", 1)})

    secret = world.keys["acme"].split("-", 2)[2]
    assert caller.key == world.keys["acme"] and seen
    assert secret not in repr(caller) + repr(seen[0].headers.keys()) + repr(seen[0])


@pytest.mark.parametrize("key", ["acme", "root", None])
@pytest.mark.parametrize("path", ["/status", "/metrics", "/v1/models", "/openapi.json"])
async def test_no_secret_is_in_what_is_read(world, engine, key, path) -> None:
    """Neither keys, their hashes, the deployment's secret nor the salts of caches."""
    world.lanes.answers = [engine()]
    await world.post(
        "/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]}, key="acme"
    )
    salt = world.lanes.opened[0].body["cache_salt"]
    async with world.client(key=key) as client:
        text = (await client.get(path)).text

    kept = [entry for tenant in world.tenants.tenants.values() for entry in tenant.keys]
    secrets = [key.split("-", 2)[2] for key in world.keys.values()]
    secrets += [entry.hash for entry in kept] + [entry.salt for entry in kept] + [salt]
    assert [secret for secret in secrets if secret in text] == []
    assert len(text) > 10


# -- what runs ----------------------------------------------------------------------------
