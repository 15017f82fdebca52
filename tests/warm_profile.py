"""The profile of a card whose first step takes no longer than the next."""

from pathlib import Path

import yaml

from simulator.model.profile import profile_path

CARD = "llama-3.1-8b-fp8-rtx4090"


def warm_profile(folder: Path, warm_up_s: float = 0, **changed) -> str:
    """Write it there, `changed`; returns its path, as a fleet file names it."""
    profile = {**yaml.safe_load(profile_path(CARD).read_text()), **changed}
    profile["timing"]["warm_up_s"] = warm_up_s
    path = folder / "profile.yaml"
    path.write_text(yaml.safe_dump(profile))
    return str(path)
