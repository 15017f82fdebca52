"""What the documents' planning tables are compared by: cells, and lanes on their cards."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.cards.table import cards
from fleet.memory.models import find_shape
from fleet.plan.reckoning.engine import Served, served_on
from simulator.model.profile import load_profile

GB = 1e9
MODELS = {
    "Llama 3.1 8B": ("meta-llama/Llama-3.1-8B-Instruct", "llama-3.1-8b-fp8", 1),
    "Mistral 7B": ("mistralai/Mistral-7B-Instruct-v0.3", "mistral-7b-fp8", 1),
    "Qwen 2.5 14B": ("Qwen/Qwen2.5-14B-Instruct-AWQ", "qwen-2.5-14b-awq", 1),
    "Qwen 2.5 32B": ("Qwen/Qwen2.5-32B-Instruct-AWQ", "qwen-2.5-32b-awq", 1),
    "Mixtral 8x7B": ("casperhansen/mixtral-instruct-awq", "mixtral-8x7b-awq", 2),
    "Phi-3 mini": ("microsoft/Phi-3-mini-4k-instruct", "phi-3-mini-fp8", 1),
    "Mistral Nemo": ("mistralai/Mistral-Nemo-Instruct-2407", "mistral-nemo-12b-fp8", 1),
    "Llama 3.1 70B": (
        "hugging-quants/Meta-Llama-3.1-70B-Instruct-AWQ-INT4",
        "llama-3.1-70b-awq-int4",
        2,
    ),
}
"""The documents' models: source, profile, and the 4090s that a replica takes."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One figure of a table and what the planner gives for it.

    Attributes:
        why: where the document contradicts itself, arithmetic or the card: what it
            contradicts. Such a cell is not held to the table's error.

    """

    table: str
    row: str
    column: str
    document: float
    planned: float
    why: str = ""

    @property
    def error(self) -> float:
        """How far off, as a share of the document's figure."""
        return self.planned / self.document - 1


def served(model: str, kind: str = "rtx4090") -> Served:
    """Return a document's model as it measured it, on its own card or on another kind."""
    source, profile, count = MODELS[model]
    measured = load_profile(f"{profile}-rtx4090") if kind == "rtx4090" else None
    shape = find_shape(source)[0]
    return served_on(source, shape, cards()[kind], kind, cards=count, profile=measured)


def weights_gb(model: str) -> float:
    """GB of all weights, over all cards."""
    it = served(model)
    return it.memory.weights * it.engine.cards / GB
