"""The screens of accounts, users and assignments, as support uses them."""

from datetime import timedelta

import pytest
from django.utils import timezone
from django.utils.html import strip_tags

from billing.models import PlanAssignment
from billing.selectors.effective import billing_state
from billing.services.accounts import ensure_account
from billing.services.assignment_changes import end_assignment, pause_assignment
from billing.services.assignments import Identity, assign_plan
from billing.services.entitlements import allow_everything
from billing.services.plans import change_plan_definition, upsert_plan
from catalog.services.families import upsert_feature_family
from catalog.services.features import upsert_feature
from config.admin.commands import CONFIRM
from config.kernel.windows import Window
from gating.services.bundles import change_bundle, upsert_bundle
from tests.admin.pages import (
    answers,
    change_url,
    command_url,
    errors_of,
    messages_of,
    why,
)

NO_BUNDLE = (
    "No active policy bundle is called pro-limits: until there is one, the gate "
    "refuses whoever has no other bundle."
)


NO_ROWS = {"entitlements-TOTAL_FORMS": "0", "entitlements-INITIAL_FORMS": "0"}


@pytest.fixture
def support(staff):
    return staff("Support")


@pytest.fixture
def plans(realm, at, by):
    """Four plans of one kind: the rungs of a ladder."""
    return {
        code: upsert_plan(
            realm=realm, plan_code=code, name=code.title(), kind="base",
            priority=priority, at=at, by=by,
        )[0]
        for code, priority in (("free", 1), ("pro", 5), ("team", 5), ("max", 9))
    }  # fmt: skip


@pytest.fixture
def give(account, plans, by):
    """Return a giver of pro since a day ago, for 30 days unless told otherwise."""

    def call(user=None, source_ref="CN-1", days=30):
        start = timezone.now() - timedelta(days=1)
        end = None if days is None else start + timedelta(days=days)
        return assign_plan(
            identity=Identity(account, user, plans["pro"], "ops.manual", source_ref),
            window=Window(start, end),
            at=start,
            by=by,
        )[0]

    return call


@pytest.fixture
def pro(give):
    return give()


def text_of(page):
    return " ".join(strip_tags(page.text.replace("<", " <")).split())


def assignment_answers(plan, **own):
    return why(plan=str(plan.pk), source_kind="ops.manual", source_ref="CN-9", **own)


def test_assignments_are_called_as_a_person_would(support, give, user):
    whole, single = give(), give(user, "CN-2")

    assert (str(whole), str(single)) == (
        "Pro for acme (CN-1)", "Pro for u-1 of acme (CN-2)",
    )  # fmt: skip
    page = support.get(change_url(single)).text
    header = page.split("<h1", 1)[1].split("</h1>")[0]
    assert "Pro for u-1 of acme (CN-2)" in header
    found = support.get("/admin/search/", {"s": "CN-2", "extended": "1"})
    assert "Pro for u-1 of acme (CN-2)" in text_of(found)


def test_names_cost_no_query_of_their_own(
    support, give, user, django_assert_num_queries
):
    for number in range(4):
        give(user, f"CN-{number}")

    with django_assert_num_queries(1):
        rows = PlanAssignment.objects.select_related("plan", "account", "user")
        assert {f"Pro for u-1 of acme (CN-{n})" for n in range(4)} < set(map(str, rows))


@pytest.mark.parametrize(
    "own",
    [{}, {"window_end_0": "2099-01-01", "endless": "on"}],
    ids=["neither", "both"],
)
def test_extending_says_until_when(support, pro, own):
    end = pro.window_end

    refused = support.post(command_url(pro, "extend"), why(**own))

    assert errors_of(refused) == {
        "window_end": ["Say when it ends, or tick “No end”: one of the two."]
    }
    pro.refresh_from_db()
    assert pro.window_end == end


def test_extending_without_an_end_is_said_so(support, pro):
    response = support.post(command_url(pro, "extend"), why(endless="on"))

    assert messages_of(response) == [("success", "Pro now runs with no end.")]
    pro.refresh_from_db()
    assert pro.window_end is None


