"""The gate under a contract: what is held, rated, listed and explained."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from vlunaai.generated import gate_models as wire

from billing.models import ContractTerm
from billing.services.contracts import change_contract, end_contract
from catalog.models import Meter
from catalog.services.meters import change_meter
from gating.models import Projection
from gating.selectors.decisions import decision_of
from gating.selectors.limits import feature_limits, meter_limits
from tests.billing.agreeing import agreed, fixed, price, termed, times
from tests.gating.answers import good
from tests.gating.refusals import refusal

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
INSTANT = timedelta(microseconds=1)


@pytest.fixture
def priced(gate):
    """A feature at 100 XUSD (cost 40) with a quota, money and a contract."""
    gate.feature(price=100, cost=40)
    gate.credit(10**6)
    gate.quota(10**6)
    gate.contract = agreed(gate.account, gate.at, name="E", at=gate.at, by=gate.by)
    return gate


def set_term(gate, value, start=None, contract=None):
    return termed(
        contract or gate.contract, value, start or gate.at, at=gate.at, by=gate.by
    )


def stored_invalid(gate, value):
    """A term as no verb writes it."""
    return ContractTerm.objects.create(
        realm=gate.realm, contract=gate.contract, kind="pricing", term_key="chat",
        effective_at=gate.at, value_json=value, actor_kind="system", actor_id="x",
        operator="x", reason="x", ticket_id="x", trace_id="x", recorded_at=gate.at,
    )  # fmt: skip


def charged(gate, at, quantity=10):
    """What is held for a quantity at an instant, and then charged and booked as cost."""
    then = gate.at_instant(at)
    lease = then.lease(quantity)
    held = then.row(lease).reserved_xusd
    rating = then.rating(then.commit(lease, quantity))
    return held, rating.applied_amount_xusd, rating.applied_cost_xusd


def listed(gate, as_of, at=None):
    """The price that the meter listing shows at an instant."""
    present = at or as_of
    limits = feature_limits(
        account=gate.account, user=gate.user, as_of=as_of, at=present
    )
    (found,) = meter_limits(limits, account=gate.account, as_of=as_of, at=present)
    return found.rate.price_of("revenue")


def hints_of(admission):
    for hint in admission.hints:
        wire.Hint.model_validate(hint)
    return [
        (hint["type"], hint["meter_code"])
        for hint in admission.hints
        if hint["type"].startswith("pricing.")
    ]


def test_price_changes_at_the_instant_at_which_the_term_starts(priced):
    start = priced.at + HOUR
    set_term(priced, price(times("0.8")), start)

    assert charged(priced, priced.at) == (1_000, 1_000, 400)
    assert charged(priced, start - INSTANT) == (1_000, 1_000, 400)
    assert charged(priced, start) == (800, 800, 400)
    assert [listed(priced, at) for at in (start - INSTANT, start)] == [
        (100, 1),
        (80, 1),
    ]


def test_work_authorized_before_the_term_is_rated_at_the_commit(priced):
    start = priced.at + HOUR
    set_term(priced, price(times("0.8")), start)
    lease = priced.lease(10)

    committed = priced.at_instant(start).commit(lease, 10)

    (line,) = committed.data["lines"]
    assert (line["amount_xusd"], line["unit_price_xusd"]) == ("800", "80")
    provenance = line["pricing_snapshot"]["provenance"]
    assert provenance["source"] == "contract"
    assert provenance["contract"]["contract_id"] == str(priced.contract.pk)
    assert line["cost_snapshot"]["provenance"]["source"] == "catalog"
    wire.RationalRatedLine.model_validate(line)


def test_price_ends_with_the_contract_and_the_one_below_comes_back(priced):
    old = agreed(priced.account, priced.at - DAY, at=priced.at, by=priced.by)
    set_term(priced, price(times("0.5")), contract=old)
    set_term(priced, price(times("0.8")))
    end = priced.at + HOUR
    end_contract(contract=priced.contract, end_at=end, at=priced.at, by=priced.by)

    assert charged(priced, priced.at)[1] == 800
    assert charged(priced, end - INSTANT)[1] == 800
    assert charged(priced, end)[1] == 500


def test_disabling_a_contract_is_seen_at_once(priced):
    set_term(priced, price(times("0.8")))
    assert charged(priced, priced.at)[1] == 800

    change_contract(
        contract=priced.contract,
        changes={"status": "disabled"},
        at=priced.at,
        by=priced.by,
    )

    assert charged(priced, priced.at)[1] == 1_000


def test_another_account_pays_the_catalogs_price(priced):
    set_term(priced, price(times("0.8")))
    other = priced.of_principal("globex")
    other.credit(10**6)

    assert charged(other, priced.at)[1] == 1_000


def test_a_third_of_a_price_is_charged_exactly(priced):
    """100 / 3 for 1: three units in three commits cost what three cost at once."""
    set_term(priced, price(times("1/3")))

    found = [charged(priced, priced.at, 1)[:2] for _ in range(3)]

    assert found == [(34, 33), (34, 33), (34, 34)]


def test_a_new_version_starts_with_no_remainder(priced):
    set_term(priced, price(times("1/3")))
    start = priced.at + HOUR
    set_term(priced, price(times("1/3")), start)
    assert charged(priced, priced.at, 2)[1] == 66

    assert charged(priced, start, 1)[1] == 33


def test_contract_decides_what_a_prepaid_balance_covers(gate):
    gate.feature(price=100)
    gate.credit(1_000)
    gate.quota(10**6)
    assert refusal(gate.authorize, 11).code == "FUNDING.EXHAUSTED"
    gate.contract = agreed(gate.account, gate.at, at=gate.at, by=gate.by)
    set_term(gate, price(times("0.5")))

    assert gate.row(gate.lease(20)).reserved_xusd == 1_000


def test_a_feature_made_free_needs_no_balance(gate):
    gate.feature(price=100, cost=40)
    gate.quota(10**6)
    gate.contract = agreed(gate.account, gate.at, at=gate.at, by=gate.by)
    set_term(gate, price(times("0"), cost=[times("0")]))

    assert charged(gate, gate.at) == (0, 0, 0)


def test_projection_holds_until_the_next_edge_of_contract_or_term(priced):
    start, end = priced.at + HOUR, priced.at + 2 * HOUR
    set_term(priced, price(times("0.8")), start)
    end_contract(contract=priced.contract, end_at=end, at=priced.at, by=priced.by)
    later = agreed(priced.account, priced.at + 3 * HOUR, at=priced.at, by=priced.by)
    found = []
    for at in (priced.at, start, end, later.window_start):
        priced.at_instant(at).preflight(1)
        found.append(Projection.objects.get(user=priced.user).valid_until)

    assert found[:3] == [start, end, later.window_start]
    assert found[3] == later.window_start + DAY


def test_account_without_a_contract_is_not_asked_for_terms(gate):
    gate.feature(price=0)
    gate.quota(10)
    with CaptureQueriesContext(connection) as captured:
        gate.preflight(1)

    asked = [query["sql"] for query in captured if "contract" in query["sql"]]
    assert len([sql for sql in asked if "billing_contracts c" in sql]) == 2
    assert not [sql for sql in asked if 'FROM "contract_terms"' in sql]


# Listings, as of another time


def test_listing_of_the_past_shows_what_was_agreed_then(priced):
    set_term(priced, price(times("0.9")))
    set_term(priced, price(times("0.8")), priced.at + DAY)
    now = priced.at + 5 * DAY
    change_contract(
        contract=priced.contract, changes={"status": "disabled"}, at=now, by=priced.by
    )

    def told(as_of):
        return listed(priced, as_of, now + DAY)

    assert told(priced.at + HOUR) == (90, 1)
    assert told(priced.at + DAY) == (80, 1)
    assert told(now + DAY) == (100, 1)


def test_listing_and_commit_name_the_same_rate(priced, signed):
    set_term(priced, price(times("0.8")))
    listing = signed.get("gate/meters", expand="pricing,coverage")
    data = good(listing, wire.MeterLimitListEnvelope)["data"]
    shown = data[0]["pricing"]
    lease = signed.post("gate/authorize", {"feature_code": "chat"}).json()["data"][
        "lease"
    ]
    use = {"meter_code": "chat", "quantity_minor": "1"}
    body = {"lease": lease, "feature_code": "chat", "quantity_minor": "1"}

    committed = good(
        signed.post(
            "gate/commits",
            body | {"meters": [use | {"client_pricing_etag": shown["fingerprint"]}]},
        ),
        wire.CommitEnvelope,
    )

    assert (shown["unit_price_xusd"], shown["unit_price_base_xusd"]) == ("80", "100")
    assert data[0]["coverage"]["max_quantity_minor_estimated"] == "12500"
    assert committed["data"]["lines"][0]["rate_identity"] == shown["fingerprint"]
    assert "hints" not in committed


def test_caller_who_knew_the_catalogs_price_is_told_that_it_changed(priced, signed):
    known = signed.get("gate/meters", expand="pricing").json()["data"][0]["pricing"]
    set_term(priced, price(times("1")))
    lease = signed.post("gate/authorize", {"feature_code": "chat"}).json()["data"][
        "lease"
    ]
    use = {"meter_code": "chat", "quantity_minor": "1", "client_pricing_etag": known["fingerprint"]}  # fmt: skip

    committed = signed.post(
        "gate/commits",
        {
            "lease": lease,
            "feature_code": "chat",
            "quantity_minor": "1",
            "meters": [use],
        },
    ).json()

    assert [hint["type"] for hint in committed["hints"]] == ["pricing.changed"]


# Terms without effect


INVALID = ("pricing.contract_term_invalid", "chat")


def test_stored_invalid_term_is_told_and_the_catalogs_price_holds(priced):
    stored_invalid(priced, {"schema": "billing/contract_pricing:v9"})

    admission = priced.authorize(key="a-1")
    lease = admission.data["lease"]
    committed = priced.commit(lease, 10, key="c-1")

    assert hints_of(priced.preflight()) == [INVALID]
    assert hints_of(admission) == [INVALID]
    assert hints_of(committed) == [INVALID]
    assert committed.data["amount_xusd"] == "1000"
    assert committed.data["application_status"] == "applied"
    (hint,) = committed.hints
    assert hint["contract_id"] == str(priced.contract.pk)
    assert hint["term_key"] == "chat"
    assert "value_json.schema must be" in hint["message"]


def test_hints_of_a_replay_are_those_of_the_first_answer(priced):
    stored_invalid(priced, {})
    first = priced.authorize(5, key="a-1")
    committed = priced.commit(first.data["lease"], 5, key="c-1")
    set_term(priced, price(times("0.8")), priced.at + INSTANT)
    later = priced.later(hours=1)

    again = later.authorize(5, key="a-1")
    committed_again = later.commit(first.data["lease"], 5, key="c-1")

    assert again.replayed
    assert committed_again.replayed
    assert list(again.hints) == list(first.hints)
    assert list(committed_again.hints) == list(committed.hints)
    assert committed_again.data == committed.data
    assert hints_of(later.preflight()) == []


def test_term_on_a_meter_without_a_price_is_told(gate):
    gate.feature(meters=["extra"], price=100)
    gate.credit(10**6)
    gate.quota(100)
    gate.contract = agreed(gate.account, gate.at, at=gate.at, by=gate.by)
    value = price(times("0.8"), meter="extra")
    termed(gate.contract, value, gate.at, key="extra", at=gate.at, by=gate.by)
    missing = ("pricing.meter_price_missing", "extra")

    admission = gate.authorize()
    on_chat = gate.commit(admission.data["lease"], 1)
    on_extra = gate.commit(gate.lease(), 1, meters=[("extra", 1)])

    assert hints_of(admission) == [missing]
    assert hints_of(on_chat) == []
    assert on_extra.data["application_status"] == "quarantined"
    types = [hint["type"] for hint in on_extra.hints]
    assert types == ["pricing.not_configured", "pricing.meter_price_missing"]


def test_denial_for_want_of_money_says_that_the_term_has_no_effect(gate):
    gate.feature(price=100)
    gate.quota(100)
    gate.contract = agreed(gate.account, gate.at, at=gate.at, by=gate.by)
    stored_invalid(gate, {})

    denied = refusal(gate.authorize, 1)

    types = [hint["type"] for hint in denied.hints]
    assert types == ["funding.xusd_shortfall", "pricing.contract_term_invalid"]


def test_block_meter_keeps_its_block(priced):
    meter = Meter.objects.get(realm=priced.realm, meter_code="chat")
    change_meter(
        meter=meter,
        metadata={"residual_mode": "postpaid"},
        at=priced.at,
        by=priced.by,
    )
    priced.later(seconds=1).price("chat", 500, per=10)
    then = priced.later(seconds=2)
    set_term(priced, price(fixed(7)), then.at)
    set_term(priced, price(times("1/3")), then.at + HOUR)

    assert charged(priced, then.at, 25)[1] == 140
    lease = then.later(hours=1).authorize()
    assert hints_of(lease) == [INVALID]
    assert "whole blocks" in lease.hints[0]["message"]


# Explained


def test_explanation_tells_where_the_price_comes_from(priced, api):
    set_term(priced, price(times("0.8")))
    lease = priced.row(priced.lease(10))
    sentence = (
        f"Priced under the contract {priced.contract.pk}, by its term from "
        "2026-03-10 12:00:00 UTC: 80 XUSD for 1, where the catalog says 100 XUSD for 1."
    )

    answer = api.get(f"gate/decisions/{lease.pk}/explain").json()["data"]

    funding = next(c for c in answer["checks"] if c["name"] == "funding")
    assert funding["sentences"][-1] == sentence
    assert answer["replay"]["agrees"]
    made = answer["decision"]["facts"]["funding"]["price"]["term"]
    assert made["contract_id"] == str(priced.contract.pk)


def test_denial_is_explained_from_its_own_evidence(gate):
    gate.feature(price=100)
    gate.credit(500)
    gate.quota(100)
    gate.contract = agreed(gate.account, gate.at, at=gate.at, by=gate.by)
    set_term(gate, price(times("0.8")))
    refusal(gate.authorize, 10)
    (denial,) = gate.denials()
    end_contract(
        contract=gate.contract, end_at=gate.at + INSTANT, at=gate.at, by=gate.by
    )

    found = decision_of(gate.realm, str(denial.pk))

    assert found.agrees
    failed = next(c for c in found.explanation.checks if c.outcome == "failed")
    assert failed.name == "funding"
    assert "80 XUSD for 1" in failed.sentences[-1]


def test_explanation_tells_of_a_term_without_effect(priced):
    stored_invalid(priced, {})
    lease = priced.row(priced.lease(10))

    found = decision_of(priced.realm, str(lease.pk))

    assert found.agrees
    told = found.explanation.checks[-1].sentences
    assert any("The contract's term on chat has no effect" in each for each in told)


def test_decision_stored_before_there_were_contracts_is_still_read(priced):
    """Its evidence has neither terms nor faults."""
    refusal(priced.authorize, 10**9)
    (denial,) = priced.denials()
    funding = denial.evidence["facts"]["funding"]
    del funding["faults"]
    del funding["price"]["term"]
    denial.save(update_fields=["evidence"])

    assert decision_of(priced.realm, str(denial.pk)).agrees
