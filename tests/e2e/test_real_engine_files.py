"""A tenants file that people and programs write while a deployment runs."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.support import eventually, new_key, reload, status_of

pytestmark = pytest.mark.busy


@pytest.fixture
def good(real: str, tenants_file: Path) -> Iterator[str]:
    """The file's text; put back afterwards."""
    text = tenants_file.read_text()
    yield text
    tenants_file.write_text(text)
    reload(real)


def test_a_file_that_is_written_slowly_locks_nobody_out(
    real: str, http: httpx.Client, tenants_file: Path
) -> None:
    """Its last tenant's key is good all the while, though it is not there for seconds."""
    headers = new_key(tenants_file, "slowly-written", "open", real)
    whole = tenants_file.read_text()
    cut = whole.index("slowly-written")
    cut = whole.rindex("\n", 0, cut) + 1

    until = time.monotonic() + 4
    seen = set()
    with tenants_file.open("w") as writer:
        writer.write(whole[:cut])
        writer.flush()
        while time.monotonic() < until:
            seen.add(http.get(f"{real}/v1/models", headers=headers).status_code)
        writer.write(whole[cut:])

    assert seen == {200}
    eventually(lambda: _files(http, real)["changing_s"] is None)
    assert http.get(f"{real}/v1/models", headers=headers).status_code == 200


def test_a_key_given_twice_is_told_with_both_lines(
    real: str, http: httpx.Client, tenants_file: Path, good: str
) -> None:
    """By the watch, and nothing is applied."""
    tenants_file.write_text(f"{good}\nlocal_tenant: nobody\n")

    told = eventually(lambda: _files(http, real)["error"])

    assert re.search(r"local_tenant: given twice, in lines \d+ and \d+$", told)
    assert any(told in warning for warning in status_of(http, real)["warnings"])


def test_a_tenant_that_is_removed_in_use_is_told(
    real: str, http: httpx.Client, tenants_file: Path, good: str
) -> None:
    """By the watch, in `/status`; the change holds."""
    headers = new_key(tenants_file, "removed-in-use", "open", real)
    sent = {"model": "chat", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    answer = http.post(f"{real}/v1/chat/completions", json=sent, headers=headers)
    assert answer.status_code == 200, answer.text
    tenants_file.write_text(good)

    told = eventually(lambda: [x for x in _files(http, real)["warnings"] if "removed-in-use" in x])

    assert "was in use" in told[0]
    assert http.get(f"{real}/v1/models", headers=headers).status_code == 401


def _files(http: httpx.Client, url: str) -> dict[str, object]:
    """What the only ingress replica makes of the files."""
    return eventually(lambda: status_of(http, url).get("ingress"))[0]["files"]  # type: ignore[no-any-return]
