"""Ask SmolLM2-135M the questions of `cascade_tasks`, and keep what it knew and what came of it.

    python -m benchmarks.support.cascade_run [QUESTIONS_OF_A_SOURCE]

writes `benchmarks/data/cascade/answers.parquet`, some questions of every source at a time; a run
that is started again goes on with what is missing. `make bench-cascade` needs only that file.

vLLM serves the embedded model offline on the CPU, in float32, as the default fleet's lane does.
Each question is asked greedily for its outcome and its log-probabilities; at the end each is
asked twice at temperature 0.7 for the drafts. Numbers are kept in thousandths.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.support.cascade_tasks import SOURCES, Task, tasks
from benchmarks.support.deployment import ROOT
from evals.cascade.signals import agreement, tokens_of

FILE = ROOT / "benchmarks/data/cascade/answers.parquet"
Row = dict[str, Any]

A_SOURCE = 180
AT_A_TIME = 15
KEPT_TOKENS = 16
MAX_TOKENS = 32
TOP = 20
DRAFTS: dict[str, Any] = {"temperature": 0.7, "n": 2, "seed": 1}
PER_NAT = 1000
LEAST = -30 * PER_NAT
"""Of a log-probability: what is less is as good as never, and a number of 16 bits holds it."""


def main(count: int = A_SOURCE) -> None:
    # Before vLLM is imported; threads that spin would wait for each other on a busy machine.
    os.environ.update(
        VLLM_CPU_OMP_THREADS_BIND="nobind", OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1",
        VLLM_ENABLE_V1_MULTIPROCESSING="0", VLLM_LOGGING_LEVEL="ERROR",
    )  # fmt: skip
    from serve_app.engine.embedded_model import prepare

    rows: list[Row] = pq.read_table(FILE).to_pylist() if FILE.exists() else []
    llm = engine(str(prepare()))
    there = {(row["source"], row["number"]) for row in rows}
    questions = {name: tasks(name, count) for name in SOURCES}
    for begin in range(0, count, AT_A_TIME):
        wanted = [
            (number, task)
            for name, found in questions.items()
            for number, task in list(enumerate(found))[begin : begin + AT_A_TIME]
            if (name, number) not in there
        ]
        rows += asked(llm, wanted)
        _save(rows)
    undrafted = [row for row in rows if row["agreement"] is None]
    for begin in range(0, len(undrafted), AT_A_TIME * len(SOURCES)):
        part = undrafted[begin : begin + AT_A_TIME * len(SOURCES)]
        draft(llm, [(row, questions[row["source"]][row["number"]]) for row in part])
        _save(rows)


def _save(rows: Sequence[Row]) -> None:
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    pq.write_table(table, FILE, compression="zstd", compression_level=19)
    right, drafted = (table[name].to_pylist() for name in ("right", "agreement"))
    is_drafted = [one is not None for one in drafted]
    print(f"{len(rows)} asked, {sum(is_drafted)} drafted, {np.mean(right):.0%} right", flush=True)


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


def asked(llm: Any, questions: Sequence[tuple[int, Task]]) -> list[Row]:
    """Return a row for each question, without drafts."""
    from vllm import SamplingParams

    if not questions:
        return []
    ways = [
        SamplingParams(temperature=0, logprobs=TOP, max_tokens=MAX_TOKENS, stop=task.stop)
        for _, task in questions
    ]
    answers = llm.chat([task.messages for _, task in questions], ways, use_tqdm=False)
    return [
        _row(number, task, answer)
        for (number, task), answer in zip(questions, answers, strict=True)
    ]


def draft(llm: Any, questions: Sequence[tuple[Row, Task]]) -> None:
    """Add to each row whether two drafts of its answer agree, and how many are right."""
    from vllm import SamplingParams

    ways = [
        SamplingParams(**DRAFTS, max_tokens=MAX_TOKENS, stop=task.stop) for _, task in questions
    ]
    answers = llm.chat([task.messages for _, task in questions], ways, use_tqdm=False)
    for (row, task), answer in zip(questions, answers, strict=True):
        drafts = [one.text for one in answer.outputs]
        row["agreement"] = agreement(*drafts)
        row["drafts_right"] = float(np.mean([task.is_right(one) for one in drafts]))


def _row(number: int, task: Task, answer: Any) -> Row:
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
        "agreement": None,
        "drafts_right": None,
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
    main(*map(int, sys.argv[1:]))
