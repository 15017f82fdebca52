"""What a deployment leaves a note of, and what commands find by it."""

from __future__ import annotations

import logging
import stat
from pathlib import Path

import pytest

from serve_app.config.served import (
    FILE_NAME,
    note_served,
    served,
    served_fleet_file,
    traces_folder,
)
from serve_app.config.settings import fleet_path, load_fleet


@pytest.fixture
def state(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("POINTSMAN_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


def fleet_file(folder: Path, traces: str) -> Path:
    path = folder / "mine.yaml"
    shipped = fleet_path("local").read_text()
    path.write_text(f"{shipped}\ntraces: {{path: {traces}}}\n")
    return path


def test_traces_are_where_the_last_deployment_put_them(state, tmp_path):
    """The file may be gone by then, and nothing has to run."""
    path = fleet_file(tmp_path, str(tmp_path / "disk"))
    note_served(path, load_fleet(path))
    path.unlink()

    assert traces_folder() == tmp_path / "disk"
    assert served_fleet_file() == path
    assert stat.S_IMODE((state / FILE_NAME).stat().st_mode) == 0o600


def test_a_relative_folder_is_under_the_state_directory(state, tmp_path):
    path = fleet_file(tmp_path, "kept/here")
    note_served(path, load_fleet(path))

    assert traces_folder() == state / "kept" / "here"


def test_before_anything_was_served_they_are_where_they_would_be(state):
    assert served() is None
    assert traces_folder() == state / "traces"
    assert served_fleet_file() == fleet_path("auto")


def test_a_fleet_that_is_named_goes_before_the_note(state, tmp_path):
    path = fleet_file(tmp_path, "kept")
    note_served(path, load_fleet(path))

    assert traces_folder(fleet_path("local")) == state / "traces"


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"fleet_file": 1, "traces": "x"}'])
def test_a_note_of_another_release_is_none(state, text):
    state.mkdir()
    (state / FILE_NAME).write_text(text)

    assert served() is None


def test_a_note_that_cannot_be_written_stops_no_ingress(state, caplog):
    state.write_text("a file")

    with caplog.at_level(logging.WARNING, "ray.serve"):
        note_served(fleet_path("local"), load_fleet(fleet_path("local")))

    assert "commands will not find" in caplog.text
