"""Log-probabilities as the pinned vLLM writes them, and what is left without them."""

import pytest

from serve_app.protocol.logprobs import logprobs_of, without_logprobs
from serve_app.protocol.sse import parsed_json


@pytest.mark.slow
def test_a_chunk_without_them_is_what_vllm_writes_of_itself():
    """Byte by byte, whatever stands in a token; one of them has no figure."""
    from vllm.entrypoints.openai.chat_completion.protocol import (
        ChatCompletionLogProbs,
        ChatCompletionLogProbsContent,
        ChatCompletionResponseStreamChoice,
        ChatCompletionStreamResponse,
        DeltaMessage,
    )

    def chunk(told) -> bytes:
        choice = ChatCompletionResponseStreamChoice(
            index=0, delta=DeltaMessage(content='x"]}'), logprobs=told, finish_reason=None
        )
        made = ChatCompletionStreamResponse(id="a", created=1, choices=[choice], model="m")
        return made.model_dump_json(exclude_unset=True).encode()

    told = ChatCompletionLogProbs(
        content=[
            ChatCompletionLogProbsContent(token='x"]}', logprob=-0.5, bytes=[1], top_logprobs=[]),
            ChatCompletionLogProbsContent(token="é", bytes=[195, 169]),
        ]
    )

    assert without_logprobs(chunk(told)) == chunk(None)
    assert logprobs_of(parsed_json(chunk(told))["choices"][0]) == [-0.5]
