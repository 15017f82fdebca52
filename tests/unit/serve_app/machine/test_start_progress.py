"""What `make serve` says while a deployment starts, and of one that does not."""

import pytest

from serve_app.machine.start_progress import Progress, Seen, StartFailed, cause_of


def app(status="DEPLOYING", **deployments):
    made = {
        name.replace("lane_", "lane:"): {"status": "UPDATING", "message": "", "replicas": states}
        for name, states in deployments.items()
    }
    return {"pointsman": {"status": status, "message": "", "deployments": made}}


def replica(state):
    return [{"state": state}]


def test_a_lane_is_loading_then_warming_then_ready_each_with_its_time():
    told = Progress(0.0)
    starting = app(lane_chat=replica("STARTING"))
    assert told.observe(Seen(starting), 10.0) == []
    assert told.running(14.0) == "lane chat loading 4 s"
    warming = Seen(starting, frozenset({"lane:chat"}))
    (loaded,) = told.observe(warming, 52.0)
    assert loaded.split() == ["lane", "chat", "loading", "42.0", "s"]
    assert told.running(53.0) == "lane chat warming 1 s"
    warmed, ready = told.observe(Seen(app(lane_chat=replica("RUNNING"))), 55.5)
    assert warmed.split() == ["lane", "chat", "warming", "3.5", "s"]
    assert ready.split() == ["lane", "chat", "ready", "after", "55.5", "s"]
    assert told.observe(Seen(app(lane_chat=replica("RUNNING"))), 60.0) == []


def test_a_lane_whose_warming_was_not_seen_is_still_told():
    """It is short, and the lane may log on another machine."""
    told = Progress(0.0)
    told.observe(Seen(app(lane_chat=replica("STARTING"))), 1.0)
    lines = told.observe(Seen(app(lane_chat=replica("RUNNING"))), 9.0)
    assert [x.split()[2] for x in lines] == ["loading", "ready"]


def test_each_lane_has_its_own_lines():
    told = Progress(0.0)
    both = app(lane_chat=replica("STARTING"), lane_quality=replica("STARTING"))
    told.observe(Seen(both), 1.0)
    assert told.running(3.0) == "lane chat loading 2 s · lane quality loading 2 s"
    (line,) = told.observe(Seen(both, frozenset({"lane:quality"})), 8.0)
    assert line.split()[:3] == ["lane", "quality", "loading"]


def test_a_stage_before_the_deployment_is_told_when_it_ends():
    told = Progress(0.0)
    assert told.end("Ray", "", 1.0) == []
    told.begin("Ray", "", 2.0)
    (line,) = told.end("Ray", "", 14.0)
    assert line.split() == ["Ray", "12.0", "s"]
    told.begin("Ray", "", 20.0)
    assert told.end("Ray", "", 21.0) == []


def test_a_replica_that_fails_is_told_once_with_its_reason():
    told = Progress(0.0)
    seen = app(lane_chat=replica("STARTING"))
    seen["pointsman"]["deployments"]["lane:chat"]["message"] = (
        "A replica failed to start with exception. Retrying 2 more times. Error:\n"
        'Traceback (most recent call last):\n  File "x.py", line 1, in y\n    z()\n'
        "ValueError: No available memory for the cache blocks.\n"
    )
    line, fix = told.observe(Seen(seen), 5.0)
    assert "lane chat" in line
    assert line.endswith("ValueError: No available memory for the cache blocks.")
    assert "lanes.chat.engine_args.quantization: fp8" in fix
    assert told.observe(Seen(seen), 6.0) == []


def test_a_replica_whose_engine_failed_is_told_with_what_the_engine_said():
    seen = app(lane_chat=replica("STARTING"))
    seen["pointsman"]["deployments"]["lane:chat"]["message"] = (
        "A replica failed to start with exception. Retrying 2 more times. Error:\n" + CHAINED
    )
    (line,) = Progress(0.0).observe(Seen(seen, log=ENGINE), 5.0)
    assert line.endswith("ValueError: max_model_len is too long")


@pytest.mark.parametrize("where", ["application", "deployment"])
def test_a_deployment_that_serve_gives_up_ends_the_start(where):
    given = app("DEPLOY_FAILED", lane_chat=replica("STARTING"))
    lane = given["pointsman"]["deployments"]["lane:chat"]
    if where == "application":
        given["pointsman"]["message"] = "RuntimeError: no such fleet"
    else:
        lane |= {"status": "DEPLOY_FAILED", "message": "RuntimeError: no such fleet"}
    with pytest.raises(StartFailed, match="no such fleet"):
        Progress(0.0).observe(Seen(given), 1.0)


