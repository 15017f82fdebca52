"""What `pointsman observe --start` runs, with scripts in the place of the two servers."""

import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

from serve_app.cli import main as pointsman
from serve_app.config.errors import ConfigError
from serve_app.config.settings import fleet_path, home, load_fleet
from serve_app.observe import running
from serve_app.observe.files import Wanted
from serve_app.observe.prometheus import Scrape
from serve_app.observe.running import Ports, processes, start

FLEET = fleet_path("rtx4090")
SERVER = """#!/bin/sh
echo "$@" >"{folder}/{name}.args"
env >"{folder}/{name}.env"
exec sleep 60
"""


@pytest.fixture
def servers(tmp_path, monkeypatch):
    """A folder of programs, the only one on the PATH beside the system's shell."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/bin")
    monkeypatch.setattr(running, "GRAFANA_HOME", tmp_path)

    def make(name, text=SERVER):
        program = folder / name
        program.write_text(text.format(folder=tmp_path, name=name))
        program.chmod(0o755)

    monkeypatch.setattr(running.shutil, "which", lambda name: _found(folder / name))
    return make


def _found(path):
    return str(path) if path.exists() else None


@pytest.fixture
def wanted():
    return Wanted(load_fleet(fleet_path("rtx4090")), home(), Scrape("127.0.0.1:8123"))


def told(path):
    """What a server has written once it runs."""
    deadline = time.monotonic() + 30
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return path.read_text()


def test_both_listen_on_loopback_and_find_their_files(servers, wanted, tmp_path):
    servers("prometheus")
    servers("grafana-server")
    folder = tmp_path / "observe"
    folder.mkdir()

    with processes(wanted, folder, Ports(prometheus=9123, grafana=3123)) as found:
        arguments = told(tmp_path / "prometheus.args")
        grafana = told(tmp_path / "grafana-server.args")
        told(tmp_path / "grafana-server.env")
        pids = [process.pid for process in found.values()]

    assert "--web.listen-address=127.0.0.1:9123" in arguments
    assert "--storage.tsdb.retention.size=4GB" in arguments
    assert f"--config.file={folder}/configs/prometheus/prometheus.yml" in arguments
    assert "127.0.0.1:8123" in (folder / "configs/prometheus/prometheus.yml").read_text()
    assert "cfg:server.http_addr=127.0.0.1 cfg:server.http_port=3123" in grafana
    environment = (tmp_path / "grafana-server.env").read_text()
    assert "POINTSMAN_PROMETHEUS=http://127.0.0.1:9123\n" in environment
    assert f"POINTSMAN_DASHBOARDS={folder}/configs/grafana/dashboards\n" in environment
    assert (folder / "configs/grafana/dashboards/fleet.json").is_file()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_without_grafana_prometheus_runs_alone(servers, wanted, tmp_path):
    servers("prometheus")

    with processes(wanted, tmp_path, Ports()) as found:
        assert list(found) == ["prometheus"]


def test_without_prometheus_it_says_how_to_get_it(servers, capsys, tmp_path):
    assert pointsman(["observe", "--start", "--into", str(tmp_path / "observe")]) == 1
    assert "scripts/install-observe" in capsys.readouterr().err


def test_limits_are_those_of_the_fleet_that_is_served(servers, monkeypatch, tmp_path, capsys):
    """Which serve_config.yaml names, by a path in this case."""
    servers("prometheus", "#!/bin/sh\nexit 3\n")
    monkeypatch.setenv("POINTSMAN_HOME", str(tmp_path))
    own = FLEET.read_text().replace("max_num_seqs: 32", "max_num_seqs: 64")
    (tmp_path / "own.yaml").write_text(own)
    args = {"fleet": str(tmp_path / "own.yaml")}
    served = {"applications": [{"name": "pointsman", "args": args}]}
    (tmp_path / "serve_config.yaml").write_text(yaml.safe_dump(served))

    assert pointsman(["observe", "--start", "--into", str(tmp_path / "observe")]) == 1

    rules = yaml.safe_load((tmp_path / "observe/configs/prometheus/recording.yml").read_text())
    limit = {"record": "lane:limit_active_sessions", "expr": "vector(50)"}
    assert {**limit, "labels": {"lane": "chat"}} in rules["groups"][0]["rules"]
    assert "Grafana is not installed" in capsys.readouterr().out


def test_without_an_application_the_fleet_has_to_be_given(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("POINTSMAN_HOME", str(tmp_path))
    (tmp_path / "serve_config.yaml").write_text("applications: []\n")

    assert pointsman(["observe", "--start"]) == 1
    assert "give --fleet" in capsys.readouterr().err


def test_files_that_promtool_refuses_start_nothing(servers, wanted, tmp_path):
    servers("prometheus")
    servers("promtool", "#!/bin/sh\necho 'no such rule' >&2\nexit 1\n")

    with pytest.raises(ConfigError, match="no such rule"), processes(wanted, tmp_path, Ports()):
        pass
    assert not (tmp_path / "prometheus.args").exists()


def test_a_server_that_ends_is_told_with_where_its_log_is(servers, wanted, tmp_path):
    """As where its port is taken."""
    servers("prometheus", "#!/bin/sh\nexit 3\n")

    with pytest.raises(ConfigError, match=r"prometheus has ended \(3\)") as told_of:
        start(wanted, tmp_path, Ports())
    assert str(tmp_path) in str(told_of.value)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_its_servers(tmp_path, number):
    """Ctrl-C at the keyboard, or a supervisor, also while a server is being started:
    the command ends well, and nothing is left."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "prometheus"
    program.write_text(f"#!/bin/sh\necho $$ >{tmp_path}/pid\nexec sleep 60\n")
    program.chmod(0o755)
    command = [sys.executable, "-m", "serve_app.cli", "observe", "--start", "--fleet", "rtx4090"]
    env = {**os.environ, "PATH": f"{tmp_path}/bin:/bin"}
    with subprocess.Popen([*command, "--into", str(tmp_path)], env=env) as process:
        pid = int(told(tmp_path / "pid"))
        process.send_signal(number)
        assert process.wait(60) == 0

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
