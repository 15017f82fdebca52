"""`build` refuses a Ray that was started without the checkout's settings."""

from types import SimpleNamespace

import pytest
import ray

from serve_app import app
from serve_app.config.errors import ConfigError
from serve_app.machine import ray_walls

pytestmark = pytest.mark.security
MENDS = r"source \.venv/bin/activate"


def build() -> None:
    app.build({"fleet": "no-such-fleet"})


def test_with_them_it_goes_on_to_the_files():
    with pytest.raises(ConfigError, match="no-such-fleet"):
        build()


def test_without_token_authentication(monkeypatch):
    monkeypatch.setattr(ray_walls, "is_token_auth_enabled", lambda: False)
    with pytest.raises(ConfigError, match=f"without token authentication.*{MENDS}"):
        build()


@pytest.mark.parametrize("rays", [True, False])
def test_without_haproxy(monkeypatch, rays):
    """In the environment, and as Ray has read it."""
    if rays:
        monkeypatch.setattr(ray_walls, "RAY_SERVE_ENABLE_HA_PROXY", False)
    else:
        monkeypatch.delenv("RAY_SERVE_ENABLE_HA_PROXY")
    with pytest.raises(ConfigError, match=f"HAProxy mode.*{MENDS}"):
        build()


def test_with_rays_own_directory(monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    with pytest.raises(ConfigError, match=f"/tmp/ray is not in .*{MENDS}"):
        build()


def test_of_a_ray_that_runs_elsewhere_whatever_the_environment_says(monkeypatch, tmp_path):
    """`ray start --temp-dir`, and `serve deploy` from an activated shell."""
    node = SimpleNamespace(get_temp_dir_path=lambda: str(tmp_path / "ray"))
    monkeypatch.setattr(ray._private.worker, "_global_node", node)
    with pytest.raises(ConfigError, match=f"{tmp_path}/ray is not in"):
        build()


def test_with_a_directory_that_others_can_enter(monkeypatch, tmp_path):
    tmp_path.chmod(0o755)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setenv("POINTSMAN_RUN", str(tmp_path))
    with pytest.raises(ConfigError, match="open to others"):
        build()
