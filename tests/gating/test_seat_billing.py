"""Seats are billed: which ones, in which windows, at which price, and each once."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from billing.models import PlanAssignment
from billing.services.accounts import ensure_account
from billing.services.assignment_changes import end_assignment
from billing.services.users import change_user
from catalog.models import Meter
from catalog.services.meters import upsert_meter
from config.kernel.errors import Invalid
from config.kernel.money import INT64_MAX
from config.tenancy.history import auditing
from gating.models import Rating, RatingKey, ResidualBucket, SeatBilling
from gating.selectors.ratings import rated_total
from gating.services import seat_ratings
from gating.services.policies import change_policy, delete_policy
from gating.services.seats import bill_seats
from tests.billing.agreeing import agreed, price, termed, times
from tests.gating.gate import Gate
from tests.tools.purse import owed, spent

DAY = timedelta(days=1)
ASSIGNED = {
    "billing_feature_code": "seat",
    "billing_meter_code": "seat",
    "billing_mode": "assigned",
}
SEEN = ASSIGNED | {"billing_mode": "active_window"}
APRIL, MAY, JUNE = (datetime(2026, month, 1, tzinfo=UTC) for month in (4, 5, 6))
"""The gate stands on 10 March 2026 at noon."""


@pytest.fixture
def desk(gate):
    """A gate with a feature to use, one to bill seats as at 5 dollars, and a plan."""
    gate.feature("chat")
    gate.feature("seat", price=5_000_000, cost=1_000_000)
    gate.bundle("team")
    gate.plan("team", bundle="team", mode="postpaid")
    gate.quota(500, bundle=gate.bundle("team"))
    return gate


def seats(desk, metadata=ASSIGNED, *, days=0, **values):
    return desk.seats(
        99,
        bundle=desk.bundle("team"),
        seconds=days * 86_400,
        metadata=metadata,
        **values,
    )


def bill(desk, at, **options):
    return bill_seats(at=at, by=desk.by, **options)


def rated(desk):
    """Return whose seat of which window was rated, by user and first day."""
    ratings = Rating.objects.filter(realm=desk.realm, rating_kind="seats")
    return sorted(
        (rating.user.business_user_id, rating.evidence["seat"]["window_start"][:10])
        for rating in ratings.select_related("user")
    )


def only(desk):
    return Rating.objects.get(realm=desk.realm, rating_kind="seats")


# --- which seats, in which windows ----------------------------------------------


def test_a_kept_seat_is_billed_by_calendar_month_once_the_month_is_over(desk):
    seats(desk)
    desk.lease()

    assert bill(desk, APRIL - timedelta(microseconds=1)).rated == 0
    assert [bill(desk, APRIL).rated, bill(desk, APRIL).rated] == [1, 0]
    assert rated(desk) == [("u-1", "2026-03-01")]
    rating = only(desk)
    assert rating.rated_at == APRIL - timedelta(microseconds=1)
    assert rating.evidence["seat"]["held_since"][:19] == "2026-03-10T12:00:00"


def test_a_late_run_bills_every_month_that_was_missed(desk):
    seats(desk)
    desk.lease()

    assert bill(desk, JUNE).rated == 3
    assert rated(desk) == [("u-1", f"2026-0{month}-01") for month in (3, 4, 5)]


def test_only_users_with_a_seat_are_billed(desk):
    seats(desk)
    desk.of_user("u-2")
    desk.lease()

    bill(desk, APRIL)

    assert rated(desk) == [("u-1", "2026-03-01")]


def test_a_seat_of_a_window_is_billed_in_it_and_in_no_other(desk):
    seats(desk, SEEN, days=1)
    desk.lease()
    desk.later(days=2).lease()
    desk.of_user("u-2").later(days=2).lease()

    bill(desk, APRIL)

    assert rated(desk) == [
        ("u-1", "2026-03-10"),
        ("u-1", "2026-03-12"),
        ("u-2", "2026-03-12"),
    ]


def test_a_window_that_has_not_ended_is_not_billed(desk):
    seats(desk, SEEN, days=1)
    desk.lease()

    assert bill(desk, datetime(2026, 3, 10, 23, 59, 59, tzinfo=UTC)).rated == 0
    assert bill(desk, datetime(2026, 3, 11, tzinfo=UTC)).rated == 1


def test_seats_of_a_shared_counter_are_assigned_over_windows_of_other_lengths(desk):
    """The daily policy takes the seats, the weekly one bills whoever had any."""
    seats(desk, {"counter_key": "team"}, days=1)
    seats(desk, ASSIGNED | {"counter_key": "team"}, days=7)
    seats(desk, SEEN | {"counter_key": "team"}, days=30)
    start = datetime(2026, 3, 10, 12, tzinfo=UTC)
    for day in (0, 1, 8):
        desk.at_instant(start + day * DAY).lease()

    bill(desk, start + 15 * DAY)

    # Weeks since the epoch begin on Thursdays; the policy of 30 days is still running.
    assert rated(desk) == [("u-1", "2026-03-05"), ("u-1", "2026-03-12")]


@pytest.mark.parametrize(
    ("changes", "months"),
    [
        ([(3, "disabled")], [3]),
        ([(3, "disabled"), (25, "active")], [3, 4, 5]),
        ([(3, "disabled"), (60, "active")], [3, 5]),
        ([(40, "disabled")], [3, 4]),
        ([(3, "deleted")], [3]),
    ],
)
def test_a_seat_is_billed_in_months_in_which_its_user_was_active(desk, changes, months):
    seats(desk)
    desk.lease()
    for day, status in changes:
        later = desk.later(days=day)
        change_user(user=desk.user, status=status, at=later.at, by=desk.by)

    bill(desk, JUNE)

    assert rated(desk) == [("u-1", f"2026-0{month}-01") for month in months]


def test_a_seat_is_billed_while_the_policy_governs_its_user(desk):
    seats(desk)
    desk.lease()
    assignment = PlanAssignment.objects.get(realm=desk.realm, plan__plan_code="team")
    april = desk.later(days=30)
    end_assignment(
        assignment=assignment, end_at=april.at + DAY, at=april.at, by=desk.by
    )

    bill(desk, JUNE)

    assert rated(desk) == [("u-1", "2026-03-01"), ("u-1", "2026-04-01")]


def test_a_plan_that_begins_in_a_month_bills_a_seat_kept_from_before(desk):
    seats(desk)
    desk.lease()
    assignment = PlanAssignment.objects.get(realm=desk.realm, plan__plan_code="team")
    end_assignment(
        assignment=assignment, end_at=desk.at + DAY, at=desk.at + DAY, by=desk.by
    )
    later = desk.at_instant(MAY + 9 * DAY)
    later.plan("again", bundle="team", mode="hybrid")

    bill(desk, JUNE)

    assert rated(desk) == [("u-1", "2026-03-01"), ("u-1", "2026-05-01")]
    assert [
        rating.billing_mode
        for rating in Rating.objects.filter(realm=desk.realm).order_by("rated_at")
    ] == ["postpaid", "hybrid"]


def test_another_bundles_policy_of_the_same_counter_does_not_bill(desk):
    seats(desk, {"counter_key": "team"})
    other = desk.bundle("other")
    desk.seats(9, bundle=other, metadata=ASSIGNED | {"counter_key": "team"})
    desk.lease()

    assert bill(desk, APRIL).rated == 0


def test_a_policy_of_account_scope_bills_each_seat_too(desk):
    seats(desk, subject_scope="account")
    desk.lease()
    desk.of_user("u-2").lease()

    bill(desk, APRIL)

    assert rated(desk) == [("u-1", "2026-03-01"), ("u-2", "2026-03-01")]


# --- a policy that changes -------------------------------------------------------


def test_a_policy_bills_from_the_window_in_which_it_is_told_to(desk):
    policy = seats(desk, {})
    desk.lease()
    change_policy(policy=policy, metadata=ASSIGNED, at=MAY - DAY, by=desk.by)

    bill(desk, JUNE)

    assert rated(desk) == [("u-1", "2026-04-01"), ("u-1", "2026-05-01")]


@pytest.mark.parametrize("end", ["deleted", "disabled", "unbilled"])
def test_a_window_that_ended_is_billed_whatever_became_of_the_policy(desk, end):
    policy = seats(desk)
    desk.lease()
    if end == "deleted":
        delete_policy(policy=policy, at=APRIL + DAY, by=desk.by)
    elif end == "disabled":
        change_policy(policy=policy, status="disabled", at=APRIL + DAY, by=desk.by)
    else:
        change_policy(policy=policy, metadata={}, at=APRIL + DAY, by=desk.by)

    assert bill(desk, JUNE).rated == 1
    assert rated(desk) == [("u-1", "2026-03-01")]


def test_each_window_is_billed_on_the_terms_it_ended_with(desk):
    desk.feature("gold", price=9_000_000)
    policy = seats(desk)
    desk.lease()
    gold = ASSIGNED | {"billing_feature_code": "gold", "billing_meter_code": "gold"}
    change_policy(policy=policy, metadata=gold, at=APRIL, by=desk.by)

    bill(desk, MAY)

    found = Rating.objects.filter(realm=desk.realm).order_by("rated_at")
    assert [(r.feature_code, r.canonical_amount_xusd) for r in found] == [
        ("seat", 5_000_000),
        ("gold", 9_000_000),
    ]


def test_windows_that_overlap_a_billed_one_are_passed_over(desk):
    policy = seats(desk, days=1)
    desk.lease()
    bill(desk, desk.at + DAY)
    change_policy(policy=policy, window_sec=0, at=desk.at + DAY, by=desk.by)
    desk.later(days=2).lease()

    bill(desk, MAY)

    assert rated(desk) == [("u-1", "2026-03-10"), ("u-1", "2026-04-01")]


# --- price and money --------------------------------------------------------------


def test_a_seat_costs_the_price_in_force_as_its_window_ends(desk):
    seats(desk)
    desk.lease()
    desk.at_instant(APRIL - DAY).price("seat", 6_000_000, cost=1)
    desk.at_instant(APRIL).price("seat", 7_000_000)

    bill(desk, MAY)

    found = Rating.objects.filter(realm=desk.realm).order_by("rated_at")
    assert [(r.canonical_amount_xusd, r.canonical_cost_xusd) for r in found] == [
        (6_000_000, 1),
        (7_000_000, 0),
    ]


def test_a_seat_is_one_whole_unit_of_its_meter(desk):
    upsert_meter(realm=desk.realm, meter_code="seat", scale=2, at=desk.at, by=desk.by)
    seats(desk)
    desk.lease()

    bill(desk, APRIL)

    rating = only(desk)
    assert rating.canonical_quantity_minor == rating.applied_quantity_minor == 100
    assert rating.canonical_amount_xusd == 500_000_000


def test_parts_of_a_price_are_carried_from_month_to_month(desk):
    desk.later(minutes=1).price("seat", 10, per=3)
    seats(desk)
    desk.lease()

    bill(desk, JUNE)

    found = Rating.objects.filter(realm=desk.realm).order_by("rated_at")
    assert [rating.canonical_amount_xusd for rating in found] == [3, 3, 4]
    lines = [rating.lines.get() for rating in found]
    assert [(line.remainder_in, line.remainder_out) for line in lines] == [
        (0, 1),
        (1, 2),
        (2, 0),
    ]
    assert [rated_total(rating).amount_xusd for rating in found] == [3, 3, 4]
    bucket = ResidualBucket.objects.get(user=desk.user)
    assert (bucket.remainder_numer, bucket.denom) == (0, 3)


def prepaid(desk):
    """The same desk, whose account pays before."""
    assignment = PlanAssignment.objects.get(realm=desk.realm, plan__plan_code="team")
    end_assignment(assignment=assignment, end_at=desk.at + DAY, at=desk.at, by=desk.by)
    desk.plan("before", bundle="team", mode="prepaid", priority=99)


@pytest.mark.parametrize(
    ("credit", "status", "reasons", "applied"),
    [
        (5_000_000, "applied", [], 5_000_000),
        (6_000_000, "applied", [], 5_000_000),
        (3_000_000, "applied_clipped", ["overshoot"], 3_000_000),
        (1, "applied_clipped", ["overshoot"], 1),
    ],
)
def test_a_prepaid_seat_costs_no_more_than_the_balance_has(
    desk, credit, status, reasons, applied
):
    seats(desk)
    prepaid(desk)
    desk.lease()
    desk.credit(credit)

    bill(desk, APRIL)

    rating = only(desk)
    assert (
        rating.billing_mode,
        rating.application_status,
        rating.reason_codes,
        rating.canonical_amount_xusd,
        rating.applied_amount_xusd,
        rating.funded_xusd,
        rating.canonical_quantity_minor,
        rating.applied_quantity_minor,
    ) == ("prepaid", status, reasons, 5_000_000, applied, applied, 1, 1)
    assert desk.balance()[0] == credit - applied


@pytest.mark.parametrize(
    ("credit", "funded", "reasons"),
    [
        (0, 0, ["cash_funding_applied"]),
        (2_000_000, 2_000_000, ["cash_funding_applied"]),
        (9_000_000, 5_000_000, []),
    ],
)
def test_a_postpaid_seat_is_owed_beyond_what_the_balance_pays(
    desk, credit, funded, reasons
):
    seats(desk)
    desk.lease()
    if credit:
        desk.credit(credit)

    bill(desk, APRIL)

    rating = only(desk)
    assert (
        rating.application_status,
        rating.applied_amount_xusd,
        rating.funded_xusd,
        rating.reason_codes,
    ) == ("applied", 5_000_000, funded, reasons)
    source, lacking = f"gate_rating:{rating.pk}", rating.applied_amount_xusd - funded
    assert spent(desk.user) == ({source: funded} if funded else {})
    assert owed(desk.user) == ({source: lacking} if lacking else {})


def outcome(desk):
    rating = only(desk)
    return (
        rating.application_status,
        rating.reason_codes,
        rating.canonical_quantity_minor,
        rating.applied_quantity_minor,
        rating.applied_amount_xusd,
    )


def test_a_seat_is_free_where_nothing_of_its_feature_has_a_price(desk):
    desk.feature("free")
    terms = {"billing_feature_code": "free", "billing_meter_code": "free"}
    seats(desk, ASSIGNED | terms)
    desk.lease()

    bill(desk, APRIL)

    assert outcome(desk) == ("applied", ["pricing_not_configured"], 1, 1, 0)


def test_a_seat_whose_meter_alone_has_no_price_is_kept_aside(desk):
    desk.feature("seat", meters=("desk",))
    seats(desk, ASSIGNED | {"billing_meter_code": "desk"})
    desk.lease()

    bill(desk, APRIL)

    assert outcome(desk) == ("quarantined", ["pricing_not_configured"], 1, 0, 0)
    assert ResidualBucket.objects.filter(realm=desk.realm).count() == 0


def test_a_seat_whose_meter_is_off_is_kept_aside(desk):
    seats(desk)
    desk.lease()
    upsert_meter(
        realm=desk.realm, meter_code="seat", active=False, at=desk.at, by=desk.by
    )

    bill(desk, APRIL)

    assert outcome(desk) == ("quarantined", ["meter_not_allowed_for_feature"], 1, 0, 0)


def test_a_seat_costs_what_the_accounts_contract_says_as_its_window_ends(desk):
    seats(desk)
    desk.lease()
    contract = agreed(desk.account, desk.at, name="E", at=desk.at, by=desk.by)
    for start, factor in ((APRIL - DAY, "0.8"), (APRIL, "0.5")):
        termed(
            contract,
            price(times(factor), meter="seat"),
            start,
            key="seat",
            at=desk.at,
            by=desk.by,
        )

    bill(desk, MAY)

    found = Rating.objects.filter(realm=desk.realm).order_by("rated_at")
    assert [r.applied_amount_xusd for r in found] == [4_000_000, 2_500_000]


# --- once, and bounded --------------------------------------------------------------


def test_the_key_of_a_seat_is_unique_by_user_policy_and_window(desk):
    policy = seats(desk)
    desk.lease()
    bill(desk, APRIL)

    key = RatingKey.objects.get(realm=desk.realm, operation=seat_ratings.OPERATION)
    assert (key.user, key.rating_id) == (desk.user, only(desk).pk)
    assert key.idempotency_key == (
        f"{policy.pk} 2026-03-01T00:00:00.000000Z 2026-04-01T00:00:00.000000Z"
    )


def test_without_the_mark_of_how_far_it_came_nothing_is_billed_twice(desk):
    seats(desk)
    desk.lease()
    desk.credit(50_000_000)
    bill(desk, JUNE)
    before = desk.balance()
    SeatBilling.objects.filter(realm=desk.realm).delete()

    assert bill(desk, JUNE).rated == 0
    assert (len(rated(desk)), desk.balance()) == (3, before)


def test_a_bounded_run_leaves_the_rest_to_the_next(desk):
    seats(desk)
    desk.lease()
    other = desk.of_principal("globex")
    other.plan("globex", bundle="team", mode="postpaid")
    other.lease()

    counts = [bill(desk, JUNE, most=2).rated for _ in range(5)]

    assert counts == [2, 2, 2, 0, 0]
    assert len(rated(desk)) == 6


def test_many_seats_of_an_account_are_billed_in_parts(desk):
    seats(desk)
    for number in range(25):
        desk.of_user(f"many-{number:02}").lease()

    assert bill(desk, APRIL).rated == 25


def test_an_account_that_fails_is_reported_and_the_others_go_on(desk):
    """10 of blocks of 6 at the highest price: the second month's are two blocks."""
    upsert_meter(
        realm=desk.realm,
        meter_code="seat",
        scale=1,
        metadata={"residual_mode": "postpaid"},
        at=desk.at,
        by=desk.by,
    )
    desk.later(minutes=1).price("seat", INT64_MAX, per=6)
    policy = seats(desk)
    desk.lease()
    other = desk.of_principal("globex").at_instant(MAY + DAY)
    other.plan("globex", bundle="team", mode="postpaid")
    other.lease()

    with capture_logs() as lines:
        found = bill(desk, JUNE)

    assert found.failed == {(policy.pk, desk.account.pk)}
    assert found.rated == 2
    assert {
        (rating.account_id, rating.evidence["seat"]["window_start"][:7])
        for rating in Rating.objects.filter(realm=desk.realm)
    } == {(desk.account.pk, "2026-03"), (other.account.pk, "2026-05")}
    [told] = [line for line in lines if line["log_level"] == "error"]
    assert (told["account"], told["policy"]) == (str(desk.account.pk), policy.name)


