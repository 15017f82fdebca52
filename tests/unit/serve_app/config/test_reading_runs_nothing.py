"""What is read from files is neither repeated, where it is secret, nor run."""

from __future__ import annotations

import ast
import traceback
from pathlib import Path

import pytest

from serve_app.config.errors import ConfigError, load_yaml, validate
from serve_app.config.fleet import FleetConfig
from serve_app.config.tenants import TenantsConfig
from serve_app.tenancy.auth import make_key
from tests.unit.serve_app.conftest import TIERS

pytestmark = pytest.mark.security


ROOT = Path(__file__).parents[4]


SHIPPED = ("serve_app", "router", "classifier", "simulator")


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
