"""What a simulated engine is: how long its steps take and how it schedules.

A profile is one YAML file under configs/profiles/. The cost of one engine step,
in milliseconds, with `b` decoding sequences holding `c` context tokens in all,
and `p` prompt tokens prefilled in the same step:

    decode(b, c)  = curve(b) + context_ns_per_token * (c - b * reference_context) / 1e6
    prefill(p)    = prefill_step_ms + prefill_ms_per_token * p
    step          = max(decode, prefill) + interference * min(decode, prefill)

`curve` is the measured step time by batch size, linear between its points.
Decoding is bound by memory bandwidth and prefill by arithmetic, so a step that
does both costs less than their sum: `interference` says how much of the smaller
part shows (0: hidden entirely; 1: none hidden).

Where kernel times are known, `step` says what a step costs instead (step_cost.py), and
the figures above are read off it for those who ask for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from simulator import strict_yaml
from simulator.home import configs
from simulator.model.step_cost import Curve, StepCost, interpolated, pairs, rises


class Strict(BaseModel):
    """Frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Timing(Strict):
    """Cost of the engine's steps; the module's docstring has the formula.

    Attributes:
        decode_step_ms: decode step time in ms by number of sequences, ascending.
        context_ns_per_token: decode time for each context token past the reference.
        reference_context: tokens of context per sequence in `decode_step_ms`.
        prefill_ms_per_token: slope of prefill.
        prefill_step_ms: fixed part of a step with prefill.
        interference: share of the smaller of both parts that shows, 0 to 1.
        request_overhead_ms: before a request reaches the scheduler (parsing,
            tokenizing, hand-over), once a request.
        warm_up_s: before the first step of all (graph capture, kernels compiled); who comes
            meanwhile waits and shares that step.
        step: the cost by kernel times; the first six figures are not given beside it.

    """

    step: StepCost | None = None
    decode_step_ms: Curve
    context_ns_per_token: float = Field(0, ge=0)
    reference_context: int = Field(1000, ge=0)
    prefill_ms_per_token: float = Field(ge=0)
    prefill_step_ms: float = Field(0, ge=0)
    interference: float = Field(0, ge=0, le=1)
    request_overhead_ms: float = Field(0, ge=0)
    warm_up_s: float = Field(0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _read_off_the_step(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("step") is None:
            return values
        step = StepCost.model_validate(values["step"])
        read = _figures_of(step)
        if both := sorted(name for name in read if values.get(name, read[name]) != read[name]):
            raise ValueError(f"give either step or {', '.join(both)}")
        return {**values, **read}

    @model_validator(mode="after")
    def _curve_rises(self) -> Self:
        if not rises(self.decode_step_ms):
            raise ValueError(
                "decode_step_ms: sizes from 1 on and positive times, both of which ascend"
            )
        return self

    def seconds(self, prefill_tokens: int, prefill_pairs: float, batch: int, context: int) -> float:
        """Seconds of one step; see `StepCost.seconds`."""
        if self.step is not None:
            return self.step.seconds(prefill_tokens, prefill_pairs, batch, context)
        decode = prefill = 0.0
        if batch:
            past = (context - batch * self.reference_context) * self.context_ns_per_token / 1e6
            decode = interpolated(self.decode_step_ms, batch) + (past if past > 0.0 else 0.0)
        if prefill_tokens:
            prefill = self.prefill_step_ms + self.prefill_ms_per_token * prefill_tokens
        low, high = (decode, prefill) if decode < prefill else (prefill, decode)
        return (high + self.interference * low) / 1000

    def decoding_s(self, batch: int, contexts: Sequence[int]) -> list[float]:
        """Seconds of steps that only decode, all of one batch: `seconds` for each context.

        Contexts ascend; there is at least one.
        """
        if self.step is not None:
            return self.step.decoding_s(batch, contexts)
        level, context_ns = interpolated(self.decode_step_ms, batch), self.context_ns_per_token
        known = batch * self.reference_context
        if contexts[0] >= known:
            return [(level + (context - known) * context_ns / 1e6) / 1000 for context in contexts]
        return [
            (level + max(0.0, (context - known) * context_ns / 1e6)) / 1000 for context in contexts
        ]


def _figures_of(step: StepCost) -> dict[str, Any]:
    """`Timing`'s figures at 1,000 tokens of context a sequence and in prompts of 2,048."""

    def ms(tokens: int, batch: int) -> float:
        return 1000 * step.seconds(tokens, pairs(tokens, 0), batch, 1000 * batch)

    slope = (ms(2048, 0) - ms(512, 0)) / (2048 - 512)
    return {
        "decode_step_ms": {batch: ms(0, batch) for batch in (1, 8, 16, 32, 64, 128, 256)},
        "context_ns_per_token": step.context_ns,
        "reference_context": 1000,
        "prefill_ms_per_token": slope,
        "prefill_step_ms": max(0.0, ms(2048, 0) - 2048 * slope),
        # Both share the weights' reading, so what decoding adds to a prefill is its attention.
        "interference": max(0.0, min(1.0, (ms(2048, 16) - ms(2048, 0)) / ms(0, 16))),
    }


class Scheduling(Strict):
    """The engine settings that shape a schedule, by vLLM's names.

    Attributes:
        long_prefill_token_threshold: most tokens of one prompt in a step; 0: no bound
            but max_num_batched_tokens. Chunked prefill only.
        num_gpu_blocks: size of the KV cache in blocks.
        scheduler_reserve_full_isl: a prompt begins only once all of it fits.
        async_scheduling: a step is decided on when the one before it begins.

    vLLM's own defaults of the last two are on; profiles made from documents, which did
    not measure with them, leave them off.

    """

    max_num_seqs: int = Field(64, ge=1)
    max_num_batched_tokens: int = Field(4096, ge=1)
    long_prefill_token_threshold: int = Field(0, ge=0)
    enable_chunked_prefill: bool = True
    enable_prefix_caching: bool = True
    scheduler_reserve_full_isl: bool = False
    async_scheduling: bool = False
    scheduling_policy: Literal["fcfs", "priority"] = "priority"
    block_size: int = Field(16, ge=1)
    num_gpu_blocks: int = Field(ge=2)

    @model_validator(mode="after")
    def _budget_holds_the_batch(self) -> Self:
        if self.max_num_batched_tokens < self.max_num_seqs:
            raise ValueError("max_num_batched_tokens must be at least max_num_seqs")
        return self


class SleepCosts(Strict):
    """What it costs that an engine gives up its card, and comes back.

    The defaults are of a 4B model on an A100 (Phi-3-vision, 8 GiB): vLLM's own measurements,
    https://blog.vllm.ai/2025/10/26/sleep-mode.html, but for `sleep_s` and `unload_s`, which it
    does not tell: the copy at the same speed, and an engine's end.

    Attributes:
        sleep_s: weights to host memory (level 1).
        wake_s: weights back from there.
        reload_s: reading weights from disk into an engine that is there (level 2).
        load_s: starting an engine anew.
        unload_s: ending one.
        weights_gib: of host memory, while it sleeps at level 1.

    """

    sleep_s: float = Field(0.8, ge=0)
    wake_s: float = Field(0.82, ge=0)
    reload_s: float = Field(1.76, ge=0)
    load_s: float = Field(48.0, ge=0)
    unload_s: float = Field(2.0, ge=0)
    weights_gib: float = Field(8.0, gt=0)


class Profile(Strict):
    """One named profile.

    Attributes:
        source: where the figures come from.
        mean_output_tokens: answers end by themselves after this many tokens on
            average (geometric); None: they always run to `max_tokens`.
        script: file of what it says where a conversation fits (simulator/script/model.py).
        sleep: what giving up the card costs.

    """

    name: str
    source: str
    timing: Timing
    scheduling: Scheduling
    sleep: SleepCosts = SleepCosts()
    mean_output_tokens: float | None = Field(None, gt=1)
    script: str | None = None


class FixedTiming(Strict):
    """An engine without contention: every request has the same TTFT and ITL.

    For measuring what stands before an engine: the batch does not get in the way.

    Attributes:
        ttft_s: seconds to the first token.
        itl_s: seconds between tokens.
        in_step: further tokens come at the engine's steps, one each `itl_s`, for all
            sequences together, as continuous batching gives them (the first gap is
            shorter). False: every sequence keeps a time of its own.

    """

    ttft_s: float = Field(0.01, ge=0)
    itl_s: float = Field(0.01, ge=0)
    in_step: bool = True


PROFILES = configs("profiles")


def profile_path(name_or_path: str) -> Path:
    """Where a profile lies: a shipped one by name, or any file.

    Raises FileNotFoundError.
    """
    return named_file(name_or_path, PROFILES, "profile")


def named_file(name_or_path: str, folder: Path, kind: str) -> Path:
    """A YAML file by its name in `folder`, or by a path.

    Raises FileNotFoundError, naming those that are shipped.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = folder / f"{name_or_path}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
        raise FileNotFoundError(f"no {kind} '{name_or_path}' (shipped: {known})")
    return path


def load_profile(name_or_path: str) -> Profile:
    """A profile. Raises FileNotFoundError, yaml.YAMLError or pydantic's ValidationError."""
    return Profile.model_validate(strict_yaml.load(profile_path(name_or_path).read_text()))