def test_a_failing_account_is_tried_again_and_goes_on_where_it_failed(desk):
    upsert_meter(
        realm=desk.realm,
        meter_code="seat",
        scale=1,
        metadata={"residual_mode": "postpaid"},
        at=desk.at,
        by=desk.by,
    )
    desk.later(minutes=1).price("seat", INT64_MAX, per=6)
    seats(desk)
    desk.lease()
    bill(desk, MAY)
    meter = Meter.objects.get(realm=desk.realm, meter_code="seat")
    with auditing(desk.by, at=desk.at):
        Meter.objects.filter(pk=meter.pk).update(scale=0)

    assert [bill(desk, MAY).rated, bill(desk, MAY).rated] == [1, 0]


# --- what a policy must say -----------------------------------------------------------


@pytest.mark.parametrize(
    ("metadata", "field", "sentence"),
    [
        (
            {"billing_feature_code": "seat"},
            "billing_meter_code",
            "is required beside billing_feature_code",
        ),
        (
            {"billing_mode": "assigned"},
            "billing_feature_code",
            "is required beside billing_mode",
        ),
        (
            {"billing_feature_code": "seat", "billing_meter_code": "seat"},
            "billing_mode",
            "is required beside billing_feature_code",
        ),
        (
            ASSIGNED | {"billing_feature_code": "gone"},
            "billing_feature_code",
            "names no feature of this realm: there is no gone",
        ),
        (
            ASSIGNED | {"billing_meter_code": "gone"},
            "billing_meter_code",
            "names no meter of seat: gone",
        ),
        (
            ASSIGNED | {"billing_meter_code": "chat"},
            "billing_meter_code",
            "names no meter of seat: chat",
        ),
        (
            ASSIGNED | {"billing_feature_code": "won", "billing_meter_code": "won"},
            "billing_meter_code",
            "names an activity meter; won counts outcomes",
        ),
        (
            SEEN,
            "billing_mode",
            "active_window bills a window, and window_sec 0 has none: use assigned",
        ),
        (ASSIGNED | {"billing_mode": "all"}, "billing_mode", "must be one of"),
        (ASSIGNED | {"billing_feature_code": "*"}, "billing_feature_code", "must not"),
    ],
)
def test_a_policy_that_could_bill_nothing_is_refused(desk, metadata, field, sentence):
    desk.feature("won", meters=("won",))
    won = Meter.objects.filter(realm=desk.realm, meter_code="won")
    with auditing(desk.by, at=desk.at):
        won.update(semantic_kind="outcome")

    with pytest.raises(Invalid, match=re.escape(sentence)) as refusal:
        seats(desk, metadata)

    assert (refusal.value.field, refusal.value.status) == (f"metadata.{field}", 422)


