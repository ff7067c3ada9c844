import io
import logging

import pytest

from config.tenancy.models import ServiceKey
from config.tenancy.services.service_keys import create_service_key, secret_text
from tests.admin.pages import command_url, errors_of, messages_of, why

CREATE = "/admin/tenancy/servicekey/do/create/"


@pytest.fixture
def ops(staff):
    return staff("Ops")


@pytest.fixture
def key(realm, at, by):
    return create_service_key(realm=realm, name="backend", at=at, by=by)


def test_created_key_shows_its_secret_once(ops, realm, account, capsys, caplog):
    caplog.set_level(logging.DEBUG)

    page = ops.post(
        CREATE,
        why(
            realm=realm.pk,
            name="backend",
            scopes=["runtime"],
            allowed_accounts=f"\r\n\r\n {account.pk}",
        ),
    )

    created = ServiceKey.objects.get()
    secret = secret_text(created)
    assert page.text.count(secret) == 1
    assert created.pk in page.text
    assert "no-store" in page.headers["Cache-Control"]
    assert (created.name, created.scopes) == ("backend", ["runtime"])
    assert (created.allowed_realms, created.allowed_accounts) == (
        [realm.pk],
        [str(account.pk)],
    )
    assert messages_of(page) == []
    for path in (
        "/admin/",
        "/admin/tenancy/servicekey/",
        command_url(created, "x").removesuffix("do/x/") + "change/",
    ):
        assert secret not in ops.get(path).text
    assert secret not in capsys.readouterr().out + caplog.text
    assert secret not in str(list(ServiceKey.history.values()))
    assert secret not in str(dict(ops.session))


def test_reloading_the_secret_page_makes_no_second_key(ops, realm):
    data = why(realm=realm.pk, scopes=["runtime"], _once="abc")
    ops.post(CREATE, data)

    repeated = ops.post(CREATE, data)

    assert "already sent" in errors_of(repeated)["__all__"][0]
    assert ServiceKey.objects.count() == 1


def test_expiry_in_the_past_is_refused_on_its_field(ops, realm):
    response = ops.post(
        CREATE,
        why(
            realm=realm.pk,
            scopes=["runtime"],
            expires_at_0="2020-01-01",
            expires_at_1="00:00",
        ),
    )

    assert errors_of(response) == {
        "expires_at": ["The key would already have expired."]
    }
    assert not ServiceKey.objects.exists()


@pytest.mark.parametrize("missing", ["realm", "scopes", "reason", "ticket_id"])
def test_key_needs_every_answer(ops, realm, missing):
    data = why(realm=realm.pk, scopes=["runtime"])
    del data[missing]

    response = ops.post(CREATE, data)

    assert errors_of(response) == {missing: ["This field is required."]}
    assert not ServiceKey.objects.exists()


def test_rotated_key_shows_the_new_secret_once(ops, key):
    old = secret_text(key)

    page = ops.post(command_url(key, "rotate"), why())

    key.refresh_from_db()
    assert secret_text(key) != old
    assert page.text.count(secret_text(key)) == 1
    assert old not in page.text


def test_key_is_disabled_and_enabled_again(ops, key):
    disabled = ops.post(command_url(key, "disable"), why())
    key.refresh_from_db()
    assert key.status == "disabled"
    assert messages_of(disabled) == [
        ("success", f"Key {key} is disabled: its requests are refused.")
    ]

    ops.post(command_url(key, "enable"), why())
    key.refresh_from_db()
    assert key.status == "active"


def test_exported_keys_hold_no_salt(ops, key):
    response = ops.post(
        "/admin/tenancy/servicekey/export/", {"format": "0", "resource": ""}
    )

    header, row = response.content.decode("utf-8-sig").splitlines()
    assert "kdf_salt" not in header.split(",")
    assert key.pk in row


def test_exported_formulas_are_neutralized(ops, realm, at, by):
    create_service_key(realm=realm, name="=1+1", at=at, by=by)

    response = ops.post(
        "/admin/tenancy/servicekey/export/", {"format": "0", "resource": ""}
    )

    assert "=1+1" not in response.content.decode()
    assert "1+1" in response.content.decode()


def test_keys_are_exported_as_a_workbook(ops, key):
    import openpyxl

    response = ops.post(
        "/admin/tenancy/servicekey/export/", {"format": "1", "resource": ""}
    )

    sheet = openpyxl.load_workbook(io.BytesIO(response.content)).active
    assert sheet["A1"].value == "key_id"
    assert sheet["A2"].value == key.pk
