"""Campaigns by event: what happened gives, once, in its own transaction."""

from datetime import timedelta

import pytest
from django.db import connection, transaction

from billing.models import Plan, PlanAssignment
from billing.services.accounts import ensure_account, set_seat_limit
from billing.services.assignments import Identity, assign_plan
from billing.services.plans import upsert_plan
from billing.services.users import change_user, ensure_user
from config.kernel.errors import Invalid
from config.kernel.windows import Window
from config.tenancy.models import DomainEvent
from config.tenancy.services.events import record_event
from grants.models import GrantAssignment, GrantLot
from grants.services import campaign_events
from grants.services.assignment_changes import change_assignment
from grants.services.campaigns import change_campaign, delete_campaign
from grants.services.credits import credit_balance
from grants.services.ledger import MOST_XUSD
from grants.services.programs import change_program
from tests.billing.races import race
from tests.grants.make import grants, make_event_campaign, make_program

KIND = "shop.order_paid"


@pytest.fixture
def program(realm, at, by):
    return make_program(realm, at=at, by=by)


@pytest.fixture
def tell(realm, at, by):
    """Return a recorder of events: `tell(subject, plan="pro")`."""

    def record(subject, *, kind=KIND, at=at, **payload):
        return record_event(
            realm=realm, kind=kind, subject=subject, payload=payload, at=at, by=by
        )

    return record


def given(user):
    """The source refs of what campaigns gave a user, the oldest first."""
    found = GrantAssignment.objects.filter(user=user, source_kind="ops.campaign")
    return list(found.order_by("id").values_list("source_ref", flat=True))


def test_matching_event_gives_and_issues(realm, program, user, tell, at, by):
    campaign = make_event_campaign(realm, KIND, window_end=None, at=at, by=by)

    event = tell(user)

    assignment = GrantAssignment.objects.get(user=user, campaign=campaign)
    lot = GrantLot.objects.get(assignment=assignment)
    assert (assignment.source_kind, assignment.source_ref) == (
        "ops.campaign",
        str(campaign.pk),
    )
    assert assignment.window_start == event.occurred_at == at
    assert assignment.metadata["grant_campaign_id"] == str(campaign.pk)
    assert assignment.metadata["grant_override"]["grant_program_code"] == "welcome"
    assert (lot.amount_xusd, lot.source_ref) == (700, str(campaign.pk))


def test_first_match_gives_once_per_user(realm, account, program, user, tell, at, by):
    campaign = make_event_campaign(realm, KIND, at=at, by=by)
    other = ensure_user(account=account, business_user_id="u-2", at=at, by=by)

    for who in (user, user, other):
        tell(who)

    assert given(user) == given(other) == [str(campaign.pk)]
    assert GrantLot.objects.filter(user=user).count() == 1


def test_every_match_gives_once_per_event(realm, program, user, tell, at, by):
    campaign = make_event_campaign(realm, KIND, "every_match", at=at, by=by)

    events = [tell(user), tell(user)]

    assert given(user) == [f"{campaign.pk}:{event.pk}" for event in events]
    assert GrantLot.objects.filter(user=user).count() == 2


@pytest.mark.parametrize(
    ("match", "payload", "gives"),
    [
        ({}, {}, True),
        ({"plan": "pro"}, {"plan": "pro", "n": 1}, True),
        ({"plan": "pro"}, {"plan": "lite"}, False),
        ({"plan": "pro"}, {"n": 1}, False),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}, True),
        ({"a": {"b": 1}}, {"a": 1}, False),
        ({"n": 1}, {"n": True}, False),
        ({"n": 1}, {"n": "1"}, False),
        ({"tags": ["x"]}, {"tags": ["y", "x"]}, True),
        ({"none": None}, {}, False),
    ],
)
def test_payload_matches_by_what_it_contains(
    realm, program, user, tell, match, payload, gives, at, by
):
    make_event_campaign(realm, KIND, payload_match=match, at=at, by=by)

    tell(user, **payload)

    assert bool(given(user)) is gives


def test_other_kinds_and_other_realms_give_nothing(
    realm, other_realm, program, user, tell, at, by
):
    make_event_campaign(realm, "shop.other", at=at, by=by)
    make_program(other_realm, at=at, by=by)
    make_event_campaign(other_realm, KIND, at=at, by=by)

    tell(user)

    assert given(user) == []


