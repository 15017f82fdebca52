"""The table: what it names exists, and the files are what it says."""

import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serve_app.cli import build_parser
from serve_app.cli import main as pointsman
from serve_app.config.settings import fleet_path, load_fleet
from serve_app.observe.exported import engine_families, exported, names_in, own_families
from serve_app.observe.files import RUNBOOKS, Wanted, all_files, different
from serve_app.observe.limits import limits_of
from serve_app.observe.prometheus import Scrape, scrape_file
from serve_app.observe.reference import expressions, names_used, series_of
from serve_app.observe.table import ALERTS, DASHBOARDS, recording_rules
from simulator.http.exposition import Exposition

ROOT = Path(__file__).parents[4]
FLEET = load_fleet(fleet_path("rtx4090"))
LIMITS = {x.lane: x for x in limits_of(FLEET)}
RULES = [rule for rules in recording_rules(limits_of(FLEET)).values() for rule in rules]
ALERT_NAMES = [alert.name for alerts in ALERTS.values() for alert in alerts]
PANELS = [panel for dashboard in DASHBOARDS for panel in dashboard.panels]
TITLES = {panel.title for panel in PANELS}
PAGES = sorted(x for x in (ROOT / RUNBOOKS).glob("*.md") if x.stem != "README")
PARTS = ["What it means", "See it", "Do, in order", "Undo", "What it costs"]
LABELS = re.compile(r"(?:by|on|group_left) \(([a-z_, ]*)\)|\{([^}]*)\}")


def test_every_name_is_exported_or_recorded():
    """By an ingress replica, a lane's replica, or the installed vLLM's own source."""
    families = [*exported().values(), *engine_families().values()]
    known = {name for family in families for name in family.series}
    known |= {rule.name for rule in RULES}

    assert names_used() - known == set()
    assert len(names_used()) > 60


def test_a_name_that_is_gone_is_found_out():
    assert names_in("sum by (lane) (vllm:gpu_cache_usage_perc)") == {"vllm:gpu_cache_usage_perc"}
    assert "vllm:gpu_cache_usage_perc" not in engine_families()


def test_every_label_is_one_that_series_have():
    """A matcher or a grouping by a label that nothing has would be silent."""
    families = [*exported().values(), *engine_families().values()]
    known = {label for family in families for label in family.labels}
    known |= {"ingress", "lane", "replica", "engine", "model_name", "le", "job", "instance"}
    known |= {"cache_dtype", "alertname", "alertstate"}
    for expr in expressions():
        for grouping, matchers in LABELS.findall(expr):
            named = re.findall(r"[a-z_]+", grouping) + re.findall(r"([a-z_]+)[!=]", matchers)
            assert set(named) <= known, expr


def test_recorded_series_are_recorded_before_they_are_used():
    """Within a group rules are evaluated in order; the groups before it a moment earlier."""
    seen = set()
    for rule in RULES:
        used = {name for name in names_in(rule.expr) if not name.startswith(("vllm:", "point"))}
        assert used <= seen, rule.name
        seen.add(rule.name)


def test_the_engine_s_families_are_told_apart():
    """As vLLM 0.29 has them: what the guides call gpu_cache_usage_perc has another name now."""
    found = engine_families()

    assert found["vllm:kv_cache_usage_perc"].kind == "gauge"
    assert found["vllm:num_requests_waiting_by_reason"].labels == ("reason",)
    assert found["vllm:time_to_first_token_seconds"].series == tuple(
        f"vllm:time_to_first_token_seconds_{part}" for part in ("bucket", "sum", "count")
    )
    assert len(found) > 30


def test_the_simulated_engine_has_names_of_the_real_one():
    engine = SimpleNamespace(running=0, waiting=0, utilization=lambda: 0.0, preemptions=0)
    text = Exposition(engine, "m", kv_blocks=10, block_size=16).render().decode()
    families = [x for x in text_string_to_metric_families(text) if not x.name.endswith("_created")]

    assert {x.name: x.type for x in families}.items() <= {
        x.name: x.kind for x in engine_families().values()
    }.items()


def test_limits_of_the_guides_card_are_the_guides_to_the_digit():
    chat = LIMITS["chat"]

    assert (chat.ttft_s, chat.token_s, chat.step_s, chat.sessions) == (1.0, 0.012, 0.00667, 25)
    assert LIMITS["agent"].sessions == 12
    assert LIMITS["quality"].share == 0.05


def test_larger_models_and_longer_prompts_may_take_longer():
    """A healthy card with a 32B gives 65 tokens/s at batch 1: that is no fault."""
    assert LIMITS["heavy"].step_s > 1 / 65 > LIMITS["chat"].token_s
    assert LIMITS["quality"].token_s > 2 * LIMITS["chat"].token_s
    # Long prompts are its, too.
    assert LIMITS["quality"].ttft_s == pytest.approx(1.0 + 1.1, abs=0.1)