def test_what_belongs_to_seats_is_refused_elsewhere(desk):
    with pytest.raises(Invalid, match="belongs to seats; this policy is a quota"):
        desk.quota(5, metadata=ASSIGNED)


def test_another_realms_feature_is_not_found(desk, other_realm, at, by):
    account = ensure_account(realm=other_realm, principal_id="acme", at=at, by=by)
    elsewhere = Gate(other_realm, account, None, at, by)
    elsewhere.feature("theirs")
    theirs = {"billing_feature_code": "theirs", "billing_meter_code": "theirs"}

    with pytest.raises(Invalid, match="there is no theirs"):
        seats(desk, ASSIGNED | theirs)


def test_a_change_is_checked_as_a_whole(desk):
    policy = seats(desk, SEEN, days=1)

    with pytest.raises(Invalid, match="window_sec 0 has none"):
        change_policy(policy=policy, window_sec=0, at=desk.at, by=desk.by)


def test_the_api_refuses_and_keeps_the_keys(desk, api):
    body = {
        "bundle_key": "team",
        "feature_code": "chat",
        "kind": "seats",
        "unit": "seat",
        "window_sec": 0,
        "limit_count": 5,
    }
    wrong = api.post("gate/policies", body | {"metadata": {"billing_mode": "assigned"}})
    made = api.post("gate/policies", body | {"metadata": ASSIGNED})

    assert wrong.status_code == 422
    assert wrong.json()["meta"]["field"] == "metadata.billing_feature_code"
    assert made.status_code == 201
    assert made.json()["data"]["metadata"] == ASSIGNED
