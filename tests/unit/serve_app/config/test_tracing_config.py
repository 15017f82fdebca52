"""The `tracing:` block: off without it, strict with it, and no place for a secret."""

import pytest

from serve_app.config.errors import ConfigError, validate
from serve_app.config.fleet import FleetConfig
from tests.unit.serve_app.config.test_config import FLEET, fault


def fleet(**tracing) -> dict:
    return {**FLEET, "tracing": tracing}


def test_nothing_is_traced_without_the_block():
    assert validate(FLEET, FleetConfig, "file.yaml").tracing is None


def test_an_empty_block_is_on_with_everything_kept():
    found = validate(fleet(), FleetConfig, "file.yaml").tracing

    assert (found.endpoint, found.protocol, found.sample_ratio) == (None, "http", 1.0)


@pytest.mark.parametrize(
    "endpoint",
    ["http://localhost:4318", "https://collector.example/v1/traces", "http://[::1]:4317"],
)
def test_an_endpoint_is_an_address(endpoint):
    assert validate(fleet(endpoint=endpoint), FleetConfig, "f").tracing.endpoint == endpoint


@pytest.mark.security
@pytest.mark.parametrize(
    "endpoint",
    [
        "localhost:4318",
        "grpc://localhost:4317",
        "http://me:hunter2@collector:4318",
        "http://collector:4318/?key=hunter2",
        "http://col lector",
    ],
)
def test_another_is_refused_and_not_repeated(endpoint):
    """It may hold a password."""
    told = fault(fleet(endpoint=endpoint))

    assert told.startswith("file.yaml: tracing: ") and "http://host:port" in told
    assert "hunter2" not in told and "lector:4318" not in told


@pytest.mark.security
@pytest.mark.parametrize("value", ["Bearer hunter2", "hunter2", "", "$TOKEN"])
def test_a_headers_value_is_no_place_for_a_secret(value):
    told = fault(fleet(headers={"authorization": value}))

    assert "environment variable" in told and "authorization" in told
    assert "hunter2" not in told


def test_headers_name_variables():
    found = validate(fleet(headers={"authorization": "OTLP_TOKEN"}), FleetConfig, "f").tracing

    assert found.headers == {"authorization": "OTLP_TOKEN"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"sample_ratio": 1.5},
        {"sample_ratio": -0.1},
        {"protocol": "udp"},
        {"queue": 1},
        {"timeout_s": 0},
        {"idle_s": 0},
        {"headers": {"Not A Header": "OTLP_TOKEN"}},
    ],
)
def test_values_have_bounds(wrong):
    with pytest.raises(ConfigError):
        validate(fleet(**wrong), FleetConfig, "file.yaml")


def test_an_unknown_key_names_the_nearest():
    assert "did you mean 'sample_ratio'?" in fault(fleet(sampel_ratio=0.1))
