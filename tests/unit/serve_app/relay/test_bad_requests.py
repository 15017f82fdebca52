"""A request on which engines fail: told apart from a sick replica, and paid by nobody else."""

import asyncio
import json

import pytest

from router.recovery.breaker import BreakerConfig
from serve_app.config.serving import RecoveryConfig
from serve_app.placement.lanes import Replica, Unreachable, UpstreamFault
from serve_app.transport.upstream import BrokenConnection
from tests.unit.serve_app.admission.test_admission import TOKEN, GatedLanes, is_idle, with_slots
from tests.unit.serve_app.conftest import FakeLanes, FakeResponse
from tests.unit.serve_app.relay.test_stream_recovery import with_fleet
from tests.unit.serve_app.simulated_lanes import Break, SimulatedLanes
from tests.unit.serve_app.socket_world import until
from tests.unit.serve_app.websocket.test_websocket import bearer

CHAT = "/v1/chat/completions"
HI = {"messages": [{"role": "user", "content": "Say hi."}]}
BAD = {**HI, "structured_outputs": {"regex": r"\p{L}+"}}
ROUTES = {
    CHAT: HI,
    "/v1/completions": {"prompt": "Say hi."},
    "/v1/messages": {**HI, "max_tokens": 9},
    "/v1/responses": {"input": "Say hi."},
}
OUTCOMES = ("retried", "resumed", "failed")
# As vLLM 0.29 says it, whole and in streams; on `/v1/messages` without a code.
CRASH = {
    "error": {
        "message": "'bool' object has no attribute 'get'",
        "type": "InternalServerError",
        "param": None,
        "code": 500,
    }
}
TOLD = {"type": "error", "error": {"type": "internal_error", "message": "'x' is not y"}}
DONE = b"data: [DONE]\n\n"


def crash(status=500, body=CRASH) -> FakeResponse:
    return FakeResponse(json.dumps(body).encode(), status=status)


def crash_event(data=CRASH, *before: bytes) -> FakeResponse:
    event = b"data: " + json.dumps(data).encode() + b"\n\n"
    return FakeResponse(*before, event + DONE, content_type="text/event-stream")


class RankedLanes(FakeLanes):
    """Replicas that are avoided come last, as Serve's do; each answers by what it is asked."""

    def __init__(self, replicas, answer) -> None:
        super().__init__()
        self.replicas, self.answer = replicas, answer

    async def choose(self, lane, session_key, avoid=frozenset()) -> Replica:
        return Replica(min(self.replicas, key=lambda name: (name in avoid, name)), lane)

    async def open(self, replica, path, body, headers):
        self.opened.append((replica.id, json.loads(body)))
        answer = self.answer(replica.id, json.loads(body))
        if isinstance(answer, type):
            raise answer(replica.id)
        return answer

    @property
    def asked_of(self) -> list[str]:
        return [replica for replica, _ in self.opened]


def lanes_of(world, count, answer) -> RankedLanes:
    lanes = RankedLanes([f"r{i + 1}" for i in range(count)], answer)
    world.use(lanes)
    return lanes


def recoveries(world) -> list[float]:
    name = "pointsman_stream_recoveries_total"
    return [world.count(name, outcome=outcome) for outcome in OUTCOMES]


def faults_of(world, lane="chat") -> dict[str, int]:
    return {name: x.faults for name, x in world.fault_book.breakers(lane).replicas.items()}


def code_of(response) -> tuple[int, str]:
    error = response.json()["error"]
    return response.status_code, error["code"]


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("how", ["whole", "stream refused", "event"])
@pytest.mark.parametrize(("replicas", "asked"), [(1, ["r1"]), (2, ["r1", "r2"]), (9, ["r1", "r2"])])
async def test_what_healthy_engines_fail_on_is_a_bad_request(
    world, path, how, replicas, asked
) -> None:
    """One other is tried where there is one; nothing is counted, nobody is ejected."""
    told = TOLD if path == "/v1/messages" else CRASH
    lanes = lanes_of(world, replicas, lambda *_: crash_event(told) if how == "event" else crash())

    for _ in range(5):
        body = {**ROUTES[path], "stream": how != "whole"}
        response = await world.post(path, body, key="acme")

        assert code_of(response) == (400, "invalid_request")
        assert "retry-after" not in response.headers
        assert "attribute" not in response.text and "Say hi" not in response.text
    assert lanes.asked_of == asked * 5
    assert recoveries(world) == [0, 0, 0]
    assert set(faults_of(world).values()) <= {0}
    assert world.pipeline.book.ejected() == {}
    assert (world.reserved(), world.in_flight) == (0, 0)