def test_extending_to_a_date_is_that_date(support, pro):
    response = support.post(command_url(pro, "extend"), why(window_end_0="2099-01-01"))

    assert messages_of(response) == [
        ("success", "Pro now runs until 2099-01-01 00:00 UTC.")
    ]


@pytest.mark.parametrize("instant", ["2019-01-01", "2098-01-01"])
def test_end_outside_the_window_is_refused_beside_the_end(support, pro, instant):
    refused = support.post(command_url(pro, "end"), why(effective_at_0=instant))

    assert list(errors_of(refused)) == ["effective_at"]


def test_switch_outside_the_window_is_refused_beside_the_instant(support, pro, plans):
    sent = why(
        plan=str(plans["max"].pk), source_ref="CN-2", effective_at_0="2019-01-01"
    )

    refused = support.post(command_url(pro, "upgrade"), sent)

    assert list(errors_of(refused)) == ["effective_at"]


@pytest.mark.parametrize(
    ("direction", "offered"),
    [
        ("upgrade", ["max", "team"]),
        ("downgrade", ["team", "free", "default_billing_plan"]),
    ],
)
def test_switch_offers_the_plans_of_its_direction(support, pro, direction, offered):
    form = support.get(command_url(pro, direction)).context["adminform"].form

    assert [plan.plan_code for plan in form.fields["plan"].queryset] == offered


def test_pause_from_before_the_start_is_told_from_the_start(support, pro):
    response = support.post(command_url(pro, "pause"), why(effective_at_0="2020-01-01"))

    since = f"{pro.window_start:%Y-%m-%d %H:%M} UTC"
    assert messages_of(response) == [("success", f"Pro is paused since {since}.")]


def test_slip_in_an_assignment_is_shown_before_and_after_it_is_saved(
    support, realm, account, plans, at, by
):
    upsert_bundle(
        realm=realm,
        bundle_key="pro-limits",
        name="Pro",
        status="disabled",
        at=at,
        by=by,
    )
    url = command_url(account, "assign")
    sent = assignment_answers(
        plans["pro"], metadata='{"gate_bundel_key": "x"}',
        metadata__gate_bundle_key="pro-limits",
    )  # fmt: skip
    slip = (
        "`gate_bundel_key` is not a key the system reads. Did you mean "
        "`gate_bundle_key`?"
    )

    preview = support.post(url, sent)
    done = support.post(url, {**sent, CONFIRM: preview.context["confirm"]})

    assert errors_of(preview) == {}
    assert list(preview.context["near_misses"]) == [slip, NO_BUNDLE]
    assert "pro-limits: until there is one" in text_of(preview)
    assert messages_of(done)[:2] == [("warning", slip), ("warning", NO_BUNDLE)]
    assert account.assignments.get().metadata["gate_bundle_key"] == "pro-limits"


def test_plan_that_names_no_bundle_that_is_there_is_warned_of(
    staff, realm, plans, at, by
):
    ops, plan = staff("Ops"), plans["pro"]
    sent = answers(
        name="Pro", kind="base", priority="5", active="on", metadata="{}",
        metadata__gate_bundle_key="pro-limits", **NO_ROWS,
    )  # fmt: skip

    saved = ops.post(change_url(plan), sent)
    assert ("warning", NO_BUNDLE) in messages_of(saved)
    plan.refresh_from_db()
    assert plan.metadata == {"gate_bundle_key": "pro-limits"}

    bundle, _created = upsert_bundle(
        realm=realm, bundle_key="pro-limits", name="Pro", at=at, by=by
    )
    assert "warning" not in dict(messages_of(staff("Ops").post(change_url(plan), sent)))
    change_bundle(bundle=bundle, status="disabled", at=at, by=by)
    again = staff("Ops").post(change_url(plan), sent)
    assert ("warning", NO_BUNDLE) in messages_of(again)


