"""Usage that nobody authorized: rated, paid, on record, and not counted."""

import random

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from vlunaai.generated.gate_models import CommitResponse, Hint, PricingSnapshot

from billing.services.entitlements import (
    Target,
    allow_everything,
    append_entitlements,
)
from catalog.models import Feature, Meter
from catalog.services.features import delete_feature
from catalog.services.meters import change_meter
from config.kernel.errors import Invalid
from config.kernel.money import INT64_MAX
from gating.models import (
    Counter,
    Denial,
    GateState,
    Lease,
    Projection,
    RatedRecord,
    Rating,
    ResidualBucket,
)
from gating.selectors.decisions import decision_of
from gating.selectors.ratings import rated_total
from gating.services.admissions import KeyReused
from gating.services.commits import MeterNotAllowed
from gating.services.denials import GateDenied
from gating.services.usage import MeterUse
from tests.gating.gate import Gate, row_counts
from tests.tools.purse import adds_up


def ingested(gate: Gate, *args, **given):
    answer = gate.ingest(*args, **given)
    CommitResponse.model_validate(answer.data)
    for hint in answer.hints:
        Hint.model_validate(hint)
    return gate.rating(answer), answer


def types(answer):
    return [hint["type"] for hint in answer.hints]


def test_usage_is_rated_and_paid_and_not_counted(gate):
    gate.feature(price=10, cost=4)
    gate.credit(1000)
    gate.quota(5)
    gate.rate(1)

    rating, answer = ingested(gate, 60, labels={"job": "2"})

    assert (answer.data["amount_xusd"], answer.data["cost_xusd"]) == ("600", "240")
    assert (answer.data["application_status"], answer.data["reason_codes"]) == (
        "applied",
        ["ingest"],
    )
    assert (rating.rating_kind, rating.direction, rating.lease_id) == (
        "ingest",
        "debit",
        None,
    )
    assert (rating.applied_quantity_minor, rating.funded_xusd) == (60, 600)
    assert (rating.feature_family_code, rating.labels) == ("ai", {"job": "2"})
    assert (rating.rated_at, rating.trace_id) == (gate.at, gate.by.trace_id)
    assert gate.balance() == (400, 0, 600)
    assert not Counter.objects.exists()
    assert not Lease.objects.exists()
    line = RatedRecord.objects.get(rating=rating)
    assert str(line.pk) == answer.data["lines"][0]["line_id"]
    PricingSnapshot.model_validate(rated_total(rating).pricing_snapshot)


def test_no_quota_or_rate_stops_it(gate):
    gate.feature(price=10)
    gate.credit(100_000)
    gate.quota(0)
    gate.rate(1)
    gate.seats(0)

    for _ in range(3):
        assert ingested(gate, 1000)[0].application_status == "applied"


def test_it_is_attributed_to_the_plan_that_entitled(gate):
    gate.feature()
    plan = gate.plan("pro")
    allow_everything(plan=plan, at=gate.at, by=gate.by)

    rating, _ = ingested(gate, 1)

    assert rating.plan_assignment.plan == plan


# Which meters, how much


def test_given_meters_are_priced_and_their_sum_is_the_quantity(gate):
    gate.feature(price=10, meters=["tokens"])
    gate.price("tokens", 2)
    gate.credit(1000)

    rating, answer = ingested(gate, meters=[("chat", 1), ("tokens", 7), ("tokens", 0)])

    assert rating.canonical_quantity_minor == 8
    assert [line["amount_xusd"] for line in answer.data["lines"]] == ["10", "14", "0"]
    assert gate.balance() == (976, 0, 24)


def test_a_given_quantity_stands_beside_meters(gate):
    gate.feature(price=10, meters=["tokens"])
    gate.price("tokens", 2)
    gate.credit(1000)

    rating, answer = ingested(gate, 3, meters=[("tokens", 7)])

    assert (rating.canonical_quantity_minor, answer.data["amount_xusd"]) == (3, "14")


def test_without_meters_the_one_that_has_a_price_counts(gate):
    gate.feature(meters=["alpha", "tokens"])
    gate.price("tokens", 2)
    own = Meter.objects.get(realm=gate.realm, meter_code="chat")
    change_meter(meter=own, semantic_kind="outcome", at=gate.at, by=gate.by)
    gate.credit(1000)

    _, answer = ingested(gate, 7)

    assert [line["meter_code"] for line in answer.data["lines"]] == ["tokens"]
    assert answer.data["amount_xusd"] == "14"


