"""Plans, keys and clients as the tests of this app need them."""

from dataclasses import replace

import pytest

from billing.services.accounts import set_seat_limit
from billing.services.assignments import Identity, assign_plan
from billing.services.plans import upsert_plan
from billing.services.users import change_user
from config.kernel.windows import Window
from config.tenancy.services.service_keys import create_service_key
from tests.billing.assigning import END, LIST, START
from tests.billing.people import users_named
from tests.tools.client import SignedClient


@pytest.fixture
def make_plan(realm, at, by):
    """Return a maker of plans: `make_plan("pro", priority=10)`."""

    def make(plan_code, *, name=None, kind="base", **values):
        plan, _created = upsert_plan(
            realm=realm,
            plan_code=plan_code,
            name=name or plan_code.title(),
            kind=kind,
            at=at,
            by=by,
            **values,
        )
        return plan

    return make


@pytest.fixture
def limited_api(realm, account, at, by):
    """A client whose key may act for `account` only."""
    key = create_service_key(
        realm=realm, allowed_accounts=[str(account.pk)], at=at, by=by
    )
    return SignedClient(realm, key)


@pytest.fixture
def committed_api(committed_realm, at, by):
    """A client of a realm that threads can see."""
    return SignedClient(
        committed_realm, create_service_key(realm=committed_realm, at=at, by=by)
    )


@pytest.fixture
def effective(by):
    """Return the author of a change with another effective time."""

    def author(when):
        return replace(by, effective_at=when)

    return author


@pytest.fixture
def pro(make_plan):
    return make_plan("pro", priority=5)


@pytest.fixture
def bounded(account, pro, by):
    """An assignment of pro for the year 2026."""
    assignment, _outcome = assign_plan(
        identity=Identity(account, None, pro, "ops.manual", "contract-1"),
        window=Window(START, END),
        at=START,
        by=by,
    )
    return assignment


@pytest.fixture
def change(api, bounded):
    """Return the caller of a verb on `bounded`: `change("extend", {…})`."""

    def call(verb, document=None, key=None):
        return api.post(f"{LIST}/{bounded.pk}/{verb}", document, key)

    return call


@pytest.fixture
def users(account):
    """The address of the account's users."""
    return f"billing-accounts/{account.pk}/users"


@pytest.fixture
def full_account(account, at, by):
    """An account whose only seat is taken by u-1; u-2 is disabled."""
    _taken, waiting = users_named(account, at, by, "u-1", "u-2")
    change_user(user=waiting, status="disabled", at=at, by=by)
    set_seat_limit(account=account, seat_limit=1, at=at, by=by)
    return account
