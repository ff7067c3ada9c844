"""A plan's grants are changed without a loss that nobody saw."""

import json

import pytest
from django.utils.html import strip_tags

from billing.models import Plan
from billing.services.accounts import ensure_account
from billing.services.assignments import Identity, assign_plan
from billing.services.plans import upsert_plan
from billing.services.users import ensure_user
from config.admin.commands import CONFIRM
from config.kernel.windows import Window
from config.tenancy.roles import ROLES
from grants.admin.grant_rows import ROW_FIELDS
from grants.models import GrantAssignment
from tests.admin.pages import (
    answers,
    change_url,
    command_url,
    errors_of,
    messages_of,
    next_request,
    why,
)


def grants(**amounts):
    return {
        "grants": [
            {"grant_program_code": code, "amount_xusd": amount}
            for code, amount in amounts.items()
        ]
    }


@pytest.fixture
def ops(staff):
    return staff("Ops")


@pytest.fixture
def plan(realm, at, by):
    made, _created = upsert_plan(
        realm=realm,
        plan_code="pro",
        name="Pro",
        kind="base",
        metadata=grants(monthly_xusd=5_000_000, daily_xusd=100_000),
        at=at,
        by=by,
    )
    return made


@pytest.fixture
def hold(plan, at, by):
    """Return a maker of holders: an account with one user that the plan governs."""

    def hold(principal):
        account = ensure_account(realm=plan.realm, principal_id=principal, at=at, by=by)
        user = ensure_user(account=account, business_user_id="u-1", at=at, by=by)
        identity = Identity(account, None, plan, "ops.manual", f"CN-{principal}")
        assign_plan(identity=identity, window=Window(at, None), at=at, by=by)
        return user

    return hold


def text_of(page):
    return " ".join(strip_tags(page.text.replace("<", " <")).split())


def edited(metadata, **own):
    """Return the answers of the plan's form: its grants and the rest."""
    said = {
        "name": "Pro",
        "kind": "base",
        "priority": "0",
        "active": "on",
        "metadata": json.dumps(metadata),
        "entitlements-TOTAL_FORMS": "0",
        "entitlements-INITIAL_FORMS": "0",
    }
    return answers(**{**said, **own})


def amounts_of(user):
    rows = GrantAssignment.objects.filter(user=user, status="active")
    return {
        row.program.program_code: row.metadata["grant_override"].get("amount_xusd")
        for row in rows.select_related("program")
    }


def test_changed_grants_ask_first_and_leave_holders_alone(ops, plan, hold):
    user = hold("acme")
    before = amounts_of(user)
    less = grants(monthly_xusd=1_000_000)

    asked = ops.post(change_url(plan), edited(less))
    plan.refresh_from_db()
    kept = plan.metadata
    saved = ops.post(change_url(plan), edited(less, holders_keep="on"))
    plan.refresh_from_db()

    [sentence] = errors_of(asked)["holders_keep"]
    assert "1 assignment of it will keep the grants they have" in sentence
    assert "monthly_xusd $5.00" in text_of(asked)
    assert kept == grants(monthly_xusd=5_000_000, daily_xusd=100_000)
    assert saved.status_code == 302, errors_of(saved)
    assert plan.metadata == less
    assert amounts_of(user) == before


def test_plan_that_nobody_holds_is_saved_at_once(ops, plan):
    saved = ops.post(change_url(plan), edited(grants(monthly_xusd=1)))

    assert saved.status_code == 302, errors_of(saved)


def test_other_changes_of_a_held_plan_ask_nothing(ops, plan, hold):
    hold("acme")

    saved = ops.post(change_url(plan), edited(plan.metadata, priority="7"))

    assert saved.status_code == 302, errors_of(saved)