@pytest.mark.parametrize(
    ("quantity", "meters", "field"),
    [
        (None, [], "quantity_minor"),
        (None, [("chat", 0)], "meters"),
        (None, [("chat", INT64_MAX), ("chat", 1)], "quantity_minor"),
    ],
)
def test_usage_of_nothing_and_of_too_much_is_refused(gate, quantity, meters, field):
    gate.feature()

    with pytest.raises(Invalid) as caught:
        gate.ingest(quantity, meters=meters)

    assert caught.value.field == field


def test_an_amount_beyond_64_bits_is_refused_and_writes_nothing(gate):
    gate.feature(price=INT64_MAX)
    before = row_counts()

    with pytest.raises(Invalid) as caught:
        gate.ingest(2)

    assert caught.value.field == "amount_xusd"
    assert row_counts() == before


@pytest.mark.parametrize("foreign", ["unheard-of", "of-another", "outcomes", "off"])
def test_usage_on_a_meter_that_the_feature_does_not_have_is_refused(gate, foreign):
    gate.feature(price=10, meters=["outcomes", "off"])
    gate.feature("video", meters=["of-another"])
    for code, change in (("outcomes", {"semantic_kind": "outcome"}), ("off", {"active": False})):  # fmt: skip
        meter = Meter.objects.get(realm=gate.realm, meter_code=code)
        change_meter(meter=meter, at=gate.at, by=gate.by, **change)
    before = row_counts()

    with pytest.raises(MeterNotAllowed) as caught:
        gate.ingest(meters=[("chat", 1), (foreign, 1), (foreign, 2)])

    assert (caught.value.status, caught.value.code, caught.value.error_type) == (
        422,
        "VALIDATION.INVALID_INPUT",
        "meter_not_allowed_for_feature",
    )
    assert caught.value.hints == [
        {
            "type": "feature.meter_not_allowed",
            "feature_code": "chat",
            "meters": [foreign],
        }
    ]
    assert row_counts() == before


# What it costs


def test_a_meter_without_a_price_is_rated_0_and_not_quarantined(gate):
    gate.feature(price=10, meters=["tokens"])
    gate.credit(1000)

    rating, answer = ingested(gate, meters=[("chat", 1), ("tokens", 7)])

    assert (rating.application_status, rating.reason_codes) == (
        "applied",
        ["ingest", "pricing_not_configured"],
    )
    assert [line["rating_status"] for line in answer.data["lines"]] == [
        "priced",
        "missing_price",
    ]
    assert answer.hints == [
        {
            "type": "pricing.not_configured",
            "feature_code": "chat",
            "meters": ["tokens"],
        }
    ]
    assert gate.balance() == (990, 0, 10)


def test_fractions_are_carried_from_usage_to_usage_and_to_commits(gate):
    gate.feature(price=3_600_000, per=1_000_000, cost=1)
    gate.credit(100)

    amounts = [
        ingested(gate, 1)[0].applied_amount_xusd,
        gate.rating(gate.commit(gate.lease(1), 1)).applied_amount_xusd,
        ingested(gate, 1)[0].applied_amount_xusd,
    ]

    assert amounts == [3, 4, 3]
    bucket = ResidualBucket.objects.get(realm=gate.realm, denom=1_000_000)
    assert (bucket.meter_code, bucket.remainder_numer) == ("chat", 800_000)


def test_refused_usage_carries_nothing_on(gate):
    gate.feature(price=1, per=2)
    gate.credit(100)
    with pytest.raises(MeterNotAllowed):
        gate.ingest(meters=[("chat", 1), ("made-up", 1)])

    assert ingested(gate, 1)[0].applied_amount_xusd == 0


def test_the_caller_learns_that_the_price_is_another(gate):
    gate.feature(price=10)
    gate.credit(100)
    known = ingested(gate, 1)[1].data["lines"][0]["rate_identity"]

    _, same = ingested(gate, meters=[MeterUse("chat", 1, None, known)])
    _, other = ingested(gate, meters=[MeterUse("chat", 1, None, "older")])

    assert types(same) == []
    assert other.hints == [
        {
            "type": "pricing.changed",
            "meter_code": "chat",
            "previous_fingerprint": "older",
            "current_fingerprint": known,
        }
    ]


