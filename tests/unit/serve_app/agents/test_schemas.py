"""Validators: compiled once, from schemas that a client wrote."""

from __future__ import annotations

import pytest

from serve_app.agents.schemas import Schemas


def test_a_schema_is_compiled_once_and_the_oldest_goes_first() -> None:
    schemas = Schemas(max_kept=2)
    first = schemas.validator({"type": "object"})
    assert schemas.validator({"type": "object"}) is first
    schemas.validator({"type": "array"})
    schemas.validator({"type": "object"})
    schemas.validator({"type": "string"})
    assert schemas.validator({"type": "object"}) is first


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "http://127.0.0.1:1/x"},
        {"$ref": "file:///etc/passwd"},
        {"type": "nonsense"},
        {"pattern": "(a{1000}){1000}"},
        "no schema",
        None,
        {"x": {1}},
    ],
)
def test_what_reaches_out_or_is_no_schema_has_no_validator(schema: object) -> None:
    assert Schemas().validator(schema) is None


def test_patterns_do_not_run_away() -> None:
    hostile = "a" * 50_000 + "!"
    for pattern in ("^(a+)+$", "^(?=(a+)+$).*"):
        validator = Schemas().validator({"pattern": pattern})
        assert validator is not None and not validator.is_valid(hostile)


def test_look_around_is_understood() -> None:
    validator = Schemas().validator({"pattern": "^(?!rm ).*"})
    assert validator is not None
    assert validator.is_valid("ls") and not validator.is_valid("rm -rf")
