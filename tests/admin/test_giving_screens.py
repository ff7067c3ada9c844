"""Programs, campaigns and grant assignments, as operations see and press them."""

from datetime import UTC, datetime, timedelta
from itertools import chain

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.html import strip_tags

from billing.models import BillingUser
from billing.services.accounts import ensure_account
from billing.services.users import ensure_user
from config.admin.commands import CONFIRM
from config.kernel.windows import Window
from config.tenancy.roles import ROLES
from grants import options
from grants.models import (
    CampaignStatus,
    GrantAssignment,
    GrantCampaign,
    GrantLot,
    GrantProgram,
    GrantStatus,
    Wallet,
)
from grants.services.assignment_changes import (
    create_manual_assignment,
    manual_identity,
)
from grants.services.assignments import GrantTerms, program_named
from grants.services.campaign_enrollment import enroll_targets
from grants.services.campaigns import CampaignTerms, create_campaign
from tests.admin.pages import (
    answers,
    change_url,
    command_url,
    errors_of,
    history_url,
    messages_of,
    next_request,
    why,
)

PROGRAMS = "/admin/grants/grantprogram/"
CAMPAIGNS = "/admin/grants/grantcampaign/"
ASSIGNMENTS = "/admin/grants/grantassignment/"
GIVE = f"{ASSIGNMENTS}do/give/"


@pytest.fixture
def ops(staff):
    return staff("Ops")


@pytest.fixture
def give(realm, at, by):
    """Return a giver of grants by hand: `give(user, 5_000_000)`."""

    def give(user, amount_xusd=5_000_000, ref="CASE-1", code="one_time_xusd"):
        return create_manual_assignment(
            identity=manual_identity(
                user=user, program=program_named(realm, code), source_ref=ref, by=by
            ),
            window=Window(at, at + timedelta(days=20)),
            terms=GrantTerms(amount_xusd=amount_xusd),
            at=at,
            by=by,
        )[0]

    return give


@pytest.fixture
def campaign(realm, at, by):
    """Return a maker of campaigns: $2 for every account, active."""

    def make(name="Spring", **terms):
        said = {
            "window_start": at - timedelta(days=1),
            "status": CampaignStatus.ACTIVE,
            "metadata": {"grants": grants()},
            **terms,
        }
        return create_campaign(
            realm=realm, terms=CampaignTerms(name=name, **said), at=at, by=by
        )

    return make


def grants(amount_xusd=2_000_000, code="one_time_xusd"):
    return [{"grant_program_code": code, "amount_xusd": amount_xusd}]


def text_of(page):
    return " ".join(strip_tags(page.text.replace("<", " <")).split())


def queries_of(client, path):
    client.get(path)
    with CaptureQueriesContext(connection) as captured:
        page = client.get(path)
    assert page.status_code == 200
    return len(captured)


def confirmed(client, url, data):
    preview = client.post(url, data)
    assert preview.status_code == 200, preview.status_code
    done = client.post(url, {**data, CONFIRM: preview.context["confirm"]})
    next_request()
    return preview, done


def program_answers(realm, **own):
    said = {
        "realm": realm.pk,
        "program_code": "monthly-bonus",
        "name": "Monthly bonus",
        "active": "on",
        "amount_xusd": "7.50",
        "cadence": "monthly",
        "issue_anchor": "calendar_start",
        "grant_kind": "promo",
        "window_kind": "period",
        "priority": "5",
        "eligibility_kind": "manual",
        "eligibility_payload": "{}",
        "issuance_mode": "eager",
        "outstanding_application_policy": "never",
        "metadata": "{}",
    }
    return answers(**{**said, **own})


