"""Contracts and their terms: verbs, and what was in force when, as known when."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import IntegrityError

from billing.models import ContractTerm
from billing.selectors.contracts import contract_in_force, list_terms, pricing_terms
from billing.services.accounts import ensure_account
from billing.services.contract_terms import TermStands, add_contract_term
from billing.services.contracts import (
    ContractEndsAlready,
    ContractEndsOutside,
    change_contract,
    end_contract,
    upsert_contract,
)
from catalog.services.meters import upsert_meter
from config.kernel.audit import NotYetEffective
from config.kernel.errors import Invalid
from tests.billing.agreeing import agreed, fixed, price, termed, times
from tests.billing.answers import explained
from tests.billing.races import race
from tests.catalog.make import events_of

DAY = timedelta(days=1)
INSTANT = timedelta(microseconds=1)


@pytest.fixture
def meter(realm, at, by):
    return upsert_meter(realm=realm, meter_code="chat", at=at, by=by)[0]


@pytest.fixture
def contract(account, at, by):
    return agreed(account, at, name="Enterprise", at=at, by=by)


def at_work(account, as_of, **times_of):
    """The name of the contract in force."""
    found = contract_in_force(account=account, as_of=as_of, **times_of)
    return found and found.name


# Contracts


def test_contract_is_made_and_explained(account, at, by):
    contract, created = upsert_contract(
        account=account,
        effective_at=at + DAY,
        values={"name": "Enterprise", "metadata": {"signed": True}},
        at=at,
        by=by,
    )

    assert created
    assert (contract.window_start, contract.window_end) == (at + DAY, None)
    assert (contract.status, contract.metadata) == ("active", {"signed": True})
    assert explained(contract) == [(by.operator, by.reason, by.ticket_id, at)]
    assert events_of(account.realm, "contract.") == ["contract.changed"]


def test_contract_of_the_same_start_is_overwritten_but_for_its_end(
    account, contract, at, by
):
    end_contract(contract=contract, end_at=at + DAY, at=at, by=by)
    change_contract(contract=contract, changes={"status": "disabled"}, at=at, by=by)

    again, created = upsert_contract(
        account=account, effective_at=at, values={}, at=at, by=by
    )

    assert (again.pk, created) == (contract.pk, False)
    assert (again.status, again.name, again.window_end) == ("active", None, at + DAY)


def test_same_contract_again_writes_nothing(account, contract, at, by):
    upsert_contract(
        account=account, effective_at=at, values={"name": "Enterprise"}, at=at, by=by
    )

    assert contract.history.count() == 1
    assert events_of(account.realm, "contract.") == ["contract.changed"]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"status": "expired"}, "status"),
        ({"name": " "}, "name"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {"a": 2**63}}, "metadata.a"),
    ],
)
def test_bad_contract_is_refused(account, contract, at, by, values, field):
    for write in (
        lambda: upsert_contract(
            account=account, effective_at=at, values=values, at=at, by=by
        ),
        lambda: upsert_contract(
            account=account, effective_at=at + DAY, values=values, at=at, by=by
        ),
        lambda: change_contract(contract=contract, changes=values, at=at, by=by),
    ):
        with pytest.raises(Invalid) as refusal:
            write()
        assert refusal.value.field == field
    assert account.contracts.count() == 1


def test_reversed_window_is_refused(account, contract, at, by):
    with pytest.raises(Invalid) as refusal:
        change_contract(contract=contract, changes={"window_end": at}, at=at, by=by)

    assert refusal.value.field == "window_end"


def test_contract_ends_once(contract, at, by):
    ended = end_contract(contract=contract, end_at=at + DAY, at=at, by=by)

    assert ended.window_end == at + DAY
    for wrong, refused in (
        (at + DAY, ContractEndsAlready),
        (at, ContractEndsOutside),
        (at - DAY, ContractEndsOutside),
        (at + DAY + INSTANT, ContractEndsOutside),
    ):
        with pytest.raises(refused) as refusal:
            end_contract(contract=contract, end_at=wrong, at=at, by=by)
        assert refusal.value.field == "end_at"


def test_ended_contract_is_reopened(contract, at, by):
    end_contract(contract=contract, end_at=at + DAY, at=at, by=by)

    opened = change_contract(
        contract=contract, changes={"window_end": None}, at=at, by=by
    )

    assert opened.window_end is None


def test_status_is_not_meant_for_later(contract, at, by):
    later = replace(by, effective_at=at + DAY)

    with pytest.raises(NotYetEffective):
        change_contract(
            contract=contract, changes={"status": "disabled"}, at=at, by=later
        )
    ended = end_contract(contract=contract, end_at=at + DAY, at=at, by=later)

    assert (ended.status, ended.window_end) == ("active", at + DAY)


# Which one is in force


def test_contract_is_in_force_to_the_microsecond(account, at, by):
    agreed(account, at, name="One", window_end=at + DAY, at=at, by=by)

    edges = (at - INSTANT, at, at + DAY - INSTANT, at + DAY)
    assert [at_work(account, edge) for edge in edges] == [None, "One", "One", None]


def test_of_contracts_in_force_the_one_that_started_last_prevails(account, at, by):
    agreed(account, at - 9 * DAY, name="Old", at=at, by=by)
    agreed(account, at, name="Special", window_end=at + DAY, at=at, by=by)
    agreed(account, at - DAY, name="Middle", window_end=at + 9 * DAY, at=at, by=by)

    days = [at - 2 * DAY, at - DAY, at, at + DAY, at + 9 * DAY]
    found = [at_work(account, day) for day in days]
    assert found == ["Old", "Middle", "Special", "Middle", "Old"]


def test_disabled_contract_makes_way_for_the_one_before(account, at, by):
    agreed(account, at - DAY, name="Old", at=at, by=by)
    agreed(account, at, name="New", status="disabled", at=at, by=by)

    assert at_work(account, at) == "Old"


def test_contract_of_another_account_is_nothing_to_this_one(
    realm, account, contract, at, by
):
    other = ensure_account(realm=realm, principal_id="globex", at=at, by=by)

    assert at_work(other, at) is None


def test_disabling_leaves_what_was_in_force_standing(account, contract, at, by):
    """A status has no time of its own: then it is what it was then."""
    change_contract(
        contract=contract, changes={"status": "disabled"}, at=at + 5 * DAY, by=by
    )
    now = at + 6 * DAY

    assert at_work(account, now, at=now) is None
    assert at_work(account, at + 4 * DAY, at=now) == "Enterprise"
    assert at_work(account, now, known_at=at + 4 * DAY, at=now) == "Enterprise"


def test_what_was_not_known_is_not_told(account, at, by):
    """Recorded on day 5, in force since day 0; its end recorded on day 8."""
    late = at + 5 * DAY
    contract = agreed(account, at, name="Late", at=late, by=by)
    end_contract(contract=contract, end_at=at + 2 * DAY, at=at + 8 * DAY, by=by)
    now = at + 9 * DAY

    def told(as_of, known_at):
        return at_work(account, as_of, known_at=known_at, at=now)

    assert told(at + DAY, at + 4 * DAY) is None
    assert told(at + DAY, at + 5 * DAY) == "Late"
    assert told(at + 3 * DAY, at + 7 * DAY) == "Late"
    assert told(at + 3 * DAY, at + 8 * DAY) is None
    assert told(at + DAY, now) == "Late"


# Terms


def test_term_is_added_once_and_tells_who(contract, meter, at, by):
    term = termed(contract, price(times("0.8")), at + DAY, at=at, by=by)
    again, created = add_contract_term(
        contract=contract,
        kind="pricing",
        term_key=" CHAT ",
        effective_at=at + DAY,
        value=price(times("0.8")),
        at=at + DAY,
        by=by,
    )

    assert (again.pk, created) == (term.pk, False)
    stored = contract.terms.get()
    assert (stored.operator, stored.ticket_id) == (by.operator, by.ticket_id)
    assert stored.recorded_at == at
    assert events_of(contract.realm, "contract_term") == ["contract_term.added"]


def test_same_version_with_another_value_is_refused(contract, meter, at, by):
    termed(contract, price(times("0.8")), at, at=at, by=by)

    with pytest.raises(TermStands) as refusal:
        termed(contract, price(times("0.80")), at, at=at, by=by)

    assert (refusal.value.status, refusal.value.field) == (409, "value_json")
    assert contract.terms.count() == 1


@pytest.mark.parametrize(
    "value",
    [None, True, 0, 1.5, 1e22, "x", "", [], [1, {"a": None}], {}, {"a": [1.0, False]}],
)
def test_parameter_is_any_json_and_its_repeat_is_the_same(contract, at, by, value):
    for _ in range(2):
        termed(contract, value, at, key="limit", kind="e2r_param", at=at, by=by)

    (stored,) = contract.terms.all()
    assert stored.value_json == value


@pytest.mark.parametrize(
    ("first", "second"), [(1, True), (0, False), (0, None), ("1", 1), ([], {}), (1, 2)]
)
def test_parameters_that_differ_as_json_differ(contract, at, by, first, second):
    termed(contract, first, at, key="limit", kind="e2r_param", at=at, by=by)

    with pytest.raises(TermStands):
        termed(contract, second, at, key="limit", kind="e2r_param", at=at, by=by)


def test_order_of_keys_and_spelling_of_numbers_are_no_difference(contract, at, by):
    termed(contract, {"a": 1, "b": 2}, at, key="x", kind="e2r_param", at=at, by=by)
    termed(contract, {"b": 2.0, "a": 1e0}, at, key="x", kind="e2r_param", at=at, by=by)

    assert contract.terms.count() == 1


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"kind": "quota"}, "kind"),
        ({"key": "a b"}, "term_key"),
        ({"key": "unknown"}, "term_key"),
        ({"value": "x"}, "value_json"),
        ({"value": price(times("-1"))}, "value_json.price.adjustments.0.multiplier"),
        ({"value": price(meter="draw")}, "value_json.meter_code"),
        ({"value": {"a": "x" * 65_536}, "kind": "e2r_param"}, "value_json"),
        ({"value": "x" * 65_536, "kind": "e2r_param"}, "value_json"),
        ({"value": {"a": 2**63}, "kind": "e2r_param"}, "value_json.a"),
    ],
)
def test_bad_term_is_refused(contract, meter, at, by, values, field):
    given = {"value": price(), "start": at} | values

    with pytest.raises(Invalid) as refusal:
        termed(contract, at=at, by=by, **given)

    assert refusal.value.field == field
    assert not contract.terms.exists()


def test_meter_of_another_realm_is_unknown(contract, other_realm, at, by):
    upsert_meter(realm=other_realm, meter_code="chat", at=at, by=by)

    with pytest.raises(Invalid) as refusal:
        termed(contract, price(), at, at=at, by=by)

    assert refusal.value.field == "term_key"


def multipliers(account, as_of, **more):
    """What the terms in force multiply each meter's price by."""
    codes = ["chat", "draw"]
    found = pricing_terms(account=account, meter_codes=codes, as_of=as_of, **more)
    return {
        code: term.value["price"]["adjustments"][0]["multiplier"]
        for code, term in found.items()
    }


