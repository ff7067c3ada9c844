from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from config.admin.dashboard import recent_changes
from config.admin.history import PER_PAGE
from config.admin.values import Value, as_value, instant_text
from config.kernel.audit import AuditContext
from config.tenancy.history import auditing
from config.tenancy.models import Realm, ServiceKey
from config.tenancy.services.realms import change_realm, set_realm_status
from config.tenancy.services.service_keys import (
    create_service_key,
    rotate_service_key,
    set_service_key_status,
)


@pytest.fixture
def auditor(staff):
    return staff("Auditor")


def history_url(row):
    opts = row._meta
    return reverse(f"admin:{opts.app_label}_{opts.model_name}_history", args=[row.pk])


def told(entry):
    """Return an entry's changes as plain rows."""
    return [
        (change.label, change.path, change.before.text, change.after.text)
        for change in entry.changes
    ]


def test_creation_is_told_field_by_field(auditor, realm, by):
    page = auditor.get(history_url(realm))

    (entry,) = page.context["entries"]
    assert (entry.title, entry.operator, entry.actor) == (
        "Created", by.operator, "user ada",
    )  # fmt: skip
    assert (entry.reason, entry.ticket_id, entry.trace_id) == (
        by.reason, by.ticket_id, by.trace_id,
    )  # fmt: skip
    assert ("Realm id", "", "—", realm.pk) in told(entry)
    assert ("Status", "", "—", "Active") in told(entry)


def test_change_is_told_as_before_and_after_newest_first(auditor, realm, at, by):
    later = at + timedelta(hours=1)
    change_realm(
        realm=realm,
        name="Renamed",
        metadata={"a": {"b": 1, "c": [1, 2]}},
        at=later,
        by=by,
    )
    change_realm(
        realm=realm,
        name="Renamed",
        metadata={"a": {"b": True, "c": [1]}, "d": None},
        at=later + timedelta(hours=1),
        by=by.effective(at),
    )

    page = auditor.get(history_url(realm))

    newest, middle, oldest = page.context["entries"]
    assert (newest.title, middle.title, oldest.title) == (
        "Changed",
        "Changed",
        "Created",
    )
    assert newest.recorded_at == later + timedelta(hours=1)
    assert newest.effective_at == at
    assert told(newest) == [
        ("Metadata", "a.b", "1", "true"),
        ("Metadata", "a.c.1", "2", "—"),
        ("Metadata", "d", "—", "—"),
    ]
    assert told(middle)[0] == ("Name", "", realm.pk, "Renamed")
    assert "Renamed" in page.text


def test_choices_are_told_by_their_names(auditor, realm, at, by):
    set_realm_status(realm=realm, status="suspended", at=at, by=by)

    (changed, _created) = auditor.get(history_url(realm)).context["entries"]

    assert told(changed) == [("Status", "", "Active", "Suspended")]


def test_list_in_a_column_is_one_value_and_a_secret_is_none(auditor, realm, at, by):
    key = create_service_key(realm=realm, name="backend", at=at, by=by)
    rotate_service_key(key=key, at=at, by=by)

    page = auditor.get(history_url(key))

    (rotated, created) = page.context["entries"]
    assert told(rotated) == [("Kdf version", "", "1", "2")]
    assert ("Scopes", "", "—", "realm:admin, runtime") in told(created)
    assert "salt" not in page.text


def test_row_that_is_gone_keeps_its_history(auditor, at, by):
    realm = Realm(realm_id="gone", name="Gone")
    with transaction.atomic(), auditing(by, at=at):
        realm.save(force_insert=True)
        Realm.objects.filter(pk="gone").delete()
    realm.pk = "gone"

    page = auditor.get(history_url(realm))

    (deleted, created) = page.context["entries"]
    assert (deleted.title, created.title) == ("Deleted", "Created")
    assert ("Name", "", "Gone", "—") in told(deleted)
    assert "This was deleted" in page.text


