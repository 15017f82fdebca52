"""A YAML key that is given twice is refused with all of its lines, in every file."""

import argparse

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from serve_app.commands.doctor import doctor
from serve_app.config.errors import ConfigError, load_yaml
from serve_app.config.fleet import FleetConfig
from serve_app.config.settings import load_fleet, load_tenants
from serve_app.routing.reload import Reloader
from serve_app.tenancy.tenants_file import add_tenant
from simulator import strict_yaml
from simulator.model.profile import load_profile, profile_path
from simulator.virtual_time.workload import load_workload, workload_path
from tests.unit.serve_app.conftest import FLEET, TIERS

TENANTS = """\
tiers:
  paid: {}
tenants:
  acme:
    tier: paid
  guest: {tier: paid}
  acme:
    tier: paid
    keys: []
"""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1\nb: 2\na: 3\n", ["a: given twice, in lines 1 and 3"]),
        ("t:\n  x: {}\n  y: {}\n  x: {}\n", ["t.x: given twice, in lines 2 and 4"]),
        ("t: {x: 1, x: 2}\n", ["t.x: given twice, in lines 1 and 1"]),
        ("t:\n- {}\n- x: 1\n  x: 2\n", ["t.1.x: given twice, in lines 3 and 4"]),
        ("a: 1\na: 2\na: 3\n", ["a: given 3 times, in lines 1, 2 and 3"]),
        ('a: 1\n"a": 2\n', ["a: given twice, in lines 1 and 2"]),
        ("8e12: 1\n8e12: 2\n", ["8e12: given twice, in lines 1 and 2"]),
        ("8.0e+12: 1\n8000000000000.0: 2\n", ["8.0e+12: given twice, in lines 1 and 2"]),
        ("yes: 1\ntrue: 2\n", ["yes: given twice, in lines 1 and 2"]),
        ('1: 1\n"1": 2\n', ["1: given twice, in lines 1 and 2"]),
        ("0x1: 1\n1: 2\n", ["0x1: given twice, in lines 1 and 2"]),
        ("~: 1\nnull: 2\n", ["~: given twice, in lines 1 and 2"]),
        (
            "a: &a {x: 1, x: 2}\nb: *a\nb: 1\n",
            ["a.x: given twice, in lines 1 and 1", "b: given twice, in lines 2 and 3"],
        ),
        (
            "a: &a {x: 1}\nb:\n  <<: *a\n  <<: *a\n",
            ["b.<<: given twice, in lines 3 and 4; several are merged by <<: [*one, *other]"],
        ),
    ],
)
def test_a_key_that_is_given_twice_is_told_with_its_lines(tmp_path, text, told):
    """At any level, however it is spelt."""
    with pytest.raises(strict_yaml.DuplicateKeysError) as caught:
        strict_yaml.load(text)
    assert caught.value.faults == told

    path = tmp_path / "f.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load_yaml(path, FleetConfig)
    assert str(refused.value) == "\n".join(f"{path}: {line}" for line in told)


@pytest.mark.parametrize(
    "text",
    [
        "a: &engine {x: 1, y: 2}\nb:\n  <<: *engine\n  y: 3\n",
        "a: &a {x: 1}\nb: &b {x: 2}\nc:\n  <<: [*a, *b]\n  x: 3\n",
        "a: {x: 1}\nb: {x: 1}\n",
        "a: &a [1, 2]\nb: *a\nc: *a\n",
        "a: &a {self: *a}\n",
        "'1': 1\n2: 1\n2.5: 1\n",
        "8e12: 1\n8e13: 2\n",
        "=: 1\n",
        "",
        "# nothing\n",
    ],
)
def test_what_is_not_twice_is_read_as_before(text):
    """Merges, anchors and keys that only look alike."""
    assert repr(strict_yaml.load(text)) == repr(yaml.safe_load(text))


SCALARS = st.one_of(st.integers(), st.booleans(), st.none(), st.text("ab:# '", max_size=6))
KEYS = st.text("abcdefxyz0123", min_size=1, max_size=4)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


@given(TREES)
def test_whatever_yaml_writes_is_read(tree):
    """No mapping of Python's has a key twice."""
    assert strict_yaml.load(yaml.safe_dump(tree)) == tree


@given(st.dictionaries(KEYS, TREES, min_size=1, max_size=4), st.data())
def test_whatever_is_written_twice_is_refused(tree, data):
    """With the first line and the last."""
    name = data.draw(st.sampled_from(sorted(tree)))
    text = yaml.safe_dump(tree) + yaml.safe_dump({name: 1})

    with pytest.raises(strict_yaml.DuplicateKeysError) as caught:
        strict_yaml.load(text)

    last = text.count("\n")
    assert any(x.endswith(f" and {last}") for x in caught.value.faults)


