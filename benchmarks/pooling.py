"""Embeddings and rankings of a real encoder, by stock clients: right, and how fast.

The oracle is sentence-transformers with the same checkpoint. Texts are lines of this
repository's own pages, from three words to more than the model reads.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import openai
from numpy.typing import NDArray

from benchmarks.startup import pss_mib
from benchmarks.support import report
from benchmarks.support.deployment import ROOT, cpu_s, deployed, pids_of
from serve_app.engine.embedded_model import encoder_dir

FLEET = ROOT / "benchmarks" / "support" / "pooling_fleet.yaml"
TEXTS = 200
SINGLE = 50
BATCH = 64
WINDOW = 256
MODEL = "text-embedding-3-small"
"""What a stock client asks for; an alias of the lane."""

QUERY = "How do I give a tenant an API key?"
ANSWERS = (
    "Streams are paced once a tenant's tokens a second are spent.",
    "`pointsman tenants add NAME` makes a key and prints it once.",
    "The harvest of apples was late this year.",
)
WRONG: dict[str, tuple[str, dict[str, Any]]] = {
    "empty text": ("/v1/embeddings", {"input": ""}),
    "a list with an empty text": ("/v1/embeddings", {"input": ["a", ""]}),
    "a text that is too long": ("/v1/embeddings", {"input": "word " * 400}),
    "a stream": ("/v1/embeddings", {"input": "a", "stream": True}),
    "other dimensions": ("/v1/embeddings", {"input": "a", "dimensions": 64}),
    "10,000 texts": ("/v1/embeddings", {"input": ["a"] * 10_000}),
    "a model that chats": ("/v1/embeddings", {"input": "a", "model": "chat"}),
    "token ids of another model": ("/v1/embeddings", {"input": [100_000]}),
    "negative token ids": ("/v1/embeddings", {"input": [-7, 5]}),
    "lists of unlike lengths": ("/v1/score", {"queries": ["a", "b"], "documents": ["c"] * 3}),
    "a chat at an encoder": (
        "/v1/chat/completions",
        {"messages": [{"role": "user", "content": "Hi"}], "model": "embed"},
    ),
}

Row = dict[str, float | str]


def texts() -> list[str]:
    """Lines of the pages, every one different."""
    lines = (x.strip() for page in sorted(ROOT.glob("docs/*.md")) for x in _lines(page.read_text()))
    found = [x for x in dict.fromkeys(lines) if len(x.split()) >= 3]
    return found[:: max(1, len(found) // TEXTS)][:TEXTS]


def _lines(text: str) -> Iterator[str]:
    yield from text.splitlines()


def oracle(given: list[str]) -> NDArray[np.float32]:
    """The vectors of sentence-transformers, of length 1."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(encoder_dir()), device="cpu")
    made: NDArray[np.float32] = model.encode(given, normalize_embeddings=True)
    return made


def embedded(client: openai.OpenAI, given: list[str], **more: Any) -> NDArray[np.float32]:
    """The vectors of a deployment, in batches."""
    parts = [given[i : i + BATCH] for i in range(0, len(given), BATCH)]
    cut = {"truncate_prompt_tokens": WINDOW}
    made = [client.embeddings.create(model=MODEL, input=x, extra_body=cut, **more) for x in parts]
    return np.array([row.embedding for answer in made for row in answer.data], np.float32)


def agreement(client: openai.OpenAI) -> list[Row]:
    """The least cosine between a vector and the oracle's."""
    given = texts()
    wanted = oracle(given)
    rows: list[Row] = []
    for form in ("base64", "float"):
        more = {} if form == "base64" else {"encoding_format": form}
        made = embedded(client, given, **more)
        cosines = (made * wanted).sum(1) / np.linalg.norm(made, axis=1)
        rows.append({"what": f"least cosine of {len(given)} texts, {form}", "value": cosines.min()})
    return rows


def speed(client: openai.OpenAI) -> list[Row]:
    """One text at a time, and a batch; with the CPU time of the engine."""
    times = []
    for i in range(SINGLE):
        begun = time.perf_counter()
        client.embeddings.create(model=MODEL, input=f"{QUERY} {i}")
        times.append((time.perf_counter() - begun) * 1000)
    engines = pids_of("VLLM::")
    before, begun, tokens = cpu_s(engines), time.perf_counter(), 0
    for i in range(4):
        batch = [f"{i} {text}" for text in texts()[:BATCH]]
        cut = {"truncate_prompt_tokens": WINDOW}
        tokens += client.embeddings.create(
            model=MODEL, input=batch, extra_body=cut
        ).usage.prompt_tokens
    wall_s, busy_s = time.perf_counter() - begun, cpu_s(engines) - before
    return [
        {"what": "one short text, median ms", "value": statistics.median(times)},
        {"what": f"batches of {BATCH}: tokens/s", "value": tokens / wall_s},
        {"what": "tokens a second of the engine's CPU time", "value": tokens / max(busy_s, 1e-9)},
    ]


def rankings(http: httpx.Client) -> list[Row]:
    """Whether the right document comes first, by both of the routes that clients know."""
    rows: list[Row] = []
    for path in ("/v1/rerank", "/v2/rerank"):
        body = {"model": "embed", "query": QUERY, "documents": ANSWERS}
        best = http.post(path, json=body).json()["results"][0]
        rows.append({"what": f"{path}: place of the right document", "value": best["index"]})
    return rows


def refusals(http: httpx.Client) -> list[Row]:
    """What a client that is slightly wrong hears."""
    found: list[Row] = []
    for what, (path, body) in WRONG.items():
        answer = http.post(path, json=body)
        error = answer.json()["error"]
        said = f"{answer.status_code} {error['code']} ({error['param']}): {error['message']}"
        found.append({"what": what, "said": said[:200]})
    return found


def main() -> None:
    """Start once, ask, write the table."""
    begun = time.monotonic()
    with (
        deployed(fleet=str(FLEET), ready_s=600) as url,
        httpx.Client(base_url=url, timeout=300) as http,
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", timeout=300, max_retries=0) as client,
    ):
        rows: list[Row] = [{"what": "seconds to ready", "value": time.monotonic() - begun}]
        lane = ("ray::ServeReplica:pointsman:lane:embed", "VLLM::")
        rows += [*agreement(client), *speed(client), *rankings(http)]
        rows.append({"what": "memory of the lane, MiB (PSS)", "value": pss_mib(lane)})
        rows += refusals(http)
    notes = (
        "all-MiniLM-L6-v2 on the CPU in float32, one compute thread, beside a simulated chat "
        "lane; asked by the OpenAI SDK. Bar: cosine with sentence-transformers at least 0.999. "
        "Command: `make bench-pooling`."
    )
    report.write("pooling", rows, title="Embeddings and rankings of a real encoder", notes=notes)


if __name__ == "__main__":
    main()