async def test_the_engine_s_words_are_passed_on_where_they_can_be_read(world) -> None:
    """And nothing of them that is not for clients."""
    words = "min_p must be in [0, 1], got 3.0. See vllm.sampler for more of it."
    lanes_of(world, 1, lambda *_: crash(body={"error": {"message": words, "code": 500}}))

    response = await world.post(CHAT, BAD, key="acme")

    assert response.json()["error"]["message"] == "min_p must be in [0, 1], got 3.0."


@pytest.mark.parametrize(
    "words",
    [
        "'int' object is not iterable",
        "jinja2.environment.Template.render() got multiple values for keyword argument 'messages'",
        "f() got an unexpected keyword argument 'x'",
        "'>' not supported: unsupported operand type(s) for int",
        "KeyError: 3 in <path>",
    ],
)
async def test_a_refusal_that_tells_where_a_program_tripped_is_told_in_our_words(
    world, engine, words
) -> None:
    """vLLM makes a 400 of a TypeError; what it says is no help to a client."""
    refusal = {"error": {"message": words, "code": 400}}
    lanes_of(world, 1, lambda *_: engine(refusal, status=400))

    response = await world.post(CHAT, HI, key="acme")

    assert code_of(response) == (400, "invalid_request")
    assert response.json()["error"]["message"] == "The request is not valid for this model."


@pytest.mark.parametrize("status", [500, 501])
async def test_a_paid_bad_request_ends_nobody_s_free_work(world, gated_free, status) -> None:
    """The free answer arrives; only the bad request is refused."""
    free, lanes = gated_free
    lanes.answer = lambda: crash(status)

    paid = await world.post(CHAT, BAD, key="acme")
    lanes.gates[0].set()
    answered = await free

    assert code_of(paid) == (400, "invalid_request")
    assert answered.status_code == 200
    assert world.count("pointsman_shed_total", tier="free", code="shed") == 0
    assert is_idle(world)


async def test_a_paid_request_that_ends_engines_ends_nobody_s_free_work(world, gated_free) -> None:
    """Two are lost under it, the lane has others; nor is it paid work refused for want of room."""
    free, lanes = gated_free
    lanes.answer = lambda: UpstreamFault("r1")

    paid = await world.post(CHAT, BAD, key="acme")
    lanes.gates[0].set()
    answered = await free

    assert code_of(paid) == (429, "request_rate")
    assert answered.status_code == 200
    assert world.state.admission.log.take_refusals() == ([], 0)
    assert is_idle(world)


async def test_paid_work_that_finds_the_lane_down_still_goes_first(world, gated_free) -> None:
    """Its replica is gone: free work that was sent nothing is shed before it hears so."""
    free, lanes = gated_free
    lanes.answer = lambda: Unreachable("r1")

    paid = await world.post(CHAT, HI, key="acme")
    shed = await free

    assert code_of(paid) == (503, "no_replica")
    assert code_of(shed) == (429, "shed")


@pytest.fixture
async def gated_free(world, engine):
    """A free request that waits for its whole answer, and the lanes it waits at."""
    with_slots(world, 4)

    class Lanes(GatedLanes):
        answer = None

        async def open(self, replica, path, body, headers):
            if self.answer is None:
                return await super().open(replica, path, body, headers)
            answer = self.answer()
            if isinstance(answer, Exception):
                raise answer
            return answer

        async def is_alive(self, replica):
            return True

    def make(gate, streamed):
        answer = engine()
        answer.parts.insert(0, gate)
        return answer

    lanes = Lanes(make)
    world.use(lanes)
    task = asyncio.ensure_future(world.post(CHAT, HI, key="guest"))
    await until(lambda: lanes.answers and lanes.answers[0].waits.is_set())
    yield task, lanes
    task.cancel()


