"""May the models be downloaded, and is there room for them."""

import pytest

from fleet.memory.models import known_models
from serve_app.config.settings import fleet_path, load_fleet
from serve_app.doctor.check import Result
from serve_app.doctor.machine import hub
from serve_app.doctor.machine.hub import (
    Access,
    ask_hub,
    cache_room,
    download_bytes,
    hub_access,
    to_download,
)

GB = 10**9
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
QWEN = "Qwen/Qwen2.5-14B-Instruct-AWQ"
FREE = "Qwen/Qwen2.5-7B-Instruct"


@pytest.fixture
def nothing_cached(tmp_path, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub, "is_here", lambda lane: False)
    return load_fleet(fleet_path("rtx4090"))


def test_each_model_of_lanes_that_are_on_is_downloaded_once(nothing_cached):
    assert list(to_download(nothing_cached)) == [LLAMA, QWEN, FREE]


@pytest.mark.parametrize(
    ("access", "result", "said"),
    [
        (Access.GRANTED, Result.OK, "may be downloaded"),
        (Access.LICENCE, Result.FAILURE, f"https://huggingface.co/{LLAMA}"),
        (Access.NO_TOKEN, Result.FAILURE, "export HF_TOKEN"),
        (Access.MISSING, Result.FAILURE, "model_source"),
    ],
)
def test_what_the_hub_says_is_told_with_its_fix(access, result, said):
    found = hub_access([LLAMA], lambda _: access)
    assert found.result is result
    assert said in found.detail + found.fix


def test_a_hub_that_does_not_answer_is_no_failure(monkeypatch):
    """Without a network nobody can tell; that a gated model has no token is known."""
    monkeypatch.setattr(hub, "token_is_there", lambda: False)
    assert hub_access([QWEN], lambda _: Access.UNKNOWN).result is Result.NOT_APPLICABLE
    found = hub_access([LLAMA], lambda _: Access.UNKNOWN)
    assert found.result is Result.WARNING
    assert "HF_TOKEN" in found.fix
    monkeypatch.setattr(hub, "token_is_there", lambda: True)
    assert hub_access([LLAMA], lambda _: Access.UNKNOWN).result is Result.NOT_APPLICABLE


def test_nothing_to_download_needs_no_hub():
    def never(model):
        raise AssertionError(model)

    assert hub_access([], never).result is Result.NOT_APPLICABLE


def test_offline_nobody_is_asked(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert ask_hub(LLAMA) is Access.UNKNOWN


class Refusing:
    """Stands in for the hub's client."""

    error: Exception

    def model_info(self, *_, **__):
        raise self.error

    def auth_check(self, *_):
        """Never reached."""


@pytest.mark.parametrize(
    ("status", "code", "has_token", "expected"),
    [
        (403, "GatedRepo", True, Access.LICENCE),
        (401, "GatedRepo", False, Access.NO_TOKEN),
        (404, "RepoNotFound", True, Access.MISSING),
        (503, None, True, Access.UNKNOWN),
    ],
)
def test_the_hub_s_own_errors_are_read(monkeypatch, status, code, has_token, expected):
    """Made by the hub's own client from a response."""
    import httpx2
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import hf_raise_for_status

    url = f"https://huggingface.co/api/models/{LLAMA}"
    headers = {"X-Error-Code": code} if code else {}
    response = httpx2.Response(status, headers=headers, request=httpx2.Request("GET", url))
    with pytest.raises(HfHubHTTPError) as told:
        hf_raise_for_status(response)
    monkeypatch.setattr(Refusing, "error", told.value, raising=False)
    monkeypatch.setattr(huggingface_hub, "HfApi", Refusing)
    monkeypatch.setattr(hub, "token_is_there", lambda: has_token)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)

    assert ask_hub(LLAMA) is expected


def test_the_documents_sizes_of_downloads_are_met():
    """16 GB of Llama in 16 bits, 26 GB with the 14B in four."""
    llama, qwen = (download_bytes(known_models()[x].shape) / GB for x in (LLAMA, QWEN))
    assert llama == pytest.approx(16, rel=0.02)
    assert llama + qwen == pytest.approx(26, rel=0.03)


@pytest.mark.parametrize(
    ("total", "free", "result"),
    [
        (500, 200, Result.OK),
        (500, 20, Result.FAILURE),
        (80, 60, Result.WARNING),
    ],
)
def test_the_cache_has_room_for_what_is_to_come(nothing_cached, tmp_path, total, free, result):
    usage = (total * GB, 0, free * GB)
    found = cache_room(to_download(nothing_cached).values(), tmp_path / "hub", lambda _: usage)
    assert found.result is result
    assert "41 to download" in found.detail
    assert ("HF_HOME" in found.fix) == (result is not Result.OK)


def test_a_model_of_unknown_size_is_named(nothing_cached, tmp_path):
    lane = nothing_cached.lanes["chat"].model_copy(update={"model_source": "acme/secret"})
    found = cache_room([lane], tmp_path, lambda _: (500 * GB, 0, 400 * GB))
    assert "acme/secret, whose size is not known" in found.detail
