"""A hub model is the one that was chosen, or everybody is told that it is not."""

import json
import logging
from types import SimpleNamespace

import pytest
import yaml
from pydantic import ValidationError

from serve_app import app
from serve_app.cli import main
from serve_app.config.engine_walls import revision_args, unpinned
from serve_app.config.fleet import FleetConfig
from serve_app.config.lane import EMBEDDED, LaneConfig
from serve_app.engine import embedded_model

pytestmark = pytest.mark.security

COMMIT = "0e9e39f249a16976918f6564b8830bc894c89659"
HUB = "meta-llama/Llama-3.1-8B-Instruct"


def lane(**fields):
    base = {"model_id": "m", "model_source": HUB, "max_model_len": 128}
    return LaneConfig.model_validate({**base, **fields})


def fleet(**lanes):
    rows = {name: {"model_id": name, "max_model_len": 128, **row} for name, row in lanes.items()}
    return {"name": "t", "lanes": rows, "routing": {"default": next(iter(rows))}}


@pytest.mark.parametrize("revision", [COMMIT, "v1.0", "refs/pr/3"])
def test_a_revision_is_the_weights_and_the_tokenizer_s(revision):
    assert revision_args(HUB, revision, {}) == {
        "revision": revision,
        "tokenizer_revision": revision,
    }


@pytest.mark.parametrize(
    ("given", "added"),
    [
        ({"revision": COMMIT}, {"tokenizer_revision": COMMIT}),
        ({"tokenizer_revision": "v2"}, {"revision": COMMIT}),
        ({"tokenizer": "other/one"}, {"revision": COMMIT}),
    ],
)
def test_what_the_operator_gave_the_engine_stays(given, added):
    assert revision_args(HUB, COMMIT, given) == added


@pytest.mark.parametrize("source", ["/models/llama", "./llama", "../llama", "~/llama", "s3://b/l"])
def test_what_is_no_hub_s_has_no_revision(source):
    assert revision_args(source, COMMIT, {}) == {}
    assert unpinned("chat", source, None) is None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Using extra keyword arguments")
def test_the_engine_gets_it():
    from serve_app.engine.vllm_lane import llm_config

    made = llm_config(lane(revision=COMMIT), HUB, {}).engine_kwargs

    assert (made["revision"], made["tokenizer_revision"]) == (COMMIT, COMMIT)


@pytest.mark.parametrize("revision", ["", " ", "-x", "a b", "x" * 101, "a\nb"])
def test_a_revision_is_a_name(revision):
    with pytest.raises(ValidationError, match="revision"):
        lane(revision=revision)


def test_two_revisions_are_one_too_many():
    with pytest.raises(ValidationError, match="another one"):
        lane(revision=COMMIT, engine_args={"revision": "v1"})


@pytest.mark.parametrize("revision", [None, "main", "v1.0", COMMIT[:12], COMMIT.upper()])
@pytest.mark.parametrize("where", ["lane", "engine_args"])
def test_code_of_a_repository_runs_from_a_commit_only(revision, where):
    arguments = {"trust_remote_code": True}
    fields = {"engine_args": arguments}
    if revision is not None:
        (fields if where == "lane" else arguments)["revision"] = revision

    with pytest.raises(ValidationError, match="trust_remote_code"):
        lane(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"revision": COMMIT, "engine_args": {"trust_remote_code": True}},
        {"engine_args": {"trust_remote_code": True, "revision": COMMIT}},
        {"engine_args": {"trust_remote_code": False}},
        {"model_source": "/models/mine", "engine_args": {"trust_remote_code": True}},
    ],
)
def test_code_that_stands_still_runs(fields):
    assert lane(**fields).engine_args


def test_lanes_that_are_not_pinned_are_named_with_the_line_to_add():
    given = fleet(
        bare={"model_source": HUB},
        moving={"model_source": HUB, "revision": "main"},
        pinned={"model_source": HUB, "revision": COMMIT},
        by_engine={"model_source": HUB, "engine_args": {"revision": COMMIT}},
        off={"model_source": HUB, "enabled": False},
        simulated={"model_source": HUB, "engine": "simulated"},
        embedded={"model_source": EMBEDDED},
        local={"model_source": "/models/x"},
    )

    told = FleetConfig.model_validate(given).unpinned

    assert [warning.partition(":")[0] for warning in told] == ["lanes.bare", "lanes.moving"]
    assert all("revision: COMMIT" in warning and HUB in warning for warning in told)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A fleet file with a lane that is not pinned and a Serve configuration that names it."""
    path, serve = tmp_path / "fleet.yaml", tmp_path / "serve.yaml"
    path.write_text(yaml.safe_dump(fleet(chat={"model_source": HUB})))
    serve.write_text(yaml.safe_dump({"applications": [{"args": {"fleet": str(path)}}]}))
    tenants = tmp_path / "tenants.yaml"
    tenants.write_text("tiers: {open: {}}\ntenants: {local: {tier: open}}\nlocal_tenant: local\n")
    monkeypatch.setenv("POINTSMAN_STATE", str(tmp_path / "state"))
    return SimpleNamespace(fleet=path, serve=serve, tenants=tenants)


def test_doctor_warns_and_does_not_fail_of_it(files, capsys):
    main(["doctor", "--config", str(files.fleet), "--tenants", str(files.tenants), "--json"])

    rows = {row["check"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["revisions"]["ok"] is True
    assert rows["revisions"]["detail"].startswith("warning: lanes.chat")


def test_a_start_says_it_on_its_screen(files, capsys):
    embedded_model.main(str(files.serve))

    assert "warning: lanes.chat" in capsys.readouterr().out


def test_building_the_graph_says_it_in_the_log(files, monkeypatch, caplog):
    import ray

    monkeypatch.setattr(
        ray, "get_runtime_context", lambda: SimpleNamespace(runtime_env={"env_vars": {}})
    )
    monkeypatch.setattr(app, "await_rest", lambda *_: None)
    with caplog.at_level(logging.WARNING, logger="ray.serve"):
        app.build({"fleet": str(files.fleet), "tenants": str(files.tenants)})

    assert any("lanes.chat" in record.getMessage() for record in caplog.records)
