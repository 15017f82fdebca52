"""Keys of the fleet file under their old names: read for one release, with a warning."""

import logging

import pytest
import yaml

from router.advice.table import Prices
from serve_app.config.errors import ConfigError, validate
from serve_app.config.fleet import FleetConfig
from serve_app.config.old_names import NEW_NAMES
from serve_app.routing.reload import Reloader
from tests.unit.serve_app.config.test_config import FLEET, TENANTS, changed

RENAMED = [(path, old, new) for path, names in NEW_NAMES.items() for old, new in names.items()]
VALUES = {"can_own": True, "guests": 7, "notes": 7, "moves": 7, "floor_share": 0.02}


def load(*given) -> FleetConfig:
    data = FLEET
    for path, name, value in given:
        data = changed(data, *path, name, value=value)
    return validate(data, FleetConfig, "file.yaml")


@pytest.mark.parametrize(("path", "old", "new"), RENAMED)
def test_an_old_name_is_read_as_the_new_one(path, old, new):
    """With a warning that says both."""
    value = VALUES.get(old, 1.5)

    before, now = load((path, old, value)), load((path, new, value))

    assert before.model_dump() == now.model_dump() != load().model_dump()
    (warning,) = before.outdated
    assert f"{'.'.join(path)}.{old} is called {new} now" in warning
    assert now.outdated == ()


@pytest.mark.parametrize(("path", "old", "new"), RENAMED)
def test_both_names_at_once_are_an_error_that_names_them(path, old, new):
    """Even where they agree: which one is edited next is not known."""
    value = VALUES.get(old, 1.5)

    with pytest.raises(ConfigError) as caught:
        load((path, old, value), (path, new, value))

    for named in (".".join(path), f"'{old}'", f"'{new}'"):
        assert named in str(caught.value)


def test_prices_of_cards_are_read_where_they_stood():
    """With a warning; what stands in both places has to agree."""
    both = (("advice",), "price", {"card": 650, "currency": "EUR"})

    before = load(both, ((), "prices", {"currency": "EUR"}))

    assert before.prices.of_cards == Prices(650, 1000, "EUR")
    (warning,) = before.outdated
    assert "advice.price is a part of prices now" in warning
    with pytest.raises(ConfigError, match="'currency' is another one in prices"):
        load(both, ((), "prices", {"currency": "USD"}))
    with pytest.raises(ConfigError, match=r"advice\.price: unknown key"):
        load((("advice",), "price", 7))


def test_a_bad_value_under_an_old_name_is_told_under_the_new_one():
    """The bounds did not change with the name."""
    with pytest.raises(ConfigError, match=r"recovery\.max_failovers: .*, got -1"):
        load((("recovery",), "moves", -1))


@pytest.mark.parametrize("section", [None, 3, [], "text"])
def test_what_is_no_mapping_is_told_as_such(section):
    """Renaming looks into mappings alone."""
    with pytest.raises(ConfigError, match=r"sessions\.affinity: "):
        load((("sessions",), "affinity", section))


@pytest.mark.parametrize(
    ("path", "named", "nearest"),
    [
        (("admission",), "cooldown", "cooldown_s"),
        (("admission", "hold"), "wait", "waiting"),
        (("recovery",), "max_failover", "max_failovers"),
        (("sessions", "affinity"), "load_facto", "load_factor"),
    ],
)
def test_an_unknown_key_beside_those_of_the_router_is_told_with_the_nearest(path, named, nearest):
    """What is declared in router/ is as strict as the rest."""
    with pytest.raises(ConfigError) as caught:
        load((path, named, 1))

    assert f"{'.'.join(path)}.{named}: unknown key; did you mean '{nearest}'?" in str(caught.value)


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        (("admission",), "max_queued", 0),
        (("admission",), "leave_ratio", 1.1),
        (("admission", "shed"), "waiting", 0),
        (("recovery",), "eject_share", 1),
        (("recovery",), "retry_share", 2.1),
        (("sessions", "affinity"), "load_factor", 0.9),
        (("sessions", "affinity"), "kv_bound", 1.1),
        (("sessions", "affinity"), "max_spilled", 4097),
    ],
)
def test_a_value_out_of_bounds_is_told_with_its_path(path, name, value):
    """Of what router/ declares, too."""
    with pytest.raises(ConfigError) as caught:
        load((path, name, value))

    assert f"{'.'.join(path)}.{name}: " in str(caught.value)
    assert f"got {value}" in str(caught.value)


async def test_a_reload_tells_of_old_names_in_its_answer_the_log_and_status(tmp_path, caplog):
    """Until the file says the new ones."""
    files = [tmp_path / "fleet.yaml", tmp_path / "tenants.yaml"]
    old = changed(FLEET, "recovery", "moves", value=7)
    files[1].write_text(yaml.safe_dump(TENANTS))
    reloader = Reloader(*files, FleetConfig.model_validate(FLEET), lambda _: None)
    told = f"{files[0]}: recovery.moves is called max_failovers now"

    files[0].write_text(yaml.safe_dump(old))
    with caplog.at_level(logging.WARNING):
        answer = await reloader.reload()

    assert answer["ok"] and any(told in warning for warning in answer["warnings"])
    assert told in caplog.text
    assert any(told in warning for warning in reloader.status()["warnings"])

    files[0].write_text(yaml.safe_dump(FLEET))
    await reloader.reload()

    assert reloader.status()["warnings"] == []