def test_plan_says_what_it_gives_in_rows_of_dollars(ops, plan, hold):
    hold("acme")
    form = ops.get(change_url(plan)).context["adminform"].form
    shown = [form[name].value() for pair in ROW_FIELDS[:3] for name in pair]
    rows = {
        "grant_1_program": "monthly_xusd",
        "grant_1_amount": "7.50",
        "grant_2_program": "daily_xusd",
        "grant_2_amount": "0.10",
    }

    asked = ops.post(change_url(plan), edited({}, **rows))
    saved = ops.post(change_url(plan), edited({}, holders_keep="on", **rows))

    plan.refresh_from_db()
    assert shown[::2] == ["monthly_xusd", "daily_xusd", None]
    assert "grants" not in form["metadata"].value()
    assert list(errors_of(asked)) == ["holders_keep"]
    assert saved.status_code == 302, errors_of(saved)
    assert plan.metadata == grants(monthly_xusd=7_500_000, daily_xusd=100_000)


def test_rows_of_a_held_plan_that_stay_ask_nothing(ops, plan, hold):
    hold("acme")
    rows = {
        "grant_1_program": "monthly_xusd",
        "grant_1_amount": "5",
        "grant_2_program": "daily_xusd",
        "grant_2_amount": "0.1",
    }

    saved = ops.post(change_url(plan), edited({}, priority="7", **rows))

    assert saved.status_code == 302, errors_of(saved)


def test_new_plan_gives_what_its_rows_say(ops, realm):
    rows = {"grant_1_program": "monthly_xusd", "grant_1_amount": "20"}
    new = {"realm": realm.pk, "plan_code": "lite", "name": "Lite"}

    saved = ops.post("/admin/billing/plan/add/", edited({}, **new, **rows))

    assert saved.status_code == 302, errors_of(saved)
    assert Plan.objects.get(plan_code="lite").metadata == grants(
        monthly_xusd=20_000_000
    )


def test_plan_page_says_what_it_gives_and_who_holds_it(staff, plan, hold):
    hold("acme")

    page = text_of(staff("Support").get(change_url(plan)))

    assert "monthly_xusd $5.00" in page
    assert "Held by 1 assignment" in page
    assert "keeps what they have" in page


def test_applying_shows_who_gains_and_loses_how_much(ops, plan, hold):
    users = [hold("acme"), hold("globex")]
    ops.post(
        change_url(plan),
        edited(
            grants(monthly_xusd=1_000_000, weekly_xusd=2_000_000), holders_keep="on"
        ),
    )
    next_request()
    url = command_url(plan, "apply-to-holders")
    form = ops.get(url).context["adminform"].form
    data = why(fingerprint=form.initial["fingerprint"])

    preview = ops.post(url, data)
    untouched = [amounts_of(user) for user in users]
    done = ops.post(url, {**data, CONFIRM: preview.context["confirm"]})

    shown = text_of(preview)
    assert "Who gains: 2 users Account User Program" in shown
    assert "acme u-1 weekly_xusd Nothing $2.00" in shown
    assert "Who loses: 2 users Account User Program" in shown
    assert "globex u-1 monthly_xusd $5.00 $1.00" in shown
    assert "globex u-1 daily_xusd $0.10 Nothing" in shown
    assert all(set(each) == {"monthly_xusd", "daily_xusd"} for each in untouched)
    assert messages_of(done)[-1] == (
        "success", "2 assignments of Pro (pro) give what the plan says.",
    )  # fmt: skip
    assert all(
        set(amounts_of(user)) == {"monthly_xusd", "weekly_xusd"} for user in users
    )


def test_applying_refuses_what_was_not_shown(ops, plan, hold):
    hold("acme")
    ops.post(change_url(plan), edited(grants(monthly_xusd=1), holders_keep="on"))
    next_request()
    url = command_url(plan, "apply-to-holders")
    form = ops.get(url).context["adminform"].form
    data = why(fingerprint=form.initial["fingerprint"])
    hold("globex")
    ops.post(change_url(plan), edited(grants(monthly_xusd=2), holders_keep="on"))
    next_request()

    refused = ops.post(url, data)

    assert "open “Apply to holders” again" in text_of(refused)
    assert refused.context["preview"] is None


@pytest.mark.parametrize("role", ROLES)
def test_only_ops_applies(staff, plan, role):
    url = command_url(plan, "apply-to-holders")

    assert staff(role).get(url).status_code == (200 if role == "Ops" else 403)
