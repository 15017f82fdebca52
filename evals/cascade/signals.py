"""What a model's log-probabilities say of its answer, before anyone has checked it.

Everything is in nats, of the model's own distribution: vLLM reports it before temperature
and penalties (`logprobs_mode: raw_logprobs`, its default). Formulas, for token t with the k
most probable tokens known:

- log-probability: log p(chosen). Its mean over an answer is the length-normalised sequence
  log-probability, "Chow-Average" in arXiv 2404.10136, which also shows that the least and
  the quantiles say more than the mean; `min_logprob` is the quantile 0.
- entropy: -sum p log p over the k tokens, and over what is left of the mass as if it were one
  token. A lower bound of the entropy over the whole vocabulary.
- margin: p(first) - p(second), of the most and the second most probable token. Of the first
  token it is the margin of arXiv 2405.02134.
- prompt surprise: -mean log p(token | tokens before) over the prompt.
- agreement: how alike two sampled drafts are, after arXiv 2203.11171 and 2310.03094, which
  take the agreement of sampled answers for confidence: 1 when they say the same, else the part
  of their distinct words that both have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

KEPT_TOKENS = 16
"""Tokens of an answer that a record has; nobody would hold a stream for longer."""

LEAST = -30.0
"""Of a log-probability in nats: a token that cannot be has -9999, and would be all of a mean."""

HELD_TOKENS = 8
"""Tokens that signals are of where nothing else is said: `docs/evals.md` has others."""

TOKEN_SIGNALS = (
    "first_entropy", "first_margin", "mean_logprob", "min_logprob", "mean_margin", "min_margin",
    "mean_entropy",
)  # fmt: skip
"""Names of what one answer's tokens say."""

SIGNALS = (*TOKEN_SIGNALS, "prompt_surprise", "agreement")

_WORDS = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class Tokens:
    """The first tokens of an answer; arrays of shape (tokens,)."""

    logprob: Array
    entropy: Array
    margin: Array

    def __len__(self) -> int:
        return len(self.logprob)


def tokens_of(content: Sequence[Mapping[str, Any]]) -> Tokens:
    """Read `choices[0].logprobs.content` of a chat completion with `top_logprobs` of 2 or more.

    Raises:
        ValueError: a token has no log-probability, or fewer than two alternatives.

    """
    try:
        chosen = [float(token["logprob"]) for token in content]
        top = [[float(one["logprob"]) for one in token["top_logprobs"]] for token in content]
    except (KeyError, TypeError) as error:
        raise ValueError(f"no log-probabilities of OpenAI's form: {error!r}") from error
    if any(len(found) < 2 for found in top):
        raise ValueError("a token has fewer than two of 'top_logprobs'")
    return Tokens(
        np.array(chosen),
        np.array([entropy(np.array(found)) for found in top]),
        np.array([margin(np.array(found)) for found in top]),
    )


def entropy(top: Array) -> float:
    """Entropy of one token's distribution in nats, of which `top` (k,) are log-probabilities."""
    mass = np.exp(top)
    rest = max(0.0, 1.0 - float(mass.sum()))
    # An engine reports -9999 or -inf for what cannot be: its term is 0.
    terms = mass * np.where(mass > 0, top, 0.0)
    return float(-terms.sum() - (rest * np.log(rest) if rest > 0 else 0.0))


def margin(top: Array) -> float:
    """Probability of the most probable token minus that of the second, of `top` (k,)."""
    second, first = np.sort(np.exp(top))[-2:]
    return float(first - second)


def token_signals(tokens: Tokens, held: int = HELD_TOKENS) -> dict[str, float]:
    """Return `TOKEN_SIGNALS` of the first `held` tokens, or of all where there are fewer.

    Raises:
        ValueError: there is no token.

    """
    if not len(tokens) or held < 1:
        raise ValueError("signals need a token")
    logprob, certain = tokens.logprob[:held], tokens.margin[:held]
    return {
        "first_entropy": float(tokens.entropy[0]),
        "first_margin": float(certain[0]),
        "mean_logprob": float(logprob.mean()),
        "min_logprob": float(logprob.min()),
        "mean_margin": float(certain.mean()),
        "min_margin": float(certain.min()),
        "mean_entropy": float(tokens.entropy[:held].mean()),
    }


def prompt_surprise(prompt: Sequence[Mapping[str, Any] | None]) -> float:
    """Return the mean surprise of a prompt's tokens from vLLM's `prompt_logprobs`.

    Each entry is None (the first token has nothing before it) or maps token ids to
    `{"logprob": ...}`, the token that stands there first.

    Raises:
        ValueError: no token has a log-probability.

    """
    found = [next(iter(entry.values())) for entry in prompt if entry]
    if not found:
        raise ValueError("no token of the prompt has a log-probability")
    return -float(np.mean([one["logprob"] for one in found]))


def agreement(one: str, other: str) -> float:
    """How alike two drafts are in [0, 1]; case and white space do not count."""
    words, others = (_WORDS.findall(text.casefold()) for text in (one, other))
    if words == others:
        return 1.0
    both, either = set(words) & set(others), set(words) | set(others)
    # The same words in another order are another answer.
    return min(len(both) / len(either), 0.99)


def record(
    tokens: Tokens, *, surprise: float | None = None, agreed: float | None = None
) -> dict[str, Any]:
    """Return what a row keeps of an answer: `KEPT_TOKENS` tokens, so that any hold can be tried."""
    kept: dict[str, Any] = {
        name: [round(max(float(one), LEAST), 4) for one in getattr(tokens, name)[:KEPT_TOKENS]]
        for name in ("logprob", "entropy", "margin")
    }
    others = {"prompt_surprise": surprise, "agreement": agreed}
    return kept | {name: round(one, 4) for name, one in others.items() if one is not None}


def recorded(kept: Mapping[str, Any], held: int = HELD_TOKENS) -> dict[str, float]:
    """Return the signals of what `record` returned, by name; those of two drafts where there are.

    Raises:
        ValueError: it is not what `record` returns.

    """
    try:
        parts = [np.array(kept[name], dtype=float) for name in ("logprob", "entropy", "margin")]
        found = token_signals(Tokens(*parts), held)
        others = {name: float(kept[name]) for name in SIGNALS[len(TOKEN_SIGNALS) :] if name in kept}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"no record of signals: {error!r}") from error
    if len({len(part) for part in parts}) > 1:
        raise ValueError("no record of signals: its lists have different lengths")
    return found | others
