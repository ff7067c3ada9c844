import pytest
from vlunaai.generated.gate_models import CommitResponse, Hint, PricingSnapshot

from catalog.models import Meter
from catalog.services.meters import change_meter
from gating.models import RatedRecord, ResidualBucket
from gating.selectors.ratings import rated_total
from gating.services.commits import MeterNotAllowed
from gating.services.usage import MeterUse
from tests.gating.gate import Gate


def committed(gate: Gate, *args, **kwargs):
    answer = gate.commit(*args, **kwargs)
    CommitResponse.model_validate(answer.data)
    for hint in answer.hints:
        Hint.model_validate(hint)
    return gate.rating(answer), answer


def test_a_commit_is_rated_counted_and_paid(gate):
    gate.feature(price=10, cost=4)
    gate.credit(1000)
    gate.quota(500)
    lease = gate.lease(75, labels={"team": "a", "job": "1"})

    rating, answer = committed(gate, lease, 60, labels={"job": "2"})

    assert (answer.data["amount_xusd"], answer.data["cost_xusd"]) == ("600", "240")
    assert (
        answer.data["application_status"],
        answer.data["reason_codes"],
        list(answer.hints),
    ) == ("applied", [], [])
    assert (
        rating.applied_quantity_minor,
        rating.applied_amount_xusd,
        rating.funded_xusd,
    ) == (60, 600, 600)
    assert rating.labels == {"team": "a", "job": "2"}
    assert gate.used() == (60, 0)
    assert gate.balance() == (400, 0, 600)
    assert (gate.row(lease).state, gate.row(lease).ended_at) == ("closed", gate.at)
    line = RatedRecord.objects.get(rating=rating)
    assert (
        line.line_number,
        line.meter_code,
        line.quantity_minor,
        line.amount_xusd,
    ) == (1, "chat", 60, 600)
    assert str(line.pk) == answer.data["lines"][0]["line_id"]
    total = rated_total(rating)
    PricingSnapshot.model_validate(total.pricing_snapshot)


def test_the_usage_is_attributed_to_the_plan_that_entitled(gate):
    gate.feature()
    gate.plan("pro")
    from billing.services.entitlements import allow_everything

    plan = gate.plan("pro", assign=False)
    allow_everything(plan=plan, at=gate.at, by=gate.by)

    rating, _ = committed(gate, gate.lease(1))

    assert rating.plan_assignment.plan.plan_code == "pro"


def test_fractions_are_carried_and_never_lost(gate):
    gate.feature(price=3_600_000, per=1_000_000)
    gate.credit(100)

    amounts = [
        committed(gate, gate.lease(1), 1)[0].applied_amount_xusd for _ in range(3)
    ]

    assert amounts == [3, 4, 3]
    bucket = ResidualBucket.objects.get(realm=gate.realm)
    assert (bucket.denom, bucket.remainder_numer) == (1_000_000, 800_000)


def test_a_new_price_starts_without_remainder(gate):
    gate.feature(price=3_600_000, per=1_000_000)
    gate.credit(100)
    committed(gate, gate.lease(1), 1)
    later = gate.later(minutes=1)
    later.price("chat", 3_600_001, per=1_000_000)

    rating, _ = committed(later, later.lease(1), 1)

    assert rating.applied_amount_xusd == 3
    assert ResidualBucket.objects.filter(realm=gate.realm).count() == 2


def test_whole_blocks_are_billed_where_the_meter_says_so(gate):
    gate.feature(price=100, per=1000)
    meter = Meter.objects.get(realm=gate.realm, meter_code="chat")
    change_meter(
        meter=meter, metadata={"residual_mode": "prepaid"}, at=gate.at, by=gate.by
    )
    gate.credit(1000)

    amounts = [
        committed(gate, gate.lease(q), q)[0].applied_amount_xusd for q in (1, 999, 1)
    ]

    assert amounts == [100, 0, 100]


# Meters


def test_given_meters_are_priced_and_the_quantity_counts(gate):
    gate.feature(price=10, meters=["tokens"])
    gate.price("tokens", 2)
    gate.credit(1000)
    gate.quota(500)

    rating, answer = committed(
        gate, gate.lease(3), 3, meters=[("chat", 1), ("tokens", 7)]
    )

    assert answer.data["amount_xusd"] == "24"
    assert gate.used() == (3, 0)
    assert [line["meter_code"] for line in answer.data["lines"]] == ["chat", "tokens"]
    assert rated_total(rating).pricing_snapshot["quantity_minor"] == "8"


def test_one_meter_may_stand_on_two_lines(gate):
    gate.feature(price=1, per=2)
    gate.credit(10)

    rating, answer = committed(
        gate, gate.lease(2), 2, meters=[("chat", 1), ("chat", 1)]
    )

    assert [line["amount_xusd"] for line in answer.data["lines"]] == ["0", "1"]
    assert rating.applied_amount_xusd == 1


def test_a_foreign_meter_is_quarantined(gate):
    gate.feature(price=10)
    gate.feature("video", price=10)
    gate.credit(1000)
    gate.quota(500)

    rating, answer = committed(
        gate, gate.lease(5), 5, meters=[("video", 5), ("made-up", 1)]
    )

    assert (rating.application_status, rating.reason_codes) == (
        "quarantined",
        ["meter_not_allowed_for_feature"],
    )
    assert answer.hints == [
        {
            "type": "feature.meter_not_allowed",
            "meters": ["video", "made-up"],
            "feature_code": "chat",
        }
    ]
    assert (answer.data["amount_xusd"], rating.canonical_quantity_minor) == ("0", 5)
    assert gate.used() == (0, 0)
    assert gate.balance() == (1000, 0, 0)


