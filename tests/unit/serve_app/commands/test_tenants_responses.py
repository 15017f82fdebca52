"""`pointsman tenants responses`: what is stored, and its deletion."""

import json

import pytest

from serve_app.cli import main
from serve_app.config.records import ResponsesConfig
from serve_app.config.settings import load_tenants, responses_path, tenancy_path
from serve_app.responses.rows import Content, NewResponse
from serve_app.responses.store import ResponseStore


@pytest.fixture
def store(tmp_path, monkeypatch):
    file = tmp_path / "tenants.yaml"
    file.write_text("tiers: {paid: {}}\ntenants: {acme: {tier: paid}}\n")
    monkeypatch.setenv("POINTSMAN_TENANTS", str(file))
    monkeypatch.setenv("POINTSMAN_STATE", str(tmp_path / "state"))
    made = ResponseStore(responses_path(tenancy_path(load_tenants(file))))
    yield made
    made.close()


def fill(store, tenant, count):
    for number in range(count):
        content = Content(b"{}", b'["in"]', b'["out"]')
        new = NewResponse(tenant, f"resp_{number}", None, content)
        store.put(new, ResponsesConfig(), now=4e9)


def run(capsys, *args):
    assert main(["tenants", "responses", *args]) == 0
    return capsys.readouterr().out


def test_what_each_tenant_has_stored_is_told(store, capsys):
    fill(store, "acme", 2)
    fill(store, "gone", 1)

    assert json.loads(run(capsys, "--json")) == {
        "acme": {"responses": 2, "bytes": 30},
        "gone": {"responses": 1, "bytes": 15},
    }
    assert run(capsys, "acme").split() == ["acme", "responses", "2", "bytes", "30"]


def test_a_tenant_s_responses_are_deleted_also_when_it_has_left_the_file(store, capsys):
    fill(store, "acme", 1)
    fill(store, "gone", 200)

    told = json.loads(run(capsys, "gone", "--delete", "--json"))

    assert told == {"deleted": {"gone": {"responses": 200, "bytes": 3000}}}
    assert list(store.totals()) == ["acme"]


def test_nothing_stored_is_no_fault_and_makes_no_file(store, capsys):
    assert run(capsys) == ""
    assert "responses 0" in run(capsys, "acme", "--delete")
    assert not store.path.exists()


def test_deleting_needs_a_tenant(store, capsys):
    fill(store, "acme", 1)

    assert main(["tenants", "responses", "--delete"]) != 0
    assert "needs the tenant" in capsys.readouterr().err
    assert store.totals()


def test_a_file_that_cannot_be_read_is_told_with_its_path(store, capsys):
    fill(store, "acme", 1)
    store.close()
    store.path.unlink()
    store.path.mkdir()

    assert main(["tenants", "responses"]) != 0
    assert str(store.path) in capsys.readouterr().err
