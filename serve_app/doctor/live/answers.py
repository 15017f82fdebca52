"""What answers tell: whether the text is sound, the prefix cache live, and the speed right."""

from __future__ import annotations

import secrets
from collections import Counter
from itertools import pairwise

from serve_app.config.lane import LaneConfig
from serve_app.config.profiles import profile_name
from serve_app.doctor.check import Verdict, failure, not_applicable, ok, warning
from serve_app.doctor.live.deployment import Answer, Deployment
from simulator.model.profile import Profile, load_profile

GREETING = "Say hello in 5 languages."
"""The FP8 document's own call."""
TOKENS = 120
SLOW_RATIO = 0.77
"""150 of 195 tokens/s: below, a card is held back (the FP8 document)."""
SLOW_WALL = 2.0
"""1.5 s where 700 to 800 ms are expected."""
LEAST_LETTERS, LEAST_WORDS = 20, 12
SHOUTING, REPEATING = 0.9, 0.5
MARKERS = (
    "<|im_start|>",
    "<|im_end|>",
    "<|eot_id|>",
    "<|start_header_id|>",
    "[INST]",
    "<s>",
    "\ufffd",
)
"""What a template should have kept out of an answer's text."""
TEMPLATE = (
    "check that the checkpoint's tokenizer_config.json has chat_template "
    "(lanes.{0}.engine_args.chat_template: FILE names another), and that lanes.{0}.model_source "
    "is an -Instruct model"
)


def sound(lane: str, text: str) -> Verdict:
    """Judge by heuristics alone whether an answer is language; never more than a warning."""
    fix = TEMPLATE.format(lane)
    if not text.strip():
        return warning("the answer is empty: the chat template did not load", fix)
    marker = next((x for x in MARKERS if x in text), None)
    if marker is not None:
        return warning(f"the answer has {marker!r} in its text: a wrong chat template", fix)
    letters = [x for x in text if x.isalpha()]
    shouted = sum(x.isupper() for x in letters) / max(1, len(letters))
    if len(letters) >= LEAST_LETTERS and shouted > SHOUTING:
        return warning("the answer is in capitals throughout: a wrong chat template", fix)
    words = text.lower().split()
    pairs = Counter(pairwise(words))
    repeated = sum(count for count in pairs.values() if count > 2) / max(1, len(words) - 1)
    if len(words) >= LEAST_WORDS and repeated > REPEATING:
        return warning("the answer repeats itself: a wrong chat template, or a tiny model", fix)
    return ok(f"{len(words)} words, without repetition, capitals or markers")


def pooled_answer(name: str, lane: LaneConfig, deployment: Deployment) -> Verdict:
    """Whether a lane that writes nothing finds a text nearer to its like than to another."""
    asked = {"model": name, "queries": _NEAR[0], "documents": [*_NEAR[1:], _FAR]}
    told = deployment.json("/v1/score", asked)
    scores = [row["score"] for row in sorted(told["data"], key=lambda row: row["index"])]
    said = f"like texts score {scores[0]:.2f}, unlike ones {scores[1]:.2f}"
    if scores[0] > scores[1]:
        return ok(said)
    fix = f"lanes.{name}.model_source: a model for task: {lane.task}"
    return warning(f"{said}: these are no figures of meaning", fix)


_NEAR = ("How do I reset my password?", "Steps to reset a forgotten password")
_FAR = "The harvest of apples was late this year"


def prefix_cache(lane: LaneConfig, name: str, deployment: Deployment) -> Verdict:
    """The same new prompt twice: the second time most of it is there."""
    if lane.engine_args.get("enable_prefix_caching") is False:
        return not_applicable(f"lanes.{name}.engine_args.enable_prefix_caching is off")
    if lane.engine == "simulated" and lane.simulated.profile is None:
        return not_applicable("its simulated engine has fixed times and no prefix cache")
    # New at its first word, so that no earlier run has left it.
    prompt = f"{secrets.token_hex(8)} " + "The quick brown fox jumps over the lazy dog. " * 40
    first = deployment.chat(name, prompt, tokens=1)
    second = deployment.chat(name, prompt, tokens=1)
    if second.cached_tokens is None:
        return not_applicable(
            f"the engine does not tell: lanes.{name}.engine_args.enable_prompt_tokens_details: true"
        )
    told = (
        f"{second.cached_tokens} tokens of the same prompt found, "
        f"{first.wall_s * 1000:.0f} ms then {second.wall_s * 1000:.0f} ms"
    )
    if second.cached_tokens <= 0:
        fix = f"lanes.{name}.engine_args.enable_prefix_caching: true, then redeploy"
        return failure(f"nothing of the same prompt was found the second time ({told})", fix)
    return ok(told)


def profile_of(lane: LaneConfig) -> Profile | None:
    """The lane's profile; None: nothing is known to compare with."""
    name = profile_name(lane)
    return None if name is None else load_profile(name)


def speed(profile: Profile | None, whole: Answer, first: Answer) -> Verdict:
    """Tokens a second at batch 1, and the whole call, against the lane's profile.

    Args:
        profile: what is expected; None: nothing is known to compare with.
        whole: an answer of many tokens.
        first: an answer of one token to the same prompt, whose time is taken off.

    """
    if whole.tokens < TOKENS // 2 or whole.wall_s <= first.wall_s:
        return not_applicable(f"cannot tell from {whole.tokens} tokens")
    rate = (whole.tokens - 1) / (whole.wall_s - first.wall_s)
    told = f"{rate:.0f} tokens/s at batch 1, {whole.tokens} tokens in {whole.wall_s * 1000:.0f} ms"
    if profile is None:
        return not_applicable(f"{told}; this lane has no profile to compare with")
    timing = profile.timing
    expected = 1000 / timing.decode_step_ms[min(timing.decode_step_ms)]
    wall_s = whole.tokens / expected + timing.request_overhead_ms / 1000
    told += f" ({expected:.0f} tokens/s and {wall_s * 1000:.0f} ms by {profile.name})"
    if rate < expected * SLOW_RATIO or whole.wall_s > wall_s * SLOW_WALL:
        return warning(told, HELD_BACK)
    return ok(told)


HELD_BACK = (
    "decode below its profile is almost always power or heat: nvidia-smi --query-gpu="
    "clocks_throttle_reasons.active,temperature.gpu,power.draw --format=csv; check inlet air; "
    "sudo nvidia-smi -pl 400"
)
