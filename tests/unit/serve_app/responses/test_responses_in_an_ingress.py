"""A whole ingress replica over engines on sockets of their own: what the unit tests fake."""

import asyncio
from pathlib import Path

import httpx
import openai

from serve_app.config.records import ResponsesConfig
from serve_app.relay.forwarder import SuspendedSend
from serve_app.responses.rows import Content, NewResponse, Outcome
from tests.unit.serve_app.responses.storing import ask

ROOT = Path(__file__).parents[4]
FLEET = ROOT / "tests" / "e2e" / "simulated_fleet.yaml"
TENANTS = """
tiers: {small: {responses: {max_responses: 50}}}
tenants: {acme: {tier: small}}
local_tenant: acme
"""


async def test_a_streamed_conversation_goes_on_and_is_found_in_the_state_directory(tmp_path):
    from benchmarks.support.one_process import one_process

    tenants, state = tmp_path / "tenants.yaml", tmp_path / "state"
    tenants.write_text(TENANTS)
    async with one_process(FLEET, tenants, state) as made:
        transport = httpx.ASGITransport(made.app, client=("127.0.0.1", 1))
        client = openai.AsyncOpenAI(
            base_url="http://localhost/v1",
            api_key="none",
            http_client=httpx.AsyncClient(transport=transport),
            max_retries=0,
        )
        previous = None
        for turn in range(4):
            response = await ask(
                client,
                streams=turn % 2 == 0,
                input="Say hello to me.",
                max_output_tokens=4,
                previous_response_id=previous,
            )
            previous = response.id
        listed = [x async for x in client.responses.input_items.list(previous)]
        usage = response.usage.input_tokens

    assert len(listed) == 7 and usage > 3 * len(["Say", "hello", "to", "me."])
    assert (state / "tenancy.db.responses").exists()


async def test_what_was_begun_in_a_callback_is_awaited_by_a_task(world):
    """As the relay does it: a chunk is passed on where it arrives."""
    new = NewResponse("acme", "resp_1", None, Content(b"{}", b"[]", b"[]"))
    begun = asyncio.get_running_loop().create_future()

    def callback() -> None:
        sending = world.responses.keep(new, ResponsesConfig()).__await__()
        begun.set_result(SuspendedSend(next(sending), sending))

    asyncio.get_running_loop().call_soon(callback)
    await (await begun)

    assert (await world.responses.get("acme", "resp_1")).head == b"{}"
    assert await world.responses.keep(new, ResponsesConfig()) is Outcome.ID_TAKEN