def test_new_plan_is_warned_of_as_well(staff, realm):
    added = staff("Ops").post(
        "/admin/billing/plan/add/",
        answers(
            realm=realm.pk, plan_code="solo", name="Solo", kind="base", priority="1",
            active="on", metadata="{}", metadata__gate_bundle_key="pro-limits",
            **NO_ROWS,
        ),
    )  # fmt: skip

    assert ("warning", NO_BUNDLE) in messages_of(added)


def test_account_and_user_lead_to_what_is_on_record(support, account, user):
    for row, field in ((account, "account"), (user, "user")):
        page = support.get(change_url(row)).text
        for path in ("gating/denial", "gating/lease", "grants/posting"):
            address = f"/admin/{path}/?{field}={row.pk}"
            assert address in page
            assert support.get(address).status_code == 200
    assert f"{change_url(account)}?user={user.pk}" in support.get(change_url(user)).text


def test_account_is_seen_by_a_user(support, account, user, give):
    give(user)

    page = text_of(support.get(change_url(account), {"user": str(user.pk)}))

    assert "In effect for u-1" in page
    assert "Base plan Pro (pro)" in page


def test_account_at_another_time_says_which(support, account, pro):
    url = change_url(account)

    then = text_of(support.get(url, {"as_of_0": "2020-11-01"}))
    assert "in effect on 2020-11-01 00:00:00 UTC , as known now ." in then
    known = text_of(support.get(url, {"known_at_0": "2020-01-01"}))
    assert "in effect now , as known on 2020-01-01 00:00:00 UTC ." in known
    assert "No plan assignment had been recorded by then." in known
    assert "Press “Assign plan”" not in known


def test_time_that_cannot_be_read_is_said_to_be_ignored(support, account, pro):
    page = text_of(support.get(change_url(account), {"as_of_0": "yesterday"}))

    assert "Enter a valid date." in page
    assert "could not be read. You see what is in effect now." in page


def test_account_without_a_plan_invites_only_those_who_may_assign(staff, account):
    invitation = "Press “Assign plan” above."

    assert invitation in text_of(staff("Support").get(change_url(account)))
    assert invitation not in text_of(staff("Auditor").get(change_url(account)))


def test_assignment_list_says_utc_and_no_end(support, give):
    give(days=None)

    page = text_of(support.get("/admin/billing/planassignment/"))

    assert "From (UTC)" in page
    assert "No end" in page


def test_extending_says_the_present_end(support, pro):
    form = support.get(command_url(pro, "extend")).context["adminform"].form

    end = f"{pro.window_end:%Y-%m-%d %H:%M} UTC"
    assert end in form.fields["window_end"].help_text


def test_entitlements_are_boxes_to_tick(staff, realm, plans, at, by):
    plan, ops = plans["pro"], staff("Ops")
    upsert_feature_family(
        realm=realm, feature_family_code="assistant", name="Assistant", at=at, by=by
    )
    upsert_feature(
        realm=realm, feature_code="chat", name="Chat", feature_family_code="assistant",
        at=at, by=by,
    )  # fmt: skip
    url = command_url(plan, "set-entitlements")

    form = ops.get(url).context["adminform"].form
    assert 'type="checkbox"' in str(form["allow_features"])
    chat = form.fields["allow_features"].queryset.get()
    done = ops.post(url, why(allow_features=[str(chat.pk)]))

    assert done.status_code == 302, errors_of(done)
    assert plan.entitlements.get().feature == chat
    again = ops.get(url).context["adminform"].form
    assert "checked" in str(again["allow_features"])


def test_period_kind_is_not_taken_for_the_plan_kind(staff, plans):
    page = staff("Ops").get(change_url(plans["pro"]))

    fields = page.context["adminform"].form.fields
    assert fields["kind"].label == "Kind"
    assert fields["metadata__billing_defaults__period__kind"].label == "Kind (period)"


@pytest.fixture
def chat(realm, at, by):
    """A feature to allow or deny."""
    upsert_feature_family(
        realm=realm, feature_family_code="assistant", name="Assistant", at=at, by=by
    )
    return upsert_feature(
        realm=realm, feature_code="chat", name="Chat", feature_family_code="assistant",
        at=at, by=by,
    )[0]  # fmt: skip