def campaign_answers(realm, **own):
    said = {
        "realm": realm.pk,
        "name": "Summer",
        "window_start_0": "2999-06-01",
        "window_start_1": "00:00",
        "window_end_0": "2999-07-01",
        "window_end_1": "00:00",
        "principals": "",
        "event_type": "",
        "assignment_trigger": "",
        "payload_match": "{}",
        "metadata": '{"grants": [{"grant_program_code": "one_time_xusd",'
        ' "amount_xusd": 2000000}]}',
    }
    return answers(**{**said, **own})


def gift(realm, **own):
    program = program_named(realm, "one_time_xusd")
    said = {
        "realm": realm.pk,
        "principal": "acme",
        "user_id": "u-1",
        "program": str(program.pk),
        "amount_xusd": "3.50",
        "source_ref": "CASE-7",
    }
    return why(**{**said, **own})


def test_program_is_created_with_its_amount_in_dollars(ops, realm):
    done = ops.post(f"{PROGRAMS}add/", program_answers(realm))

    assert done.status_code == 302, errors_of(done)
    program = GrantProgram.objects.get(program_code="monthly-bonus")
    assert (program.amount_xusd, program.cadence, program.grant_kind) == (
        7_500_000, "monthly", "promo",
    )  # fmt: skip
    page = ops.get(change_url(program))
    assert 'value="7.50"' in page.text or 'value="7.5"' in page.text
    assert "asked for" in text_of(ops.get(history_url(program)))


def test_program_changes_in_what_may_change(ops, realm):
    ops.post(f"{PROGRAMS}add/", program_answers(realm))
    next_request()
    program = GrantProgram.objects.get(program_code="monthly-bonus")

    done = ops.post(
        change_url(program),
        answers(
            name="Bonus", amount_xusd="0", priority="9", issuance_mode="eager",
            outstanding_application_policy="never", metadata="{}", cadence="daily",
        ),
    )  # fmt: skip

    assert done.status_code == 302, errors_of(done)
    program.refresh_from_db()
    assert (program.name, program.amount_xusd, program.active) == ("Bonus", 0, False)
    assert program.cadence == "monthly"


@pytest.mark.parametrize(
    ("own", "field", "sentence"),
    [
        ({"program_code": "one_time_xusd"}, "program_code", "already has a program"),
        ({"amount_xusd": "-1"}, "amount_xusd", "in digits"),
        ({"window_kind": "relative_duration"}, "window_default_seconds", "needs"),
        ({"grant_kind": "fallback"}, "grant_kind", "valid choice"),
        ({"eligibility_kind": "subscription_group"}, "eligibility_payload", "group"),
    ],
)
def test_bad_program_is_refused_on_its_field(ops, realm, own, field, sentence):
    refused = ops.post(f"{PROGRAMS}add/", program_answers(realm, **own))

    assert refused.status_code == 200
    errors = errors_of(refused)
    assert sentence in " ".join(chain.from_iterable(errors.values())), errors
    assert field in errors or "__all__" in errors
    assert not GrantProgram.objects.filter(name="Monthly bonus").exists()


def test_program_of_overage_cannot_be_changed(ops, realm):
    overage = program_named(realm, "fallback-cash")

    page = ops.get(change_url(overage))

    assert page.status_code == 200
    assert 'name="amount_xusd"' not in page.text
    assert ops.post(change_url(overage), answers(name="x")).status_code == 403


@pytest.mark.parametrize("role", ROLES)
def test_who_may_do_what(staff, realm, user, give, campaign, role):
    client = staff(role)
    assignment, running = give(user), campaign()
    defines, gives = role == "Ops", role in {"Ops", "Approver"}

    looked = [
        client.get(path).status_code
        for path in (
            PROGRAMS,
            CAMPAIGNS,
            ASSIGNMENTS,
            change_url(assignment),
            change_url(running),
            change_url(assignment.program),
        )
    ]
    may = {
        f"{PROGRAMS}add/": defines,
        f"{CAMPAIGNS}add/": defines,
        command_url(running, "pause"): defines,
        GIVE: gives,
        command_url(assignment, "pause"): gives,
    }

    assert looked == [200] * 6
    assert {path: client.get(path).status_code for path in may} == {
        path: 200 if allowed else 403 for path, allowed in may.items()
    }
    assert ("do/give/" in client.get(ASSIGNMENTS).text) == gives