@pytest.mark.parametrize("load", [load_tenants, load_fleet])
def test_both_files_are_refused_at_a_start(tmp_path, load):
    """Before anything is deployed."""
    path = tmp_path / "file.yaml"
    path.write_text(TENANTS if load is load_tenants else "lanes: {}\nlanes: {}\n")

    with pytest.raises(ConfigError, match="given twice, in lines"):
        load(path)


async def test_a_reload_is_refused_and_the_old_policies_stay(tmp_path):
    """It would have opened the door with the later of two sets of keys."""
    fleet, tenants = tmp_path / "fleet.yaml", tmp_path / "tenants.yaml"
    fleet.write_text(yaml.safe_dump(FLEET))
    tenants.write_text(yaml.safe_dump({"tiers": TIERS}))
    applied = []
    reloader = Reloader(fleet, tenants, FleetConfig.model_validate(FLEET), applied.append)
    tenants.write_text(TENANTS)

    result = await reloader.reload()

    told = f"{tenants}: tenants.acme: given twice, in lines 4 and 7"
    assert (result, applied) == ({"ok": False, "error": told}, [])
    assert reloader.status()["error"] == told


def test_doctor_tells_it(tmp_path, capsys):
    """In both files."""
    fleet, tenants = tmp_path / "fleet.yaml", tmp_path / "tenants.yaml"
    fleet.write_text("name: a\nname: b\n")
    tenants.write_text(TENANTS)

    code = doctor(
        argparse.Namespace(
            config=str(fleet),
            tenants=tenants,
            json=False,
            serve_config=None,
            card=None,
            parsers=False,
            update=False,
            log=None,
            live=False,
            strict=False,
            url="http://127.0.0.1:1",
        )
    )

    told = capsys.readouterr().out
    assert code == 1
    assert f"FAIL  fleet: {fleet}: name: given twice, in lines 1 and 2" in told
    assert f"FAIL  tenants: {tenants}: tenants.acme: given twice, in lines 4 and 7" in told


@pytest.mark.parametrize(
    ("load", "shipped"),
    [
        (load_profile, profile_path("llama-3.1-8b-fp8-rtx4090")),
        (load_workload, workload_path("saas")),
    ],
)
def test_profiles_and_workloads_are_held_to_it_too(tmp_path, load, shipped):
    """Everything that we read as YAML."""
    path = tmp_path / "x.yaml"
    path.write_text(f"{shipped.read_text()}\nname: again\n")

    with pytest.raises(strict_yaml.DuplicateKeysError, match="name: given twice"):
        load(str(path))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 2026-02-30\n", "a value cannot be read: day is out of range"),
        (f"a: {'[' * 5000}{']' * 5000}\n", "is nested too deeply"),
        ("? [a]\n: 1\n", "is not YAML"),
        ("a: 1\n---\nb: 2\n", "is not YAML"),
    ],
)
def test_no_text_gets_past_with_another_error(tmp_path, text, told):
    """The watch and the commands know one."""
    path = tmp_path / "f.yaml"
    path.write_text(text)

    with pytest.raises(ConfigError, match=told):
        load_yaml(path, FleetConfig)


@pytest.fixture
def tenants_file(tmp_path):
    path = tmp_path / "tenants.yaml"
    path.write_text("tiers:\n  paid: {}\ntenants:\n  acme: {tier: paid}\n")
    return path


def test_the_command_edits_the_file_behind_a_link(tenants_file, tmp_path):
    """The link is somebody's arrangement."""
    link = tmp_path / "link.yaml"
    link.symlink_to(tenants_file)

    add_tenant(link, "guest", "paid")

    assert link.is_symlink()
    assert set(load_tenants(tenants_file).tenants) == {"acme", "guest"}


def test_the_command_does_not_write_over_another_s_change(tenants_file, monkeypatch):
    """Who saves in an editor meanwhile would lose it."""
    theirs = "tiers:\n  paid: {}\ntenants:\n  other: {tier: paid}\n"
    check = load_tenants

    def slow(path):
        tenants_file.write_text(theirs + "# longer\n")
        return check(path)

    monkeypatch.setattr("serve_app.tenancy.tenants_file.load_tenants", slow)
    with pytest.raises(ConfigError, match="changed meanwhile"):
        add_tenant(tenants_file, "guest", "paid")

    assert tenants_file.read_text() == theirs + "# longer\n"
    assert [x.name for x in tenants_file.parent.iterdir()] == ["tenants.yaml"]


def test_the_command_does_not_write_over_a_file_that_is_being_written(tenants_file):
    """The rest of it is still to come."""
    with tenants_file.open("a"), pytest.raises(ConfigError, match="changed meanwhile"):
        add_tenant(tenants_file, "guest", "paid")