@pytest.mark.parametrize("seed", range(6))
def test_the_same_usage_costs_what_it_costs_when_committed(gate, seed):
    chance = random.Random(seed)
    gate.feature(price=7, per=3, cost=2, meters=["tokens", "free"])
    gate.price("tokens", 11, per=chance.choice([1, 4, 1000]))
    mode = chance.choice([None, "prepaid", "postpaid"])
    for code in ("chat", "tokens"):
        meter = Meter.objects.get(realm=gate.realm, meter_code=code)
        metadata = {"residual_mode": mode} if mode else {}
        change_meter(meter=meter, metadata=metadata, at=gate.at, by=gate.by)
    other = gate.of_user("u-2")
    for who in (gate, other):
        who.credit(10**9)

    for _ in range(12):
        uses = [
            (chance.choice(["chat", "tokens"]), chance.choice([0, 1, 2, 5, 999, 10**6]))
            for _ in range(chance.choice([1, 2, 4]))
        ]
        quantity = max(1, sum(number for _, number in uses))
        reported = gate.ingest(quantity, meters=uses)
        committed = other.commit(other.lease(1), quantity, meters=uses)

        for answer in (reported, committed):
            for line in answer.data["lines"]:
                line.pop("line_id")
        assert reported.data["lines"] == committed.data["lines"]
    assert gate.balance() == other.balance()


# Who pays


def test_a_prepaid_balance_pays_what_it_has(gate):
    gate.feature(price=10, cost=4)
    gate.credit(70)

    rating, answer = ingested(gate, 10)

    assert (answer.data["amount_xusd"], answer.data["application_status"]) == (
        "70",
        "applied_clipped",
    )
    assert answer.data["reason_codes"] == ["ingest", "overshoot"]
    assert answer.hints == [{"type": "funding.xusd_shortfall", "shortfall_xusd": 30}]
    assert (rating.canonical_amount_xusd, rating.applied_cost_xusd) == (100, 40)
    assert (rating.canonical_quantity_minor, rating.applied_quantity_minor) == (10, 10)
    assert gate.balance() == (0, 0, 70)
    assert ingested(gate, 1)[0].applied_amount_xusd == 0


def test_what_leases_hold_stays_theirs(gate):
    gate.feature(price=10)
    gate.credit(100)
    gate.lease(6)

    rating, _ = ingested(gate, 10)

    assert rating.applied_amount_xusd == 40
    assert gate.balance() == (0, 60, 40)


@pytest.mark.parametrize("mode", ["postpaid", "hybrid"])
def test_others_owe_what_the_balance_does_not_pay(gate, mode):
    gate.feature(price=10)
    gate.plan(mode=mode)
    gate.credit(70)

    rating, answer = ingested(gate, 10)

    assert (rating.billing_mode, rating.application_status) == (mode, "applied")
    assert (rating.applied_amount_xusd, rating.funded_xusd) == (100, 70)
    assert answer.data["reason_codes"] == ["ingest", "cash_funding_applied"]
    assert types(answer) == []


def test_money_adds_up(gate):
    gate.feature(price=7, per=2)
    gate.credit(1000)
    for quantity in (3, 5, 11):
        gate.ingest(quantity)
        gate.commit(gate.lease(8), quantity)

    assert adds_up(gate.user)
    assert gate.balance() == (1000 - 7 * 19, 0, 7 * 19)


# Once


def test_the_same_usage_again_has_the_same_answer(gate):
    gate.feature(price=10, meters=["tokens"])
    gate.credit(70)
    given = {"meters": [MeterUse("chat", 10, "call", "older"), MeterUse("tokens", 1)]}

    first = gate.ingest(key="k", **given)
    before = row_counts()
    again = gate.later(days=400).ingest(key="k", **given)

    assert (again.data, list(again.hints)) == (first.data, list(first.hints))
    assert (again.replayed, again.trace_id) == (True, gate.by.trace_id)
    assert types(first) == [
        "pricing.not_configured",
        "funding.xusd_shortfall",
        "pricing.changed",
    ]
    assert row_counts() == before


