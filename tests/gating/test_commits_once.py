from datetime import timedelta

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from vlunaai.generated.gate_models import CommitResponse, Hint

from catalog.services.features import delete_feature
from config.kernel.ids import new_id
from gating.models import Rating, RatingKey
from gating.services.admissions import KeyReused
from gating.services.commits import OtherFeature
from gating.services.leases import LeaseUnknown, expire_leases
from tests.gating.gate import Gate, row_counts
from tests.tools.purse import adds_up


def committed(gate: Gate, *args, **kwargs):
    answer = gate.commit(*args, **kwargs)
    CommitResponse.model_validate(answer.data)
    for hint in answer.hints:
        Hint.model_validate(hint)
    return gate.rating(answer), answer


# Once


def test_the_same_commit_again_has_the_same_answer(gate):
    gate.feature(price=10)
    gate.credit(1000)
    lease = gate.lease(75)

    first = gate.commit(lease, 75, key="k")
    before = row_counts()
    again = gate.commit(lease, 75, key="k")

    assert (again.data, list(again.hints), again.replayed) == (
        first.data,
        list(first.hints),
        True,
    )
    assert row_counts() == before
    assert gate.balance() == (250, 0, 750)


def test_the_answer_stays_when_its_feature_is_gone(gate):
    feature = gate.feature()
    lease = gate.lease(75)
    first = gate.commit(lease, 75, key="k")
    assert delete_feature(feature=feature, at=gate.at, by=gate.by)

    again = gate.commit(lease, 75, key="k")

    assert (again.data, list(again.hints)) == (first.data, list(first.hints))
    with pytest.raises(KeyReused):
        gate.commit(lease, 74, key="k")


def test_a_key_with_another_body_is_a_conflict(gate):
    gate.feature()
    lease, other = gate.lease(75), gate.lease(1)
    gate.commit(lease, 75, key="k")

    for given in ((lease, 74), (other, 75)):
        with pytest.raises(KeyReused):
            gate.commit(*given, key="k")
    with pytest.raises(KeyReused):
        gate.commit(lease, 75, key="k", meters=[("chat", 75)])
    assert Rating.objects.filter(realm=gate.realm).count() == 1


def test_a_key_of_authorize_is_free_for_commit(gate):
    gate.feature()

    lease = gate.authorize(1, key="k").data["lease"]

    assert gate.commit(lease, 1, key="k")


def test_a_second_commit_is_quarantined_and_shows_nothing_applied(gate):
    gate.feature(price=10)
    gate.credit(1000)
    gate.quota(500)
    lease = gate.lease(50)
    gate.commit(lease, 50)

    rating, answer = committed(gate, lease, 20)

    assert (rating.application_status, rating.reason_codes) == (
        "quarantined",
        ["lease_closed_at_commit"],
    )
    assert answer.hints == [{"type": "lease.closed_at_commit", "state": "closed"}]
    assert (answer.data["amount_xusd"], answer.data["cost_xusd"]) == ("0", "0")
    assert (rating.canonical_quantity_minor, rating.canonical_amount_xusd) == (20, 200)
    assert gate.used() == (50, 0)
    assert gate.balance() == (500, 0, 500)


def test_quarantined_usage_carries_no_remainder(gate):
    gate.feature(price=1, per=2)
    gate.credit(100)
    lease = gate.lease(2)
    gate.commit(lease, 2)

    committed(gate, lease, 1)

    assert committed(gate, gate.lease(1), 1)[0].applied_amount_xusd == 0


def test_the_database_knows_one_applied_commit_per_lease(gate):
    gate.feature()
    lease = gate.lease(1)
    rating = gate.rating(gate.commit(lease, 1))

    key = RatingKey.objects.get(pk=rating.pk)
    key.rating_id, key.idempotency_key, key._state.adding = new_id(), "other", True
    with (
        pytest.raises(IntegrityError, match="gate_rating_one_applied_per_lease"),
        transaction.atomic(),
    ):
        key.save(force_insert=True)