def test_event_kinds_are_told_apart_by_case(realm, program, user, tell, at, by):
    make_event_campaign(realm, "Shop.order_paid", at=at, by=by)

    tell(user)

    assert given(user) == []


@pytest.mark.parametrize(
    ("status", "shift", "gives"),
    [
        ("active", timedelta(0), True),
        ("active", timedelta(days=1) - timedelta(microseconds=1), True),
        ("active", timedelta(days=1), False),
        ("active", -timedelta(microseconds=1), False),
        ("scheduled", timedelta(0), True),
        ("paused", timedelta(0), False),
        ("ended", timedelta(0), False),
    ],
)
def test_campaign_gives_while_it_runs(
    realm, program, user, tell, status, shift, gives, at, by
):
    campaign = make_event_campaign(
        realm, KIND, status="scheduled", window_end=at + timedelta(days=1),
        at=at, by=by,
    )  # fmt: skip
    if status != "scheduled":
        change_campaign(campaign=campaign, changes={"status": status}, at=at, by=by)

    tell(user, at=at + shift)

    assert bool(given(user)) is gives


def test_whom_an_event_is_about(realm, account, program, user, tell, at, by):
    elsewhere = ensure_account(realm=realm, principal_id="globex", at=at, by=by)
    stranger = ensure_user(account=elsewhere, business_user_id="s", at=at, by=by)
    second = ensure_user(account=account, business_user_id="u-2", at=at, by=by)
    disabled = ensure_user(account=account, business_user_id="u-3", at=at, by=by)
    change_user(user=disabled, status="disabled", at=at, by=by)
    make_event_campaign(realm, KIND, "every_match", at=at, by=by)
    everybody = (user, second, disabled, stranger)

    def who(subject, **payload):
        before = [len(given(each)) for each in everybody]
        tell(subject, **payload)
        after = [len(given(each)) for each in everybody]
        return [b - a for a, b in zip(before, after, strict=True)]

    assert who(user) == [1, 0, 0, 0]
    assert who(account) == [1, 1, 0, 0]
    assert who(realm) == [0, 0, 0, 0]
    assert who(realm, billing_user_id=str(second.pk)) == [0, 1, 0, 0]
    assert who(realm, billing_account_id=str(elsewhere.pk)) == [0, 0, 0, 1]
    assert who(account, billing_user_id=str(user.pk)) == [1, 0, 0, 0]
    assert who(realm, billing_user_id=str(disabled.pk)) == [0, 0, 0, 0]
    assert who(realm, billing_user_id="nonsense") == [0, 0, 0, 0]
    assert who(account, billing_user_id=None) == [1, 1, 0, 0]


def test_event_campaign_gives_to_targeted_accounts_only(
    realm, account, program, user, tell, at, by
):
    elsewhere = ensure_account(realm=realm, principal_id="globex", at=at, by=by)
    stranger = ensure_user(account=elsewhere, business_user_id="s", at=at, by=by)
    targets = {"billing_account_ids": [str(account.pk)]}
    make_event_campaign(realm, KIND, target_filter=targets, at=at, by=by)

    tell(user)
    tell(stranger)

    assert (len(given(user)), given(stranger)) == (1, [])


def test_real_event_sets_a_campaign_off(realm, account, program, at, by):
    make_event_campaign(realm, "billing_user.activated", at=at, by=by)

    newcomer = ensure_user(account=account, business_user_id="new", at=at, by=by)

    assert len(given(newcomer)) == 1


def test_gift_and_event_stand_and_fall_together(realm, program, user, tell, at, by):
    make_event_campaign(realm, KIND, at=at, by=by)

    with pytest.raises(RuntimeError), transaction.atomic():
        tell(user)
        assert given(user)
        raise RuntimeError

    assert given(user) == []
    assert not DomainEvent.objects.filter(kind=KIND).exists()