@pytest.mark.security
async def test_a_flood_of_bad_requests_takes_nobody_else_s_retries(world) -> None:
    """300 of one tenant; then a replica dies under another's streams, and all resume."""
    lanes_of(world, 3, lambda *_: crash())
    for _ in range(300):
        assert code_of(await world.post(CHAT, BAD, key="acme")) == (400, "invalid_request")
    ask = {**HI, "max_tokens": 6, "temperature": 0, "stream": True}
    lanes = SimulatedLanes(cuts=[Break(3) for _ in range(60)])
    world.use(lanes)

    asks = (world.post(CHAT, ask, key="slow") for _ in range(60))
    answers = await asyncio.gather(*asks)

    assert all(x.text.endswith("data: [DONE]\n\n") for x in answers)
    assert not any('"error"' in x.text for x in answers)
    assert recoveries(world) == [0, 60, 0]
    assert len(lanes.opened) == 120


@pytest.mark.security
async def test_a_flood_spends_all_of_one_tenant_s_retries_at_most(world) -> None:
    """Refused as before, from then on after one engine's word."""
    lanes = lanes_of(world, 2, lambda *_: crash())
    poor = {"retry_burst": 8, "retry_floor_per_s": 0, "retry_share": 0}
    with_fleet(world, recovery=RecoveryConfig(**poor))

    statuses = [(await world.post(CHAT, BAD, key="acme")).status_code for _ in range(20)]

    assert statuses == [400] * 20
    assert len(lanes.opened) == 20 + 8
    assert recoveries(world) == [0, 0, 0]


async def test_what_another_replica_answers_was_a_fault_of_the_first(world, engine) -> None:
    """Counted like any, so that a replica that fails on everything is left alone."""
    lanes = lanes_of(world, 2, lambda replica, _: crash() if replica == "r1" else engine())

    answers = [await world.post(CHAT, HI, key="acme") for _ in range(4)]

    assert [x.status_code for x in answers] == [200] * 4
    assert lanes.asked_of == ["r1", "r2"] * 3 + ["r2"]
    assert recoveries(world) == [3, 0, 0]
    assert world.pipeline.book.ejected() == {"chat": ["r1"]}


async def test_a_first_event_that_says_so_is_retried_and_counted_once_answered(
    world, stream
) -> None:
    """The head of the second answer alone proves nothing."""
    answer = TOKEN + DONE
    lanes_of(world, 2, lambda name, _: crash_event() if name == "r1" else stream(answer))

    response = await world.post(CHAT, {**HI, "stream": True}, key="acme")

    assert response.content == answer
    assert recoveries(world) == [1, 0, 0]


@pytest.mark.parametrize("lives", [False, None])
async def test_a_dead_engine_is_a_fault_of_its_replica(world, engine, lives) -> None:
    """It answers 500 until it ends; the request is saved."""
    lanes = lanes_of(world, 3, lambda name, _: crash() if name == "r1" else engine())
    lanes.lives = {"r1": lives}
    for replica in lanes.replicas:
        world.fault_book.breakers("chat").note_success(replica, "other", now=0.0)

    response = await world.post(CHAT, HI, key="acme")

    assert response.status_code == 200
    assert lanes.asked_of == ["r1", "r2"]
    assert recoveries(world) == [1, 0, 0]
    assert world.pipeline.book.ejected() == ({} if lives is None else {"chat": ["r1"]})


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_a_replica_that_says_not_now_is_tried_elsewhere(world, engine, status) -> None:
    """It drains, loads or is full: nothing is wrong with the request, whoever lives."""
    lanes = lanes_of(world, 3, lambda name, _: engine() if name == "r3" else crash(status))

    response = await world.post(CHAT, HI, key="acme")

    assert response.status_code == 200
    assert lanes.asked_of == ["r1", "r2", "r3"]
    assert lanes.asked == []