@pytest.mark.parametrize("role", ROLES)
def test_lists_leave_with_those_who_may_export(staff, user, give, campaign, role):
    give(user)
    campaign()
    client = staff(role)

    statuses = {
        client.post(f"{path}export/", {"format": "0", "resource": ""}).status_code
        for path in (PROGRAMS, CAMPAIGNS, ASSIGNMENTS)
    }

    assert statuses == {403 if role == "Support" else 200}


def test_campaign_is_created_for_named_accounts(ops, realm, account):
    done = ops.post(f"{CAMPAIGNS}add/", campaign_answers(realm, principals="acme\n"))

    assert done.status_code == 302, errors_of(done)
    made = GrantCampaign.objects.get(name="Summer")
    assert made.target_filter == {"billing_account_ids": [str(account.pk)]}
    assert made.window_start == datetime(2999, 6, 1, tzinfo=UTC)
    assert (made.event_type, made.assignment_trigger) == (None, None)
    page = ops.get(change_url(made))
    assert page.context["adminform"].form.initial["principals"] == ["acme"]
    assert "Summer Scheduled $2.00 of one_time_xusd 1 account 2999-06-01" in text_of(
        ops.get(CAMPAIGNS)
    )


@pytest.mark.parametrize(
    ("own", "field"),
    [
        ({"principals": "nobody"}, "principals"),
        ({"metadata": "{}"}, "metadata"),
        ({"metadata": '{"grants": [{"grant_program_code": "none-such",'
                      ' "amount_xusd": 1}]}'}, "metadata"),
        ({"event_type": "billing_user.activated"}, "assignment_trigger"),
        ({"window_end_0": "2999-05-01"}, "window_end"),
        ({"name": "SPRING"}, "name"),
    ],
)  # fmt: skip
def test_bad_campaign_is_refused(ops, realm, campaign, own, field):
    campaign()

    refused = ops.post(f"{CAMPAIGNS}add/", campaign_answers(realm, **own))

    assert refused.status_code == 200
    errors = errors_of(refused)
    assert errors
    assert field in errors or "__all__" in errors, errors
    assert GrantCampaign.objects.count() == 1


def row(number, code, amount):
    return {f"grant_{number}_program": code, f"grant_{number}_amount": amount}


def test_campaign_says_what_it_gives_in_rows_of_dollars(ops, realm):
    rows = row(1, "one_time_xusd", "1,234.50") | row(3, "daily_xusd", "0.25")

    done = ops.post(
        f"{CAMPAIGNS}add/",
        campaign_answers(realm, metadata='{"team": "growth"}', **rows),
    )

    assert done.status_code == 302, errors_of(done)
    made = GrantCampaign.objects.get()
    assert made.metadata == {
        "team": "growth",
        "grants": [*grants(1_234_500_000), *grants(250_000, "daily_xusd")],
    }
    form = ops.get(change_url(made)).context["adminform"].form
    assert form["grant_1_program"].value() == "one_time_xusd"
    assert form["grant_2_program"].value() == "daily_xusd"
    assert 'value="1234.50"' in str(form["grant_1_amount"])
    assert form["metadata"].value() == '{\n  "team": "growth"\n}'


def test_saving_the_rows_as_they_are_changes_nothing_that_is_given(
    ops, realm, campaign
):
    running = campaign()
    same = campaign_answers(
        realm, name="Late spring", metadata="{}", **row(1, "one_time_xusd", "2.00")
    )

    ops.post(change_url(running), same)

    running.refresh_from_db()
    assert (running.name, running.metadata) == ("Late spring", {"grants": grants()})


