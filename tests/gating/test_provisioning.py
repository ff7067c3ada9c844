from datetime import timedelta

import pytest
from django.core.exceptions import ImproperlyConfigured

from config.tenancy.models import DomainEvent
from gating.models import GatePolicy, GatePolicyBundle
from gating.options import options


def test_a_new_realm_has_its_default_bundle(realm):
    bundle = GatePolicyBundle.objects.get(realm=realm)
    policy = GatePolicy.objects.get(realm=realm)

    assert (bundle.bundle_key, bundle.status) == ("__default_bundle__", "active")
    assert (
        policy.name,
        policy.bundle,
        policy.feature_code,
        policy.kind,
        policy.unit,
    ) == ("__base_unlimited__", bundle, "*", "quota", "unit")
    assert (
        policy.window_sec,
        policy.limit_minor,
        policy.status,
        policy.enforcement_mode,
    ) == (86_400, None, "default", "reserve")
    assert policy.history.get().history_type == "+"


def test_changes_of_policies_are_news(gate):
    from gating.services.policies import change_policy, delete_policy

    policy = gate.quota(5, name="mine")
    change_policy(policy=policy, limit_minor=6, at=gate.at, by=gate.by)
    change_policy(policy=policy, limit_minor=6, at=gate.at, by=gate.by)
    delete_policy(policy=policy, at=gate.at, by=gate.by)

    kinds = (
        DomainEvent.objects.filter(realm=gate.realm, kind__startswith="gate_policy.")
        .order_by("id")
        .values_list("kind", flat=True)
    )
    assert list(kinds) == [
        "gate_policy.created",
        "gate_policy.changed",
        "gate_policy.deleted",
    ]


@pytest.fixture
def environment(monkeypatch):
    """Sets an environment variable and reads the options anew."""

    def read(**values):
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        options.cache_clear()
        return options()

    yield read
    monkeypatch.undo()
    options.cache_clear()


def test_options_have_defaults(environment):
    found = environment(
        PLANGATE_LEASE_TTL_SECONDS="",
        PLANGATE_LEASE_GRACE_SECONDS="",
        PLANGATE_STRICT_METERS="0",
        PLANGATE_RATINGS_KEPT_MONTHS="",
        PLANGATE_AUTO_REGISTER="0",
        PLANGATE_INGEST_AGE_DAYS="",
    )

    assert (found.lease_ttl, found.lease_grace, found.strict_meters) == (
        timedelta(hours=12),
        timedelta(seconds=60),
        False,
    )
    assert (
        found.leases_kept,
        found.ratings_kept_months,
        found.denials_kept_months,
    ) == (timedelta(days=90), None, None)
    assert (found.auto_register, found.ingest_age) == (False, timedelta(days=90))


def test_options_come_from_the_environment(environment):
    found = environment(
        PLANGATE_LEASE_TTL_SECONDS="5",
        PLANGATE_LEASE_GRACE_SECONDS="0",
        PLANGATE_STRICT_METERS="1",
        PLANGATE_LEASES_KEPT_DAYS="7",
        PLANGATE_RATINGS_KEPT_MONTHS="12",
        PLANGATE_DENIALS_KEPT_MONTHS="1",
        PLANGATE_AUTO_REGISTER="1",
        PLANGATE_INGEST_AGE_DAYS="365",
    )

    assert (found.lease_ttl, found.lease_grace, found.strict_meters) == (
        timedelta(seconds=5),
        timedelta(0),
        True,
    )
    assert (
        found.leases_kept,
        found.ratings_kept_months,
        found.denials_kept_months,
    ) == (timedelta(days=7), 12, 1)
    assert (found.auto_register, found.ingest_age) == (True, timedelta(days=365))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PLANGATE_LEASE_TTL_SECONDS", "0"),
        ("PLANGATE_LEASE_TTL_SECONDS", "-1"),
        ("PLANGATE_LEASE_TTL_SECONDS", "12h"),
        ("PLANGATE_LEASE_TTL_SECONDS", "٣"),
        ("PLANGATE_LEASE_TTL_SECONDS", "9" * 40),
        ("PLANGATE_LEASE_GRACE_SECONDS", "2592001"),
        ("PLANGATE_LEASE_GRACE_SECONDS", "000000000" + "9" * 10),
        ("PLANGATE_STRICT_METERS", "yes"),
        ("PLANGATE_LEASES_KEPT_DAYS", "6"),
        ("PLANGATE_LEASES_KEPT_DAYS", "366"),
        ("PLANGATE_RATINGS_KEPT_MONTHS", "11"),
        ("PLANGATE_RATINGS_KEPT_MONTHS", "forever"),
        ("PLANGATE_DENIALS_KEPT_MONTHS", "0"),
        ("PLANGATE_AUTO_REGISTER", "true"),
        ("PLANGATE_INGEST_AGE_DAYS", "0"),
        ("PLANGATE_INGEST_AGE_DAYS", "366"),
        ("PLANGATE_INGEST_AGE_DAYS", "1.5"),
    ],
)
def test_a_bad_option_stops_the_process(environment, name, value):
    with pytest.raises(ImproperlyConfigured, match=name):
        environment(**{name: value})