def test_campaign_that_cannot_give_does_not_stop_what_happened(
    realm, program, user, tell, at, by
):
    campaign = make_event_campaign(
        realm, KIND, metadata=grants("welcome", amount_xusd=str(2**63 - 1)),
        at=at, by=by,
    )  # fmt: skip
    credit_balance(user=user, amount_xusd=MOST_XUSD, source_ref="all", at=at, by=by)

    tell(user)

    failure = DomainEvent.objects.get(kind="grant_campaign.failed")
    assert failure.subject_id == str(campaign.pk)
    assert failure.payload["billing_user_id"] == str(user.pk)
    assert failure.payload["code"] and failure.payload["message"]
    assert given(user) == []


def test_database_that_refuses_the_gift_does_not_stop_what_happened(
    realm, program, user, tell, at, by, monkeypatch
):
    make_event_campaign(realm, KIND, at=at, by=by)

    def overflow(gift, user, **terms):
        with connection.cursor() as cursor:
            cursor.execute("SELECT 9223372036854775807 + 1")

    monkeypatch.setattr(campaign_events, "give", overflow)

    event = tell(user)

    failure = DomainEvent.objects.get(kind="grant_campaign.failed")
    assert failure.payload["event_id"] == str(event.pk)
    assert failure.payload["code"] == "SERVER.UNEXPECTED"


def test_inactive_program_gives_nothing(realm, program, user, tell, at, by):
    make_program(realm, "second", at=at, by=by)
    make_event_campaign(realm, KIND, metadata=grants("welcome", "second"), at=at, by=by)
    change_program(program=program, changes={"active": False}, at=at, by=by)

    tell(user)

    found = GrantAssignment.objects.get(user=user)
    assert found.program.program_code == "second"


def test_denied_binding_gives_nothing(realm, program, user, tell, at, by):
    make_program(realm, "second", at=at, by=by)
    metadata = grants("welcome", "second")
    metadata["grants"][0]["effect"] = "deny"
    make_event_campaign(realm, KIND, metadata=metadata, at=at, by=by)

    tell(user)

    assert GrantAssignment.objects.get(user=user).program.program_code == "second"


def test_lazy_program_is_bound_and_not_issued(realm, user, tell, at, by):
    make_program(realm, issuance_mode="lazy", at=at, by=by)
    make_event_campaign(realm, KIND, at=at, by=by)

    tell(user)

    assert len(given(user)) == 1
    assert not GrantLot.objects.filter(user=user).exists()


def test_binding_has_a_window_of_its_own(realm, program, user, tell, at, by):
    window = {
        "binding_window_start": "2026-03-20T00:00:00Z",
        "binding_window_end": "2026-03-25T00:00:00Z",
    }
    make_event_campaign(
        realm, KIND, "every_match", metadata=grants("welcome", **window), at=at, by=by
    )

    tell(user)

    found = GrantAssignment.objects.get(user=user)
    assert found.window_start.day == 20
    assert found.window_end.day == 25
    assert "binding_window_start" not in found.metadata["grant_override"]


def test_event_after_the_end_of_a_binding_gives_nothing(
    realm, program, user, tell, at, by
):
    ends = {"binding_window_end": "2026-03-11T00:00:00Z"}
    make_event_campaign(realm, KIND, metadata=grants("welcome", **ends), at=at, by=by)

    tell(user, at=at + timedelta(days=2))

    assert given(user) == []


def test_plan_of_a_campaign_is_assigned(realm, program, user, tell, at, by):
    plan, _ = upsert_plan(
        realm=realm, plan_code="promo", name="Promo", kind="promo", at=at, by=by
    )
    metadata = {
        **grants("welcome"),
        "billing_plan_code": "promo",
        "billing_plan_window_seconds": 3600,
    }
    campaign = make_event_campaign(realm, KIND, metadata=metadata, at=at, by=by)

    tell(user)
    tell(user)

    found = PlanAssignment.objects.get(plan=plan)
    assert (found.user, found.scope, found.source_kind) == (
        user,
        "user",
        "ops.campaign",
    )
    assert found.source_ref == str(campaign.pk)
    assert (found.window_start, found.window_end) == (at, at + timedelta(hours=1))
    assert found.metadata == {"grant_campaign_id": str(campaign.pk)}


