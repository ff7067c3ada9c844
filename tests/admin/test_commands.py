import re

import pytest

from config.admin.refusals import for_people
from config.admin.widgets import is_dressed
from config.kernel.clock import now
from config.tenancy.models import Realm
from config.tenancy.services.realms import set_realm_status
from tests.admin.pages import (
    change_url,
    command_url,
    errors_of,
    form_of,
    messages_of,
    why,
)

LIST = "/admin/tenancy/realm/"

pytestmark = pytest.mark.urls("tests.admin.desk")


@pytest.fixture
def ops(staff):
    return staff("Ops")


def named(realm):
    return Realm.objects.get(pk=realm.pk).name


def test_button_leads_to_a_form_that_asks_why(ops, realm):
    page = ops.get(command_url(realm, "rename"))

    form = form_of(page)
    assert list(form.fields) == ["name", "reason", "ticket_id", "effective_at", "note"]
    assert form["name"].value() == realm.name
    assert all(is_dressed(field.widget) for field in form.fields.values())
    for name in form.fields:
        assert f'name="{name}' in page.text


def test_command_runs_its_verb_and_says_what_it_did(ops, realm):
    before = now()

    response = ops.post(command_url(realm, "rename"), why(name="New"))

    assert response.status_code == 302
    assert response.url == change_url(realm)
    assert messages_of(response) == [("success", "Renamed to New.")]
    assert named(realm) == "New"
    entry = Realm.history.filter(realm_id=realm.pk).latest("history_id")
    assert (entry.reason, entry.ticket_id, entry.operator) == (
        "asked for", "T-7", ops.user.username,
    )  # fmt: skip
    assert entry.trace_id == response.headers["X-Trace-Id"]
    assert before <= entry.effective_at <= now()


def test_effective_time_is_the_one_that_was_typed(ops, realm):
    ops.post(
        command_url(realm, "rename"),
        why(name="New", effective_at_0="2026-05-01", effective_at_1="00:00"),
    )

    entry = Realm.history.filter(realm_id=realm.pk).latest("history_id")
    assert entry.effective_at.isoformat() == "2026-05-01T00:00:00+00:00"


@pytest.mark.parametrize("question", ["reason", "ticket_id"])
def test_command_does_nothing_without_an_explanation(ops, realm, question):
    response = ops.post(command_url(realm, "rename"), why(name="New") | {question: ""})

    assert errors_of(response) == {question: ["This field is required."]}
    assert messages_of(response) == []
    assert named(realm) != "New"


def test_refusal_is_told_on_its_field_and_undoes_everything(ops, realm):
    response = ops.post(command_url(realm, "refuse"), why(name="taken"))

    assert response.status_code == 200
    assert errors_of(response) == {"name": ["That name is taken."]}
    assert form_of(response)["name"].value() == "taken"
    assert messages_of(response) == []
    assert named(realm) != "taken"
    assert Realm.history.filter(realm_id=realm.pk).count() == 1


def test_refusal_without_a_field_is_told_on_top(ops, realm):
    response = ops.post(command_url(realm, "refuse"), why(name="New"))

    assert errors_of(response) == {"__all__": ["Not on Sundays."]}
    assert "Not on Sundays." in response.text
    assert messages_of(response) == []


def test_violated_constraint_is_told_in_its_own_words(ops, realm):
    response = ops.post(command_url(realm, "violate"), why())

    assert errors_of(response) == {"__all__": ["Unknown realm status."]}
    assert messages_of(response) == []


def test_bug_is_raised_and_undoes_everything(ops, realm):
    with pytest.raises(RuntimeError, match="a bug"):
        ops.post(command_url(realm, "break-down"), why(name="New"))

    assert named(realm) != "New"


def test_command_may_lead_elsewhere(ops, realm):
    response = ops.post(command_url(realm, "go-home"), why())

    assert response.url == "/admin/"
    assert messages_of(response) == [("success", "Gone.")]


def test_command_may_answer_with_a_page_of_its_own(ops, realm):
    response = ops.post(command_url(realm, "answer"), why())

    assert response.content == b"shown once"
    assert messages_of(response) == []


def test_button_of_the_list_has_no_row(ops, realm):
    response = ops.post(f"{LIST}do/count/", why())

    assert response.url == LIST
    assert messages_of(response) == [("success", "None None True")]


def test_preview_shows_what_would_happen_and_changes_nothing(ops, realm):
    before = realm.name

    page = ops.post(command_url(realm, "rename-with-care"), why(name="New"))

    assert page.status_code == 200
    assert page.context["preview"][0].rows == [[before, "New"]]
    assert "Nothing is saved yet" in page.text
    assert named(realm) == before
    assert Realm.history.filter(realm_id=realm.pk).count() == 1
    assert messages_of(page) == []


