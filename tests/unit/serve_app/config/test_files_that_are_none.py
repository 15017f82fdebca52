"""A pipe or a device in the place of a configuration file is refused, and holds nobody up."""

import os
import threading

import pytest

from serve_app.config.errors import ConfigError
from serve_app.config.files import is_open_for_writing
from serve_app.config.serving import TimeoutConfig
from serve_app.config.settings import load_fleet, load_tenants

pytestmark = pytest.mark.security


@pytest.mark.parametrize("load", [load_fleet, load_tenants])
@pytest.mark.parametrize("kind", ["pipe", "link to a pipe", "device", "directory"])
def test_it_is_refused_at_once(tmp_path, load, kind):
    path = tmp_path / "file.yaml"
    if kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "directory":
        path.mkdir()
    else:
        os.mkfifo(tmp_path / "pipe" if "link" in kind else path)
        if "link" in kind:
            path.symlink_to(tmp_path / "pipe")
    faults = []

    def read() -> None:
        try:
            load(path)
        except ConfigError as error:
            faults.append(str(error))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(30)
    assert faults == [f"{path}: cannot be read: is no regular file"]
    assert not is_open_for_writing(path)


@pytest.mark.parametrize("seconds", [1e-9, 0.001, 0.99])
def test_a_comment_without_an_end_is_no_setting(seconds):
    with pytest.raises(ValueError, match=r"at least 1\.0, or 0 for none"):
        TimeoutConfig(keepalive_s=seconds)


@pytest.mark.parametrize("seconds", [None, 0, 1, 15])
def test_these_are(seconds):
    assert TimeoutConfig(keepalive_s=seconds).keepalive_s == seconds