BUILD = """Deploying app 'pointsman' failed with exception:
Traceback (most recent call last):
  File "/x/application_state.py", line 1, in build_serve_application
    app = build(args)
  File "/x/serve_app/app.py", line 70, in build
    raise ConfigError(f"fleet: no file {path}")
serve_app.config.errors.ConfigError: fleet: no file /x/configs/fleets/nowhere.yaml
"""

CHAINED = """Traceback (most recent call last):
  File "a.py", line 1, in a
KeyError: 'x'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "b.py", line 2, in b
RuntimeError: Engine failed. See root cause above.
"""

ENGINE = [
    "\x1b[36m(ServeReplica:pointsman:lane:chat pid=1)\x1b[0m INFO loading",
    "(ServeReplica pid=1) (EngineCore pid=2) ERROR [core.py:9] Traceback (most recent call last):",
    "(ServeReplica pid=1) (EngineCore pid=2) [core.py:9] ValueError: max_model_len is too long",
    "(ServeReplica pid=1) (APIServer pid=1) RuntimeError: It failed. See root cause above.",
    "(ServeReplica pid=1) RuntimeError: something that follows from it",
]


@pytest.mark.parametrize(
    ("text", "log", "cause"),
    [
        (BUILD, [], "ConfigError: fleet: no file /x/configs/fleets/nowhere.yaml"),
        (CHAINED, ENGINE, "ValueError: max_model_len is too long"),
        (CHAINED, [], "RuntimeError: Engine failed. See root cause above."),
        ("KeyError: 'x'\n", ENGINE, "KeyError: 'x'"),
        ("usage: serve run\nError: no such option\n\n", [], "Error: no such option"),
        ("\x1b[31mERROR\x1b[0m it broke", [], "ERROR it broke"),
        ("", [], "no reason was given"),
    ],
)  # fmt: skip
def test_the_cause_is_the_sentence_that_says_why(text, log, cause):
    assert cause_of(text, log) == cause


def test_a_cause_of_several_lines_is_told_in_one():
    text = (
        "ValidationError: 2 errors for Fleet\n  lanes: field required\n  routing: unknown\n\nmore"
    )
    assert cause_of(text) == (
        "ValidationError: 2 errors for Fleet lanes: field required routing: unknown"
    )


def test_a_lane_that_waits_for_a_card_that_no_node_has_is_told_once():
    """Ray waits for ever; Serve says so after half a minute, and again each minute."""
    told = Progress(0.0)
    seen = app(lane_agent=[{"state": "STARTING"}])
    state = seen["pointsman"]["deployments"]["lane:agent"]
    message = (
        "Deployment 'lane:agent' in application 'pointsman' has {} replicas that have taken more "
        "than 30s to be scheduled. This may be due to waiting for the cluster to auto-scale or "
        'for a runtime environment to be installed. Resources required for each replica: {{"GPU": '
        '1.0, "accelerator_type:GeForce-RTX-4090": 0.001}}, total resources available: {{"CPU": '
        "16.0}}. Use `ray status` for more details."
    )
    state["message"] = message.format(1)
    line, fix = told.observe(Seen(seen), 40.0)
    assert 'waits for a card: {"GPU": 1.0' in line
    assert 'total resources available: {"CPU": 16.0}' in line
    assert "lanes.agent.enabled: false" in fix
    state["message"] = message.format(2)
    assert told.observe(Seen(seen), 100.0) == []


def test_a_worker_that_is_slow_to_start_is_no_shortage():
    """As Serve said it on a busy host of two cores, where every lane started a minute later."""
    told = Progress(0.0)
    seen = app(lane_chat=[{"state": "STARTING"}])
    seen["pointsman"]["deployments"]["lane:chat"]["message"] = (
        "Deployment 'lane:chat' in application 'pointsman' has 1 replicas that have taken more "
        "than 30s to be scheduled. This may be due to waiting for the cluster to auto-scale or "
        'for a runtime environment to be installed. Resources required for each replica: [{"CPU": '
        '0.1, "GPU": 0.0}], total resources available: {}. Use `ray status` for more details.'
    )
    assert told.observe(Seen(seen), 40.0) == []
