"""Shapes of the models that the shipped fleets name, for before they are downloaded.

From the config.json of each repository on huggingface.co (the tests compare with the
published number of parameters). `gated`: its download asks for an accepted licence.
"""

from __future__ import annotations

from dataclasses import dataclass

from serve_app.doctor.fit.shape import AWQ_BITS, ModelShape


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model of a hub."""

    shape: ModelShape
    gated: bool = False


KNOWN_MODELS = {
    "meta-llama/Llama-3.1-8B-Instruct": KnownModel(
        ModelShape(
            hidden=4096,
            layers=32,
            heads=32,
            kv_heads=8,
            head=128,
            intermediate=14336,
            vocabulary=128256,
            window=131072,
        ),
        gated=True,
    ),
    "Qwen/Qwen2.5-14B-Instruct-AWQ": KnownModel(
        ModelShape(
            hidden=5120,
            layers=48,
            heads=40,
            kv_heads=8,
            head=128,
            intermediate=13824,
            vocabulary=152064,
            window=32768,
            method="awq",
            weight_bits=AWQ_BITS,
        ),
    ),
    "Qwen/Qwen2.5-32B-Instruct-AWQ": KnownModel(
        ModelShape(
            hidden=5120,
            layers=64,
            heads=40,
            kv_heads=8,
            head=128,
            intermediate=27648,
            vocabulary=152064,
            window=32768,
            method="awq",
            weight_bits=AWQ_BITS,
        ),
    ),
    "hugging-quants/Meta-Llama-3.1-70B-Instruct-AWQ-INT4": KnownModel(
        ModelShape(
            hidden=8192,
            layers=80,
            heads=64,
            kv_heads=8,
            head=128,
            intermediate=28672,
            vocabulary=128256,
            window=131072,
            method="awq",
            weight_bits=AWQ_BITS,
        ),
    ),
    "mistralai/Mistral-7B-Instruct-v0.3": KnownModel(
        ModelShape(
            hidden=4096,
            layers=32,
            heads=32,
            kv_heads=8,
            head=128,
            intermediate=14336,
            vocabulary=32768,
            window=32768,
        ),
        gated=True,
    ),
    "casperhansen/mixtral-instruct-awq": KnownModel(
        ModelShape(
            hidden=4096,
            layers=32,
            heads=32,
            kv_heads=8,
            head=128,
            intermediate=14336,
            vocabulary=32000,
            window=32768,
            experts=8,
            method="awq",
            weight_bits=AWQ_BITS,
        ),
    ),
    "microsoft/Phi-3-mini-4k-instruct": KnownModel(
        ModelShape(
            hidden=3072,
            layers=32,
            heads=32,
            kv_heads=32,
            head=96,
            intermediate=8192,
            vocabulary=32064,
            window=4096,
        ),
    ),
    "mistralai/Mistral-Nemo-Instruct-2407": KnownModel(
        ModelShape(
            hidden=5120,
            layers=40,
            heads=32,
            kv_heads=8,
            head=128,
            intermediate=14336,
            vocabulary=131072,
            window=131072,
        ),
        gated=True,
    ),
}
