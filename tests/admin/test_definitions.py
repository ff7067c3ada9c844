import pytest
from django.contrib.admin.models import LogEntry
from django.db import IntegrityError, transaction
from django.urls import reverse

from config.tenancy.history import auditing
from config.tenancy.models import Realm
from config.tenancy.services.events import record_event
from tests.admin.pages import answers, change_url, errors_of, form_of, messages_of, why

ADD = "/admin/tenancy/realm/add/"


@pytest.fixture
def ops(staff):
    return staff("Ops")


def test_definition_is_created_with_its_explanation(ops):
    response = ops.post(
        ADD,
        answers(
            realm_id="acme",
            name="Acme",
            metadata='{"team": "a"}',
            metadata__require_audit_fields="true",
        ),
    )

    assert response.status_code == 302
    realm = Realm.objects.get(pk="acme")
    assert realm.metadata == {"team": "a", "require_audit_fields": True}
    entry = Realm.history.get(realm_id="acme")
    assert (entry.operator, entry.actor_kind, entry.actor_id) == (
        ops.user.username, "user", ops.user.username,
    )  # fmt: skip
    assert (entry.reason, entry.ticket_id) == ("asked for", "T-7")
    assert entry.trace_id == response.headers["X-Trace-Id"]


def test_definition_holds_from_the_moment_of_saving(ops):
    later = {"audit_effective_at_0": "2099-01-01", "audit_effective_at_1": "00:00"}

    ops.post(ADD, answers(realm_id="acme", name="Acme", **later))

    entry = Realm.history.get(realm_id="acme")
    assert entry.effective_at == entry.history_date


@pytest.mark.parametrize("question", ["audit_reason", "audit_ticket_id"])
def test_definition_is_not_saved_without_an_explanation(ops, question):
    response = ops.post(ADD, answers(realm_id="acme", name="Acme") | {question: " "})

    assert errors_of(response) == {question: ["This field is required."]}
    assert not Realm.objects.filter(pk="acme").exists()


def test_code_is_fixed_after_creation(ops, realm):
    page = ops.get(change_url(realm))

    assert "realm_id" not in page.context["adminform"].form.fields
    ops.post(change_url(realm), answers(realm_id="other", name="Renamed"))
    realm.refresh_from_db()
    assert realm.name == "Renamed"
    assert not Realm.objects.filter(pk="other").exists()


def test_constraint_is_told_on_the_form_and_nothing_is_saved(ops):
    response = ops.post(ADD, answers(realm_id="-acme-", name="Acme"))

    assert response.status_code == 200
    assert "A realm id is 1 to 128 letters" in errors_of(response)["__all__"][0]
    assert messages_of(response) == []
    assert not Realm.objects.filter(pk="-acme-").exists()


refusing = pytest.mark.urls("tests.admin.refusing")


@refusing
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("on its field", {"name": ["Names are taken."]}),
        ("on a fixed field", {"__all__": ["Realm acme exists."]}),
        ("on no field", {"__all__": ["Not on Sundays."]}),
        ("on a key", {"metadata__default_plan_id": ["Far away."]}),
        ("on several", {"metadata": ["One."], "name": ["Two."]}),
        ("as the wire lists them", {"name": ["One."]}),
    ],
)
def test_what_a_verb_refuses_is_told_on_its_field(ops, realm, name, expected):
    response = ops.post(change_url(realm), answers(name=name))

    assert response.status_code == 200
    assert errors_of(response) == expected
    assert form_of(response)["name"].value() == name
    assert messages_of(response) == []
    realm.refresh_from_db()
    assert realm.name != name
    assert Realm.history.filter(realm_id=realm.pk).count() == 1
    assert not LogEntry.objects.exists()


@refusing
def test_what_the_database_refuses_is_told_on_the_form(ops, realm):
    response = ops.post(change_url(realm), answers(name="frozen"))

    assert errors_of(response) == {"__all__": ["Unknown realm status."]}
    assert messages_of(response) == []


@refusing
def test_bug_is_not_dressed_up_as_a_refusal(ops, realm):
    with pytest.raises(IntegrityError):
        ops.post(change_url(realm), answers(name="as a bug"))


def test_saving_without_a_change_says_so_and_leaves_no_history(ops, realm):
    response = ops.post(change_url(realm), answers(name=realm.name, metadata="{}"))

    assert response.status_code == 302
    assert messages_of(response) == [
        ("info", f"Nothing to change: {realm} already is as you left it.")
    ]
    assert Realm.history.filter(realm_id=realm.pk).count() == 1


def test_near_miss_is_warned_of_after_saving(ops, realm):
    response = ops.post(
        change_url(realm), answers(name="Renamed", metadata='{"defalt_plan_id": 1}')
    )

    assert messages_of(response)[0] == (
        "warning",
        "`defalt_plan_id` is not a key the system reads. Did you mean `default_plan_id`?",
    )
    realm.refresh_from_db()
    assert realm.metadata["defalt_plan_id"] == 1


def test_metadata_error_keeps_the_text_and_warns_of_nothing(ops, realm):
    text = '{"defalt_plan_id": 1,, }'

    response = ops.post(change_url(realm), answers(name="Renamed", metadata=text))

    assert form_of(response)["metadata"].value() == text
    assert messages_of(response) == []


def test_realms_are_not_deleted(ops, realm):
    opts = realm._meta
    url = reverse(f"admin:{opts.app_label}_{opts.model_name}_delete", args=[realm.pk])

    assert ops.get(url).status_code == 403
    assert ops.post(url, {"post": "yes"}).status_code == 403
    assert Realm.objects.filter(pk=realm.pk).exists()


def delete_url(realm):
    return reverse("admin:tenancy_realm_delete", args=[realm.pk])


@pytest.fixture
def bare_realm(db, at, by):
    """A realm that nothing refers to, not even what provisioning gives one."""
    realm = Realm(realm_id="bare", name="Bare")
    with transaction.atomic(), auditing(by, at=at):
        realm.save(force_insert=True)
    return realm


@refusing
def test_deleting_asks_why(ops, bare_realm):
    response = ops.post(delete_url(bare_realm), why(reason=""))

    assert errors_of(response) == {"reason": ["This field is required."]}
    assert Realm.objects.filter(pk="bare").exists()


@refusing
def test_definition_that_nothing_refers_to_is_deleted(ops, bare_realm):
    response = ops.post(delete_url(bare_realm), why(reason="a slip of the pen"))

    assert response.url == "/admin/tenancy/realm/"
    assert messages_of(response) == [("success", "Realm bare was deleted.")]
    assert not Realm.objects.filter(pk="bare").exists()
    last = Realm.history.filter(realm_id="bare").latest("history_id")
    assert (last.history_type, last.reason) == ("-", "a slip of the pen")


@refusing
def test_definition_in_use_stays_and_says_by_what(ops, bare_realm, at, by):
    record_event(
        realm=bare_realm, kind="realm.changed", subject=bare_realm, at=at, by=by
    )

    response = ops.post(delete_url(bare_realm), why())

    assert errors_of(response) == {
        "__all__": ["bare stays, because it is in use by 1 domain event."]
    }
    assert messages_of(response) == []
    assert Realm.objects.filter(pk="bare").exists()