def test_confirmed_preview_is_carried_out(ops, realm):
    url = command_url(realm, "rename-with-care")
    page = ops.post(url, why(name="New"))

    response = ops.post(url, why(name="New", _confirm=page.context["confirm"]))

    assert messages_of(response) == [("success", "Rename with care: done.")]
    assert named(realm) == "New"


def test_answers_changed_after_the_preview_are_shown_again(ops, realm):
    url = command_url(realm, "rename-with-care")
    page = ops.post(url, why(name="New"))

    again = ops.post(url, why(name="Newer", _confirm=page.context["confirm"]))

    assert again.context["preview"][0].rows == [[realm.name, "Newer"]]
    assert named(realm) == realm.name


def test_refusal_during_the_preview_is_told_on_its_field(ops, realm):
    response = ops.post(command_url(realm, "never"), why(name="New"))

    assert errors_of(response) == {"name": ["That name is taken."]}
    assert response.context["preview"] is None
    assert named(realm) == realm.name


def test_form_sent_twice_runs_once(ops, realm):
    url = command_url(realm, "rename")
    once = re.search(r'name="_once" value="(\w+)"', ops.get(url).text)[1]
    ops.post(url, why(name="New", _once=once))

    repeated = ops.post(url, why(name="Newer", _once=once))

    assert errors_of(repeated) == {
        "__all__": ["This form was already sent once. Open it again to repeat it."]
    }
    assert named(realm) == "New"


def test_refused_form_may_be_sent_again(ops, realm):
    url = command_url(realm, "rename")
    ops.post(url, why(name="", _once="abc"))

    response = ops.post(url, why(name="New", _once="abc"))

    assert response.status_code == 302
    assert named(realm) == "New"


def test_button_shows_only_while_it_is_possible(ops, realm, at, by):
    assert "/do/suspend/" in ops.get(change_url(realm)).text

    set_realm_status(realm=realm, status="suspended", at=at, by=by)
    assert "/do/suspend/" not in ops.get(change_url(realm)).text

    response = ops.post(command_url(realm, "suspend"), why())
    assert response.url == change_url(realm)
    assert messages_of(response) == [
        ("error", f"“Suspend” is not possible for {realm} now.")
    ]


def test_button_is_for_those_who_have_its_permission(ops, staff, realm):
    assert "/do/approve/" not in ops.get(change_url(realm)).text
    assert ops.get(command_url(realm, "approve")).status_code == 403
    assert ops.post(command_url(realm, "approve"), why()).status_code == 403

    approver = staff("Approver")
    assert "/do/rename/" not in approver.get(change_url(realm)).text
    assert (
        approver.post(command_url(realm, "rename"), why(name="New")).status_code == 403
    )
    assert "/do/count/" in ops.get(LIST).text
    assert "/do/count/" not in approver.get(LIST).text


def test_unknown_row_leads_back(ops, realm):
    response = ops.get(command_url(realm, "rename").replace(realm.pk, "nowhere"))

    assert response.status_code == 302
    assert "nowhere" in messages_of(response)[0][1]


def test_signed_out_visitor_is_asked_to_sign_in(client, realm):
    response = client.get(command_url(realm, "rename"))

    assert response.url.startswith("/admin/login/")


def test_record_is_read_only(ops, realm):
    page = ops.get(change_url(realm))

    assert page.context["has_change_permission"] is False
    assert page.context["has_delete_permission"] is False
    assert ops.post(change_url(realm), {"name": "New"}).status_code == 403
    assert ops.get(f"{LIST}add/").status_code == 403
    assert named(realm) != "New"


@pytest.mark.parametrize(
    ("sentence", "told"),
    [
        (
            "It ends at 2026-03-10T12:00:00.000000Z already.",
            "It ends at 2026-03-10 12:00:00 UTC already.",
        ),
        (
            "Not before 2026-03-10T12:00:00.250000Z.",
            "Not before 2026-03-10 12:00:00.25 UTC.",
        ),
        ("2026-03-10T12:00:00+00:00", "2026-03-10 12:00:00 UTC"),
        (
            "The balance has 1250000 xusd available; 2500000000 xusd are needed.",
            "The balance has $1.25 available; $2,500.00 are needed.",
        ),
        (
            "The program one_time_xusd is unknown.",
            "The program one_time_xusd is unknown.",
        ),
        ("amount_xusd must be 1 or more.", "amount_xusd must be 1 or more."),
    ],
)
def test_refusal_is_told_in_the_units_of_the_admin(sentence, told):
    assert for_people(sentence) == told