def test_terms_are_in_force_to_the_microsecond(account, contract, meter, at, by):
    when = {"at": at, "by": by}
    upsert_meter(realm=account.realm, meter_code="draw", **when)
    termed(contract, price(times("0.8")), at + DAY, **when)
    termed(contract, price(times("0.9")), at - DAY, **when)
    termed(contract, price(times("0.7")), at + 3 * DAY, **when)
    termed(
        contract, price(times("0.5"), meter="draw"), at + 2 * DAY, key="draw", **when
    )
    termed(contract, "0.1", at + DAY, key="draw", kind="e2r_param", **when)
    end_contract(contract=contract, end_at=at + 4 * DAY, **when)

    assert multipliers(account, at - INSTANT) == {}
    assert multipliers(account, at) == {"chat": "0.9"}
    assert multipliers(account, at + DAY - INSTANT) == {"chat": "0.9"}
    assert multipliers(account, at + DAY) == {"chat": "0.8"}
    assert multipliers(account, at + 2 * DAY) == {"chat": "0.8", "draw": "0.5"}
    assert multipliers(account, at + 3 * DAY) == {"chat": "0.7", "draw": "0.5"}
    assert multipliers(account, at + 4 * DAY) == {}


def test_terms_of_the_prevailing_contract_alone_hold(account, contract, meter, at, by):
    special = agreed(account, at + DAY, name="Special", at=at, by=by)
    termed(contract, price(times("0.8")), at, at=at, by=by)

    assert multipliers(account, at) == {"chat": "0.8"}
    assert multipliers(account, at + DAY) == {}
    change_contract(contract=special, changes={"status": "disabled"}, at=at, by=by)
    assert multipliers(account, at + DAY) == {"chat": "0.8"}


