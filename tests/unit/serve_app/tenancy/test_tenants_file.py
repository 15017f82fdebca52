"""Ceilings set in the tenants file: what stays, what is refused, and what nobody overwrites."""

import fcntl
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.config.errors import ConfigError
from serve_app.config.settings import load_tenants
from serve_app.tenancy import tenants_file
from serve_app.tenancy.tenants_file import FileChanged, etag_of, set_ceilings

FILE = """\
# A comment that stays.
tiers:
  paid: {ceilings: {tokens_per_second: 80}}
tenants:
  acme:
    tier: paid  # since March
    ceilings:
      tokens_per_minute: 1000  # agreed on the phone
      requests_per_minute: 5
  other: {tier: paid}
  '8e1234567890': {tier: paid}
local_tenant: other
"""


@pytest.fixture
def path(tmp_path):
    found = tmp_path / "tenants.yaml"
    found.write_text(FILE)
    return found


def own(path, tenant="acme"):
    return load_tenants(path).tenants[tenant].ceilings.model_dump(exclude_unset=True)


def test_a_tenant_s_own_are_replaced_and_comments_stay(path):
    """A limit that stays keeps what was written beside it."""
    set_ceilings(path, "acme", {"tokens_per_minute": 2500.0, "enforce": "contended"}, etag_of(path))

    text = path.read_text()
    assert own(path) == {"tokens_per_minute": 2500, "enforce": "contended"}
    assert "# A comment that stays." in text
    assert "tokens_per_minute: 2500  # agreed on the phone" in text
    assert "tier: paid  # since March" in text


@pytest.mark.parametrize("tenant", ["other", "8e1234567890"])
def test_one_that_had_none_gets_some_and_loses_them_again(path, tenant):
    """Whatever YAML would make of its name."""
    ceilings = {"tokens_per_second": None, "weights": {"prompt": 1, "cached": 0.1}}

    set_ceilings(path, tenant, ceilings, etag_of(path))
    assert own(path, tenant)["tokens_per_second"] is None
    assert own(path, tenant)["weights"]["cached"] == 0.1

    set_ceilings(path, tenant, {}, etag_of(path))
    assert own(path, tenant) == {}


LIMIT = st.floats(min_value=1e-6, max_value=1e15) | st.integers(1, 10**15) | st.none()


@given(limit=LIMIT)
def test_every_number_is_read_back_as_it_was_set(tmp_path_factory, limit):
    """`1e-05` would be a text to YAML 1.1."""
    path = tmp_path_factory.mktemp("file") / "tenants.yaml"
    path.write_text(FILE)

    set_ceilings(path, "acme", {"tokens_per_day": limit}, etag_of(path))

    assert own(path) == {"tokens_per_day": limit}


def test_a_file_that_changed_since_it_was_read_is_left_alone(path):
    etag = etag_of(path)
    path.write_text(FILE.replace("1000", "900"))
    before = path.read_bytes()

    with pytest.raises(FileChanged, match="changed since"):
        set_ceilings(path, "acme", {}, etag)

    assert path.read_bytes() == before


def test_a_file_that_changes_while_it_is_edited_is_left_alone(path, monkeypatch):
    """The editor at 3 a.m. saved between our reading and our writing."""
    etag = etag_of(path)

    def load(file):
        if file != path:
            path.write_text(FILE + "# saved\n")
        return load_tenants(file)

    monkeypatch.setattr(tenants_file, "load_tenants", load)
    with pytest.raises(FileChanged, match="meanwhile"):
        set_ceilings(path, "acme", {}, etag)

    assert path.read_text() == FILE + "# saved\n"
    assert [x.name for x in path.parent.iterdir()] == ["tenants.yaml"]


def test_a_block_that_tenants_share_is_not_changed_for_one_of_them(path):
    shared = FILE.replace("  other: {tier: paid}", "  other: &o {tier: paid}\n  third: *o")
    path.write_text(shared)

    with pytest.raises(ConfigError, match="by hand"):
        set_ceilings(path, "third", {"tokens_per_minute": 1}, etag_of(path))

    assert path.read_text() == shared


def test_two_edits_at_once_do_not_mix(path):
    """One of them is told that the file is not the one it knew."""
    etag = etag_of(path)
    outcomes = []

    def edit(limit):
        try:
            set_ceilings(path, "acme", {"tokens_per_minute": limit}, etag)
            outcomes.append(limit)
        except FileChanged:
            outcomes.append(None)

    threads = [threading.Thread(target=edit, args=(n,)) for n in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    won = [x for x in outcomes if x is not None]
    assert len(won) == 1 and len(outcomes) == 4
    assert own(path) == {"tokens_per_minute": won[0]}


def test_whoever_waits_too_long_for_another_edit_is_told(path, monkeypatch):
    monkeypatch.setattr(tenants_file, "LOCK_S", 0.0)
    fd = os.open(path.parent, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)

    with pytest.raises(FileChanged, match="somebody else"):
        set_ceilings(path, "acme", {}, etag_of(path))

    os.close(fd)
    set_ceilings(path, "acme", {}, etag_of(path))
    assert own(path) == {}
