"""The sizes of a model that decide about memory, and what it keeps of a conversation."""

from __future__ import annotations

from dataclasses import dataclass


class NotReckoned(Exception):
    """A model or a setting of a form that this does not reckon; the text says why."""


@dataclass(frozen=True, slots=True)
class CacheLayers:
    """Layers that keep the same of a conversation.

    Attributes:
        count: how many there are.
        heads: KV heads, which tensor parallelism divides among cards; 1 where every card keeps
            all of it (multi-head latent attention).
        values: numbers that one head keeps of one token: K and V, or one latent vector.
        window: tokens that the layer looks back; older ones are forgotten. None: all are kept.
        state_bytes: of a layer with linear attention, which keeps one state a conversation
            instead of every token; its `values` is 0. Heads divide it among cards.

    """

    count: int
    heads: int
    values: int
    window: int | None = None
    state_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Sizes of a decoder.

    Attributes:
        hidden: width of the residual stream.
        heads: attention heads; tensor parallelism must divide them.
        vocabulary: tokens that it knows.
        window: tokens that the model reads at most.
        cache: its layers by what they keep.
        linear: weights of the layers that get quantised.
        active_linear: those of them that one token is multiplied with; fewer than `linear` in a
            mixture of experts.
        other: all other weights but the norms: embeddings, output head, routers of experts,
            encoders of images, and what a quantised checkpoint leaves out.
        embedding: those of `other` that a step only looks up a row of.
        encoder: those of `other` that read images, and no text.
        method: how the checkpoint is quantised already, by vLLM's name; None: it is not.
        weight_bits: bits of a quantised weight with its scales; None: not quantised.

    """

    hidden: int
    heads: int
    vocabulary: int
    window: int
    cache: tuple[CacheLayers, ...]
    linear: int
    active_linear: int
    other: int
    embedding: int = 0
    encoder: int = 0
    method: str | None = None
    weight_bits: float | None = None

    @property
    def parameters(self) -> int:
        return self.linear + self.other

    @property
    def active_parameters(self) -> int:
        """Weights that take part in one token, embeddings included, as makers publish it."""
        return self.active_linear + self.other

    @property
    def kv_heads(self) -> int:
        """The most heads of any layer that keeps tokens."""
        return max((layers.heads for layers in self.cache if layers.values), default=1)

    def kv_values_per_token(self) -> int:
        """Numbers that one more token takes while it is in every layer's window, over all cards."""
        return sum(layers.count * layers.heads * layers.values for layers in self.cache)
