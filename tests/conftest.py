"""Fixtures: a real database, a realm of one's own, a signed client, staff."""

import itertools
import os
import secrets
from datetime import UTC, datetime

import dj_database_url
import pytest
from hypothesis import HealthCheck, settings

from config import database
from config.kernel.audit import Actor, AuditContext
from tests.tools import verification

# The short runs try the same examples everywhere, however slow the machine is; the long
# ones try others each time.
settings.register_profile(
    "short",
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "long", print_blob=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("long" if verification.is_soak() else "short")

STARTED_HERE = pytest.StashKey[bool]()


def pytest_configure(config):
    """Start the embedded database once, before the workers."""
    if hasattr(config, "workerinput"):
        return
    config.stash[STARTED_HERE] = (
        database.is_embedded() and not database.status().running
    )
    database.ensure_running()


def pytest_unconfigure(config):
    """Write the soak's page; stop the database if this run started it for itself."""
    if verification.is_soak() and verification.ROWS:
        verification.write_page()
    if config.stash.get(STARTED_HERE, False) and database.other_clients() == 0:
        database.stop()


def pytest_report_header(config):
    return f"database: PostgreSQL {database.status().version}, embedded: {database.is_embedded()}"


def pytest_collection_modifyitems(config, items):
    """Leave the long forms to `make soak`."""
    if verification.is_soak():
        return
    skipped = [item for item in items if item.get_closest_marker("soak")]
    if skipped:
        config.hook.pytest_deselected(items=skipped)
        items[:] = [item for item in items if item not in skipped]


@pytest.fixture(scope="session")
def django_db_setup(request, django_db_setup, django_db_blocker):
    """Make the test database also for a run of which no test uses `db`.

    pytest-django makes it only for those: a run of nothing but `committed` tests would
    write to the installation's own database.
    """
    from django.db import connection
    from django.test.utils import setup_databases, teardown_databases

    installed = dj_database_url.parse(database.connection_url("owner"))["NAME"]
    if connection.settings_dict["NAME"] != installed:
        yield
        return
    kept = request.config.getvalue("reuse_db")
    reused = kept and not request.config.getvalue("create_db")
    with django_db_blocker.unblock():
        made = setup_databases(verbosity=0, interactive=False, keepdb=reused)
    assert connection.settings_dict["NAME"] != installed
    yield
    if not kept:
        with django_db_blocker.unblock():
            teardown_databases(made, verbosity=0)


@pytest.fixture(autouse=True, scope="session")
def _cheap_passwords():
    """Hash test passwords cheaply; the real hasher stays usable for real servers."""
    from django.conf import settings

    cheap = "django.contrib.auth.hashers.MD5PasswordHasher"
    settings.PASSWORD_HASHERS = [cheap, *settings.PASSWORD_HASHERS]


@pytest.fixture
def at():
    """The instant of the test: a plain one, far from any boundary."""
    return datetime(2026, 3, 10, 12, 0, tzinfo=UTC)


@pytest.fixture
def by(at):
    """Who changes things in the test, and why."""
    return AuditContext(
        actor=Actor("user", "ada"),
        operator="ada@example.com",
        reason="asked for in the ticket",
        ticket_id="T-1001",
        effective_at=at,
        trace_id="0" * 32,
    )


_numbers = itertools.count(1)


def make_realm(at, by, **options):
    """Create and provision a realm with an id of its own."""
    from config.tenancy.services.realms import create_realm

    realm_id = f"realm-{os.getpid()}-{next(_numbers)}-{secrets.token_hex(3)}"
    return create_realm(realm_id=realm_id, at=at, by=by, **options)


@pytest.fixture
def realm(db, at, by):
    """A provisioned realm, rolled back after the test."""
    return make_realm(at, by)


@pytest.fixture
def other_realm(db, at, by):
    """A second realm, to leak into."""
    return make_realm(at, by)


@pytest.fixture
def committed(django_db_setup, django_db_blocker):
    """Open the database without a wrapping transaction, for threads and servers.

    What such a test writes stays until the test database is dropped: history cannot
    be truncated. Each test uses a realm of its own (`committed_realm`).
    """
    with django_db_blocker.unblock():
        yield
        from django.db import connections

        connections.close_all()


@pytest.fixture
def committed_realm(committed, at, by):
    """A provisioned realm that threads and other processes can see."""
    return make_realm(at, by)


@pytest.fixture
def service_key(realm, at, by):
    """A key with every scope in the realm."""
    from config.tenancy.services.service_keys import create_service_key

    return create_service_key(realm=realm, at=at, by=by)


@pytest.fixture
def api(realm, service_key):
    """A client that signs as the official one does."""
    from tests.tools.client import SignedClient

    return SignedClient(realm, service_key)


@pytest.fixture
def account(realm, at, by):
    """An account of the realm."""
    from billing.services.accounts import ensure_account

    return ensure_account(realm=realm, principal_id="acme", at=at, by=by)


@pytest.fixture
def user(account, at, by):
    """An active user of the account."""
    from billing.services.users import ensure_user

    return ensure_user(account=account, business_user_id="u-1", at=at, by=by)


@pytest.fixture
def staff(db):
    """Return a logged-in Django client in a role: `staff("Support")`."""
    from django.contrib.auth.models import Group, User
    from django.test import Client

    def log_in(role=None, *, superuser=False):
        username = f"{(role or 'nobody').lower()}-{next(_numbers)}"
        member = User.objects.create_user(
            username,
            password="a long enough password",
            is_staff=True,
            is_superuser=superuser,
        )
        if role:
            member.groups.add(Group.objects.get(name=role))
        client = Client()
        client.force_login(member, backend="django.contrib.auth.backends.ModelBackend")
        client.user = member
        return client

    return log_in