@pytest.mark.parametrize(
    "other",
    [
        {"quantity": 2}, {"meters": [("chat", 1)]}, {"quantity": None, "meters": [("chat", 1)]}, {"labels": {"a": "b"}},
        {"metadata": {"a": 1}}, {"feature": "video"}, {"feature": "unheard-of"}, {"budget": "b"},
        {"meters": [("made-up", 1)]},
    ],
)  # fmt: skip
def test_a_key_with_another_body_is_a_conflict(gate, other):
    gate.feature()
    gate.feature("video")
    gate.ingest(1, key="k")
    before = row_counts()

    with pytest.raises(KeyReused):
        gate.ingest(other.pop("quantity", 1), key="k", **other)

    assert row_counts() == before


def test_a_key_belongs_to_a_user_and_to_ingest(gate):
    gate.feature()
    gate.ingest(1, key="k")

    assert gate.of_user("u-2").ingest(1, key="k")
    assert gate.of_principal("other").ingest(1, key="k")
    lease = gate.authorize(1, key="k").data["lease"]
    assert gate.commit(lease, 1, key="k")
    assert Rating.objects.filter(realm=gate.realm).count() == 4


def test_a_success_is_one_whatever_became_of_the_feature(gate):
    feature = gate.feature(price=10)
    gate.credit(1000)
    first = gate.ingest(1, key="k")
    assert delete_feature(feature=feature, at=gate.at, by=gate.by)

    assert gate.ingest(1, key="k").data == first.data
    with pytest.raises(GateDenied):
        gate.ingest(1)


# Refused


def test_a_feature_that_may_not_be_used_is_refused_with_its_evidence(gate):
    gate.feature()
    plan = gate.plan("strict")
    append_entitlements(
        plan=plan, targets=[Target("deny", "chat")], at=gate.at, by=gate.by
    )
    before = row_counts()

    for _ in range(2):
        with pytest.raises(GateDenied) as caught:
            gate.ingest(1)

    refusal = caught.value
    assert (refusal.status, refusal.code) == (403, "ENTITLEMENT.DENIED")
    denial = Denial.objects.get(realm=gate.realm)
    assert refusal.meta["decision_id"] == str(denial.pk)
    assert (denial.feature_code, denial.reason, denial.count) == (
        "chat",
        "entitlement_denied",
        2,
    )
    assert decision_of(gate.realm, str(denial.pk)).agrees
    assert row_counts() == before | {"gate_denials": 1}


def test_an_unknown_feature_is_refused(gate):
    with pytest.raises(GateDenied) as caught:
        gate.ingest(1, feature="unheard-of")

    assert (caught.value.status, caught.value.code) == (422, "RESOURCE.NOT_FOUND")
    assert caught.value.meta["reason"] == "feature_not_found"
    assert Denial.objects.get(realm=gate.realm).feature_code == ""
    assert not Feature.objects.in_realm(gate.realm).exists()


# Budgets


def test_a_budget_consumes_what_is_applied(gate):
    gate.feature(price=10)
    gate.credit(10_000)
    gate.budget(5000)

    rating, answer = ingested(gate, 60, budget="trip", key="k")
    again = gate.ingest(60, budget="trip", key="k")

    assert rating.reason_codes == ["ingest", "budget_consumed"]
    assert answer.data["budget_id"] == str(rating.budget_id)
    assert (
        answer.data["budget_consumed_delta_xusd"],
        answer.data["budget_remaining_xusd"],
    ) == ("600", "4400")
    assert (again.data, list(again.hints)) == (answer.data, list(answer.hints))
    assert gate.on_budget() == (600, 0)


def test_prepaid_use_never_passes_a_budget_nor_what_leases_hold_on_it(gate):
    gate.feature(price=10)
    gate.credit(10_000)
    gate.quota(None)
    gate.budget(500)
    lease = gate.lease(20, budget="trip")

    rating, answer = ingested(gate, 60, budget="trip")

    assert (rating.canonical_amount_xusd, rating.applied_amount_xusd) == (600, 300)
    assert answer.data["application_status"] == "applied_clipped"
    assert types(answer) == ["budget.shortfall", "budget.low_headroom"]
    assert gate.on_budget() == (300, 200)
    assert gate.commit(lease, 20).data["amount_xusd"] == "200"