def test_history_is_paged_and_compares_across_pages(auditor, realm, at, by):
    for number in range(PER_PAGE + 1):
        change_realm(
            realm=realm,
            name=f"Name {number}",
            metadata={},
            at=at + timedelta(minutes=number),
            by=by,
        )

    first = auditor.get(history_url(realm)).context
    second = auditor.get(history_url(realm) + "?p=2").context

    assert len(first["entries"]) == PER_PAGE
    assert told(first["entries"][-1]) == [("Name", "", "Name 0", "Name 1")]
    assert [entry.title for entry in second["entries"]] == ["Changed", "Created"]


@pytest.mark.parametrize("page", ["0", "-1", "99", "x", "1e9"])
def test_odd_page_numbers_are_harmless(auditor, realm, page):
    assert auditor.get(history_url(realm) + f"?p={page}").status_code == 200


def test_what_was_never_recorded_is_not_found(auditor, realm):
    url = history_url(realm).replace(realm.pk, "nowhere")

    response = auditor.get(url)

    assert response.status_code == 404
    assert "There is nothing at this address" in response.text


def test_history_costs_the_same_with_one_and_three_rows(auditor, realm, at, by):
    key = create_service_key(realm=realm, at=at, by=by)

    def cost():
        with CaptureQueriesContext(connection) as queries:
            auditor.get(history_url(key))
        return len(queries)

    cost()
    with_one = cost()
    set_service_key_status(key=key, status="disabled", at=at, by=by)
    set_service_key_status(key=key, status="active", at=at, by=by)

    assert cost() == with_one


def test_first_page_costs_the_same_with_one_and_three_rows(auditor, realm, at, by):
    def cost():
        with CaptureQueriesContext(connection) as queries:
            assert auditor.get("/admin/").status_code == 200
        return len(queries)

    cost()
    with_one = cost()
    set_realm_status(realm=realm, status="suspended", at=at, by=by)
    set_realm_status(realm=realm, status="active", at=at, by=by)

    assert cost() == with_one


def test_recent_changes_are_newest_first_across_models(auditor, realm, at, by, rf):
    key = create_service_key(realm=realm, name="backend", at=at + timedelta(1), by=by)
    explained = AuditContext(
        by.actor, "grace", "rotation day", "OPS-9", at, by.trace_id
    )
    rotate_service_key(key=key, at=at + timedelta(2), by=explained)
    request = rf.get("/admin/")
    request.user = auditor.user

    newest, second, *_ = recent_changes(request)

    assert (newest["what"], newest["verb"]) == (f"Service key {key.pk}", "changed")
    assert (newest["operator"], newest["reason"], newest["ticket_id"]) == (
        "grace", "rotation day", "OPS-9",
    )  # fmt: skip
    assert newest["link"] == history_url(key)
    assert second["verb"] == "created"


def test_first_page_says_what_will_appear_on_it(staff, db):
    page = staff().get("/admin/")

    assert "Nothing has been changed yet" in page.text


@pytest.mark.parametrize(
    ("value", "field", "expected"),
    [
        (None, "name", Value("—", is_nothing=True)),
        ("", "name", Value("—", is_nothing=True)),
        ("active", "status", Value("Active")),
        ("frozen", "status", Value("frozen")),
        (True, "name", Value("Yes")),
        (1_000_000, "name", Value("1000000")),
        (
            datetime(2026, 3, 1, 8, 30, tzinfo=UTC),
            "created_at",
            Value("2026-03-01 08:30:00 UTC"),
        ),
        ({"a": 1}, "metadata", Value('{\n  "a": 1\n}', is_code=True)),
        ("x", None, Value('"x"', is_code=True)),
    ],
)
def test_stored_values_are_shown_as_people_read_them(value, field, expected):
    assert as_value(value, field and Realm._meta.get_field(field)) == expected


def test_lists_of_choices_are_shown_as_stored():
    field = ServiceKey._meta.get_field("scopes")

    assert as_value(("runtime", "realm:admin"), field) == Value("runtime, realm:admin")


def test_fractions_of_a_second_are_shown_when_there_are_any():
    instant = datetime(2026, 3, 1, 8, 30, 0, 120000, tzinfo=UTC)

    assert instant_text(instant) == "2026-03-01 08:30:00.12 UTC"
