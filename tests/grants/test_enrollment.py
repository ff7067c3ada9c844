"""What plans bring, who is eligible, and what purchases give."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from billing.models import PlanAssignment
from billing.policies.periods import Subscription
from billing.selectors import subscriptions
from billing.services.assignments import change_assignment as change_plan_assignment
from billing.services.plans import change_plan_definition
from billing.services.users import change_user, ensure_user
from config.kernel.errors import Invalid
from config.kernel.metadata import CatalogPriceMetadata, check_metadata
from config.kernel.windows import Window
from grants.bindings import merge_bindings
from grants.models import GrantAssignment, GrantEnrollment, GrantProgram, PlanTemplates
from grants.services.assignment_changes import change_assignment
from grants.services.assignments import UnknownProgram
from grants.services.binding_sweep import sweep_bindings
from grants.services.eligibility import enroll_eligible
from grants.services.enrollment import enroll_account, enroll_user
from grants.services.programs_builtin import BUILT_IN_CODES, create_builtin_programs
from grants.services.purchases import Purchase, assign_purchase
from grants.services.resync import (
    PreviewOutdated,
    preview_plan_grants,
    resync_plan_grants,
)
from tests.grants.giving import (
    amounts,
    assert_proven,
    bind,
    day,
    give_plan,
    lots_of,
    make_program,
    plan_bindings,
    plan_with,
)

DAY = timedelta(days=1)
MONTHLY = {"grant_program_code": "monthly_xusd", "amount_xusd": 10}
WEEKLY = {"grant_program_code": "weekly_xusd", "amount_xusd": 3}


@pytest.fixture
def plan(realm, at, by):
    return plan_with(realm, at, by, MONTHLY)


def edit(plan, at, by, *grants):
    plan.refresh_from_db()
    return change_plan_definition(
        plan=plan, changes={"metadata": {"grants": list(grants)}}, at=at, by=by
    )


def brought(user):
    return sorted(plan_bindings(user))


def test_realm_has_the_built_in_programs(realm, at, by):
    programs = GrantProgram.objects.in_realm(realm)
    assert set(programs.values_list("program_code", flat=True)) == set(BUILT_IN_CODES)

    create_builtin_programs(subject=realm, at=at, by=by)

    assert programs.count() == len(BUILT_IN_CODES) == 8
    named = {row.program_code: row for row in programs}
    assert [named[code].priority for code in BUILT_IN_CODES] == [
        10, 50, 50, 20, 20, 20, 50, -100_000,
    ]  # fmt: skip
    assert {code for code in named if named[code].on_ledger} == {
        "one_time_xusd", "monthly_xusd", "period_xusd", "quarterly_xusd", "yearly_xusd",
    }  # fmt: skip


def test_plan_gives_to_every_active_user(realm, account, user, make_user, plan, at, by):
    other, idle = make_user(realm, "u-2"), make_user(realm, "u-3")
    change_user(user=idle, status="disabled", at=at, by=by)

    assignment = give_plan(account, plan, at, by, end=at + 90 * DAY)

    assert [amounts(each) for each in (user, other, idle)] == [[10], [10], []]
    binding = plan_bindings(user)["monthly_xusd", "active"]
    assert (binding.window_start, binding.window_end) == (at, at + 90 * DAY)
    assert binding.plan_assignment_id == assignment.pk
    assert binding.source_ref.startswith(f"bpa:{assignment.pk}:tpl:hash:")
    assert binding.metadata["grant_override"]["amount_xusd"] == 10
    assert_proven(user)


def test_plan_of_one_user_gives_to_that_user(
    realm, account, user, make_user, plan, at, by
):
    other = make_user(realm, "u-2")

    give_plan(account, plan, at, by, user=user)

    assert (amounts(user), amounts(other)) == ([10], [])


def test_user_who_joins_later_is_bound_from_then_on(
    realm, account, plan, make_user, at, by
):
    give_plan(account, plan, at, by, start=day("2025-11-10"))
    joined = day("2026-03-20")
    from billing.services.users import ensure_user

    late = ensure_user(account=account, business_user_id="late", at=joined, by=by)
    sweep_bindings(at=joined, by=by)

    assert [lot.period_start.month for lot in lots_of(late)] == [3]
    assert plan_bindings(late)["monthly_xusd", "active"].window_start == joined


def test_template_key_names_the_binding(account, user, realm, at, by):
    keyed = {**MONTHLY, "template_key": "base credit", "template_meta": {"tier": "pro"}}
    plan = plan_with(realm, at, by, keyed)

    assignment = give_plan(account, plan, at, by)

    binding = plan_bindings(user)["monthly_xusd", "active"]
    assert binding.source_ref == f"bpa:{assignment.pk}:tpl:key:base credit"
    assert binding.metadata["tier"] == "pro"


def test_long_template_key_still_makes_a_source_ref(account, user, realm, at, by):
    give_plan(
        account,
        plan_with(realm, at, by, {**MONTHLY, "template_key": "k" * 255}),
        at,
        by,
    )

    assert len(plan_bindings(user)["monthly_xusd", "active"].source_ref) < 255


@pytest.mark.parametrize(
    "grant",
    [{**MONTHLY, "effect": "deny"}, {**MONTHLY, "grant_program_code": "nothing"}, {**MONTHLY, "grant_program_code": "idle"}],
)  # fmt: skip
def test_template_that_gives_nothing(realm, account, user, at, by, grant):
    make_program(realm, at, by, program_code="idle", active=False)

    give_plan(account, plan_with(realm, at, by, grant, WEEKLY), at, by)

    assert brought(user) == [("weekly_xusd", "active")]


def test_relative_window_ends_the_binding(realm, account, user, at, by):
    grant = {**MONTHLY, "window_relative_seconds_override": 86_400}

    give_plan(account, plan_with(realm, at, by, grant), at, by)

    assert plan_bindings(user)["monthly_xusd", "active"].window_end == at + DAY


def test_end_of_the_plan_ends_what_it_brought(account, user, plan, at, by):
    assignment = give_plan(account, plan, at, by)

    change_plan_assignment(
        assignment=assignment, changes={"status": "canceled"}, at=at + DAY, by=by
    )
    sweep_bindings(at=day("2026-05-01"), by=by)

    assert brought(user) == [("monthly_xusd", "canceled")]
    assert plan_bindings(user)["monthly_xusd", "canceled"].window_end == at + DAY
    assert amounts(user) == [10]


def test_plan_that_resumes_gives_again_from_then_on(account, user, plan, at, by):
    assignment = give_plan(account, plan, at, by)
    change_plan_assignment(
        assignment=assignment, changes={"status": "paused"}, at=at, by=by
    )

    later = day("2026-06-10")
    change_plan_assignment(
        assignment=assignment, changes={"status": "active"}, at=later, by=by
    )
    sweep_bindings(at=later, by=by)

    assert brought(user) == [("monthly_xusd", "active")]
    assert [lot.period_start.month for lot in lots_of(user)] == [3, 6]


def test_binding_follows_the_window_of_its_plan(account, user, plan, at, by):
    assignment = give_plan(account, plan, at, by)

    change_plan_assignment(
        assignment=assignment,
        changes={"window_start": at - 40 * DAY, "window_end": at + 5 * DAY}, at=at, by=by,
    )  # fmt: skip

    binding = plan_bindings(user)["monthly_xusd", "active"]
    assert (binding.window_start, binding.window_end) == (at - 40 * DAY, at + 5 * DAY)


def test_plan_meant_for_later_is_prepared(account, user, plan, at, by):
    ahead = replace(by, effective_at=at + 40 * DAY)

    give_plan(account, plan, at, ahead, start=at + 40 * DAY)
    before = amounts(user)
    sweep_bindings(at=at + 40 * DAY, by=by)

    assert (before, amounts(user)) == ([], [10])


def test_disabled_user_is_given_nothing_until_active_again(account, user, plan, at, by):
    give_plan(account, plan, at, by)

    change_user(user=user, status="disabled", at=at + DAY, by=by)
    assert brought(user) == [("monthly_xusd", "canceled")]
    change_user(user=user, status="active", at=day("2026-05-10"), by=by)

    assert brought(user) == [("monthly_xusd", "active")]
    assert [lot.period_start.month for lot in lots_of(user)] == [3, 5]


def test_same_set_again_is_skipped(account, user, plan, at, by):
    give_plan(account, plan, at, by)
    applied = GrantEnrollment.objects.get(pk=user.pk).applied_at

    assert enroll_account(account=account, at=at + DAY, by=by) == []
    assert GrantEnrollment.objects.get(pk=user.pk).applied_at == applied


def test_what_a_person_canceled_stays_canceled(realm, account, user, plan, at, by):
    give_plan(account, plan, at, by)
    binding = plan_bindings(user)["monthly_xusd", "active"]
    change_assignment(assignment=binding, changes={"status": "canceled"}, at=at, by=by)

    give_plan(account, plan_with(realm, at, by, WEEKLY, code="more"), at, by)

    assert brought(user) == [("monthly_xusd", "canceled"), ("weekly_xusd", "active")]


def test_two_plans_with_one_program_give_twice(realm, account, user, plan, at, by):
    give_plan(account, plan, at, by)
    give_plan(
        account,
        plan_with(realm, at, by, {**MONTHLY, "amount_xusd": 7}, code="extra"),
        at,
        by,
    )

    assert sorted(amounts(user)) == [7, 10]


def test_edit_of_a_plan_changes_nothing_for_its_holders(
    realm, account, user, make_user, plan, at, by
):
    give_plan(account, plan, at, by)

    edit(plan, at, by, WEEKLY)
    newcomer = make_user(realm, "u-2")
    enroll_user(user=user, at=at, by=by)
    sweep_bindings(at=day("2026-04-02"), by=by)

    assert brought(user) == brought(newcomer) == [("monthly_xusd", "active")]
    assert amounts(user) == [10, 10]


def test_edit_of_a_plan_holds_for_assignments_made_then(
    realm, account, user, make_user, plan, at, by
):
    give_plan(account, plan, at, by)
    edit(plan, at, by, WEEKLY)
    other = make_user(realm, "u-2", principal="globex")

    give_plan(other.account, plan, at, by)
    give_plan(account, plan, at, by, end=at + 9 * DAY)

    assert brought(other) == [("weekly_xusd", "active")]
    assert brought(user) == [("monthly_xusd", "active")]


def test_inactive_plan_gives_once_it_is_active(realm, account, user, at, by):
    plan = plan_with(realm, at, by, MONTHLY, active=False)
    give_plan(account, plan, at, by)
    assert brought(user) == []

    change_plan_definition(plan=plan, changes={"active": True}, at=at, by=by)

    assert brought(user) == [("monthly_xusd", "active")]


def test_plan_made_inactive_keeps_what_was_given(account, user, plan, at, by):
    give_plan(account, plan, at, by)

    change_plan_definition(plan=plan, changes={"active": False}, at=at, by=by)
    enroll_account(account=account, at=at, by=by)

    assert brought(user) == [("monthly_xusd", "active")]


def test_preview_lists_who_gains_and_who_loses(
    realm, account, user, make_user, plan, at, by
):
    other = make_user(realm, "u-2")
    assignment = give_plan(account, plan, at, by)
    assert preview_plan_grants(plan=plan, at=at).changes == []
    plan = edit(plan, at, by, {**MONTHLY, "amount_xusd": 4}, WEEKLY)

    preview = preview_plan_grants(plan=plan, at=at)

    listed = [
        (c.user_id, c.program_code, c.before_xusd, c.after_xusd, c.gains)
        for c in preview.changes
    ]
    assert listed == [
        (each.pk, *facts)
        for each in (user, other)
        for facts in (("monthly_xusd", 10, 4, False), ("weekly_xusd", None, 3, True))
    ]
    assert {change.plan_assignment_id for change in preview.changes} == {assignment.pk}


def test_resync_brings_the_edit_to_holders_from_the_next_lot_on(
    account, user, plan, at, by
):
    give_plan(account, plan, at, by)
    plan = edit(plan, at, by, {**MONTHLY, "amount_xusd": 4}, WEEKLY)
    preview = preview_plan_grants(plan=plan, at=at)

    changed = resync_plan_grants(
        plan=plan, confirmed_fingerprint=preview.fingerprint, at=at, by=by
    )
    assert changed == 1
    assert sorted(amounts(user)) == [3, 10]
    sweep_bindings(at=day("2026-04-01"), by=by)

    assert brought(user) == [("monthly_xusd", "active"), ("weekly_xusd", "active")]
    monthly = [
        lot.amount_xusd
        for lot in lots_of(user)
        if lot.program.program_code == "monthly_xusd"
    ]
    assert monthly == [10, 4]
    assert preview_plan_grants(plan=plan, at=at).changes == []


def test_resync_removes_what_the_plan_brings_no_more(account, user, plan, at, by):
    give_plan(account, plan, at, by)
    plan = edit(plan, at, by)
    preview = preview_plan_grants(plan=plan, at=at)
    assert [(c.before_xusd, c.after_xusd) for c in preview.changes] == [(10, None)]

    resync_plan_grants(
        plan=plan, confirmed_fingerprint=preview.fingerprint, at=at + DAY, by=by
    )

    assert brought(user) == [("monthly_xusd", "canceled")]
    assert amounts(user) == [10]


def test_resync_of_what_was_not_confirmed_is_refused(
    realm, account, user, make_user, plan, at, by
):
    give_plan(account, plan, at, by)
    plan = edit(plan, at, by, WEEKLY)
    preview = preview_plan_grants(plan=plan, at=at)
    make_user(realm, "u-2")

    with pytest.raises(PreviewOutdated) as refusal:
        resync_plan_grants(
            plan=plan, confirmed_fingerprint=preview.fingerprint, at=at, by=by
        )

    assert (refusal.value.status, refusal.value.code) == (409, "GRANT.PREVIEW_OUTDATED")
    assert brought(user) == [("monthly_xusd", "active")]


def test_eligible_to_what_everybody_gets(realm, make_user, at, by):
    make_program(realm, at, by, program_code="welcome", eligibility_kind="all_accounts")
    make_program(
        realm,
        at,
        by,
        program_code="lazy",
        eligibility_kind="all_accounts",
        issuance_mode="lazy",
    )
    make_program(
        realm,
        at,
        by,
        program_code="idle",
        eligibility_kind="all_accounts",
        active=False,
    )

    user = make_user(realm)
    enroll_eligible(user=user, at=at + DAY, by=by)

    refs = GrantAssignment.objects.filter(user=user).order_by("source_ref")
    assert [
        (row.source_kind, row.source_ref, row.window_start, row.window_end)
        for row in refs
    ] == [
        ("internal.catalog", f"eligibility:all_accounts:{code}", at, None)
        for code in ("lazy", "welcome")
    ]
    assert amounts(user) == [100]


@pytest.fixture
def subscribe():
    """Let accounts have these subscriptions."""
    before = list(subscriptions._readers)
    yield lambda *found: subscriptions.register_subscription_reader(
        lambda account_id, at: found
    )
    subscriptions._readers[:] = before


GROUP = UUID(int=7)


@pytest.mark.parametrize(
    ("payload", "status", "bound"),
    [
        ({"group_key": "gold"}, "active", True),
        ({"group_key": "gold"}, "trialing", True),
        ({"group_key": "gold"}, "past_due", False),
        ({"group_key": "iron"}, "active", False),
        ({"subscription_group_id": str(GROUP)}, "active", True),
        (
            {"subscription_group_id": str(UUID(int=8)), "group_key": "gold"},
            "active",
            False,
        ),
        ({}, "active", False),
    ],
)
def test_eligible_by_the_group_of_a_subscription(
    realm, user, subscribe, at, by, payload, status, bound
):
    make_program(
        realm,
        at,
        by,
        program_code="vip",
        eligibility_kind="subscription_group",
        eligibility_payload=payload,
    )
    term = Window(at - DAY, at + 29 * DAY)
    subscribe(Subscription(UUID(int=1), status, term, GROUP, "gold"))

    enroll_eligible(user=user, at=at, by=by)

    found = GrantAssignment.objects.filter(user=user, source_kind="internal.catalog")
    assert [(row.window_start, row.window_end) for row in found] == (
        [(term.start, term.end)] if bound else []
    )


def test_nobody_is_in_a_group_without_subscriptions(realm, user, at, by):
    make_program(
        realm,
        at,
        by,
        eligibility_kind="subscription_group",
        eligibility_payload={"group_key": "gold"},
    )

    assert enroll_eligible(user=user, at=at, by=by) == []


def bindings(*grants):
    return check_metadata(CatalogPriceMetadata, {"grants": list(grants)}).known.grants


def test_price_overrides_the_product_field_by_field():
    product = bindings(
        {**MONTHLY, "priority_override": 4},
        {"grant_program_code": "daily_xusd", "amount_xusd": 1},
    )
    price = bindings({"grant_program_code": "monthly_xusd", "amount_xusd": 25}, WEEKLY)

    merged = merge_bindings(product, price)

    assert [(m.grant_program_code, m.amount_xusd, m.priority_override) for m in merged] == [
        ("monthly_xusd", 25, 4), ("daily_xusd", 1, None), ("weekly_xusd", 3, None),
    ]  # fmt: skip


def test_duplicate_program_in_one_list_is_refused():
    with pytest.raises(Invalid):
        bindings(MONTHLY, MONTHLY)


@pytest.fixture
def buy(user, at, by):
    def buy(
        *grants, quantity=1, kind="provider.one_time", ref="pi_1", window=None, at=at
    ):
        purchase = Purchase(kind, ref, window or Window(at))
        return assign_purchase(
            user=user,
            bindings=bindings(*grants),
            quantity=quantity,
            purchase=purchase,
            at=at,
            by=by,
        )

    return buy


ONE_TIME = {"grant_program_code": "one_time_xusd", "amount_xusd": 50}


def test_purchase_gives_at_once_and_once(user, buy, at):
    first = buy(ONE_TIME, WEEKLY, quantity=2)
    again = buy(ONE_TIME, WEEKLY, quantity=2, at=at + DAY)

    assert [each.is_new for each in first] == [True, True]
    assert [each.is_new for each in again] == [False, False]
    assert sorted(amounts(user)) == [6, 100]
    assert_proven(user)


def test_two_purchases_give_twice(user, buy):
    buy(ONE_TIME, ref="pi_1")
    buy(ONE_TIME, ref="pi_2")

    assert amounts(user) == [50, 50]


def test_purchase_that_denies_gives_nothing(user, buy):
    assert buy({**ONE_TIME, "effect": "deny"}) == []


def test_renewal_prolongs_the_subscription(user, buy, at, by):
    def paid(start, end):
        return Window(day(start), day(end))

    buy(
        MONTHLY,
        kind="provider.subscription",
        ref="sub_1",
        window=paid("2026-03-01", "2026-04-01"),
    )
    buy(
        MONTHLY,
        kind="provider.subscription",
        ref="sub_1",
        window=paid("2026-04-01", "2026-05-01"),
        at=day("2026-04-01"),
    )

    assert [lot.period_start.month for lot in lots_of(user)] == [3, 4]
    assert GrantAssignment.objects.filter(user=user).count() == 1


def test_purchase_of_an_unknown_program_gives_nothing_at_all(user, buy):
    with pytest.raises(UnknownProgram):
        buy(ONE_TIME, {"grant_program_code": "zzz", "amount_xusd": 1})

    assert amounts(user) == []


def test_purchase_from_no_shop_is_refused(buy):
    with pytest.raises(Invalid):
        buy(ONE_TIME, kind="ops.manual")


def test_templates_are_frozen_for_an_account_without_users(
    realm, account, plan, at, by
):
    assignment = give_plan(account, plan, at, by)

    edit(plan, at, by, WEEKLY)

    frozen = PlanTemplates.objects.get(
        plan_assignment=PlanAssignment.objects.get(pk=assignment.pk)
    )
    assert [each["grant"]["grant_program_code"] for each in frozen.templates] == [
        "monthly_xusd"
    ]


def test_sweep_leaves_lazy_programs_and_sleeping_realms_alone(realm, user, at, by):
    from config.tenancy.services.realms import set_realm_status

    bind(user, make_program(realm, at, by, issuance_mode="lazy"), at, by)
    bind(user, make_program(realm, at, by, program_code="eager"), at, by)
    set_realm_status(realm=realm, status="suspended", at=at, by=by)
    asleep = sweep_bindings(at=at, by=by).looked_at

    set_realm_status(realm=realm, status="active", at=at, by=by)
    awake = sweep_bindings(at=at, by=by)

    assert (asleep, awake.looked_at, awake.issued) == (0, 1, 1)
    assert sweep_bindings(at=at, by=by).looked_at == 0


def test_sweep_reports_who_fails_and_serves_the_others(realm, user, make_user, at, by):
    from config.tenancy.history import auditing

    program = make_program(realm, at, by)
    bad = bind(user, program, at, by)
    good = bind(make_user(realm, "u-2"), program, at, by)
    with auditing(by, at=at):
        GrantAssignment.objects.filter(pk=bad.pk).update(metadata={"grant_override": 3})

    swept = sweep_bindings(at=at, by=by)

    assert (swept.failed, swept.issued, swept.last) == ([bad.pk], 1, good.pk)
    assert amounts(good.user) == [100]


def test_sweep_goes_on_after_a_key(realm, user, at, by):
    program = make_program(realm, at, by)
    made = [bind(user, program, at, by, ref=f"ref-{n}").pk for n in range(3)]

    first = sweep_bindings(batch=2, at=at, by=by)
    second = sweep_bindings(after=first.last, batch=2, at=at, by=by)

    assert (first.last, first.issued, first.more) == (made[1], 2, True)
    assert (second.last, second.issued, second.more) == (made[2], 1, False)


def test_a_newcomer_becomes_active_though_a_plan_gives_what_cannot_be_given(
    realm, account, at, by
):
    """The refusal is the sweep's to report; what else the plan gives is given."""
    plan = plan_with(
        realm, at, by,
        MONTHLY,
        {"grant_program_code": "weekly_xusd", "amount_xusd": 2**62},
    )  # fmt: skip
    give_plan(account, plan, at, by)

    user = ensure_user(account=account, business_user_id="newcomer", at=at, by=by)

    assert [lot.amount_xusd for lot in lots_of(user)] == [10]
    swept = sweep_bindings(at=at, by=by)
    assert len(swept.failed) == 1
