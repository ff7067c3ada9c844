"""A gate to ask: a priced feature, its policies, users, and what was written."""

import pytest

from gating.options import options
from tests.gating.gate import Gate


@pytest.fixture
def gate(realm, account, user, at, by):
    """The gate of one user of one account, rolled back after the test."""
    return Gate(realm, account, user, at, by)


@pytest.fixture
def signed(api):
    """A client that calls for that user."""
    return api.bound(principal_id="acme", user_id="u-1")


@pytest.fixture
def priced(gate):
    """The gate with a priced feature, money, a quota and a rate."""
    gate.feature(price=10, cost=4)
    gate.credit(10_000)
    gate.quota(500)
    gate.rate(100)
    return gate


@pytest.fixture
def registering(monkeypatch):
    """A deployment where the first use of something unknown registers it."""
    monkeypatch.setenv("PLANGATE_AUTO_REGISTER", "1")
    options.cache_clear()
    yield
    monkeypatch.undo()
    options.cache_clear()