# Refusals


def test_an_unknown_lease_is_refused(gate):
    gate.feature()
    mine = gate.lease(1)

    for who, lease in (
        (gate, "lease.none"),
        (gate.of_user("u-2"), mine),
        (gate.of_principal("other"), mine),
    ):
        with pytest.raises(LeaseUnknown) as caught:
            who.commit(lease, 1)
        assert (caught.value.status, caught.value.code, caught.value.error_type) == (
            422,
            "RESOURCE.NOT_FOUND",
            "invalid_lease",
        )


def test_another_features_lease_is_refused(gate):
    gate.feature()
    gate.feature("video")
    lease = gate.lease(1)

    with pytest.raises(OtherFeature) as caught:
        gate.commit(lease, 1, feature="video")

    assert (caught.value.status, caught.value.code, caught.value.error_type) == (
        422,
        "WRITE.INVALID_PAYLOAD",
        "feature_mismatch",
    )
    assert gate.commit(lease, 1)


def test_a_lease_of_a_feature_that_is_gone_says_so(gate):
    feature = gate.feature()
    lease = gate.lease(1)
    assert delete_feature(feature=feature, at=gate.at, by=gate.by)

    with pytest.raises(OtherFeature) as caught:
        gate.commit(lease, 1)

    assert "no longer exists" in caught.value.message
    assert gate.cancel(lease).canceled


def test_authorized_work_is_billed_although_the_plan_is_gone(gate):
    from catalog.models import Feature
    from catalog.services.features import change_feature

    gate.feature()
    lease = gate.lease(1)
    feature = Feature.objects.get(realm=gate.realm, feature_code="chat")
    change_feature(feature=feature, active=False, at=gate.at, by=gate.by)

    assert committed(gate, lease)[0].application_status == "applied"


# Late


def test_a_late_commit_counts_within_the_grace(gate):
    gate.feature()
    gate.quota(100)
    lease = gate.lease(75)
    late = gate.later(hours=12, seconds=60)
    expire_leases(at=late.at)

    rating, answer = committed(late, lease, 75)

    assert (rating.application_status, rating.late_rating, rating.reason_codes) == (
        "applied",
        True,
        ["late_commit", "pricing_not_configured"],
    )
    assert answer.hints[0]["delta_ms"] == 60_000
    assert gate.used() == (75, 0)


@pytest.mark.parametrize("job_first", [True, False])
def test_a_commit_after_the_grace_finds_the_lease_expired(gate, job_first):
    gate.feature(price=10)
    gate.credit(1000)
    gate.quota(100)
    lease = gate.lease(75)
    late = gate.at_instant(gate.at + timedelta(hours=12, seconds=60, microseconds=1))
    if job_first:
        expire_leases(at=late.at, batch=10_000)

    rating, answer = committed(late, lease, 75)

    assert gate.row(lease).state == "expired"
    assert rating.reason_codes == ["lease_closed_at_commit", "late_commit_exceeded"]
    assert [hint["type"] for hint in answer.hints] == [
        "lease.closed_at_commit",
        "lease.expired",
    ]
    assert gate.used() == (0, 0)
    assert gate.balance() == (1000, 0, 0)


# What the database keeps


def test_ratings_and_lines_only_grow(gate):
    gate.feature()
    gate.commit(gate.lease(1), 1)

    for table in ("gate_ratings", "gate_rated_records"):
        for statement in (
            f"UPDATE {table} SET rated_at = now()",
            f"DELETE FROM {table}",
        ):
            with (
                pytest.raises(DatabaseError, match="refuses"),
                transaction.atomic(),
                connection.cursor() as cursor,
            ):
                cursor.execute(statement)


def test_money_adds_up(gate):
    gate.feature(price=7)
    gate.credit(1000)
    for quantity in (3, 5, 11):
        gate.commit(gate.lease(8), quantity)
    gate.cancel(gate.lease(9))

    assert adds_up(gate.user)
    assert gate.balance() == (1000 - 7 * 19, 0, 7 * 19)
