"""What holds for every request, whatever the facts."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from gating.decide import decide
from gating.evidence import decision_document, read_ask, read_facts
from gating.facts import Funding, UnitPrice
from tests.gating.build import NOON, ask, budget, facts, quota, rate, seats

small = st.integers(0, 6)
modes = st.sampled_from(["reserve", "optimistic"])
quotas = st.lists(
    st.builds(
        quota,
        limit=st.none() | small,
        used=small,
        reserved=small,
        mode=modes,
        key=st.sampled_from("ab"),
        scope=st.sampled_from(["user", "account"]),
    ),
    max_size=3,
)
rates = st.lists(
    st.builds(rate, limit=small, used=small, key=st.sampled_from("ab")), max_size=2
)
prices = st.none() | st.builds(
    UnitPrice,
    price_xusd=small,
    quantity_minor=st.integers(1, 4),
    whole_blocks=st.booleans(),
)
fundings = st.builds(
    Funding,
    billing_mode=st.sampled_from(["prepaid", "postpaid", "hybrid"]),
    available_xusd=small,
    price=prices,
    zero_cost=st.booleans(),
    unpriced=st.sampled_from([(), ("chat",)]),
)
budgets = st.none() | st.builds(
    budget,
    limit=st.none() | small,
    consumed=small,
    reserved=small,
    window_end=st.sampled_from([None, None, NOON]),
    closed_at=st.sampled_from([None, None, NOON]),
    feature_codes=st.sampled_from([None, None, ("chat",), ("draw",)]),
)
known_facts = st.builds(
    lambda **parts: replace(facts(), **parts),
    quotas=quotas.map(tuple),
    rates=rates.map(tuple),
    seats=st.lists(
        st.builds(seats, limit=st.none() | small, taken=small, holds=st.booleans()),
        max_size=1,
    ).map(tuple),
    funding=fundings,
    budget=budgets,
    entitlement=st.sampled_from(
        ["allowed", "not_required", "allowed", "missing", "denied"]
    ),
    bundle_missing=st.sampled_from([False, False, False, True]),
)
asks = st.builds(
    ask, estimate=st.none() | small, budget=st.sampled_from([None, None, None, "b"])
)


@given(asks, known_facts)
def test_nothing_is_taken_that_the_facts_do_not_cover(request_, known):
    verdict = decide(request_, known)

    for item in verdict.holds:
        sharing = [w for w in known.quotas if w.counter == item.counter]
        assert all(
            item.quantity_minor <= w.room_minor
            for w in sharing
            if w.enforcement == "reserve"
        )
    for item in verdict.increments:
        assert all(w.room_minor >= 1 for w in known.rates if w.counter == item.counter)
    assert verdict.wallet_xusd <= max(0, known.funding.available_xusd)
    if request_.budget and verdict.wallet_xusd:
        assert verdict.wallet_xusd <= known.budget.room_xusd
    assert len({item.counter for item in verdict.holds}) == len(verdict.holds)


@given(asks, known_facts)
def test_a_stored_decision_is_made_again_alike(request_, known):
    verdict = decide(request_, known)
    document = decision_document(request_, known, verdict)

    assert decide(read_ask(document["ask"]), read_facts(document["facts"])) == verdict


@given(asks, known_facts, st.integers(1, 3))
def test_more_room_never_turns_an_admission_into_a_denial(request_, known, more):
    if not decide(request_, known).allowed:
        return
    wider = [
        replace(w, limit=None if w.limit is None else w.limit + more)
        for w in known.quotas
    ]

    assert decide(request_, replace(known, quotas=tuple(wider))).allowed


@given(
    st.integers(0, 50),
    st.integers(0, 50),
    st.integers(1, 9),
    st.lists(st.integers(0, 20), max_size=4),
)
def test_what_is_held_covers_any_remainder_carried_in(price, carried, divisor, parts):
    from config.kernel.money import floor_div_carry

    carried %= divisor
    total_held = sum(UnitPrice(price, divisor).at_most(part) for part in parts)
    total, remainder = 0, carried
    for part in parts:
        amount, remainder = floor_div_carry(part, price, divisor, remainder)
        assert amount <= UnitPrice(price, divisor).at_most(part)
        total += amount
    assert total <= total_held


@given(st.integers(1, 50), st.integers(1, 9), st.booleans(), st.integers(0, 100))
def test_the_affordable_quantity_is_the_greatest_that_is(
    price, divisor, blocks, available
):
    unit = UnitPrice(price, divisor, blocks)
    most = unit.affordable(available)

    assert unit.at_most(most) <= available < unit.at_most(most + 1)