def test_use_that_is_paid_later_counts_on_a_budget_in_full(gate):
    gate.feature(price=10)
    gate.plan(mode="postpaid")
    gate.budget(500)

    rating, _ = ingested(gate, 60, budget="trip")

    assert rating.reason_codes == [
        "ingest",
        "budget_limit_exceeded",
        "cash_funding_applied",
    ]
    assert gate.on_budget() == (600, 0)


@pytest.mark.parametrize(
    ("terms", "shift"),
    [
        ({"window_start": -1}, -2), ({"window_end": -1}, 0), ({"feature_codes": ["video"], "scope_kind": "feature"}, 0),
    ],
)  # fmt: skip
def test_a_budget_that_was_not_to_be_used_then_is_refused(gate, terms, shift):
    gate.feature(price=10)
    gate.feature("video")
    now = gate.later(days=10)
    for name in ("window_start", "window_end"):
        if name in terms:
            terms = {**terms, name: now.later(days=terms[name]).at}
    gate.budget(500, **terms)
    before = row_counts()

    with pytest.raises(GateDenied) as caught:
        now.ingest(1, budget="trip", occurred_at=now.later(days=shift).at)

    assert caught.value.meta["reason"] == "budget_not_found"
    assert row_counts() == before


def test_a_budget_that_was_closed_since_counts_what_was_used_before(gate):
    gate.feature(price=10)
    gate.credit(1000)
    gate.budget(500)
    closed, now = gate.later(days=5), gate.later(days=10)
    closed.close_budget()

    rating, _ = ingested(now, 1, budget="trip", occurred_at=gate.at)

    assert rating.reason_codes == ["ingest", "budget_consumed"]
    with pytest.raises(GateDenied):
        now.ingest(1, budget="trip", occurred_at=closed.at)


@pytest.mark.parametrize("name", ["marketing", "theirs"])
def test_a_budget_that_the_user_does_not_have_is_refused(gate, name):
    gate.feature(price=10)
    gate.credit(100)
    gate.of_user("u-2").budget(500, "theirs")
    before = row_counts()

    with pytest.raises(GateDenied) as caught:
        gate.ingest(1, budget=name)

    assert (caught.value.status, caught.value.code) == (422, "RESOURCE.NOT_FOUND")
    assert caught.value.meta["reason"] == "budget_not_found"
    assert row_counts() == before


# Metadata


def test_a_rating_keeps_the_callers_metadata_and_where_its_instant_is_from(gate):
    gate.feature()

    rating, _ = ingested(gate, 1, metadata={"run": 7, "nested": {"a": [1, None]}})

    assert rating.metadata == {
        "run": 7,
        "nested": {"a": [1, None]},
        "ingest": {
            "occurred_at_source": "server",
            "backfill": False,
            "received_at": "2026-03-10T12:00:00.000000Z",
        },
    }


@pytest.mark.parametrize(
    ("metadata", "field"),
    [({"ingest": {"backfill": True}}, "metadata.ingest"), ({"a": "x" * 70_000}, "metadata")],
)  # fmt: skip
def test_metadata_has_its_limits(gate, metadata, field):
    gate.feature()

    with pytest.raises(Invalid) as caught:
        gate.ingest(1, metadata=metadata)

    assert caught.value.field == field


def test_a_commit_has_no_metadata(gate):
    gate.feature()

    assert gate.rating(gate.commit(gate.lease(1), 1)).metadata == {}


# What it takes


def statements(gate, **given):
    with CaptureQueriesContext(connection) as queries:
        gate.ingest(**given)
    return len(queries)


def test_the_first_use_of_an_account_prepares_it(gate):
    gate.feature()
    assert not GateState.objects.filter(account=gate.account).exists()

    ingested(gate, 1)

    assert Projection.objects.filter(user=gate.user, feature_code="chat").exists()


def test_more_meters_and_more_ratings_take_no_more_statements(gate):
    gate.feature(price=1, meters=["a", "b", "c"])
    gate.credit(100)
    gate.ingest(1)

    one = statements(gate, meters=[("a", 1)])
    many = statements(gate, meters=[("a", 1), ("b", 1), ("c", 1), ("chat", 1)])

    assert one == many