def test_a_foreign_meter_is_refused_where_strict(gate, monkeypatch):
    from gating.options import options

    gate.feature(price=10)
    gate.credit(1000)
    lease = gate.lease(5)
    monkeypatch.setenv("PLANGATE_STRICT_METERS", "1")
    options.cache_clear()
    try:
        with pytest.raises(MeterNotAllowed) as caught:
            gate.commit(lease, 5, meters=[("made-up", 1)])
    finally:
        monkeypatch.undo()
        options.cache_clear()

    assert (caught.value.status, caught.value.error_type) == (
        422,
        "meter_not_allowed_for_feature",
    )
    assert gate.row(lease).state == "active"


def test_an_unpriced_meter_of_a_priced_feature_is_quarantined(gate):
    gate.feature(price=10, meters=["tokens"])
    gate.credit(1000)

    rating, answer = committed(gate, gate.lease(1), 1, meters=[("tokens", 7)])

    assert (rating.application_status, rating.reason_codes) == (
        "quarantined",
        ["pricing_not_configured"],
    )
    assert answer.data["lines"][0]["rating_status"] == "missing_price"


def test_a_free_feature_counts_although_it_has_no_price(gate):
    gate.feature()
    gate.quota(500)

    rating, answer = committed(gate, gate.lease(75), 75)

    assert (rating.application_status, rating.applied_quantity_minor) == ("applied", 75)
    assert [hint["type"] for hint in answer.hints] == ["pricing.not_configured"]
    assert gate.used() == (75, 0)


def test_a_changed_price_is_hinted(gate):
    from gating.pricing import rate_identity
    from gating.selectors.features import gated_feature

    gate.feature(price=10)
    gate.credit(1000)
    rate = gated_feature(account=gate.account, feature_code="chat", at=gate.at).rates[
        "chat"
    ]
    current = rate_identity(rate, "revenue")

    _, same = committed(
        gate, gate.lease(1), meters=[MeterUse("chat", 1, client_pricing_etag=current)]
    )
    _, other = committed(
        gate, gate.lease(1), meters=[MeterUse("chat", 1, client_pricing_etag="old")]
    )

    assert list(same.hints) == []
    assert other.hints == [
        {
            "type": "pricing.changed",
            "meter_code": "chat",
            "previous_fingerprint": "old",
            "current_fingerprint": current,
        }
    ]


# Overshoot


def test_the_excess_comes_out_of_what_is_left(gate):
    gate.feature(price=10)
    gate.credit(10_000)
    gate.quota(500)

    rating, _ = committed(gate, gate.lease(75), 200)

    assert (rating.application_status, rating.applied_amount_xusd) == ("applied", 2000)
    assert gate.used() == (200, 0)
    assert gate.balance() == (8000, 0, 2000)


def test_a_prepaid_overshoot_is_clipped_and_told(gate):
    gate.feature(price=10)
    gate.credit(10_000)
    gate.quota(100)

    rating, answer = committed(gate, gate.lease(75), 150)

    assert (rating.application_status, rating.reason_codes) == (
        "applied_clipped",
        ["overshoot"],
    )
    assert (rating.canonical_quantity_minor, rating.canonical_amount_xusd) == (
        150,
        1500,
    )
    assert (
        rating.applied_quantity_minor,
        rating.applied_amount_xusd,
        answer.data["amount_xusd"],
    ) == (100, 1000, "1000")
    assert gate.used() == (100, 0)
    assert {hint["type"] for hint in answer.hints} == {
        "quota.remaining",
        "funding.xusd_shortfall",
    }


def test_a_prepaid_commit_pays_no_more_than_it_has(gate):
    gate.feature(price=10)
    gate.credit(1000)

    rating, answer = committed(gate, gate.lease(75), 150)

    assert (
        rating.applied_quantity_minor,
        rating.applied_amount_xusd,
        rating.funded_xusd,
    ) == (150, 1000, 1000)
    assert answer.hints == [{"type": "funding.xusd_shortfall", "shortfall_xusd": 500}]
    assert gate.balance() == (0, 0, 1000)


def test_a_postpaid_overshoot_is_owed_in_full(gate):
    gate.feature(price=10)
    gate.plan(mode="postpaid")
    gate.credit(300)
    gate.quota(100)

    rating, _ = committed(gate, gate.lease(75), 150)

    assert (
        rating.application_status,
        rating.applied_amount_xusd,
        rating.funded_xusd,
    ) == ("applied_clipped", 1500, 300)
    assert rating.reason_codes == ["overshoot", "cash_funding_applied"]
    assert gate.used() == (100, 0)


def test_an_optimistic_quota_counts_at_commit(gate):
    gate.feature()
    gate.quota(100, enforcement_mode="optimistic")
    leases = [gate.lease(75) for _ in range(3)]

    statuses = [committed(gate, lease, 75)[0].application_status for lease in leases]

    assert statuses == ["applied", "applied_clipped", "applied_clipped"]
    assert gate.used() == (100, 0)


def test_the_limit_in_force_at_authorize_holds_at_commit(gate):
    gate.feature()
    policy = gate.quota(100)
    lease = gate.lease(80)
    from gating.services.policies import change_policy

    change_policy(policy=policy, limit_minor=10, at=gate.at, by=gate.by)

    assert committed(gate, lease, 90)[0].application_status == "applied"
    assert gate.used() == (90, 0)
