"""Public traces and request logs: a few lines of each form, written by hand."""

import json

import pytest

from fleet.simulation import simulate
from fleet.traffic.recorded import Replay
from fleet.traffic.traces import NoTrace, read_traces
from tests.unit.fleet.simulation.small_fleet import rows, spec

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
"""
AZURE_2024 = """TIMESTAMP,ContextTokens,GeneratedTokens
2024-05-10 00:00:00.009930+00:00,2162,5
2024-05-10 00:00:00.017335+00:00,2399,6
"""
BURST = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45,ChatGPT,1087,0,1087,Conversation log
118,GPT-4,417,276,693,API log
"""
BURST_3 = """Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Log Type
1.5,7,3.2,ChatGPT,100,20,Conversation log
31.5,7,2.0,ChatGPT,150,30,Conversation log
"""
MOONCAKE = """{"timestamp": 1000, "input_length": 1100, "output_length": 5, "hash_ids": [1, 2, 3]}
{"timestamp": 9000, "input_length": 1030, "output_length": 5, "hash_ids": [1, 2, 9]}
"""


def log_line(at, code="200", **fields):
    usual = {
        "time": f"2026-03-01T10:00:{at:02d}.000000Z",
        "tenant": "acme",
        "tier": "paid",
        "reason": "default",
        "score": 0.2,
        "code": code,
        "prompt_tokens": 900,
        "completion_tokens": 40,
        "duration_s": 2.0,
        "model": "small",
        "background": None,
        "tool_outcomes": None,
        "cached_tokens": 320,
        "session": "ab",
    }
    return json.dumps(usual | fields) + "\n"


def read(tmp_path, text, **more):
    path = tmp_path / "trace"
    path.write_text(text)
    return read_traces([path], **more)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (AZURE, [(0.0, 374, 44), (4.314579, 396, 109)]),
        (AZURE_2024, [(0.0, 2162, 5), (0.007405, 2399, 6)]),
        (BURST, [(0.0, 472, 18), (113.0, 417, 276)]),
        (BURST_3, [(0.0, 100, 20), (30.0, 150, 30)]),
        (MOONCAKE, [(0.0, 1100, 5), (8.0, 1030, 5)]),
        ("\ufeff" + AZURE.replace("\n", "\r\n"), [(0.0, 374, 44), (4.314579, 396, 109)]),
    ],
)
def test_each_form_is_read_from_time_zero(tmp_path, text, seen):
    found = read(tmp_path, text)

    assert [(x.at, x.prompt_tokens, x.output_tokens) for x in found] == [
        (pytest.approx(at, abs=1e-5), prompt, output) for at, prompt, output in seen
    ]


def test_a_session_of_a_trace_has_read_its_history_before(tmp_path):
    first, second = read(tmp_path, BURST_3)

    assert (first.history_tokens, second.history_tokens) == (0, 120)


def test_equal_hashes_are_equal_content(tmp_path):
    """Of the second prompt, two whole blocks of 512 are the first's."""
    report = simulate(spec(), Replay(read(tmp_path, MOONCAKE), "paid"), duration_s=30)

    assert rows(report)["chat", "paid"].cached_ratio == pytest.approx(1024 / 2130, abs=0.01)


def test_a_request_log_is_read_by_when_requests_came(tmp_path):
    """A line's time is its end; refused requests get the tenant's usual length."""
    refused = {"prompt_tokens": None, "completion_tokens": None, "duration_s": 0.0, "reason": None}
    lines = [
        log_line(10, duration_s=9.0),
        log_line(5, reason="pinned"),
        log_line(12, "shed", **refused),
        log_line(20, reason="sub_agent", tool_outcomes=["valid"], background="header"),
    ]

    a, b, c, d = read(tmp_path, "".join(lines))

    assert [x.at for x in (a, b, c, d)] == [0.0, 2.0, 11.0, 17.0]
    assert (b.model, a.model) == ("small", None)
    assert (c.prompt_tokens, c.output_tokens, c.code) == (900, 40, "shed")
    assert d.has_tools and d.is_background and d.is_sub_agent
    assert a.shared_tokens == 320


def test_the_log_of_an_older_release_has_no_sessions(tmp_path):
    line = {
        k: v for k, v in json.loads(log_line(5)).items() if k not in ("session", "cached_tokens")
    }

    (one,) = read(tmp_path, json.dumps(line))

    assert (one.session, one.history_tokens, one.shared_tokens) == ("", 0, 0)


def test_a_replayed_conversation_finds_its_own_prefix(tmp_path):
    """The second request of a session begins with the first one's prompt and answer."""
    lines = log_line(10) + log_line(30, prompt_tokens=1000)

    report = simulate(spec(), Replay(read(tmp_path, lines), "paid"), duration_s=60)

    row = rows(report)["chat", "paid"]
    assert row.answered == 2
    assert row.cached_ratio == pytest.approx(940 / 1900, abs=0.03)


def test_a_replay_runs_faster_on_request(tmp_path):
    report = simulate(spec(), Replay(read(tmp_path, BURST), "paid", speed=10), duration_s=20)

    assert rows(report)["chat", "paid"].answered == 2


def test_at_most_so_many_are_read(tmp_path):
    assert len(read(tmp_path, AZURE, most=1)) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", "neither an Azure"),
        ('{"a": 1}\n', "neither an Azure"),
        ("{nonsense\n", ":1: is no JSON"),
        ("[1]\n", "neither an Azure"),
        (AZURE + "yesterday,1,2\n", ":4: cannot be read"),
        (MOONCAKE + '{"timestamp": 1}\n', ":3: cannot be read"),
        (MOONCAKE + "7\n", ":3: is no JSON object"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(tmp_path, text, words):
    with pytest.raises(NoTrace, match=words):
        read(tmp_path, text)


def test_files_of_different_years_are_not_one_trace(tmp_path):
    files = tmp_path / "2023.csv", tmp_path / "2024.csv"
    for file, text in zip(files, (AZURE, AZURE_2024.replace("+00:00", "")), strict=True):
        file.write_text(text)
    with pytest.raises(NoTrace, match="175 days without a request"):
        read_traces(files)
    assert len(read_traces(files[:1])) == 2


def test_an_empty_file_has_no_requests(tmp_path):
    assert read(tmp_path, "") == []