async def test_what_the_second_replica_says_of_the_request_stands(world, engine) -> None:
    """A plain 400, after the first one's crash."""
    refusal = {"error": {"message": "temperature must be in [0, 2], got 9.0.", "code": 400}}
    lanes_of(world, 3, lambda name, _: crash() if name == "r1" else engine(refusal, status=400))

    response = await world.post(CHAT, HI, key="acme")

    assert (*code_of(response), response.json()["error"]["message"]) == (
        400,
        "invalid_request",
        "temperature must be in [0, 2], got 9.0.",
    )
    assert recoveries(world) == [0, 0, 0]


async def test_the_other_is_found_although_all_are_avoided(world, engine) -> None:
    """One that was ejected is better than one that failed on this very request."""
    lanes = lanes_of(world, 3, lambda name, _: crash() if name == "r1" else engine())
    breakers = world.fault_book.breakers("chat")
    breakers.config = BreakerConfig(eject_share=1.0)
    for replica in ("r2", "r3"):
        world.fault_book.tell_breaker("chat", replica, "other", is_gone=True)

    response = await world.post(CHAT, HI, key="acme")

    assert response.status_code == 200
    assert lanes.asked_of == ["r1", "r2"]


# -- streams that have begun ------------------------------------------------------------

ASK = {**HI, "max_tokens": 9, "temperature": 0, "stream": True}


def words(*said: str) -> bytes:
    """Events with token ids, as they are asked for."""
    head = {"id": "c", "object": "x", "created": 1, "model": "small"}
    out = b""
    for number, text in enumerate(said):
        choice = {"index": 0, "delta": {"content": text}, "token_ids": [number + 1]}
        data = {**head, "choices": [choice]}
        if not number:
            data["prompt_token_ids"] = [7, 8]
        out += b"data: " + json.dumps(data).encode() + b"\n\n"
    return out


async def test_a_stream_on_which_two_healthy_engines_fail_ends_as_a_bad_request(world) -> None:
    """After what was sent: one error event, and no third replica."""
    lanes = lanes_of(
        world, 3, lambda name, _: crash_event(CRASH, *([words("a")] if name == "r1" else []))
    )

    response = await world.post(CHAT, ASK, key="acme")

    last = json.loads(response.text.split("\n\n")[-2][6:])
    assert last["error"]["code"] == "invalid_request"
    assert lanes.asked_of == ["r1", "r2"]
    assert set(faults_of(world).values()) <= {0}


async def test_a_stream_whose_only_engine_fails_in_it_is_not_asked_for_again(world) -> None:
    """Text was given: nobody can say that the request is bad."""
    lanes = lanes_of(world, 1, lambda *_: crash_event(CRASH, words("a")))

    response = await world.post(CHAT, ASK, key="acme")

    last = json.loads(response.text.split("\n\n")[-2][6:])
    assert last["error"]["code"] == "no_replica"
    assert lanes.asked_of == ["r1"]


async def test_an_error_event_is_no_token(world) -> None:
    """Neither it nor the end mark after it: what is counted was delivered."""
    lanes_of(world, 1, lambda *_: crash_event(CRASH, words("a", "b")))

    await world.post(CHAT, ASK, key="acme")

    assert world.count("pointsman_tokens_total", tenant="acme", kind="completion") == 2


# -- requests that end engines ----------------------------------------------------------


def breaks(*_) -> FakeResponse:
    return FakeResponse(BrokenConnection("lost"), content_type="text/event-stream")


@pytest.mark.security
@pytest.mark.parametrize("how", ["before the head", "after it", "dead engine"])
async def test_two_replicas_at_most_are_lost_under_one_request(world, how) -> None:
    """Then it says so, with the time after which it may be sent again."""
    answers = {
        "before the head": lambda *_: UpstreamFault,
        "after it": breaks,
        "dead engine": lambda *_: crash(),
    }
    lanes = lanes_of(world, 5, answers[how])
    lanes.lives = dict.fromkeys(lanes.replicas, False)

    response = await world.post(CHAT, BAD, key="acme")

    assert code_of(response) == (429, "request_rate")
    assert int(response.headers["retry-after"]) == 10
    assert "read this request" in response.json()["error"]["message"]
    assert len(lanes.opened) == 2
    assert recoveries(world) == [0, 0, 1]