def test_who_may_only_look_sees_what_a_campaign_gives_to_whom(staff, campaign):
    running = campaign()

    page = text_of(staff("Finance").get(f"{CAMPAIGNS}{running.pk}/change/"))

    assert "Gives $2.00 of one_time_xusd" in page
    assert "Gives by the program" not in page


def test_grants_that_rows_cannot_tell_stay_in_the_json(ops, realm, campaign):
    [grant] = grants()
    more = {**grant, "binding_window_end": "2999-01-01T00:00:00Z"}
    running = campaign(metadata={"grants": [more]})

    form = ops.get(change_url(running)).context["adminform"].form

    assert not form["grant_1_program"].value()
    assert "binding_window_end" in form["metadata"].value()


@pytest.mark.parametrize(
    ("own", "field", "sentence"),
    [
        (
            row(1, "one_time_xusd", "2"),
            "metadata",
            "Say what it gives in the rows or as `grants` here, not in both.",
        ),
        (
            row(1, "one_time_xusd", "") | {"metadata": "{}"},
            "grant_1_amount",
            "Say how much the program gives.",
        ),
        (
            row(2, "", "5") | {"metadata": "{}"},
            "grant_2_program",
            "Choose the program that gives it.",
        ),
    ],
)
def test_row_that_says_too_little_or_too_much_is_refused(
    ops, realm, own, field, sentence
):
    refused = ops.post(f"{CAMPAIGNS}add/", campaign_answers(realm, **own))

    assert errors_of(refused)[field] == [sentence]
    assert not GrantCampaign.objects.exists()


def test_campaign_is_changed_by_its_form(ops, realm, campaign):
    running = campaign()
    data = campaign_answers(realm, name="Late spring")
    del data["realm"]

    done = ops.post(change_url(running), data)

    assert done.status_code == 302, errors_of(done)
    running.refresh_from_db()
    assert (running.name, running.status) == ("Late spring", "active")


def test_campaign_is_paused_started_and_ended(ops, campaign):
    running = campaign()

    for button, status in (("pause", "paused"), ("start", "active"), ("end", "ended")):
        assert f"do/{button}/" in ops.get(change_url(running)).text
        _, done = confirmed(ops, command_url(running, button), why())
        running.refresh_from_db()
        assert (messages_of(done)[-1][0], running.status) == ("success", status)

    page = ops.get(change_url(running))
    assert 'name="name"' not in page.text
    assert "do/start/" not in page.text


def test_ending_a_campaign_shows_how_many_people_and_how_much_money(
    ops, realm, user, campaign, at, by
):
    running = campaign()
    enroll_targets(running, at=at, by=by)
    next_request()
    for name in ("globex", "initech"):
        account = ensure_account(realm=realm, principal_id=name, at=at, by=by)
        ensure_user(account=account, business_user_id="u-1", at=at, by=by)
    BillingUser.objects.update(status="active")

    shown = text_of(ops.post(command_url(running, "end"), why()))

    assert "Spring gives $2.00 of one_time_xusd to each" in shown
    assert "Was given so far; that stays 1 $2.00" in shown
    assert "Is still to be given, while it runs (per period) 2 $4.00" in shown
    running.refresh_from_db()
    assert running.status == "active"


def test_pausing_a_campaign_by_event_says_what_each_would_be_given(ops, campaign):
    running = campaign(
        event_type="billing_user.activated", assignment_trigger="first_match"
    )

    shown = text_of(ops.post(command_url(running, "pause"), why()))

    assert "Was given so far; that stays 0 $0.00" in shown
    assert (
        "Whoever billing_user.activated is about while it runs — $2.00 of one_time_xusd"
    ) in shown


def test_campaign_that_gave_stays_on_record(ops, user, campaign, at, by):
    running, spare = campaign(), campaign("Spare")
    enroll_targets(running, at=at, by=by)
    next_request()

    refused = ops.post(f"{change_url(running).removesuffix('change/')}delete/", why())
    deleted = ops.post(f"{change_url(spare).removesuffix('change/')}delete/", why())

    assert "stays on record" in text_of(refused)
    assert deleted.status_code == 302
    assert [each.name for each in GrantCampaign.objects.all()] == ["Spring"]
    running.refresh_from_db()
    assert running.status == "active"