def rules_of(plan):
    return {
        (str(rule.feature or "all"), rule.effect) for rule in plan.entitlements.all()
    }


def test_plan_that_allows_everything_loses_a_rule_that_is_unticked(
    staff, plans, chat, at, by
):
    plan, ops = plans["pro"], staff("Ops")
    allow_everything(plan=plan, at=at, by=by)
    url = command_url(plan, "set-entitlements")

    def boxes():
        return ops.get(url).context["adminform"].form.initial["allow_all"]

    assert boxes() is True
    ops.post(url, why(allow_all="on", deny_features=[str(chat.pk)]))
    assert rules_of(plan) == {("all", "allow"), ("chat", "deny")}
    kept = plan.entitlements.get(feature=None).pk
    ops.post(url, why(allow_all="on"))
    assert rules_of(plan) == {("all", "allow")}
    assert plan.entitlements.get().pk == kept
    ops.post(url, why(allow_features=[str(chat.pk)]))
    assert rules_of(plan) == {("chat", "allow")}
    assert boxes() is False
    ops.post(url, why(allow_all="on", allow_features=[str(chat.pk)]))
    assert rules_of(plan) == {("all", "allow"), ("chat", "allow")}


@pytest.mark.parametrize(
    "button",
    ["set-entitlements", "seat-limit", "add-user", "extend", "disable", "suspend",
     "rotate"],
)  # fmt: skip
def test_button_that_acts_at_once_asks_for_no_other_time(
    staff, realm, account, user, pro, plans, service_key, button
):
    rows = {
        "set-entitlements": plans["pro"], "seat-limit": account, "add-user": account,
        "extend": pro, "disable": user, "suspend": realm, "rotate": service_key,
    }  # fmt: skip

    page = staff("Ops").get(command_url(rows[button], button))

    assert "effective_at" not in page.context["adminform"].form.fields
    assert "effective_at" not in page.text


def test_a_seat_limit_is_said_and_not_taken_away_by_an_empty_box(support, account):
    url = command_url(account, "seat-limit")
    support.post(url, why(seat_limit="1"))
    form = support.get(url).context["adminform"].form
    assert (form["seat_limit"].value(), form["unlimited"].value()) == (1, False)

    for said in ({}, {"seat_limit": "2", "unlimited": "on"}):
        page = support.post(url, why(**said))
        assert errors_of(page) == {
            "seat_limit": ["Say how many, or tick “No limit”: one of the two."]
        }
    account.refresh_from_db()
    assert account.seat_limit == 1

    support.post(url, why(unlimited="on"))
    account.refresh_from_db()
    assert account.seat_limit is None


def test_an_assignment_that_has_ended_is_not_paused(support, pro, at, by):
    end_assignment(assignment=pro, end_at=timezone.now(), at=timezone.now(), by=by)

    assert support.get(command_url(pro, "pause")).status_code in {302, 403, 404}


def test_user_disabled_for_later_is_disabled_and_recorded_as_of_now(support, user):
    support.post(command_url(user, "disable"), why(effective_at_0="2030-01-01"))

    entry = user.history.latest("history_id")
    assert (entry.status, entry.effective_at) == ("disabled", entry.history_date)


@pytest.fixture
def paused(support, realm, account, plans, at, by):
    """Pro with an exception of its own, paused since two days ago."""
    upsert_bundle(realm=realm, bundle_key="own-limits", name="Own", at=at, by=by)
    start = timezone.now() - timedelta(days=75)
    made, _outcome = assign_plan(
        identity=Identity(account, None, plans["pro"], "ops.manual", "CN-9"),
        window=Window(start, timezone.now() + timedelta(days=5)),
        metadata={"gate_bundle_key": "own-limits", "note": {"by": "sales"}},
        at=start,
        by=by.effective(start),
    )
    since = timezone.now() - timedelta(days=2)
    pause_assignment(assignment=made, at=since, by=by.effective(since))
    return made


def state_on(account, when):
    state = billing_state(account=account, as_of=when, at=timezone.now())
    return [plan.plan_code for plan in state.effective]


