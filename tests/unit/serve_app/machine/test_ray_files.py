"""Ray's directory and token are nobody else's, or nothing is built."""

import os
import socket
import stat
from pathlib import Path

import pytest

from serve_app.config.errors import ConfigError
from serve_app.machine import ray_files
from serve_app.machine.ray_files import (
    forget_dead_ray,
    keep_token_private,
    refuse_long,
    refuse_shared,
    run_dir,
)

pytestmark = pytest.mark.security


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def folder(tmp_path) -> Path:
    path = tmp_path / "run"
    path.mkdir(mode=0o700)
    return path


def test_a_directory_of_ours_alone_is_taken(folder):
    refuse_shared(folder)


def test_without_the_settings_the_line_that_mends_it_is_said(monkeypatch):
    monkeypatch.delenv("POINTSMAN_RUN")
    with pytest.raises(ConfigError, match=r"source \.venv/bin/activate"):
        run_dir()


def test_a_path_that_is_not_whole_is_told(monkeypatch):
    monkeypatch.setenv("POINTSMAN_RUN", "run")
    with pytest.raises(ConfigError, match="POINTSMAN_RUN=run is not a whole path"):
        run_dir()


def test_a_path_too_long_for_sockets_is_told_with_its_length():
    refuse_long(Path("/" + "x" * 26))
    for path in ("/" + "x" * 27, "/" + "é" * 14):
        with pytest.raises(ConfigError, match=r"has 2[89] characters; 27 is the most"):
            refuse_long(Path(path))


@pytest.mark.parametrize("others", [0o755, 0o710, 0o777, 0o701])
def test_one_that_others_can_look_into_is_refused(folder, others):
    folder.chmod(others)
    with pytest.raises(ConfigError, match=f"chmod 700 {folder}"):
        refuse_shared(folder)


def test_a_link_a_file_and_nothing_are_refused(folder):
    link, file = folder / "link", folder / "file"
    (folder / "real").mkdir(mode=0o700)
    link.symlink_to(folder / "real")
    file.touch()
    for path in (link, file):
        with pytest.raises(ConfigError, match="not a directory"):
            refuse_shared(path)
    with pytest.raises(ConfigError, match="No such file"):
        refuse_shared(folder / "missing")


def test_another_users_is_refused(folder, monkeypatch):
    monkeypatch.setattr(ray_files.os, "geteuid", lambda: os.getuid() + 4242)
    with pytest.raises(ConfigError, match="belongs to another user"):
        refuse_shared(folder)


def test_a_parent_in_which_others_can_swap_it_is_refused(folder):
    folder.parent.chmod(0o777)
    with pytest.raises(ConfigError, match="may be written by others"):
        refuse_shared(folder)
    folder.parent.chmod(0o1777)
    refuse_shared(folder)


@pytest.fixture
def token(tmp_path, monkeypatch) -> Path:
    """Ray's token as Ray makes it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    path = tmp_path / ".ray" / "auth_token"
    path.parent.mkdir(mode=0o755)
    path.write_text("secret")
    path.chmod(0o644)
    return path


def test_a_token_that_others_can_read_is_theirs_no_more(token):
    keep_token_private()
    assert (mode(token), mode(token.parent)) == (0o600, 0o700)
    keep_token_private()
    assert token.read_text() == "secret"


def test_a_token_elsewhere_is_kept_and_its_directory_left(token, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    elsewhere = token.parent.rename(token.parent.with_name("shared")) / "auth_token"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(elsewhere))
    keep_token_private()
    assert (mode(elsewhere), mode(elsewhere.parent)) == (0o600, 0o755)
    elsewhere.parent.chmod(0o777)
    with pytest.raises(ConfigError, match="open to others"):
        keep_token_private()


def test_another_users_token_is_refused(token, monkeypatch):
    monkeypatch.setattr(ray_files.os, "geteuid", lambda: os.getuid() + 4242)
    monkeypatch.setattr(ray_files, "ROOT", -1)
    with pytest.raises(ConfigError, match="belongs to another user"):
        keep_token_private()


def test_no_file_is_nothing_to_keep(token, monkeypatch):
    token.unlink()
    keep_token_private()
    assert mode(token.parent) == 0o755


def named(folder: Path, address: str) -> Path:
    path = folder / "ray" / "ray_current_cluster"
    path.parent.mkdir()
    path.write_text(address)
    return path


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def test_a_ray_that_has_died_is_asked_no_more(folder):
    """It was killed, or the machine was; its name stays, and Ray would try it for minutes."""
    path = named(folder, f"127.0.0.1:{free_port()}")
    forget_dead_ray(folder)
    assert not path.exists()
    forget_dead_ray(folder)


def test_a_ray_that_lives_is_asked_on(folder):
    with socket.create_server(("127.0.0.1", 0)) as alive:
        path = named(folder, f"127.0.0.1:{alive.getsockname()[1]}")
        forget_dead_ray(folder)
    assert path.exists()


def test_a_neighbour_who_has_its_port_by_now_is_not_asked(folder, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as theirs:
        path = named(folder, f"127.0.0.1:{theirs.getsockname()[1]}")
        monkeypatch.setattr(ray_files, "is_trusted", lambda port, host: False)
        forget_dead_ray(folder)
    assert not path.exists()


@pytest.mark.parametrize("address", ["192.0.2.7:6379", "head.invalid:6379", "oops", ""])
def test_the_head_of_a_cluster_elsewhere_is_left_alone(folder, address):
    path = named(folder, address)
    forget_dead_ray(folder)
    assert path.read_text() == address
