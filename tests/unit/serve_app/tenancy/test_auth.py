"""API keys."""

from datetime import UTC, datetime, timedelta

import pytest

from router.errors import Rejected, RejectReason
from router.limits.ceiling import CeilingConfig
from serve_app.config.tenants import TenantsConfig
from serve_app.tenancy.auth import Authenticator, Tenant, make_key

pytestmark = pytest.mark.security

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def tenants(*keys, local_tenant=None):
    return TenantsConfig.model_validate(
        {
            "tiers": {"paid": {"ceilings": {"tokens_per_second": 80}}},
            "tenants": {
                "acme": {"tier": "paid", "keys": [key.model_dump() for key in keys]},
                "local": {"tier": "paid", "cache_group": "shared"},
            },
            "local_tenant": local_tenant,
        }
    )


def identify(key, *entries, is_local=False, local_tenant=None, now=NOW):
    auth = Authenticator(tenants(*entries, local_tenant=local_tenant))
    return auth.identify(key, is_local=is_local, now=now)


def is_refused(outcome) -> bool:
    return isinstance(outcome, Rejected) and outcome.reason is RejectReason.INVALID_API_KEY


def test_a_new_key_opens_its_tenant():
    """What `make_key` shows once, `identify` takes."""
    key, entry = make_key()

    tenant = identify(key, entry)

    assert isinstance(tenant, Tenant)
    assert (tenant.name, tenant.tier_name, tenant.is_admin) == ("acme", "paid", False)
    assert tenant.ceilings == CeilingConfig(tokens_per_second=80)
    assert tenant.cache_group == "tenant:acme"


def test_the_entry_kept_does_not_hold_the_secret():
    """A reader of the tenants file cannot make requests."""
    key, entry = make_key()
    secret = key.removeprefix(f"pm-{entry.id}-")

    assert secret not in entry.model_dump_json()
    assert len(secret) >= 43


def test_no_two_keys_are_alike():
    """Id, secret and salt are all random."""
    first, second = make_key(), make_key()

    assert first[0] != second[0]
    assert first[1].id != second[1].id
    assert first[1].salt != second[1].salt


def test_a_key_made_for_an_admin_says_so():
    """The admin flag belongs to the key, not to the tenant."""
    plain, plain_entry = make_key()
    admin, admin_entry = make_key(admin=True)

    assert not identify(plain, plain_entry, admin_entry).is_admin
    assert identify(admin, plain_entry, admin_entry).is_admin


@pytest.mark.parametrize(
    "spoil",
    [
        lambda key: key[:-1] + ("A" if key[-1] != "A" else "B"),
        lambda key: "pm-000000000000-" + key.split("-", 2)[2],
        lambda key: key.removeprefix("pm-"),
        lambda key: key + "x",
        lambda _: "pm-",
        lambda _: "pm-nothing",
        lambda _: "sk-other",
    ],
    ids=["wrong secret", "unknown id", "no prefix", "longer", "prefix", "no secret", "foreign"],
)
def test_a_key_that_is_not_exactly_right_is_refused(spoil):
    """Every part of a key counts."""
    key, entry = make_key()

    assert is_refused(identify(spoil(key), entry))


@pytest.mark.parametrize("key", [None, ""])
def test_a_missing_key_is_refused(key):
    """Without a local tenant, everyone needs a key, this machine included."""
    assert is_refused(identify(key, is_local=False))
    assert is_refused(identify(key, is_local=True))


def test_a_key_works_until_it_expires():
    """The moment of expiry is the first at which the key is refused."""
    key, entry = make_key(expires=NOW)

    assert isinstance(identify(key, entry, now=NOW - timedelta(seconds=1)), Tenant)
    assert is_refused(identify(key, entry, now=NOW))


def test_an_expiry_without_a_zone_is_read_as_utc():
    """YAML timestamps often carry no zone."""
    key, entry = make_key(expires=NOW.replace(tzinfo=None))

    assert isinstance(identify(key, entry, now=NOW - timedelta(seconds=1)), Tenant)
    assert is_refused(identify(key, entry, now=NOW))


def test_local_callers_without_a_key_are_the_local_tenant():
    """The first curl works, without an admin's rights."""
    tenant = identify(None, is_local=True, local_tenant="local")

    assert (tenant.name, tenant.is_admin, tenant.cache_group) == ("local", False, "group:shared")


def test_remote_callers_never_are_the_local_tenant():
    """Only this machine is let in without a key."""
    assert is_refused(identify(None, is_local=False, local_tenant="local"))
    assert is_refused(identify("unused", is_local=False, local_tenant="local"))


def test_a_local_sdk_may_send_any_word_as_its_key():
    """SDKs insist on some key."""
    tenant = identify("EMPTY", is_local=True, local_tenant="local")

    assert tenant.name == "local"


def test_a_malformed_key_of_ours_is_refused_even_locally():
    """Whoever means to use a key is told when it does not work."""
    assert is_refused(identify("pm-typo", is_local=True, local_tenant="local"))


def test_a_local_caller_with_a_key_is_that_key_s_tenant():
    """A key says more than an address."""
    key, entry = make_key()

    tenant = identify(key, entry, is_local=True, local_tenant="local")

    assert (tenant.name, tenant.is_admin) == ("acme", False)