def test_terms_are_listed_as_of_and_as_known(contract, meter, at, by):
    termed(contract, price(times("0.9")), at, at=at, by=by)
    termed(contract, price(times("0.8")), at + 2 * DAY, at=at, by=by)
    # Known only on day 5, in force since day 1.
    termed(contract, price(times("0.7")), at + DAY, at=at + 5 * DAY, by=by)
    termed(contract, 7, at, key="limit", kind="e2r_param", at=at, by=by)

    def told(**filters):
        rows = list_terms(contract, kind="pricing", **filters)
        return sorted(
            row.value_json["price"]["adjustments"][0]["multiplier"] for row in rows
        )

    assert told() == ["0.7", "0.8", "0.9"]
    assert told(as_of=at + DAY) == ["0.7", "0.9"]
    assert told(as_of=at + DAY, latest=True) == ["0.7"]
    assert told(as_of=at + DAY, latest=True, known_at=at + 4 * DAY) == ["0.9"]
    assert told(latest=True) == ["0.8"]
    assert told(term_key=["draw"]) == []
    assert list_terms(contract, latest=True).count() == 2


# Races


def test_one_of_many_writers_adds_the_version(committed_realm, at, by):
    account = ensure_account(realm=committed_realm, principal_id="acme", at=at, by=by)
    upsert_meter(realm=committed_realm, meter_code="chat", at=at, by=by)
    contract = agreed(account, at, at=at, by=by)

    def add(number):
        try:
            return termed(contract, price(fixed(number % 4)), at, at=at, by=by).pk
        except TermStands:
            return None

    found = race(add)

    (term,) = contract.terms.all()
    assert set(found) == {term.pk, None}
    assert sum(1 for pk in found if pk) == 4


def test_plain_inserts_of_the_same_race_do_collide(committed_realm, at, by):
    """The control: without the lock, the losers meet the unique key."""
    account = ensure_account(realm=committed_realm, principal_id="acme", at=at, by=by)
    contract = agreed(account, at, at=at, by=by)

    def insert(_number):
        try:
            ContractTerm.objects.create(
                realm=committed_realm, contract=contract, kind="e2r_param",
                term_key="limit", effective_at=at, value_json=1, recorded_at=at,
                actor_kind="x", actor_id="x", operator="x", reason="x", ticket_id="x",
                trace_id="x",
            )  # fmt: skip
        except IntegrityError as error:
            return error.__cause__.diag.constraint_name
        return "inserted"

    found = race(insert)

    assert found.count("inserted") == 1
    assert set(found) == {"inserted", "contract_term_once_per_identity"}


def test_one_of_many_writers_makes_the_contract(committed_realm, at, by):
    account = ensure_account(realm=committed_realm, principal_id="acme", at=at, by=by)

    def make(number):
        return upsert_contract(
            account=account,
            effective_at=at,
            values={"name": f"n{number}"},
            at=at,
            by=by,
        )[1]

    assert sum(race(make)) == 1
    assert account.contracts.count() == 1
