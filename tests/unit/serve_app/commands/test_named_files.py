"""A fleet file of another folder is read as its own deployment reads it."""

import json
import os
import shutil

import pytest
import yaml

from classifier import DEFAULT_ARTIFACT
from serve_app.cli import main
from serve_app.commands.named_files import named_fleet, named_tenants
from serve_app.config.errors import ConfigError
from serve_app.config.settings import home, load_fleet, own_path, tenants_path
from serve_app.doctor.check import Result
from serve_app.doctor.files.configuration import file_checks
from serve_app.doctor.files.lane_flags import template_of
from serve_app.doctor.fit.checkpoint import find_file
from simulator.home import shipped

CONFIG = {"model_type": "llama"}


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A deployment's folder, and a process that works in another one."""
    # Set first, so that it is put back as it was whatever a command makes of it.
    monkeypatch.setenv("POINTSMAN_HOME", "")
    own = tmp_path / "mine"
    (own / "configs" / "fleets").mkdir(parents=True)
    shutil.copy(shipped() / "serve_config.yaml", own)
    shutil.copy(shipped() / "configs" / "tenants.yaml", own / "configs")
    (own / "models" / "tiny").mkdir(parents=True)
    (own / "models" / "tiny" / "config.json").write_text(json.dumps(CONFIG))
    (own / "chat.jinja").write_text("{{ messages }}")
    fleet = {
        "name": "mine",
        "lanes": {
            "chat": {
                "model_id": "tiny",
                "model_source": "models/tiny",
                "max_model_len": 1024,
                "engine_args": {"chat_template": "chat.jinja"},
            }
        },
        "routing": {"default": "chat", "classifier": "scorer"},
    }
    (own / "configs" / "fleets" / "own.yaml").write_text(yaml.safe_dump(fleet))
    monkeypatch.delenv("POINTSMAN_HOME")
    monkeypatch.delenv("POINTSMAN_TENANTS", raising=False)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return own


@pytest.mark.parametrize("is_relative", [True, False])
def test_what_a_fleet_file_names_is_found_from_its_own_home(elsewhere, is_relative):
    path = elsewhere / "configs" / "fleets" / "own.yaml"
    given = os.path.relpath(path) if is_relative else str(path)
    found = named_fleet(given)
    assert found.resolve() == path.resolve()
    assert home().resolve() == elsewhere.resolve()
    assert tenants_path() == home() / "configs" / "tenants.yaml"
    lane = load_fleet(found).lanes["chat"]
    assert find_file(lane, "config.json") == home() / "models" / "tiny" / "config.json"
    assert template_of("chat", lane).result is Result.OK


def test_a_home_that_is_asked_for_goes_before_the_file_s(elsewhere, monkeypatch):
    monkeypatch.setenv("POINTSMAN_HOME", str(shipped()))
    path = elsewhere / "configs" / "fleets" / "own.yaml"
    lane = load_fleet(named_fleet(str(path))).lanes["chat"]
    assert home() == shipped()
    verdict = template_of("chat", lane)
    assert verdict.result is Result.FAILURE
    assert f"no file {shipped() / 'chat.jinja'}" in verdict.detail


def test_names_and_files_of_the_home_are_as_ever(elsewhere, monkeypatch):
    monkeypatch.chdir(elsewhere)
    assert named_fleet("configs/fleets/own.yaml").name == "own.yaml"
    assert named_fleet("own") == elsewhere / "configs" / "fleets" / "own.yaml"
    with pytest.raises(ConfigError, match="did you mean 'own'"):
        named_fleet("owm")
    own = elsewhere / "mine.yaml"
    own.write_text("tiers: {}\n")
    assert named_tenants("mine.yaml") == own
    assert named_tenants(None) == elsewhere / "configs" / "tenants.yaml"
    assert own_path("meta-llama/Llama-3.1-8B-Instruct") == "meta-llama/Llama-3.1-8B-Instruct"
    assert own_path("{{ messages }}" * 1000) == "{{ messages }}" * 1000


def test_doctor_loads_the_classifier_that_the_ingress_would(elsewhere):
    path = named_fleet(str(elsewhere / "configs" / "fleets" / "own.yaml"))
    checks = {x.name: x for x in file_checks(str(path), tenants_path(), path)}
    missing = checks["classifier"].run()
    assert (missing.result, str(elsewhere / "scorer") in missing.detail) == (Result.FAILURE, True)
    shutil.copytree(DEFAULT_ARTIFACT, elsewhere / "scorer")
    assert checks["classifier"].run().result is Result.OK


def test_a_plan_s_fleet_is_simulated_from_where_it_was_written(elsewhere, capsys):
    """`--fleet mine.yaml` beside the prompt, in a folder that is no home."""
    assert main(["plan", "--active", "3", "--cards", "rtx4090:2", "--write", "mine.yaml"]) == 0
    arguments = ("--scenario", "saas", "--minutes", "0.01", "--fleet", "mine.yaml")
    assert main(["simulate", "fleet", *arguments]) == 1
    assert "the first 60 s are not counted" in capsys.readouterr().err