def test_a_fleet_without_profiles_has_no_limit_of_decode():
    limits = list(limits_of(load_fleet(fleet_path("local"))))

    assert {x.token_s for x in limits} == {None}
    assert {x.ttft_s for x in limits} == {1.0}


def test_the_files_are_in_step_with_the_table():
    """`pointsman observe --write` writes them anew."""
    assert list(different(all_files(Wanted(FLEET, ROOT)), ROOT)) == []


def test_the_command_writes_and_checks(tmp_path, capsys):
    assert pointsman(["observe", "--check", "--into", str(tmp_path)]) == 1
    assert pointsman(["observe", "--write", "--into", str(tmp_path)]) == 0
    assert pointsman(["observe", "--check", "--into", str(tmp_path)]) == 0
    (tmp_path / "configs/prometheus/alerts.yml").write_text("groups: []\n")
    capsys.readouterr()

    assert pointsman(["observe", "--check", "--into", str(tmp_path), "--json"]) == 1
    assert '"different": ["configs/prometheus/alerts.yml"]' in capsys.readouterr().out


def test_files_are_written_beside_the_fleet_they_are_for_and_not_into_the_callers_home(
    tmp_path, capsys, monkeypatch
):
    # The command goes to the home of the fleet, for the rest of its process.
    monkeypatch.setenv("POINTSMAN_HOME", "")
    monkeypatch.chdir(tmp_path)
    fleets = tmp_path / "mine"
    fleets.mkdir()
    (fleets / "own.yaml").write_text(fleet_path("local").read_text())
    home = tmp_path / "home"
    assert pointsman(["init", str(home)]) == 0

    assert pointsman(["observe", "--write", "--fleet", str(fleets / "own.yaml")]) == 0
    assert {x.name for x in fleets.iterdir()} == {"own.yaml", "configs", "docs"}
    path = home / "configs/fleets/local.yaml"
    assert pointsman(["observe", "--write", "--fleet", str(path)]) == 0
    assert (home / "docs/metrics.md").is_file()
    pages = "configs/grafana/dashboards/runbooks.json"
    assert (home / pages).read_text() == (ROOT / pages).read_text()

    monkeypatch.setenv("POINTSMAN_HOME", "")
    capsys.readouterr()
    assert pointsman(["observe", "--write", "--fleet", "rtx4090"]) == 1
    assert "comes with the product: say where to write with --into" in capsys.readouterr().err


@pytest.mark.parametrize(
    "args",
    [["--url", "https://a:1"], ["--url", "8000"], ["--key-file", "/nowhere"], ["--every", "15"]],
)
def test_the_command_refuses_what_it_cannot_use(args, capsys):
    assert pointsman(["observe", "--check", *args]) == 1
    assert args[0] in capsys.readouterr().err


def test_a_key_is_named_by_its_file_and_never_written(tmp_path):
    key = tmp_path / "key"
    key.write_text("pm-secret")

    written = scrape_file(Scrape(key_file=key))

    assert f"credentials_file: {key}" in written
    assert "pm-secret" not in written


@pytest.mark.parametrize(("every", "timeout"), [("1s", "1s"), ("15s", "10s"), ("1m", "10s")])
def test_a_scrape_takes_no_longer_than_its_interval(every, timeout):
    """Prometheus refuses a file in which it would."""
    assert f"scrape_timeout: {timeout}\n" in scrape_file(Scrape(every=every))


def test_no_label_is_without_a_bound():
    """`series_of` knows how many values each has; the largest family is what it is."""
    bounds = {name: series_of(family, lanes=4) for name, family in own_families().items()}

    assert max(bounds, key=bounds.get) == "pointsman_requests"
    assert bounds["pointsman_tokens"] == 51 * 3
    assert sum(bounds.values()) < 10_000


def test_every_alert_has_a_runbook_and_every_runbook_an_alert():
    assert [page.stem for page in PAGES] == sorted(ALERT_NAMES)
    assert len(set(ALERT_NAMES)) == len(ALERT_NAMES)


@pytest.mark.parametrize("page", PAGES, ids=lambda x: x.stem)
def test_a_runbook_has_its_parts_and_what_it_names_is_there(page):
    """Panels by their titles, and commands of ours with arguments that they take."""
    text = page.read_text()
    spans = re.findall(r"`([^`]+)`", text)

    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == PARTS
    for said in spans:
        if said.startswith("pointsman ") and "--help" not in said:
            build_parser().parse_args(shlex.split(said)[1:])
        is_title = re.match(r"[A-Z][a-z]", said) and said not in ALERT_NAMES
        assert not is_title or said in TITLES, said
    assert any(said in TITLES for said in spans)


def test_every_panel_says_what_to_do_and_links_runbooks_that_exist():
    for panel in PANELS:
        assert panel.means.endswith("."), panel.title
        assert set(panel.alerts) <= set(ALERT_NAMES), panel.title
    linked = {name for panel in PANELS for name in panel.alerts}
    assert linked == set(ALERT_NAMES)
