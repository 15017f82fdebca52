"""Ray's commands ask this user's Ray, and no other that happens to run."""

from ipaddress import ip_address
from pathlib import Path

import pytest

from serve_app.machine import known_ray
from serve_app.machine.known_ray import main
from serve_app.machine.port_owner import Listener
from serve_app.machine.ports import Open, row_of

pytestmark = pytest.mark.security


@pytest.fixture
def called(monkeypatch):
    """What Ray's program was run with: its arguments, and the addresses in its environment."""
    calls = []
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_DASHBOARD_ADDRESS"):
        # Restored afterwards, whatever `main` sets.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)

    def execv(path, argv) -> None:
        names = ("RAY_DASHBOARD_ADDRESS", "RAY_ADDRESS")
        calls.append((Path(path).name, argv[1:], *(known_ray.os.environ.get(x) for x in names)))

    monkeypatch.setattr(known_ray.os, "execv", execv)
    before = known_ray.os.umask(0o022)
    yield calls
    known_ray.os.umask(before)


def running(monkeypatch, *processes: tuple[str, int]) -> None:
    found = []
    for name, port in processes:
        listener = Listener(ip_address("127.0.0.1"), port, 0, 0)
        found.append(Open(listener, name, 1, row_of(name, listener)))
    monkeypatch.setattr(known_ray, "open_ports", lambda _: found)


@pytest.mark.parametrize(
    "argv", [["serve", "status"], ["serve", "deploy", "x.yaml"], ["ray", "status"]]
)
def test_with_none_of_ours_nobody_is_asked(called, monkeypatch, capsys, argv):
    running(monkeypatch)
    assert main(argv) == 1
    assert "no Ray of this user runs" in capsys.readouterr().err
    assert called == []


@pytest.mark.parametrize("argv", [["serve", "status"], ["ray", "list", "actors"]])
def test_ours_is_asked_wherever_it_listens(called, monkeypatch, argv):
    running(monkeypatch, ("dashboard", 8266), ("gcs_server", 41347))
    monkeypatch.setenv("RAY_DASHBOARD_ADDRESS", "http://127.0.0.1:8265")
    main(argv)
    assert called == [(argv[0], argv[1:], "http://127.0.0.1:8266", "127.0.0.1:41347")]


@pytest.mark.parametrize(
    "argv",
    [
        ["serve", "run", "serve_config.yaml"],
        ["serve", "status", "-a", "http://10.0.0.1:8265"],
        ["serve", "--help"],
        ["ray", "start", "--head"],
        ["ray", "status", "--address=10.0.0.1:6379"],
        ["ray", "get-auth-token"],
        ["ray", "up", "cluster.yaml"],
    ],
)
def test_a_command_that_asks_nobody_or_is_told_whom_is_left_alone(called, monkeypatch, argv):
    running(monkeypatch)
    main(argv)
    assert called == [(argv[0], argv[1:], None, None)]


def test_an_address_in_the_environment_is_one_that_is_told(called, monkeypatch):
    running(monkeypatch)
    monkeypatch.setenv("RAY_DASHBOARD_ADDRESS", "http://10.0.0.1:8265")
    main(["serve", "status"])
    assert called == [("serve", ["status"], "http://10.0.0.1:8265", None)]


def test_a_directory_that_others_can_enter_is_asked_for_nothing(called, monkeypatch, tmp_path):
    running(monkeypatch, ("dashboard", 8266), ("gcs_server", 41347))
    tmp_path.chmod(0o777)
    monkeypatch.setenv("POINTSMAN_RUN", str(tmp_path))
    assert main(["serve", "status"]) == 1
    assert called == []


@pytest.mark.parametrize("argv", [["serve", "run", "x.yaml"], ["ray", "start", "--head"]])
def test_a_directory_that_ray_cannot_use_is_told_before_it_starts(
    called, monkeypatch, tmp_path, capsys, argv
):
    long = tmp_path / ("x" * 30)
    long.mkdir(mode=0o700)
    for path, said in ((long, "27 is the most"), (tmp_path / "none", "No such file")):
        monkeypatch.setenv("POINTSMAN_RUN", str(path))
        assert main(argv) == 1
        assert said in capsys.readouterr().err
    assert called == []


def test_a_node_that_joins_a_cluster_keeps_its_files_in_our_directory(
    called, monkeypatch, tmp_path
):
    """Ray's own way is the path that the head uses, whoever may read that one here."""
    monkeypatch.setenv("POINTSMAN_RUN", str(tmp_path))
    monkeypatch.setattr(known_ray, "refuse_long", lambda folder: None)
    joins = ["start", "--address=10.0.0.4:6379"]
    main(["ray", *joins])
    main(["ray", *joins, "--temp-dir", "/elsewhere"])
    main(["ray", "start", "--head"])
    assert [arguments for _, arguments, *_ in called] == [
        [*joins, f"--temp-dir={tmp_path}/ray"],
        [*joins, "--temp-dir", "/elsewhere"],
        ["start", "--head"],
    ]


def test_what_ray_makes_is_for_nobody_else(called, monkeypatch, tmp_path):
    running(monkeypatch)
    main(["ray", "start", "--head"])
    (tmp_path / "made").mkdir()
    assert (tmp_path / "made").stat().st_mode & 0o077 == 0
