"""`/openapi.json` lists what is produced, and all of it."""

import ast
from pathlib import Path

import pytest

from router.errors import RejectReason
from router.types import Reason
from serve_app.front.openapi import CODES, NOT_YET, OPENAPI, REASONS

ROOT = Path(__file__).parents[4]

# Where the names are defined, mapped and listed.
TABLES = {
    "router/errors.py",
    "router/types.py",
    "serve_app/protocol/errors.py",
    "serve_app/front/openapi.py",
}


def used(enum: str) -> set[str]:
    """Members of an enum that the source names outside of the tables."""
    names = set()
    for folder in ("router", "serve_app"):
        for path in (ROOT / folder).rglob("*.py"):
            if str(path.relative_to(ROOT)) in TABLES:
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                is_member = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
                if is_member and node.value.id == enum:
                    names.add(node.attr)
    return names


@pytest.mark.parametrize(
    ("enum", "listed"),
    [(RejectReason, set(CODES) - {"internal_error"}), (Reason, set(REASONS))],
)
def test_what_is_listed_is_what_the_source_produces(enum, listed):
    """Whoever begins to produce one, or ceases to, is told so here: see `NOT_YET`."""
    produced = {enum[name].value for name in used(enum.__name__) & set(enum.__members__)}

    assert listed == produced


def test_the_document_has_the_lists():
    schemas = OPENAPI["components"]["schemas"]
    error = schemas["Error"]["properties"]["error"]["properties"]

    assert error["code"]["enum"] == CODES
    assert schemas["Reason"]["enum"] == REASONS
    assert not {x.value for x in NOT_YET} & {*CODES, *REASONS}


async def test_an_internal_fault_has_a_code_that_is_listed(world, monkeypatch):
    """It is the one code that is no refusal."""
    monkeypatch.setattr(world.control, "loading_lanes", None)
    async with world.client() as client:
        response = await client.get("/ready")

    assert response.status_code == 500
    assert response.json()["error"]["code"] in CODES
