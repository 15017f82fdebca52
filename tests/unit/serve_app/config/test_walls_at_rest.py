"""What lies on the disk and in memory: nobody else's to read, and nothing of it is told."""

from __future__ import annotations

import ast
import hashlib
import os
import stat
import traceback
from pathlib import Path
from unittest.mock import Mock

import pytest

from serve_app.config.errors import ConfigError, load_yaml, validate
from serve_app.config.fleet import FleetConfig
from serve_app.config.private_files import narrow
from serve_app.config.records import FeedbackConfig, RequestLogConfig
from serve_app.config.settings import deployment_secret
from serve_app.config.tenants import TenantsConfig
from serve_app.engine.embedded_model import GGUF, prepare
from serve_app.engine.lane_endpoint import LaneLife
from serve_app.machine.start import log_path
from serve_app.records.feedback_store import FeedbackStore
from serve_app.records.request_log import RequestLog
from serve_app.tenancy.auth import make_key
from serve_app.tenancy.sqlite_store import SqliteStore
from serve_app.tenancy.usage_log import UsageLog
from tests.unit.serve_app.conftest import FLEET, TIERS
from tests.unit.serve_app.records.records import record

pytestmark = pytest.mark.security

ROOT = Path(__file__).parents[4]
SHIPPED = ("serve_app", "router", "classifier", "simulator")


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


KEY = make_key()[0]


@pytest.mark.parametrize(
    "spoil",
    [
        {"tenants": {"a": {"tier": "paid", "keys": [KEY]}}},
        {"tenants": {"a": {"tier": "paid", "keys": [{"id": KEY, "salt": "x", "hash": KEY}]}}},
        {"tenants": {"a": {"tier": KEY}}},
        {"tenants": {"a": {"tier": "paid", KEY: 1}}},
        {"tenants": {KEY: {"tier": "nothing"}}},
        {"local_tenant": KEY},
        {KEY: KEY},
        {"tiers": {"paid": {"priority": KEY}}},
    ],
    ids=range(8),
)
def test_a_key_that_is_in_the_wrong_place_of_a_file_is_not_repeated(spoil) -> None:
    """Of a fault, neither its message nor its cause's: both reach a log."""
    data = {"tiers": TIERS, "tenants": {}, **spoil}

    with pytest.raises(ConfigError) as told:
        validate(data, TenantsConfig, "tenants.yaml")

    logged = "".join(traceback.format_exception(told.value))
    assert KEY.split("-", 2)[2] not in logged and "tenants.yaml" in logged


def test_a_key_twice_in_a_file_is_not_repeated(tmp_path) -> None:
    """The fault of YAML itself names the member that is there twice."""
    path = tmp_path / "tenants.yaml"
    path.write_text(f"tenants: {{{KEY}: 1, {KEY}: 2}}\n")

    with pytest.raises(ConfigError, match="pm-…: given twice") as told:
        load_yaml(path, TenantsConfig)

    assert KEY not in str(told.value)


# -- what runs ----------------------------------------------------------------------------

# Name of a call to what it needs to be harmless; None: nothing does.
DANGEROUS = {
    **dict.fromkeys(("eval", "exec", "compile", "__import__"), None),
    **dict.fromkeys(("os.system", "os.popen", "subprocess.getoutput", "yaml.unsafe_load"), None),
    **dict.fromkeys(("yaml.load", "yaml.load_all", "yaml.full_load", "torch.load"), None),
    **dict.fromkeys(("yaml.Loader", "yaml.UnsafeLoader", "yaml.FullLoader"), None),
    **dict.fromkeys(("create_subprocess_shell", "asyncio.create_subprocess_shell"), None),
    **dict.fromkeys(("tempfile.mktemp", "shutil.unpack_archive", "joblib.load"), None),
    "np.load": ("allow_pickle", False),
    "np.save": ("allow_pickle", False),
}
MODULES = frozenset({"pickle", "cPickle", "cloudpickle", "dill", "marshal", "shelve", "telnetlib"})


def dangers(text: str) -> list[str]:
    """What a module imports or calls that would run what it reads."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [x.name for x in node.names if x.name.split(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom):
            found += [node.module] if (node.module or "").split(".")[0] in MODULES else []
        elif isinstance(node, ast.Call):
            found += _danger(node)
    return found


def _danger(call: ast.Call) -> list[str]:
    name = ast.unparse(call.func)
    given = {x.arg: getattr(x.value, "value", ...) for x in call.keywords}
    if given.get("shell", False) is not False or given.get("trust_remote_code", False):
        return [name]
    if name not in DANGEROUS:
        return []
    needs = DANGEROUS[name]
    return [] if needs is not None and given.get(needs[0], ...) is needs[1] else [name]


def test_nothing_shipped_runs_what_it_reads() -> None:
    """No pickle, no `eval`, no shell; YAML by the safe loader alone, arrays without objects."""
    files = [path for package in SHIPPED for path in (ROOT / package).rglob("*.py")]

    found = {str(path): dangers(path.read_text()) for path in files}

    assert len(files) > 200
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from marshal import loads",
        "import yaml\nyaml.load(x)",
        "subprocess.run(x, shell=True)",
        "subprocess.run(x, shell=flag)",
        "eval(x)",
        "np.load(x)",
        "np.load(x, allow_pickle=True)",
        "f(trust_remote_code=True)",
    ],
)
def test_what_does_is_found(text) -> None:
    """The search itself."""
    assert dangers(text)


def test_yaml_s_own_types_of_python_are_refused(tmp_path) -> None:
    """In every file that people edit."""
    marker = tmp_path / "made"
    for tag in ("object/apply:os.mkdir", "object/new:os.mkdir", "name:os.mkdir"):
        path = tmp_path / "fleet.yaml"
        path.write_text(f"name: !!python/{tag} [{marker}]\n")
        with pytest.raises(ConfigError, match="is not YAML"):
            load_yaml(path, FleetConfig)

    assert not marker.exists()


@pytest.mark.parametrize("value", ["timestamp x", "bool x", 'int ""', "float x", "binary é"])
def test_a_value_that_is_not_what_its_tag_says_is_refused_in_words(tmp_path, value) -> None:
    """As a value and as a key; PyYAML itself trips over some of them."""
    path = tmp_path / "fleet.yaml"
    for text in (f"name: !!{value}\n", f"? !!{value}\n: 1\n"):
        path.write_text(text)
        with pytest.raises(ConfigError, match=r"fleet\.yaml: "):
            load_yaml(path, FleetConfig)