def test_campaign_leads_to_what_it_gave(ops, user, campaign, at, by):
    running = campaign()
    enroll_targets(running, at=at, by=by)
    given = GrantAssignment.objects.get(campaign=running)

    page = ops.get(change_url(running))

    every = f"{ASSIGNMENTS}?campaign={running.pk}"
    assert "1 grant assignment " in text_of(page)
    assert every in page.text
    assert list(ops.get(every).context["cl"].result_list) == [given]
    assert change_url(running) in ops.get(change_url(given)).text


def test_grant_is_shown_before_it_is_given(ops, realm, user):
    preview, done = confirmed(ops, GIVE, gift(realm))

    shown = text_of(preview)
    assert "Wallet of u-1 in the account acme" in shown
    assert "Available to spend $0.00 $3.50" in shown
    given = GrantAssignment.objects.get(user=user)
    assert done.url == change_url(given)
    assert messages_of(done) == [("success", "u-1 is given $3.50 of One-time credit.")]
    lot = GrantLot.objects.get(user=user)
    assert lot.amount_xusd == 3_500_000
    assert change_url(lot) in ops.get(change_url(given)).text
    assert change_url(Wallet.objects.get(pk=user.pk)) in ops.get(change_url(given)).text


@pytest.mark.parametrize(
    ("code", "end", "told"),
    [
        ("one_time_xusd", "", "How often Once From {from} Until Nobody said"),
        ("one_time_xusd", "", "In all $3.50"),
        ("monthly_xusd", "2999-04-01", "In all $10.50, in 3 grants"),
        ("daily_xusd", "2999-04-01", "In all $315.00, in 90 grants"),
        ("daily_xusd", "", "there is no total"),
        ("daily_xusd", "3009-01-01", "More than $1,750.00, in 500 grants"),
    ],
)
def test_preview_of_a_grant_says_how_often_and_how_much(
    ops, realm, user, code, end, told
):
    program = program_named(realm, code)
    begins = {"window_start_0": "2999-01-01", "window_start_1": "00:00"}
    ends = {"window_end_0": end, "window_end_1": "00:00"} if end else {}
    data = gift(realm, program=str(program.pk), **begins, **ends)

    shown = text_of(ops.post(GIVE, data))

    assert f"{program} for u-1 Each time $3.50" in shown
    assert told.replace("{from}", "2999-01-01 00:00:00 UTC") in shown


def test_person_who_was_found_is_given_a_grant_without_typing_ids(ops, realm, user):
    wallet = Wallet.objects.get(pk=user.pk)
    asked = {"realm", "principal", "user_id"}
    data = {name: said for name, said in gift(realm).items() if name not in asked}

    preview, done = confirmed(ops, command_url(wallet, "give"), data)

    assert "In all $3.50" in text_of(preview)
    assert messages_of(done) == [("success", "u-1 is given $3.50 of One-time credit.")]
    assert GrantLot.objects.get(user=user).amount_xusd == 3_500_000


def test_preview_of_a_grant_gives_nothing(ops, realm, user):
    ops.post(GIVE, gift(realm))

    assert not GrantAssignment.objects.exists()


@pytest.mark.parametrize("amount", ["3.50", "4"])
def test_reference_gives_once(ops, realm, user, amount):
    confirmed(ops, GIVE, gift(realm))

    refused = ops.post(GIVE, gift(realm, amount_xusd=amount))

    [sentence] = errors_of(refused)["source_ref"]
    assert sentence.startswith("CASE-7 already gives One-time credit to u-1: $3.50.")
    assert GrantLot.objects.count() == 1


