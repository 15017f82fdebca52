"""Ask SmolLM2-135M the questions of `cascade_tasks`, and keep what it knew and what came of it.

    python -m benchmarks.support.cascade_run

writes `benchmarks/data/cascade/answers.parquet`, source by source; a run that is started again
goes on after the sources that are there. `make bench-cascade` needs only that file.

vLLM serves the embedded model offline on the CPU, in float32, as the default fleet's lane does.
Each question is asked greedily for its outcome and its log-probabilities, and twice at
temperature 0.7 for the drafts. Log-probabilities are kept in thousandths of a nat.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.support.cascade_tasks import SOURCES, Task, tasks
from benchmarks.support.deployment import ROOT
from evals.cascade.signals import agreement, tokens_of

FILE = ROOT / "benchmarks/data/cascade/answers.parquet"
A_SOURCE = 60
KEPT_TOKENS = 16
MAX_TOKENS = 32
TOP = 20
DRAFTS = {"temperature": 0.7, "n": 2, "seed": 1}
PER_NAT = 1000
LEAST = -30 * PER_NAT
"""Of a log-probability: what is less is as good as never, and a number of 16 bits holds it."""


def main() -> None:
    # Before vLLM is imported; threads that spin would wait for each other on a busy machine.
    os.environ.update(
        VLLM_CPU_OMP_THREADS_BIND="nobind", OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1",
        VLLM_ENABLE_V1_MULTIPROCESSING="0", VLLM_LOGGING_LEVEL="ERROR",
    )  # fmt: skip
    from serve_app.engine.embedded_model import prepare

    done = pq.read_table(FILE) if FILE.exists() else None
    there = set() if done is None else set(done["source"].to_pylist())
    llm = engine(str(prepare()))
    for name in SOURCES:
        if name in there:
            continue
        rows = pa.Table.from_pylist(asked(llm, tasks(name, A_SOURCE)), schema=SCHEMA)
        done = rows if done is None else pa.concat_tables([done, rows])
        pq.write_table(done, FILE, compression="zstd", compression_level=19)
        print(
            f"{name}: {len(rows)} asked, {np.mean(rows['right'].to_pylist()):.0%} right", flush=True
        )


SCHEMA = pa.schema(
    [
        pa.field("source", pa.string()),
        pa.field("number", pa.int16()),
        pa.field("right", pa.bool_()),
        pa.field("said", pa.string()),
        *(pa.field(name, pa.list_(pa.int16())) for name in ("logprob", "entropy", "margin")),
        pa.field("answer_tokens", pa.int16()),
        pa.field("prompt_tokens", pa.int16()),
        pa.field("agreement", pa.float32()),
        pa.field("drafts_right", pa.float32()),
    ]
)


def engine(model: str) -> Any:
    """Return vLLM around the model, as the default fleet's lane is but for the batch."""
    from vllm import LLM

    return LLM(
        model, dtype="float32", kv_cache_memory_bytes=2**29, block_size=32, max_num_seqs=64,
        max_num_batched_tokens=2048, max_model_len=1024, enforce_eager=True, max_logprobs=TOP,
        seed=0,
    )  # fmt: skip


def asked(llm: Any, questions: Sequence[Task]) -> list[dict[str, Any]]:
    """Return a row for each question."""
    from vllm import SamplingParams

    chats = [task.messages for task in questions]
    bounds = {"max_tokens": MAX_TOKENS, "stop": questions[0].stop}
    greedy = SamplingParams(temperature=0, logprobs=TOP, **bounds)
    answers = llm.chat(chats, greedy, use_tqdm=False)
    drafts = llm.chat(chats, SamplingParams(**DRAFTS, **bounds), use_tqdm=False)
    return [
        _row(number, task, answer, [one.text for one in draft.outputs])
        for number, (task, answer, draft) in enumerate(zip(questions, answers, drafts, strict=True))
    ]


def _row(number: int, task: Task, answer: Any, drafts: Sequence[str]) -> dict[str, Any]:
    said = answer.outputs[0]
    tokens = tokens_of([_content(step, chosen) for step, chosen in _steps(said)])
    return {
        "source": task.source,
        "number": number,
        "right": task.is_right(said.text),
        "said": said.text,
        "logprob": _kept(tokens.logprob),
        "entropy": _kept(tokens.entropy),
        "margin": _kept(tokens.margin),
        "answer_tokens": len(tokens),
        "prompt_tokens": len(answer.prompt_token_ids),
        "agreement": agreement(*drafts),
        "drafts_right": float(np.mean([task.is_right(one) for one in drafts])),
    }


def _steps(said: Any) -> list[tuple[Mapping[int, Any], int]]:
    return list(zip(said.logprobs, said.token_ids, strict=True))


def _content(step: Mapping[int, Any], chosen: int) -> dict[str, Any]:
    """One step of vLLM's own form in OpenAI's."""
    top = [{"logprob": one.logprob} for one in step.values()]
    return {"logprob": step[chosen].logprob, "top_logprobs": top}


def _kept(values: np.ndarray) -> list[int]:
    found = np.maximum(np.rint(values[:KEPT_TOKENS] * PER_NAT), LEAST)
    return [int(one) for one in found]


if __name__ == "__main__":
    main()