def test_assigning_again_leaves_the_past_and_the_exceptions(
    support, account, plans, paused
):
    yesterday = timezone.now() - timedelta(days=1)
    url, start = command_url(account, "assign"), paused.window_start
    sent = assignment_answers(
        plans["pro"], metadata="{}", window_end_0="2099-01-01",
        effective_at_0=f"{start:%Y-%m-%d}", effective_at_1=f"{start:%H:%M:%S}",
    )  # fmt: skip

    preview = support.post(url, sent)
    told = text_of(preview)
    assert "status Paused Active" in told
    assert "2099-01-01 00:00 UTC" in told
    assert "Policy bundle" in told
    done = support.post(url, {**sent, CONFIRM: preview.context["confirm"]})

    assert done.status_code == 302, errors_of(done)
    paused.refresh_from_db()
    assert paused.metadata == {"gate_bundle_key": "own-limits", "note": {"by": "sales"}}
    assert (paused.status, paused.window_end.year) == ("active", 2099)
    assert "pro" not in state_on(account, yesterday)
    assert "pro" in state_on(account, timezone.now())


def test_exception_that_is_given_replaces_the_one_there(
    support, account, plans, paused
):
    url = command_url(account, "assign")
    sent = assignment_answers(
        plans["pro"], metadata='{"note": {"ticket": 7}}',
        metadata__gate_bundle_key="__default_bundle__",
    )  # fmt: skip

    preview = support.post(url, sent)
    support.post(url, {**sent, CONFIRM: preview.context["confirm"]})

    paused.refresh_from_db()
    assert paused.metadata == {
        "gate_bundle_key": "__default_bundle__",
        "note": {"by": "sales", "ticket": 7},
    }


def test_preview_of_one_account_does_not_confirm_another(
    support, realm, account, plans, at, by
):
    beta = ensure_account(realm=realm, principal_id="beta", at=at, by=by)
    sent = assignment_answers(plans["pro"], metadata="{}")
    mark = support.post(command_url(account, "assign"), sent).context["confirm"]

    shown = support.post(command_url(beta, "assign"), {**sent, CONFIRM: mark})

    assert shown.status_code == 200
    assert shown.context["preview"] is not None
    assert not beta.assignments.exists()


def test_preview_of_one_member_does_not_confirm_for_another(
    staff, support, account, plans
):
    sent = assignment_answers(plans["pro"], metadata="{}")
    mark = support.post(command_url(account, "assign"), sent).context["confirm"]

    shown = staff("Support").post(
        command_url(account, "assign"), {**sent, CONFIRM: mark}
    )

    assert shown.context["preview"] is not None
    assert not account.assignments.exists()


def test_account_names_the_bundle_that_the_gate_uses(
    support, realm, account, user, plans, at, by
):
    def bundle(**status):
        return upsert_bundle(
            realm=realm, bundle_key="live", name="Live", at=at, by=by, **status
        )[0]

    def named(code, key, holder=None):
        change_plan_definition(
            plan=plans[code], changes={"metadata": {"gate_bundle_key": key}},
            at=at, by=by,
        )  # fmt: skip
        identity = Identity(account, holder, plans[code], "ops.manual", f"B-{code}")
        assign_plan(identity=identity, window=Window(at, None), at=at, by=by)

    def told(**query):
        page = text_of(support.get(change_url(account), query))
        return page.split("Policy bundle ")[1].split(" Seats")[0]

    assert told() == "the realm&#x27;s default bundle"
    named("max", "no-such")
    assert told() == "none that is active: the gate refuses"
    bundle()
    named("free", "live")
    assert told() == "live (named by Free)"
    upsert_bundle(realm=realm, bundle_key="hers", name="Hers", at=at, by=by)
    named("team", "hers", user)
    assert told(user=str(user.pk)) == (
        "for the account live (named by Free); for its users hers (named by Team)"
    )
    change_bundle(bundle=bundle(), status="disabled", at=at, by=by)
    assert told() == "none that is active: the gate refuses"
