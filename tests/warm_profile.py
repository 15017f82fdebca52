"""The profile of a card whose first step takes no longer than the next."""

from pathlib import Path

import yaml

from benchmarks.support.agent_card import LLAMA, warm
from simulator.model.profile import load_profile


def warm_profile(folder: Path) -> str:
    """Write it there; returns its path, as a fleet file names it."""
    path = folder / "profile.yaml"
    path.write_text(yaml.safe_dump(warm(load_profile(LLAMA)).model_dump(mode="json")))
    return str(path)