def test_program_of_another_realm_is_refused(ops, realm, other_realm, user):
    theirs = program_named(other_realm, "one_time_xusd")

    refused = ops.post(GIVE, gift(realm, program=str(theirs.pk)))

    [sentence] = errors_of(refused)["program"]
    assert f"is a program of the realm {other_realm.pk}" in sentence
    assert not GrantAssignment.objects.exists()


def test_more_than_the_limit_needs_an_approver(staff, ops, realm, user, monkeypatch):
    monkeypatch.setenv(options.APPROVAL_LIMIT, "3000000")
    options.approval_limit_xusd.cache_clear()
    try:
        refused = ops.post(GIVE, gift(realm))
        _, done = confirmed(staff("Approver"), GIVE, gift(realm))
    finally:
        monkeypatch.undo()
        options.approval_limit_xusd.cache_clear()

    assert errors_of(refused) == {
        "amount_xusd": [
            "$3.50 is above $3.00, the most that may be given without approval."
        ]
    }
    assert messages_of(done)[-1][0] == "success"
    assert GrantAssignment.objects.get().amount_xusd == 3_500_000


def test_assignment_is_paused_resumed_and_canceled(ops, user, give):
    given = give(user)

    for button, status in (
        ("pause", GrantStatus.PAUSED),
        ("resume", GrantStatus.ACTIVE),
        ("cancel", GrantStatus.CANCELED),
    ):
        assert f"do/{button}/" in ops.get(change_url(given)).text
        ops.post(command_url(given, button), why())
        next_request()
        given.refresh_from_db()
        assert given.status == status

    assert "do/extend/" not in ops.get(change_url(given)).text
    assert GrantLot.objects.get(assignment=given).status == "ready"


@pytest.mark.parametrize(
    ("day", "moves"), [("2999-01-01", True), ("2026-03-11", False)]
)
def test_assignment_is_extended_and_not_cut_short(ops, user, give, day, moves):
    given = give(user)
    before = given.window_end

    answer = ops.post(
        command_url(given, "extend"), why(window_end_0=day, window_end_1="00:00")
    )

    given.refresh_from_db()
    assert (given.window_end > before) == moves
    if not moves:
        [sentence] = errors_of(answer)["window_end"]
        assert sentence.startswith("It ends on 2026-03-30 12:00 UTC already")


@pytest.mark.parametrize("path", [CAMPAIGNS, ASSIGNMENTS])
def test_list_reads_the_same_for_one_row_and_three(
    ops, realm, user, give, campaign, at, by, path
):
    give(user)
    campaign()
    one = queries_of(ops, path)

    for number, name in enumerate(("globex", "initech")):
        account = ensure_account(realm=realm, principal_id=name, at=at, by=by)
        give(ensure_user(account=account, business_user_id="u-1", at=at, by=by))
        campaign(f"Summer {number}")

    assert queries_of(ops, path) == one


@pytest.mark.parametrize("path", [CAMPAIGNS, ASSIGNMENTS])
def test_empty_list_says_what_to_do(ops, realm, path):
    page = ops.get(path)

    message = page.context["cl"].model_admin.empty_message
    assert message
    assert message in page.text.replace("&#x27;", "'")


@pytest.mark.parametrize(
    ("path", "term", "found"),
    [
        (ASSIGNMENTS, "acme", 1),
        (ASSIGNMENTS, "CASE-1", 1),
        (ASSIGNMENTS, "one_time", 1),
        (ASSIGNMENTS, "globex", 0),
        (PROGRAMS, "Overage", 1),
        (PROGRAMS, "daily_xusd", 1),
        (CAMPAIGNS, "Spring", 1),
        (CAMPAIGNS, "Winter", 0),
    ],
)
def test_they_are_found_by_what_people_say(
    ops, user, give, campaign, path, term, found
):
    give(user)
    campaign()

    assert ops.get(path, {"q": term}).context["cl"].result_count == found
