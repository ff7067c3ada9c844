"""Any sequence of verbs against forty lines of plain Python."""

from django.db import transaction
from grants.selectors.balances import proof
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.kernel.errors import Conflict
from grants.models import CreditBalance
from grants.services.funding import (
    FundingExhausted,
    lock_balance,
    release,
    reserve,
    settle,
)

amounts = st.integers(0, 12)
sources = st.sampled_from(["a", "b", "c"])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("credit"), st.integers(1, 12), sources),
        st.tuples(st.just("reserve"), amounts, st.none()),
        st.tuples(st.just("release"), amounts, st.none()),
        st.tuples(st.just("settle"), st.tuples(amounts, amounts), sources),
    ),
    max_size=12,
)


class Model:
    """The same rules in plain Python; a refusal is the string "refused"."""

    def __init__(self):
        self.granted = self.spent = self.reserved = 0
        self.credits, self.spends = {}, {}

    def credit(self, amount, source):
        known = self.credits.get(source)
        if known is not None:
            return known if known == amount else "refused"
        self.credits[source] = amount
        self.granted += amount
        return amount

    def reserve(self, amount, _):
        if amount > self.granted - self.spent - self.reserved:
            return "refused"
        self.reserved += amount
        return None

    def release(self, amount, _):
        if amount > self.reserved:
            return "refused"
        self.reserved -= amount
        return None

    def settle(self, amounts, source):
        held, wanted = amounts
        if source in self.spends:
            return self.spends[source]
        if held > self.reserved:
            return "refused"
        self.reserved -= held
        spent = min(wanted, self.granted - self.spent - self.reserved)
        self.spent += spent
        if spent:
            self.spends[source] = spent
        return spent


def stored(user):
    balance = CreditBalance.objects.get(pk=user.pk)
    return balance.granted_xusd, balance.spent_xusd, balance.reserved_xusd


@given(steps=steps)
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_sequence_agrees_with_the_model(user, credit, at, steps):
    verbs = {
        "credit": lambda amount, source: credit(user, amount, source).amount_xusd,
        "reserve": lambda amount, _: reserve(balance, amount_xusd=amount, at=at),
        "release": lambda amount, _: release(balance, amount_xusd=amount, at=at),
        "settle": lambda both, source: settle(
            balance, reserved_xusd=both[0], spend_xusd=both[1], source_ref=source, at=at
        ),
    }
    model = Model()
    with transaction.atomic():
        for name, amount, source in steps:
            balance = lock_balance(user=user, at=at)
            try:
                answer = verbs[name](amount, source)
            except (FundingExhausted, Conflict):
                answer = "refused"

            assert answer == getattr(model, name)(amount, source)
            assert stored(user) == (model.granted, model.spent, model.reserved)
            assert proof(balance).holds
        transaction.set_rollback(True)