@pytest.mark.security
async def test_the_same_again_waits_and_others_do_not(world, engine) -> None:
    """The very request of the same tenant: refused without an engine until its time."""
    lanes = lanes_of(
        world,
        5,
        lambda _, body: UpstreamFault if body.get("structured_outputs") else engine(),
    )
    await world.post(CHAT, BAD, key="acme")

    again = [await world.post(CHAT, BAD, key="acme") for _ in range(3)]
    other = await world.post(CHAT, HI, key="acme")

    assert [code_of(x) for x in again] == [(429, "request_rate")] * 3
    assert all(1 <= int(x.headers["retry-after"]) <= 10 for x in again)
    assert other.status_code == 200
    assert len(lanes.opened) == 2 + 1
    assert (world.reserved(), world.in_flight) == (0, 0)


async def test_across_requests_the_losses_count_too(world) -> None:
    """One replica at a time: the client sends it again when Serve has started the next."""
    lanes = lanes_of(world, 1, lambda *_: UpstreamFault)
    with_fleet(world, recovery=RecoveryConfig(attempts=1))

    codes = []
    for number in range(4):
        lanes.replicas = [f"r{number}"]
        codes.append(code_of(await world.post(CHAT, BAD, key="acme")))

    assert codes == [(503, "no_replica")] + [(429, "request_rate")] * 3
    assert len(lanes.opened) == 2


async def test_an_answer_clears_the_suspicion(world, engine) -> None:
    """Chance had taken its replicas; the next loss is its first."""
    dies = {"r1"}
    lanes = lanes_of(world, 2, lambda name, _: UpstreamFault if name in dies else engine())

    answers = [await world.post(CHAT, HI, key="acme") for _ in range(3)]

    assert [x.status_code for x in answers] == [200] * 3
    assert not world.fault_book.suspects
    assert lanes.asked_of[:2] == ["r1", "r2"]


async def test_many_equal_requests_under_one_loss_are_all_saved(world, engine) -> None:
    """Each has lost one: their kind has, too."""
    dies = {"r1"}
    lanes_of(world, 3, lambda name, _: UpstreamFault if name in dies else engine())

    answers = await asyncio.gather(*(world.post(CHAT, HI, key="acme") for _ in range(30)))

    assert {x.status_code for x in answers} == {200}


async def test_a_replica_that_fails_one_tenant_alone_is_found_out(world, engine) -> None:
    """Others are answered, elsewhere; what it broke off another answered."""
    fails = lambda name, body: name == "r1" and body.get("seed")  # noqa: E731
    lanes_of(world, 2, lambda name, body: UpstreamFault if fails(name, body) else engine())
    await world.post(CHAT, HI, key="slow")

    for seed in range(1, 4):
        assert (await world.post(CHAT, {**HI, "seed": seed}, key="acme")).status_code == 200

    assert world.pipeline.book.ejected() == {"chat": ["r1"]}


async def test_one_tenant_s_broken_connections_eject_no_lane_that_others_use(world, engine) -> None:
    """Its requests end connections; everybody else's are answered."""
    lanes_of(world, 3, lambda _, body: UpstreamFault if body.get("seed") else engine())
    for _ in range(9):
        assert (await world.post(CHAT, HI, key="slow")).status_code == 200
        await asyncio.gather(
            *(world.post(CHAT, {**HI, "seed": i + 1}, key="acme") for i in range(9))
        )
        assert world.pipeline.book.ejected() == {}


# -- the chat socket --------------------------------------------------------------------


async def test_on_a_socket_it_is_the_same(socket_world) -> None:
    """Over real endpoints, which are asked for their health."""
    ingress = socket_world.ingresses[0]
    client = await socket_world.connect(headers=bearer(socket_world, "acme"))

    client.chat("a", text="Hello [fail]")
    failed = await client.until_end("a")
    client.chat("b", text="Hello")
    answered = await client.until_end("b")

    assert failed[-1]["status"] == 400
    assert failed[-1]["error"]["code"] == "invalid_request"
    assert answered[-1]["type"] == "done"
    assert sum(ingress.count("pointsman_stream_recoveries_total", outcome=x) for x in OUTCOMES) == 0
    assert ingress.pipeline.book.ejected() == {}
