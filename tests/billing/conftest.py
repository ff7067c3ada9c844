"""Plans, keys and clients as the tests of this app need them."""

from dataclasses import replace

import pytest

from billing.services.plans import upsert_plan
from config.tenancy.services.service_keys import create_service_key
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
