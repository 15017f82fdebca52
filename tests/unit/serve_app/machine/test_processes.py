"""What a deployment leaves behind is found by what it is, and ended by its id."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from serve_app.machine import processes
from serve_app.machine.processes import Process, end, leftovers, ours, read

pytestmark = pytest.mark.security


@pytest.fixture
def haproxy(tmp_path):
    """Starts something under HAProxy's name, as Ray does."""
    program = tmp_path / "haproxy"
    shutil.copy(shutil.which("sleep"), program)
    program.chmod(0o755)
    started = []

    def start(*argv: str) -> subprocess.Popen:
        # `sleep` refuses to run with these; Python sleeps under any command line.
        code = "import time; time.sleep(600)"
        process = subprocess.Popen([str(program), "-c", code, *argv], executable=sys.executable)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def found_in(folder, *pids: int) -> set[int]:
    """Which of these are leftovers, once all have their command lines."""
    deadline = time.monotonic() + 30
    while any("haproxy" not in read(pid).argv[0] for pid in pids):
        assert time.monotonic() < deadline
    return {x.pid for x in leftovers(folder)} & set(pids)


def test_only_one_with_a_configuration_of_this_directory_is_found(haproxy, tmp_path):
    mine = haproxy("-db", "-f", f"{tmp_path}/run/node/haproxy.cfg", "-dR")
    others = haproxy("-db", "-f", f"{tmp_path}/run-of-another/haproxy.cfg")
    says = haproxy("-db", f"haproxy -f {tmp_path}/run/haproxy.cfg")
    pids = [x.pid for x in (mine, others, says)]
    assert found_in(tmp_path / "run", *pids) == {mine.pid}
    [leftover] = leftovers(tmp_path / "run")
    assert end(leftover, within_s=30)
    assert mine.wait(30) == -signal.SIGTERM
    assert end(leftover)
    assert others.poll() is None and says.poll() is None


def test_one_whose_manager_lives_is_left(haproxy, tmp_path, monkeypatch):
    mine = haproxy("-f", f"{tmp_path}/run/haproxy.cfg")
    monkeypatch.setattr(processes, "ITS_MANAGER", read(os.getpid()).name)
    assert found_in(tmp_path / "run", mine.pid) == set()


AGENT = """
import sys, time
with open(sys.argv[1], "w") as log, open("/proc/self/comm", "w") as name:
    name.write("ray::DashboardAgent")
    name.flush()
    print("named", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def agent():
    """Starts something under the name of Ray's agent, with this file open."""
    started = []

    def start(log) -> subprocess.Popen:
        log.parent.mkdir(parents=True)
        command = [sys.executable, "-c", AGENT, str(log)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout.readline() == b"named\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_an_agent_of_ray_whose_raylet_has_ended_is_found_by_its_files(agent, tmp_path, monkeypatch):
    mine = agent(tmp_path / "run/ray/session_1/logs/dashboard_agent.out")
    agent(tmp_path / "run-of-another/ray/session_1/logs/dashboard_agent.out")

    [leftover] = leftovers(tmp_path / "run")

    assert leftover.pid == mine.pid
    monkeypatch.setattr(processes, "THEIR_PARENT", read(os.getpid()).name)
    assert leftovers(tmp_path / "run") == []
    assert end(leftover, within_s=30)


def test_one_whose_parent_may_not_be_looked_into_is_left(agent, tmp_path, monkeypatch):
    agent(tmp_path / "run/ray/session_1/logs/dashboard_agent.out")
    monkeypatch.setattr(processes, "THEIR_PARENT", read(os.getpid()).name)
    monkeypatch.setattr(processes, "read", lambda pid: None if pid == os.getpid() else read(pid))

    assert leftovers(tmp_path / "run") == []


def test_an_agent_is_found_where_a_link_leads_to_the_directory(agent, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "home")
    mine = agent(tmp_path / "home/run/ray/session_1/logs/dashboard_agent.out")

    assert [x.pid for x in leftovers(tmp_path / "link/run")] == [mine.pid]


def test_an_id_that_somebody_else_has_by_now_is_not_signalled(haproxy, tmp_path):
    mine = haproxy("-f", f"{tmp_path}/run/haproxy.cfg")
    found_in(tmp_path / "run", mine.pid)
    now = read(mine.pid)
    end(Process(now.pid, now.parent, now.name, ("haproxy", "-f", "/of/another")), within_s=0.5)
    assert mine.poll() is None


def test_another_users_process_is_not_looked_at(monkeypatch):
    assert os.getpid() in {x.pid for x in ours()}
    monkeypatch.setattr(processes.os, "geteuid", lambda: os.getuid() + 4242)
    assert read(os.getpid()) is None