def test_campaign_does_not_set_itself_off(realm, program, user, at, by):
    """It gives a plan on the assignment of a plan."""
    for code in ("promo", "base"):
        upsert_plan(realm=realm, plan_code=code, name=code, kind="promo", at=at, by=by)
    metadata = {**grants("welcome"), "billing_plan_code": "promo"}
    make_event_campaign(
        realm, "plan_assignment.changed", "every_match", metadata=metadata, at=at, by=by
    )
    base = realm_plan(realm, "base")

    identity = Identity(user.account, user, base, "ops.manual", "order-1")
    assign_plan(identity=identity, window=Window(at, None), at=at, by=by)

    assert len(given(user)) == 1
    assert PlanAssignment.objects.filter(plan__plan_code="promo").count() == 1


def realm_plan(realm, code):
    return Plan.objects.get(realm=realm, plan_code=code)


def test_event_meant_for_later_gives_now(realm, program, user, at, by):
    make_event_campaign(realm, KIND, at=at, by=by)
    later = by.effective(at + timedelta(days=9))

    record_event(realm=realm, kind=KIND, subject=user, at=at, by=later)

    found = GrantAssignment.objects.get(user=user)
    assert found.history.get().effective_at == at
    assert found.history.get().reason == f"Campaign Spring: {KIND}"


def test_campaign_that_gave_is_ended_and_not_deleted(
    api, realm, program, user, tell, at, by
):
    campaign = make_event_campaign(realm, KIND, at=at, by=by)
    tell(user)
    later = at + timedelta(hours=2)

    assert delete_campaign(campaign=campaign, at=later, by=by) == "ended"

    campaign.refresh_from_db()
    assert (campaign.status, campaign.ended_at, campaign.window_end) == (
        "ended",
        later,
        later,
    )
    answer = api.request("DELETE", f"grant-campaigns/{campaign.pk}", {})
    assert answer.json()["data"] == {"deleted": False, "soft_deleted": True}
    assert len(given(user)) == 1


def test_what_support_canceled_stays_canceled(realm, program, user, tell, at, by):
    make_event_campaign(realm, KIND, at=at, by=by)
    tell(user)
    row = GrantAssignment.objects.get(user=user)
    change_assignment(assignment=row, changes={"status": "canceled"}, at=at, by=by)

    tell(user)

    row.refresh_from_db()
    assert row.status == "canceled"


# --- at once ------------------------------------------------------------------


@pytest.fixture
def crowd(committed_realm, at, by):
    """A user whom every thread sees, and a program."""
    account = ensure_account(realm=committed_realm, principal_id="acme", at=at, by=by)
    set_seat_limit(account=account, seat_limit=None, at=at, by=by)
    make_program(committed_realm, at=at, by=by)
    return ensure_user(account=account, business_user_id="u-1", at=at, by=by)


def events_at_once(user, at, by, threads=8):
    def happen(_):
        with transaction.atomic():
            record_event(
                realm=user.account.realm, kind=KIND, subject=user, at=at, by=by
            )

    race(happen, threads=threads)


def test_first_match_gives_once_however_many_events_at_once(crowd, at, by):
    make_event_campaign(crowd.account.realm, KIND, at=at, by=by)

    events_at_once(crowd, at, by)

    assert len(given(crowd)) == 1
    assert GrantLot.objects.filter(user=crowd).count() == 1


def test_without_one_reference_per_user_the_same_race_gives_to_each(crowd, at, by):
    """The control: where each event is a source of its own, each of them gives."""
    make_event_campaign(crowd.account.realm, KIND, "every_match", at=at, by=by)

    events_at_once(crowd, at, by)

    assert len(given(crowd)) == len({*given(crowd)}) == 8
    assert GrantLot.objects.filter(user=crowd).count() == 8


def test_campaign_deleted_beside_an_event_is_gone_or_has_given(crowd, at, by):
    realm = crowd.account.realm
    for number in range(6):
        campaign = make_event_campaign(realm, KIND, name=f"c{number}", at=at, by=by)

        def work(which, campaign=campaign):
            if which == 0:
                return delete_campaign(campaign=campaign, at=at, by=by)
            with transaction.atomic():
                record_event(realm=realm, kind=KIND, subject=crowd, at=at, by=by)
            return None

        outcome = race(work, threads=2)[0]
        gave = str(campaign.pk) in given(crowd)
        assert gave is (outcome == "ended"), outcome


def test_bad_campaign_is_never_stored(realm, program, at, by):
    with pytest.raises(Invalid):
        make_event_campaign(realm, "grant.issued", at=at, by=by)
