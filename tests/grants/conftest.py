"""Users with credit, as one test needs them."""

import pytest

from billing.services.accounts import ensure_account
from billing.services.users import ensure_user
from grants import options
from grants.services.credits import credit_balance


@pytest.fixture
def make_user(at, by):
    """Return a maker of users, each in an account of its own unless one is given."""

    def make(realm, name="u-1", principal="acme"):
        account = ensure_account(realm=realm, principal_id=principal, at=at, by=by)
        return ensure_user(account=account, business_user_id=name, at=at, by=by)

    return make


@pytest.fixture
def credit(at, by):
    """Return a giver of credit: `credit(user, 500)`."""

    def give(user, amount_xusd, source_ref="opening"):
        return credit_balance(
            user=user, amount_xusd=amount_xusd, source_ref=source_ref, at=at, by=by
        )

    return give


@pytest.fixture
def funded_user(user, credit):
    """A user with 500 xusd of credit."""
    credit(user, 500)
    return user


@pytest.fixture
def limit(monkeypatch):
    """Set the approval limit of the process."""
    yield lambda xusd: (
        monkeypatch.setenv(options.APPROVAL_LIMIT, str(xusd)),
        options.approval_limit_xusd.cache_clear(),
    )
    monkeypatch.undo()
    options.approval_limit_xusd.cache_clear()
